"""Bad input is refused in one sentence with its id, before anything is changed; what was there goes on working."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tools.scenario import ROOT, Playbook

HostCommand = Callable[..., str]


SITE = "mistralrs.stack.site"


def refused(variables: dict[str, Any], error_id: str, *words: str, playbook: str = SITE) -> None:
    Playbook(playbook).refused(variables, error_id, *words)


def model_with(**values: Any) -> dict[str, Any]:
    entry = {
        "name": "other:1b",
        "quantization": "q4_k_m",
        "source": "file:///srv/models/gemma-3-270m-q4_k_m.gguf",
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    }
    return {"mistral_models": [{**entry, **values}]}


def test_model_file_missing() -> None:
    refused(model_with(source="file:///srv/models/none.gguf"), "model.source_missing", "/srv/models/none.gguf")


def test_checksum_wrong(on_host: HostCommand) -> None:
    refused(model_with(sha256="0" * 64), "model.checksum_mismatch", "a5fd3b62")
    assert "other" not in on_host("find", "/var/lib/mistral/models")


def test_all_that_is_wrong_with_the_engines_settings_is_said_at_once() -> None:
    inference = {"temprature": 0.5, "temperature": "hot", "top_p": 9}
    config = {"inference": inference, "gpu": {"memory_fraction": 0.9}}
    words = ["inference.temprature", "hot", "[config.wrong_type]", "inference.top_p", "[config.out_of_range]"]
    words += ["gpu.memory_fraction", "[config.key_unsupported]"]
    refused({"mistral_server_config": config}, "config.unknown_key", *words)


def test_memory_limit_above_the_host() -> None:
    refused({"mistral_server_memory_limit": "9000G"}, "server.memory_limit_above_host", "9000G")


@pytest.fixture
def busy_port(on_host: HostCommand) -> Iterator[int]:
    port = 18999
    unit = "busy-port"
    on_host("systemd-run", "--unit", unit, "python3", "-m", "http.server", "--bind", "127.0.0.1", str(port))
    on_host("sh", "-c", f"until ss -Hltn | grep -q :{port}; do sleep 0.2; done")
    yield port
    on_host("systemctl", "stop", unit)


def test_port_in_use(busy_port: int) -> None:
    refused({"mistral_server_port": busy_port}, "server.port_in_use", str(busy_port), "python3")


def test_gateway_port_in_use(busy_port: int) -> None:
    refused({"mistral_gateway_https_port": busy_port}, "gateway.port_in_use", str(busy_port), "python3")


def test_a_variable_of_the_wrong_type() -> None:
    played = Playbook(SITE).play({"mistral_gateway_https_port": "https"})
    assert played.code != 0
    assert "mistral_gateway_https_port" in played.text
    assert re.search(r"changed=(\d+)", played.text)
    assert played.changed == 0


@pytest.fixture
def stopped_docker(on_host: HostCommand) -> Iterator[None]:
    """A Docker that works has its room already; a stopped one has yet to show that."""
    on_host("systemctl", "stop", "docker.socket", "docker.service")
    yield
    on_host("systemctl", "start", "docker.service")


def test_disk_too_small(stopped_docker: None) -> None:
    refused({"docker_engine_minimum_free_gb": 900_000}, "docker.disk_too_small", "900000")


@pytest.fixture
def broken_docker(on_host: HostCommand) -> Iterator[None]:
    """A Docker that cannot start: its settings are valid, but its data may not be where they say."""
    settings = '{"data-root": "/proc/docker"}'
    on_host("cp", "/etc/docker/daemon.json", "/root/daemon.json")
    on_host("sh", "-c", f"printf '%s' '{settings}' >/etc/docker/daemon.json")
    on_host("sh", "-c", "systemctl restart docker.service || true")
    yield
    on_host("mv", "/root/daemon.json", "/etc/docker/daemon.json")
    on_host("sh", "-c", "systemctl reset-failed docker.service; systemctl restart docker.service")
    on_host("docker", "start", "mistral-engine")


def test_docker_not_usable(broken_docker: None) -> None:
    refused({}, "docker.not_usable", "does not answer", "/proc/docker")


@pytest.fixture
def broken_daemon_json(on_host: HostCommand) -> Iterator[str]:
    text = '{"live-restore": true,'
    on_host(
        "sh", "-c", f"cp /etc/docker/daemon.json /root/daemon.json && printf '%s' '{text}' >/etc/docker/daemon.json"
    )
    yield text
    on_host("mv", "/root/daemon.json", "/etc/docker/daemon.json")


def test_broken_daemon_json(broken_daemon_json: str, on_host: HostCommand) -> None:
    refused({}, "docker.daemon_json_invalid", "/etc/docker/daemon.json", "line 1")
    assert on_host("cat", "/etc/docker/daemon.json") == broken_daemon_json


@pytest.mark.parametrize("role", ["docker_engine", "mistral_image", "mistral_server", "mistral_gateway"])
def test_unsupported_distribution(role: str) -> None:
    part = role.replace("_engine", "").replace("mistral_", "")
    refused(
        {"role_under_test": role},
        f"{part}.unsupported_distribution",
        "Slackware",
        playbook=str(ROOT / "molecule" / "shared" / "unsupported_distribution.yml"),
    )
