"""What site.yml made of a host with two GPUs: what the module gpu_info found went through all roles to the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .toolkit_host import DRIVER, GPUS, LIBRARIES, SITE, Play, on_host

STATE = (
    "cat /etc/docker/daemon.json /etc/mistral/*; ls -l /var/lib/mistral/models /var/lib/mistral/models/.store;"
    " docker images --no-trunc --quiet; systemctl show --property MainPID docker; dpkg --list"
)
site = Play(SITE, STATE)
# Twice 24564 MiB, less the 450 MiB that the driver keeps.
MEMORY = "the host's GPUs have 50.6 GB"


def inspected() -> dict[str, object]:
    return dict(json.loads(on_host("docker inspect mistral-engine"))[0])


def test_the_engine_gets_the_gpus_through_cdi() -> None:
    settings = inspected()["HostConfig"]
    assert isinstance(settings, dict)
    requests = [(one["Driver"], one["DeviceIDs"]) for one in settings["DeviceRequests"]]
    assert requests == [("cdi", ["nvidia.com/gpu=all"])]
    assert not settings["Devices"]
    assert settings["Runtime"] == "runc"
    assert settings["MemoryReservation"] == 256 << 20


def test_the_engine_sees_the_gpus() -> None:
    # The stand-in answers with what nvidia-smi tells it.
    body = '{"model": "gemma3-270m-q4_k_m", "prompt": "x", "max_tokens": 1}'
    said = on_host(
        "python3 -c 'import sys, urllib.request as r;"
        ' print(r.urlopen("http://127.0.0.1:11434/v1/completions", sys.argv[1].encode()).read().decode())\''
        f" '{body}'"
    )
    text = json.loads(said)["choices"][0]["text"]
    assert [uuid in text for uuid in GPUS] == [True, True]


def test_the_engine_finds_the_drivers_libraries_by_name() -> None:
    """The hook of nvidia-cdi-hook has put them into the cache of the linker, in a container whose root is read-only."""
    said = on_host("docker exec --env LD_PRELOAD=libcuda.so.1 mistral-engine cat /proc/self/maps").splitlines()
    assert any(line.endswith(f" {LIBRARIES}/libcuda.so.{DRIVER}") for line in said), said


def test_gpu_and_driver_chose_the_image() -> None:
    config = inspected()["Config"]
    assert isinstance(config, dict)
    labels = config["Labels"]
    assert labels["io.mistralrs.stack.compute_capabilities"] == "86"
    assert labels["io.mistralrs.stack.cuda"].startswith("13.")
    assert labels["org.opencontainers.image.base.name"].startswith("ghcr.io/ericlbuehler/mistral.rs")
    # The image was proven with both GPUs: the engine's own check found them in its container.
    image = json.loads(on_host(f"docker image inspect {inspected()['Image']}"))[0]
    # The container has a label of that name, too.
    name = image["Config"]["Labels"]["io.mistralrs.stack.inputs"][:16]
    proof = json.loads(on_host(f"cat /var/lib/mistral/images/{name}.json"))["proof"]
    assert proof["gpu"] is True
    assert proof["doctor"]["devices"] == ["cpu", "cuda", "cuda"]


@pytest.fixture
def big_model() -> Iterator[str]:
    """A small GGUF that keeps 5 MiB for each token of context, as a model with hundreds of billions of parameters."""
    path = "/srv/big.gguf"
    on_host(
        "python3 - <<'END'\n"
        "import struct\n"
        "def text(one): return struct.pack('<Q', len(one)) + one.encode()\n"
        "def string(key, value): return text(key) + struct.pack('<I', 8) + text(value)\n"
        "def number(key, value): return text(key) + struct.pack('<II', 4, value)\n"
        "fields = [string('general.architecture', 'llama'), number('general.file_type', 15),\n"
        "          number('llama.context_length', 32768), number('llama.block_count', 80),\n"
        "          number('llama.embedding_length', 16384), number('llama.attention.head_count', 128),\n"
        "          number('llama.attention.head_count_kv', 128)]\n"
        "tensor = text('a') + struct.pack('<IQIQ', 1, 1024, 0, 0)\n"
        "head = b'GGUF' + struct.pack('<IQQ', 3, 1, len(fields)) + b''.join(fields) + tensor\n"
        f"open('{path}', 'wb').write(head + bytes(-len(head) % 32) + bytes(4096))\n"
        "END"
    )
    yield path
    on_host(f"rm {path}")


def test_a_model_too_large_for_the_gpu_is_refused_before_it_is_fetched(big_model: str) -> None:
    models = [{"name": "big:405b", "quantization": "q4_k_m", "source": f"file://{big_model}"}]
    site.refused(
        "model.does_not_fit",
        "171.8 GB for 32768 tokens of context",
        MEMORY,
        mistral_models=models,
        mistral_models_context_length=32768,
    )


@pytest.fixture
def broken_driver() -> Iterator[None]:
    """The libraries were updated, and the kernel still has the former driver."""
    on_host(
        "cp /etc/nvidia-smi-stand-in /root/stand-in && echo mismatch__565.57 >/etc/nvidia-smi-stand-in"
        " && echo mismatch >/run/stand-in-nvml"
    )
    yield
    on_host("mv /root/stand-in /etc/nvidia-smi-stand-in && rm /run/stand-in-nvml")


@pytest.mark.usefixtures("broken_driver")
def test_a_driver_that_does_not_work_is_not_taken_as_existing() -> None:
    site.refused("driver.existing_not_working", "reboot")
