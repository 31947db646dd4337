# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random changes of the gateway's variables, good and bad, one after the other, under clients that never stop asking.

Each change is a run of the playbook, so only `make test-all` makes them: 24 (CHANGES). SEED repeats what a run printed.
"""

from __future__ import annotations

import hashlib
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.component.gateway.software import find_or_skip
from tests.component.real_servers.gateway import Gateway
from tests.fakes.engine import stand_in_engine

ROOT = Path(__file__).resolve().parents[3]
CHANGES = int(os.environ.get("CHANGES", "0"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
KEY = {"name": "default"}
#: Values that the role takes, each with a text of what it installs that only this value brings about.
GOOD: dict[str, list[tuple[Any, str]]] = {
    "read_timeout": [(5, "proxy_read_timeout 5s;"), (86_400, "proxy_read_timeout 86400s;")],
    "client_max_body_size": [("1m", "client_max_body_size 1m;"), ("1024m", "client_max_body_size 1024m;")],
    "shutdown_timeout": [(0, ""), (60, "worker_shutdown_timeout 60s;")],
    "requests_per_minute": [(100_000, '"requests_per_minute": 100000')],
    "max_concurrent_requests": [(5, '"running": 5')],
    "tls_profile": [("modern", "ssl_protocols TLSv1.3;")],
    "hsts_seconds": [(0, "")],
    "default_server": [(False, "")],
    "http2": [(False, "")],
    "server_names": [(["localhost", "127.0.0.1", "gw.example.org"], "server_name localhost 127.0.0.1 gw.example.org;")],
    "api_keys": [
        ([KEY, {"name": "nightly", "tenant": "lab", "concurrent_requests": 3}], '"name": "nightly"'),
        ([KEY, {"name": "chosen", "key": "Wq7Rz2mXk9LpTf4VbN8s"}], '"name": "chosen"'),
    ],
    "cors_origins": [(["https://app.example.org"], "https://app.example.org")],
    "certificate_days": [(400, "")],
    "memory_limit": [("512M", "")],
}
# Values that it refuses, each with its error.
# Ansible compares with the role's argument specification before the role's own checks.
NO_NUMBER = "unable to convert to int"
BAD: dict[str, list[tuple[Any, str]]] = {
    "https_port": [(70_000, "gateway.number_invalid"), ("443x", NO_NUMBER)],
    "listen_address": [("256.1.1.1", "gateway.address_invalid"), ("192.0.2.77", "gateway.address_not_here")],
    "read_timeout": [(-5, "gateway.number_invalid"), ("5m", NO_NUMBER)],
    "client_max_body_size": [("huge", "gateway.size_invalid"), ("2g", "gateway.size_invalid")],
    "server_names": [([], "gateway.server_names_empty"), (['a;\n return 200 "x"; #'], "gateway.server_name_invalid")],
    "api_keys": [
        ([], "gateway.api_keys_empty"),
        ([KEY, KEY], "gateway.api_key_twice"),
        ([{"name": "a b"}], "gateway.api_key_name_invalid"),
        ([{"name": "default", "key": "aaaaaaaaaaaaaaaaaaaaaaaa"}], "gateway.api_key_weak"),
    ],
    "cors_origins": [(["app.example.org"], "gateway.cors_origin_invalid")],
    "upstreams": [(["engine:11434"], "gateway.upstream_invalid"), (["127.0.0.1:0"], "gateway.upstream_invalid")],
    "ollama_listen": [(["localhost:11434"], "gateway.ollama_listen_invalid")],
    "memory_limit": [("1M", "gateway.memory_limit_invalid")],
    "allowed_networks": [(["10.0.0.1/8"], "gateway.network_invalid")],
    "certificate": [("/nowhere/chain.pem", "gateway.certificate_missing")],
    "client_names": [(["nightly"], "gateway.client_certificates_incomplete")],
    "acme": [(True, "gateway.acme_name_invalid")],
    "certificate_days": [(10, "gateway.renewed_at_every_run")],
    "apis": [(["mind reading"], "gateway.api_unknown")],
}


class Clients:
    """Asks for the models again and again, each time on a new connection, and reads one stream after the other."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.answers = self.streams = 0
        self.wrong: list[str] = []
        self.over = threading.Event()
        # Whether they trust the certificate is another subject.
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        self.options: dict[str, Any] = {"verify": trust, "timeout": 30, "trust_env": False}
        self.headers = {"Authorization": f"Bearer {gateway.key}"}
        self.threads = [threading.Thread(target=self.repeat, args=(ask,)) for ask in (self.ask, self.stream)]

    def repeat(self, ask: Callable[[], None]) -> None:
        while not self.over.is_set():
            try:
                ask()
            except (httpx.HTTPError, AssertionError) as error:
                self.wrong.append(repr(error))
            time.sleep(0.2)

    def ask(self) -> None:
        url = f"https://localhost:{self.gateway.port}/v1/models"
        answer = httpx.get(url, headers=self.headers, **self.options)
        assert answer.status_code == 200, answer.text
        self.answers += 1

    def stream(self) -> None:
        url = f"https://localhost:{self.gateway.port}/v1/completions"
        body = {"prompt": "slow", "stream": True}
        answer = httpx.post(url, json=body, headers=self.headers, **self.options)
        assert answer.status_code == 200, answer.text
        assert answer.text.endswith("data: [DONE]\n\n"), answer.text[-200:]
        self.streams += 1

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    find_or_skip()
    server = stand_in_engine.server(0, ROOT / "tests" / "recordings", ("tiny-q4_k_m", "other-q4_k_m"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = Gateway(tmp_path / "gateway", server.server_address[1])
    found.apply(checks=True)
    yield found
    found.stop()
    server.shutdown()


def installed(gateway: Gateway) -> dict[str, str]:
    """All that lies in the role's folders, by path: Nginx's, that of other programs, and the keys."""
    folders = (gateway.etc, gateway.folder / "system", gateway.credentials)
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(gateway.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def text_of(gateway: Gateway) -> str:
    paths = [*(gateway.etc / "conf.d").iterdir(), gateway.etc / "mistral" / "plan.json"]
    paths += [*(gateway.etc / "modules-enabled").iterdir()]
    return "\n".join(path.read_text() for path in paths)


def draw(rng: random.Random, number: int) -> tuple[dict[str, Any], list[str], list[str]]:
    """Some variables, what is then installed, and the errors that are told; every second time there are some."""
    names = rng.sample(sorted(GOOD), rng.randrange(1, 5))
    chosen = {name: rng.choice(GOOD[name]) for name in names}
    variables = {name: value for name, (value, _text) in chosen.items()}
    texts, errors = [text for _value, text in chosen.values() if text], []
    if number % 2:
        for name in rng.sample(sorted(BAD), rng.randrange(1, 3)):
            value, error = rng.choice(BAD[name])
            variables[name] = value
            errors.append(error)
    return variables, texts, errors


@pytest.mark.skipif(CHANGES == 0, reason="a playbook's run for each change; make test-all sets CHANGES")
def test_changes_leave_it_as_it_was_or_as_it_shall_be(gateway: Gateway) -> None:
    rng = random.Random(SEED)
    begun, pid = time.monotonic(), gateway.pid()
    with Clients(gateway) as clients:
        for number in range(CHANGES):
            variables, texts, errors = draw(rng, number)
            before, workers = installed(gateway), gateway.workers()
            done = gateway.run(**variables)
            what = f"SEED={SEED}, change {number}: {variables}\n{done.stdout[-3000:]}{done.stderr[-500:]}"
            assert (done.returncode == 0) == (not errors), what
            if errors:
                assert any(error in done.stdout for error in errors), what
                assert "changed=0" in done.stdout, what
                assert installed(gateway) == before, what
                # Those from before the last change may end meanwhile; none is new.
                now = gateway.workers()
                assert set(now) <= set(workers), what
                assert max(workers) in now, what
            else:
                found = text_of(gateway)
                assert [text for text in texts if text not in found] == [], what
            assert gateway.pid() == pid, what
            # Nothing is left of the writing, and Nginx could be started with what lies there.
            assert [path for path in gateway.etc.rglob(".*")] == [], what
            assert gateway.tested() == "", what
            assert clients.wrong == [], what
        # What was asked last holds, and nothing but that: the same again is no change.
        gateway.apply()
        assert "changed=0" in gateway.apply()
    print(f"SEED={SEED}: {CHANGES} changes in {time.monotonic() - begun:.0f} s, {clients.answers} answers, "
          f"{clients.streams} streams")  # fmt: skip
    assert clients.wrong == []
    assert clients.answers > 10 * CHANGES
    assert clients.streams >= CHANGES
