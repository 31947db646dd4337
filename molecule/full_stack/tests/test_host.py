"""What the host looks like after the site playbook: isolation, monitoring, secrets, recovery."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.tools.scenario import bed

HostCommand = Callable[..., str]


def wait_until(check: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(1)
    pytest.fail(f"not within {seconds} s: {what}")


@pytest.fixture
def container(on_host: HostCommand) -> dict:
    return json.loads(on_host("docker", "inspect", "mistral-engine"))[0]


def prometheus(on_host: HostCommand, path: str) -> dict:
    program = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())"
    return json.loads(on_host("python3", "-c", program, f"http://127.0.0.1:9090/api/v1/{path}"))["data"]


def metric(on_host: HostCommand, name: str) -> float:
    program = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:11434/metrics').read().decode())"
    lines = on_host("python3", "-c", program).splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)


def answers(client: openai.OpenAI, model: str) -> bool:
    try:
        return bool(client.completions.create(model=model, prompt="Hello", max_tokens=1).choices)
    except openai.APIError:
        return False


def test_the_container_is_locked_down(container: dict) -> None:
    host_config = container["HostConfig"]
    user = container["Config"]["User"].split(":")[0]
    assert user not in ("", "0", "root")
    assert host_config["ReadonlyRootfs"] is True
    assert host_config["CapDrop"] == ["ALL"]
    assert not host_config["CapAdd"]
    assert any(option.startswith("no-new-privileges") for option in host_config["SecurityOpt"])
    assert host_config["Init"] is True
    assert host_config["Memory"] == 4 * 1024**3
    assert host_config["MemoryReservation"] == 1024**3
    assert 0 < host_config["PidsLimit"] <= 4096
    assert host_config["Privileged"] is False


def test_the_models_are_mounted_read_only(container: dict) -> None:
    mounts = {mount["Destination"]: mount for mount in container["Mounts"] if mount["Type"] == "bind"}
    assert "/models" in mounts
    assert all(mount["RW"] is False for mount in mounts.values())


def test_only_the_gateway_listens_to_the_world(container: dict, on_host: HostCommand) -> None:
    bindings = [entry for entries in container["HostConfig"]["PortBindings"].values() for entry in entries]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": "11434"}]
    listening = [line.split()[3] for line in on_host("ss", "-Hltn").splitlines()]
    public = {int(address.rsplit(":", 1)[1]) for address in listening if not re.match(r"127\.|\[::1\]", address)}
    assert public == {443}


def test_the_store_holds_the_verified_model(on_host: HostCommand) -> None:
    listing = on_host("ls", "-A", "/var/lib/mistral/models").split()
    assert "gemma3-270m-q4_k_m.gguf" in listing
    sidecar = json.loads(on_host("cat", "/var/lib/mistral/models/.store/gemma3-270m-q4_k_m.gguf.json"))
    digest = on_host("sha256sum", "/var/lib/mistral/models/gemma3-270m-q4_k_m.gguf").split()[0]
    assert sidecar["sha256"] == digest
    assert not on_host("find", "/var/lib/mistral/models/.store/incoming", "-type", "f")


def test_daemon_json_is_ours_and_complete(on_host: HostCommand) -> None:
    settings = json.loads(on_host("cat", "/etc/docker/daemon.json"))
    assert settings["live-restore"] is True
    assert settings["log-opts"]["max-size"]


def test_all_targets_are_scraped(on_host: HostCommand) -> None:
    targets = prometheus(on_host, "targets")["activeTargets"]
    assert {target["labels"]["job"] for target in targets} >= {"engine", "host", "gateway", "prometheus"}
    assert {target["health"] for target in targets} == {"up"}, targets


def test_five_alerts_are_loaded(on_host: HostCommand) -> None:
    alerts = [rule for group in prometheus(on_host, "rules")["groups"] for rule in group["rules"]]
    assert len(alerts) >= 5
    assert all(rule["health"] == "ok" for rule in alerts)


def test_a_client_that_leaves_stops_its_generation(client: openai.OpenAI, model: str, on_host: HostCommand) -> None:
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Count."}], max_tokens=1500, temperature=1, stream=True
    )
    next(iter(stream))
    assert metric(on_host, "mistralrs_sequences_running") == 1
    stream.close()
    wait_until(lambda: metric(on_host, "mistralrs_sequences_running") == 0, 20, "the engine stops generating")
    assert metric(on_host, 'mistralrs_sequences_completed_total{reason="canceled"}') >= 1


def test_secrets_and_prompts_are_in_no_log(client: openai.OpenAI, key: str, model: str, on_host: HostCommand) -> None:
    secret_word = uuid.uuid4().hex
    client.completions.create(model=model, prompt=f"Repeat: {secret_word}", max_tokens=1)
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": secret_word}], max_tokens=1)
    logs = on_host(
        "sh", "-c", "journalctl --no-pager -o cat; docker logs mistral-engine 2>&1; cat /var/log/nginx/*; true"
    )
    assert len(logs) > 1000
    assert key not in logs
    assert secret_word not in logs
    assert secret_word not in on_host("sh", "-c", f"grep -rl {secret_word} /var/log /tmp /var/tmp || [ $? -eq 1 ]")


def test_the_key_is_stored_hashed(key: str, on_host: HostCommand) -> None:
    assert not on_host(
        "sh", "-c", f"grep -rlF -e {shlex.quote(key)} /etc /var/lib/mistral /root || [ $? -eq 1 ]"
    ).strip()


def test_a_killed_engine_comes_back(client: openai.OpenAI, model: str, on_host: HostCommand) -> None:
    before = json.loads(on_host("docker", "inspect", "mistral-engine"))[0]["RestartCount"]
    on_host("sh", "-c", "kill -9 $(docker inspect -f '{{.State.Pid}}' mistral-engine)")
    wait_until(lambda: answers(client, model), 120, "the engine answers after it was killed")
    assert json.loads(on_host("docker", "inspect", "mistral-engine"))[0]["RestartCount"] > before


def test_a_stopped_engine_is_a_clear_error(http: httpx.Client, key: str, model: str, on_host: HostCommand) -> None:
    on_host("docker", "stop", "mistral-engine")
    try:
        answer = http.post(
            "/v1/completions",
            headers={"Authorization": f"Bearer {key}"},
            json={"model": model, "prompt": "Hello", "max_tokens": 1},
        )
        assert answer.status_code in (502, 503)
        assert answer.json()["error"]["message"]
    finally:
        on_host("docker", "start", "mistral-engine")


def test_a_rebooted_host_answers_again(client: openai.OpenAI, model: str, on_host: HostCommand) -> None:
    subprocess.run(bed("reboot"), check=True, timeout=180)
    wait_until(lambda: answers(client, model), 180, "the endpoint answers after a reboot")
    # What test_egress.py has tried out.
    assert "-A PREROUTING -i mistral0 " in on_host("iptables", "--table", "mangle", "--list-rules")
