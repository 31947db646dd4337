"""The fleet's mirror: a second store is filled from this host's, which an Nginx of its own gives out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tools.processes import kill_family
from tests.tools.scenario import Playbook

MODELS = Playbook("mistralrs.stack.models")
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


def given(**variables: Any) -> dict[str, Any]:
    """The variables of the playbook; the scenario's own list of models would count instead of these."""
    model = {
        "name": "gemma3:270m",
        "quantization": "q4_k_m",
        "source": f"mirror://{FILE}",
        "revision": "",
        "sha256": "",
    }
    model["source"] = variables.pop("source", model["source"])
    return {
        "models_name": model["name"],
        "models_quantization": model["quantization"],
        "models_source": model["source"],
        "mistral_models": [model],
        "mistral_models_path": SECOND,
        **variables,
    }


def models(**variables: Any) -> tuple[int, str]:
    """The playbook for models by hand: how many tasks changed something, and what it said."""
    played = MODELS.play(given(**variables))
    assert (played.code == 0) == (re.search(r"failed=0 ", played.text) is not None)
    return played.changed, played.words


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


def arrived(on_host: HostCommand) -> int:
    """The bytes of the model that the host has."""
    part = f"{SECOND}/.store/incoming/{FILE}.part"
    return int(on_host("sh", "-c", f"stat -c %s {SECOND}/{FILE} {part} 2>/dev/null | head -n 1 | grep . || echo 0"))


def test_the_connection_is_lost(mirror: str, on_host: HostCommand) -> None:
    """Controller and connection are gone in the middle: the job goes on, the next run tells how it ended."""
    size = int(on_host("stat", "-c", "%s", f"{FIRST}/{FILE}"))
    variables = given(mistral_models_mirror_url=mirror, mistral_models_rate_limit=size // 15)
    first = MODELS.begin(variables)
    until = time.monotonic() + 90
    while arrived(on_host) < size // 10:
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.5)
    kill_family(first.pid)
    MODELS.end(first)
    at_the_kill = arrived(on_host)
    assert at_the_kill < size
    until = time.monotonic() + 60
    while arrived(on_host) < size:
        assert time.monotonic() < until, f"{arrived(on_host)} bytes, {at_the_kill} at the kill"
        time.sleep(0.5)
    changed, said = models(mistral_models_mirror_url=mirror, mistral_models_rate_limit=size // 15)
    assert changed == 1, said
    assert on_host("cmp", f"{FIRST}/{FILE}", f"{SECOND}/{FILE}") == ""
    # What is looked at in the file's header, before and after, is far less.
    sent = re.findall(rf'"GET /{re.escape(FILE)} HTTP/1.1" \d+ (\d+)', on_host("cat", "/run/mirror.log"))
    assert [int(count) for count in sent if int(count) > size // 4] == [size]


def test_what_the_mirror_can_not_give(mirror: str, on_host: HostCommand) -> None:
    for variables, words in (
        ({}, "[model.mirror_missing]"),
        ({"mistral_models_mirror_url": mirror, "source": "mirror://none.gguf"}, "[model.not_in_mirror]"),
        ({"mistral_models_mirror_url": "http://mirror.example.com"}, "[model.option_invalid]"),
    ):
        changed, said = models(**variables)
        assert changed == 0
        assert words in said
    on_host("test", "!", "-e", SECOND)
