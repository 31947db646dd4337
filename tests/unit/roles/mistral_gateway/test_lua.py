"""The gateway's Lua: its specs in the LuaJIT that Nginx has, its style, and its reading of JSON beside Python's.

What is not installed comes out of Debian's packages, into .cache/packages.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mistralrs.stack.plugins.filter.gateway_plan import gateway_plan
from cryptography.hazmat.primitives.asymmetric import ec

from tests.component.real_servers import packages

ROOT = Path(__file__).resolve().parents[4]
HERE = Path(__file__).resolve().parent
SOURCES = ROOT / "roles" / "mistral_gateway" / "files" / "lua"

# Debian 12's and newer releases' packages of OpenResty's LuaJIT.
LIBRARIES = ["libluajit2-5.1-2", "libluajit-5.1-2"]
BUSTED = [
    *["lua-busted", "lua-cliargs", "lua-dkjson", "lua-filesystem", "lua-luassert", "lua-mediator", "lua-penlight"],
    *["lua-say", "lua-system", "lua-term", "lua-cjson"],
]
LUACHECK = ["lua-check", "lua-argparse", "lua-filesystem"]


def unpacked(names: list[str]) -> list[Path]:
    """The trees of packages; the test is skipped where they can't be had, which is a failure in CI."""
    try:
        return [packages.unpacked(name) for name in names]
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"{' '.join(names)} cannot be fetched with apt-get: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def library() -> str:
    """OpenResty's LuaJIT."""
    for folder in (Path("/usr/lib"), Path("/lib")):
        for found in folder.glob("*/libluajit-5.1.so.2.1.ROLLING"):
            return str(found)
    for name in LIBRARIES:
        try:
            tree = packages.unpacked(name)
        except (OSError, subprocess.CalledProcessError, ValueError):
            continue
        for found in tree.rglob("libluajit-5.1.so.2*"):
            if not found.is_symlink():
                return str(found)
    why = "there is no OpenResty's LuaJIT, and no apt-get to fetch its package with"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def run(library: str, trees: list[Path], program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Lua program that one of the trees has."""
    paths = [f"{SOURCES}/?.lua", f"{HERE}/lua/?.lua"]
    modules = []
    for tree in trees:
        paths += [f"{tree}/usr/share/lua/5.1/?.lua", f"{tree}/usr/share/lua/5.1/?/init.lua"]
        modules += [f"{found}/?.so" for found in tree.glob("usr/lib/*/lua/5.1")]
    return subprocess.run(
        [sys.executable, HERE / "lua_host.py", library, program, *arguments],
        cwd=ROOT,
        env={**os.environ, "LUA_PATH": ";".join(paths), "LUA_CPATH": ";".join(modules)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("spec", sorted((HERE / "lua").glob("*_spec.lua")), ids=lambda spec: spec.stem)
def test_spec(library: str, spec: Path, tmp_path: Path) -> None:
    runner = tmp_path / "runner.lua"
    runner.write_text("require 'busted.runner'({standalone = false})\n")
    done = run(library, unpacked(BUSTED), str(runner), "--output=plainTerminal", "--pattern=_spec", str(spec))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " 0 failures / 0 errors / 0 pending" in done.stdout
    assert not done.stdout.startswith("0 successes")


def test_style(library: str) -> None:
    trees = unpacked(LUACHECK)
    (program,) = trees[0].glob("usr/bin/luacheck")
    done = run(library, trees, str(program), "--no-color", "--quiet", str(SOURCES), str(HERE / "lua"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_no_file_is_long() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES.rglob("*.lua")}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(9 if depth else 7)
    if kind == 0:
        return "".join(source.choice('ab"\\/\n\t{}[],:é😀\x7f') for _each in range(source.randrange(80)))
    if kind == 1:
        return source.choice([0, -1, 10**20, 1.5, -2.5e-10, 1e300])
    if kind < 7:
        return [None, True, False, "", 7][kind - 2]
    if kind == 7:
        return [value(source, depth - 1) for _each in range(source.randrange(5))]
    return {
        str(number) + source.choice(["", "é", "name"]): value(source, depth - 1)
        for number in range(source.randrange(5))
    }


def texts() -> Iterator[bytes]:
    """JSON as clients write it, and the same with a byte or two changed, left out or put in."""
    source = random.Random(18)
    for _text in range(1500):
        whole = json.dumps(
            value(source, 4),
            ensure_ascii=source.random() < 0.5,
            indent=source.choice([None, None, 1]),
            separators=source.choice([None, (",", ":")]),
        ).encode()
        yield whole
        for _copy in range(4):
            broken = bytearray(whole)
            for _change in range(source.randrange(1, 3)):
                at = source.randrange(len(broken) + 1)
                byte = source.choice(b'{}[],:"\\ 019-+.eEtfnul\x00\x1f/')
                broken[at : at + source.randrange(2)] = bytes([byte]) if source.random() < 0.7 else b""
            yield bytes(broken)


def is_json(text: bytes) -> bool:
    """What Python thinks of it, without the numbers and halves of characters that are none of JSON."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        # As bytes of Latin-1, since the gateway leaves the look at UTF-8 to the engine.
        found = json.loads(text.decode("latin-1"), parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except ValueError:
        return False
    # To Python any of its blanks may stand around.
    return text.strip(b" \t\r\n") == text.strip()


def test_json_is_what_python_takes_for_it(library: str, tmp_path: Path) -> None:
    cases = list(dict.fromkeys(texts()))
    expected = [is_json(text) for text in cases]
    assert 900 < sum(expected) < len(cases) - 900
    (tmp_path / "cases").write_bytes(b"".join(b"%d\n%s" % (len(text), text) for text in cases))
    (tmp_path / "verdicts.lua").write_text("""
        local json = require 'gateway.json'
        local file = assert(io.open(arg[1], 'rb'))
        local seen = {}
        for length in function() return file:read '*n' end do
            file:read(1)
            local text = length > 0 and file:read(length) or ''
            local verdict = json.check(text)
            seen[#seen + 1] = verdict and '1' or '0'
            -- What is no JSON must not lead out of the text either.
            local fields = json.object(text)
            if verdict and text:find '^%s*{' then
                assert(fields or text:find('\\\\', 1, true) or select(2, json.object(text)):find 'twice')
            end
            json.items(text, 1, #text)
            local decoded = json.decode(text)
            -- 1e999 is a number of JSON and none of Lua.
            local done, made = pcall(json.encode, decoded)
            if decoded ~= nil and done then assert(json.check(made)) end
        end
        io.write(table.concat(seen))
    """)
    done = run(library, [], str(tmp_path / "verdicts.lua"), str(tmp_path / "cases"))
    assert done.returncode == 0, done.stderr
    wrong = [text for text, verdict, truth in zip(cases, done.stdout, expected) if (verdict == "1") != truth]
    assert len(done.stdout) == len(cases)
    assert wrong == []


def jwks() -> str:
    """One of an issuer with a key of EC."""

    def text(value: int) -> str:
        return base64.urlsafe_b64encode(value.to_bytes(32, "big")).decode().rstrip("=")

    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    entry = {"kid": "one", "kty": "EC", "crv": "P-256", "x": text(numbers.x), "y": text(numbers.y)}
    return json.dumps({"keys": [entry]})


LIMITS = {"requests_per_minute": 60, "concurrent_requests": 4, "tokens_per_minute": 10**6, "tokens_per_day": "5000000"}
# Everything that the role can put into a plan.
WHOLE: dict[str, Any] = {
    "engine": {
        "version": "0.9.2+7",
        "models": [{"id": "tiny-q4", "aliases": ["tiny:1b"], "images": True, "size": 10**9, "family": "llama"}],
        "default_model": "tiny-q4",
        "defaults": {"temperature": 0.5, "top_p": 0.9, "max_tokens": 64},
        "context_length": 8192,
        "max_tokens": 8192,
        "max_concurrent_requests": 1,
    },
    "upstreams": ["127.0.0.1:11434", "[2001:db8::7]:11434"],
    "names": ["gw.example"],
    "api_keys": [
        {"name": "default"},
        {
            "name": "whole",
            "key": "Wq7Rz2mXk9LpTf4VbN8s",
            "tenant": "team",
            "expires": "2027-01-31",
            "models": ["tiny:1b"],
            "addresses": ["192.0.2.1", "2001:db8::/32"],
            **LIMITS,
        },
    ],
    "generated": {"default": "sk-Wq7Rz2mXk9LpTf4VbN8s"},
    "former": {"default": "sk-Zq7Rz2mXk9LpTf4VbN8s"},
    "digest_secret": "of the controller",
    "requests_per_minute": 100,
    "max_concurrent_requests": 1,
    "queue_length": 0,
    "queue_timeout": 300,
    "read_timeout": 600,
    "cors_origins": ["https://chat.example.org"],
    "ollama_open_networks": ["192.0.2.0/24"],
    "jwt": {"issuer": "https://i", "audience": "a", "jwks": "j", "claim_name": "n", "claim_tenant": "t", "leeway": 5}
    | {"claim_models": "m", **LIMITS},
    "jwks": jwks(),
    "client_names": ["laptop"],
    "state_path": "/var/lib/mistral/gateway",
}
SCENARIO = yaml.safe_load((ROOT / "molecule" / "gateway" / "vars" / "main.yml").read_text())["mistral_gateway_plan"]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"engine": SCENARIO},
        {"engine": {"models": [{"id": "a"}], "default_model": "a"}, "jwt": {}, "client_names": [], "former": {}},
        {"max_concurrent_requests": 0, "cors_origins": [], "ollama_open_networks": [], "apis": ["completions"]},
    ],
)
def test_what_the_role_plans_the_gateway_takes(library: str, tmp_path: Path, changed: dict[str, Any]) -> None:
    found = gateway_plan({**WHOLE, "api_keys": [{"name": "default"}], **changed} if changed else WHOLE)
    assert found["errors"] == []
    (tmp_path / "plan.json").write_text(json.dumps(found["plan"]))
    (tmp_path / "load.lua").write_text("""
        local plan = require('gateway.plan').load(arg[1])
        require('gateway.body').rules(plan)
        io.write(plan.line, ' ', #plan.keys, ' ', #plan.upstreams)
    """)
    done = run(library, [], str(tmp_path / "load.lua"), str(tmp_path / "plan.json"))
    assert done.returncode == 0, done.stderr
    plan = found["plan"]
    assert done.stdout == f"{plan.get('line', '0')} {len(plan['keys'])} 2"
