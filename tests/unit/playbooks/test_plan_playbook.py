"""plan.yml shows the plan and changes nothing. Of the collection only gpu_info is a stand-in here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import gguf_writer
from tests.fakes.hub.hub import Hub, running
from tests.fakes.hub.place import make_model

ROOT = Path(__file__).resolve().parents[3]
GIB = 1 << 30
# As gpu_info reports a host with so many GPUs of this memory; what the playbook does not read is left out.
GPU_INFO = """
import json, sys
from ansible.module_utils.basic import AnsibleModule
def gpu(index):
    return {"index": index, "bus_id": str(index), "name": "NVIDIA L4", "compute_capability": "8.9",
            "uuid": f"GPU-{index}", "memory_total": %d, "memory_reserved": 0, "driver_bound": "nvidia",
            "mig": {"current": "Disabled"}}
module = AnsibleModule({})
module.exit_json(changed=False, gpu_info={"driver": {"loaded": True}, "gpus": [gpu(index) for index in range(%d)]})
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF whose 4 layers take 4096 bytes a token."""
    keys = {"block_count": 4, "context_length": 8192, "embedding_length": 512, "attention.head_count": 8}
    metadata = {"general.architecture": "llama", "general.name": "Tiny", "general.file_type": 7}
    metadata |= {f"llama.{key}": value for key, value in {**keys, "attention.head_count_kv": 4}.items()}
    path = tmp_path_factory.mktemp("models") / "tiny-q8_0.gguf"
    path.write_bytes(gguf_writer.build(metadata, {"token_embd.weight": ([64, 64], 8, 64 * 64 // 32 * 34)}))
    return path


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("collections")
    stack = path / "ansible_collections" / "mistralrs" / "stack"
    modules = stack / "plugins" / "modules"
    modules.mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "playbooks", "roles"):
        (stack / name).symlink_to(ROOT / name)
    for each in (ROOT / "plugins").iterdir():
        if each.name != "modules":
            (stack / "plugins" / each.name).symlink_to(each)
    for each in (ROOT / "plugins" / "modules").glob("*.py"):
        if each.name != "gpu_info.py":
            (modules / each.name).symlink_to(each)
    (modules / "gpu_info.py").write_text(GPU_INFO % (24 * GIB, 2))
    return path


def play(
    collections: Path, folder: Path, hosts: tuple[str, ...] = (), **given: Any
) -> subprocess.CompletedProcess[str]:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"children": {"gpu_hosts": {"hosts": dict.fromkeys(hosts, local)}}}}))
    command = ["ansible-playbook", "-i", str(inventory), "mistralrs.stack.plan"]
    for name, value in given.items():
        command += ["-e", f"{name}={value}"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1"}
    environment |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_gpus_that_are_not_there_yet(collections: Path, tmp_path: Path, model: Path) -> None:
    # A host of the inventory that can't be reached is not asked.
    done = play(
        collections, tmp_path, model="tiny", source=f"file://{model}", users=3000, context=8192, gpu="L4", gpus=1
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert '"Take q8_0 on 5 hosts, at most 600 users on each."' in done.stdout
    assert "KV cache of a user: 4,096 bytes a token x 8,192 tokens" in done.stdout
    assert "NVIDIA L4" in done.stdout
    assert "changed=0" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inventory.json"]


def test_the_gpus_of_the_inventory(collections: Path, tmp_path: Path, model: Path) -> None:
    done = play(collections, tmp_path, ("a", "b"), model="tiny", source=f"file://{model}", users=700, context=8192)
    assert done.returncode == 0, done.stdout[-3000:]
    assert '"The hosts: a (350), b (350)."' in done.stdout
    assert "a, b with 2 GPUs of 24,576 MiB (NVIDIA L4)" in done.stdout
    assert "1 of 2 are idle" in done.stdout
    assert "changed=0" in done.stdout
    assert "changed=1" not in done.stdout


@pytest.mark.parametrize(
    ("given", "identity", "words"),
    [
        ({"model": "qwen2.5-coder:33b", "gpu": "L4"}, "model.not_in_catalog", "qwen2.5-coder:32b"),
        ({"model": "tiny"}, "plan.no_hosts", "-e gpu_memory=80GiB"),
        ({"model": "tiny", "gpu": "L4", "users": "x"}, "plan.wrong_value", "-e users='x'"),
        ({"model": "tiny", "gpu": "L4", "context": 8193}, "plan.context_too_long", "at most 8192 tokens"),
    ],
)
def test_what_is_refused(
    collections: Path, tmp_path: Path, model: Path, given: dict[str, Any], identity: str, words: str
) -> None:
    source = {"source": f"file://{model}"} if given["model"] == "tiny" else {}
    done = play(collections, tmp_path, (), **given, **source)
    assert done.returncode != 0
    assert f"[{identity}]" in done.stdout
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_users_that_cannot_be_served(collections: Path, tmp_path: Path, model: Path) -> None:
    done = play(collections, tmp_path, ("a",), model="tiny", source=f"file://{model}", users=5000, context=8192)
    assert done.returncode != 0
    assert "[plan.too_few_hosts]" in done.stdout
    # With what there is to choose from.
    assert "All quantizations, a with 2 GPUs" in done.stdout


def test_a_model_of_the_catalog(collections: Path, tmp_path: Path) -> None:
    """What its repository offers decides, not what a formula says: only the smallest file's header is read."""
    keys = {"block_count": 4, "context_length": 8192, "embedding_length": 512, "attention.head_count": 8}
    metadata = {f"llama.{key}": value for key, value in {**keys, "attention.head_count_kv": 4}.items()}
    names = {label: f"mistral-7b-instruct-v0.2.{label}.gguf" for label in ("Q2_K", "Q4_K_M", "Q8_0", "IQ4_XS")}
    hub = Hub()
    hub.add(
        "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
        {name: make_model(gguf_writer, 1 << 16, number, **metadata) for number, name in enumerate(names.values())},
    )
    hub.listed_sizes = {names["Q4_K_M"]: 4_368_439_584, names["Q8_0"]: 7_695_857_952, names["IQ4_XS"]: 4_000_000_000}
    with running(hub.origin, hub.cdn):
        given = {"model": "mistral:7b-instruct-v0.2", "users": 100, "context": 8192, "gpu_memory": "16GiB"}
        done = play(collections, tmp_path, (), **given, mistral_models_endpoint=hub.url)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "mistral:7b-instruct-v0.2 from hf://TheBloke/Mistral-7B-Instruct-v0.2-GGUF" in done.stdout
    assert '"Take q8_0 on 1 host."' in done.stdout
    assert re.search(r"- weights, q8_0 +7,339 MiB", done.stdout)
    assert "q4_k_m" in done.stdout
    assert "iq4_xs" not in done.stdout
