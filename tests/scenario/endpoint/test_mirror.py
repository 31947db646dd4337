"""The fleet's mirror: a second store is filled from this host's, which an Nginx of its own gives out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from playbooks import play  # noqa: E402

HostCommand = Callable[..., str]
FILE = "gemma3-270m-q4_k_m.gguf"
FIRST, SECOND = "/var/lib/mistral/models", "/root/second"
PORT = 18998
UNIT = "mirror"
SETTINGS = f"""
    pid /run/mirror.pid;
    events {{ }}
    http {{ access_log /run/mirror.log; server {{ listen 127.0.0.1:{PORT}; root {FIRST}; }} }}
"""


@pytest.fixture
def mirror(on_host: HostCommand) -> Iterator[str]:
    on_host("sh", "-c", f"printf '%s' '{SETTINGS}' >/root/mirror.conf")
    nginx = ["nginx", "-e", "stderr", "-c", "/root/mirror.conf", "-g", "daemon off;"]
    on_host("systemd-run", "--collect", "--unit", UNIT, *nginx)
    on_host("sh", "-c", f"for i in $(seq 100); do ss -Hltn | grep -q :{PORT} && exit; sleep 0.1; done; exit 1")
    yield f"http://127.0.0.1:{PORT}"
    on_host("sh", "-c", f"! systemctl --quiet is-active {UNIT} || systemctl stop {UNIT}")
    on_host("rm", "-rf", SECOND, "/root/mirror.conf", "/run/mirror.log")


def models(**variables: Any) -> tuple[int, str]:
    """The playbook for models by hand: how many tasks changed something, and what it said."""
    given = {
        "model": "gemma3:270m",
        "quantization": "q4_k_m",
        "source": f"mirror://{FILE}",
        "mistral_models_path": SECOND,
        **variables,
    }
    done = play("mistralrs.stack.models", given)
    (changed,) = re.findall(r"changed=(\d+)", done.stdout)
    assert (done.returncode == 0) == (re.search(r"failed=0 ", done.stdout) is not None)
    return int(changed), re.sub(r"\s+", " ", done.stdout)


def test_a_model_comes_from_the_mirror(mirror: str, on_host: HostCommand) -> None:
    changed, said = models(mistral_models_mirror_url=mirror)
    assert changed == 1, said
    assert f"mirror://{FILE}" in said
    assert on_host("cmp", f"{FIRST}/{FILE}", f"{SECOND}/{FILE}") == ""
    asked = re.findall(r'"GET (\S+) HTTP/1.1" 200', on_host("cat", "/run/mirror.log"))
    # The record by the check before the first change and by the run itself; the file once.
    assert set(asked) == {f"/.store/{FILE}.json", f"/{FILE}"}
    assert asked.count(f"/{FILE}") == 1
    # A second run asks nobody, and needs no mirror.
    on_host("systemctl", "stop", UNIT)
    assert models(mistral_models_mirror_url=mirror)[0] == 0


def test_what_the_mirror_can_not_give(mirror: str, on_host: HostCommand) -> None:
    for variables, words in (
        ({}, "[model.mirror_missing]"),
        ({"mistral_models_mirror_url": mirror, "source": "mirror://none.gguf"}, "[model.not_in_mirror]"),
        ({"mistral_models_mirror_url": "http://mirror.example.com"}, "[model.option_invalid]"),
    ):
        changed, said = models(**variables)
        assert changed == 0
        assert words in said
    assert on_host("sh", "-c", f"ls -d {SECOND} 2>/dev/null || true") == ""
