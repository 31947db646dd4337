"""migrate.yml makes an inventory of a stack in a real directory, and its store adopts the models where they are."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fakes import gguf_writer
from tests.unit.plugins.plugin_utils._migration.test_compose_stack import CONFIG, ENV, SECRET

ROOT = Path(__file__).resolve().parents[3]
LOCAL = {"ansible_connection": "local", "ansible_become": "false", "ansible_python_interpreter": sys.executable}
MODEL = "mistral-7b-instruct-q4_k_m.gguf"
ADOPT = """
- name: Adopt
  hosts: gpu_hosts
  gather_facts: false
  tasks:
    - name: Keep the models
      mistralrs.stack.model:
        path: "{{ mistral_models_path }}"
        models: "{{ (mistral_models | mistralrs.stack.model_entries).models }}"
"""


def ansible(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections")}
    environment |= {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    command = ["ansible-playbook", *arguments]
    for name, value in LOCAL.items():
        command += ["-e", f"{name}={value}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def migrate(folder: Path, *more: str, to: str = "inv", hosts: str = "llm,") -> subprocess.CompletedProcess[str]:
    given = ["-e", f"migrate_from={folder}/stack", "-e", f"migrate_to={to}"]
    return ansible(folder, "-i", hosts, "mistralrs.stack.migrate", "--tags", "compose", *given, *more)


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file below a folder with its SHA-256 and mode."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """The seed's stack: .env, config/mistral/config.yml and a directory of models."""
    base = tmp_path / "stack"
    models = base / "data" / "mistral-models"
    models.mkdir(parents=True)
    (base / "config" / "mistral").mkdir(parents=True)
    (base / ".env").write_text(f"{ENV}HF_TOKEN={SECRET}\n".replace("v0.6.0", "v0.9.2"))
    (base / "config" / "mistral" / "config.yml").write_text(CONFIG)
    keys = {"block_count": 2, "context_length": 8192, "embedding_length": 64, "attention.head_count": 8}
    metadata = {"general.architecture": "llama", "general.name": "Tiny", "general.file_type": 15}
    metadata |= {f"llama.{key}": value for key, value in keys.items()}
    (models / MODEL).write_bytes(gguf_writer.build(metadata))
    (models / "page.gguf").write_text("<html>")
    return base


def test_a_stack_becomes_an_inventory(stack: Path, tmp_path: Path) -> None:
    before = content(stack)
    done = migrate(tmp_path, "-vvv")
    assert done.returncode == 0, done.stdout[-3000:]
    assert SECRET not in done.stdout + done.stderr
    assert content(stack) == before
    inventory = tmp_path / "inv"
    secrets = inventory / "group_vars" / "all" / "secrets.yml"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert yaml.safe_load(secrets.read_text()) == {"mistral_models_token": SECRET}
    variables = yaml.safe_load((inventory / "group_vars" / "all" / "main.yml").read_text())
    store = stack / "data" / "mistral-models"
    assert variables["mistral_models"] == [
        {"name": "mistral-7b-instruct", "quantization": "q4_k_m", "source": f"file://{store}/{MODEL}"}
    ]
    for words in ("page.gguf is left out", "for everybody", "mistralrs.stack.site"):
        assert words in done.stdout

    # The store adopts the file: it is the same one, and a second run has nothing to do.
    inode = (store / MODEL).stat().st_ino
    (tmp_path / "adopt.yml").write_text(ADOPT)
    first, second = (ansible(tmp_path, "-i", str(inventory), "adopt.yml") for _run in range(2))
    assert "changed=1" in first.stdout, first.stdout[-3000:]
    assert "changed=0" in second.stdout, second.stdout[-3000:]
    assert (store / MODEL).stat().st_ino == inode
    assert (store / ".store" / f"{MODEL}.json").exists()

    # What was written is not written over.
    again = migrate(tmp_path)
    assert again.returncode != 0
    assert "[migrate.target_not_empty]" in again.stdout


def test_a_dry_run_writes_nothing(stack: Path, tmp_path: Path) -> None:
    done = migrate(tmp_path, "--check", "--diff")
    assert done.returncode == 0, done.stdout[-3000:]
    assert SECRET not in done.stdout + done.stderr
    assert not (tmp_path / "inv").exists()


def test_without_a_stack(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    done = migrate(tmp_path)
    assert done.returncode != 0
    assert "[migrate.nothing_found]" in done.stdout
    assert not (tmp_path / "inv").exists()


@pytest.mark.parametrize(
    ("arguments", "identity"),
    [
        (["-i", "llm,"], "migrate.arguments"),
        (["-i", "a,b", "--tags", "compose", "-e", "migrate_from=/s", "-e", "migrate_to=x"], "migrate.one_host"),
        (["--tags", "compose", "-e", "migrate_from=/s", "-e", "migrate_to=x"], "migrate.one_host"),
    ],
)
def test_what_is_refused_before_a_host_is_asked(tmp_path: Path, arguments: list[str], identity: str) -> None:
    done = ansible(tmp_path, "mistralrs.stack.migrate", *arguments)
    assert done.returncode != 0
    assert f"[{identity}]" in done.stdout
    assert "Read the stack" not in done.stdout
