# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversion to UQFF by the playbook, with a real Docker engine; only the engine's command is a stand-in.

The container that stands for the engine has a name of its own, so that one that serves is left alone.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAME = f"mistral-engine-test-{os.getpid()}"
COMMAND = "quantize -m /source --isq q4k -o /result/q4k.uqff --cpu"


def docker(*arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def image() -> bytes:
    """An image of a shell, the programs that the stand-in calls, and the stand-in, from this machine's own files."""
    files = {"/usr/local/bin/mistralrs": ROOT / "tests" / "fakes" / "engine" / "quantize"}
    for program in ("sh", "cat", "sleep", "id"):
        path = shutil.which(program, path="/bin:/usr/bin")
        assert path
        files[f"/bin/{program}"] = Path(path)
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                files[word] = Path(word)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for folder in ("tmp", "source", "result"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in files.items():
            tar.add(path.resolve(), name.lstrip("/"))
    return archive.getvalue()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    if os.geteuid():
        pytest.skip("only root can give files to the user of a container")
    bed = [sys.executable, str(ROOT / "tests" / "testbed" / "bed.py")]
    subprocess.run([*bed, "engine"], check=True, capture_output=True)
    said = subprocess.run([*bed, "env"], check=True, capture_output=True, text=True).stdout
    address = said.partition("export DOCKER_HOST=")[2].strip()
    with pytest.MonkeyPatch.context() as patch:
        if address:
            patch.setenv("DOCKER_HOST", address)
        yield from provided()
    # The bed's own engine ends with the last host, and there is none.
    subprocess.run([*bed, "down", "conversion"], check=True, capture_output=True)


def provided() -> Iterator[str]:
    made = docker("import", "--change", 'ENTRYPOINT ["/usr/local/bin/mistralrs"]', "-", f"{NAME}:1", stdin=image())
    docker("create", "--name", NAME, "--user", "65534:65534", "--memory", "64m", f"{NAME}:1", "serve")
    yield NAME
    docker("rm", "--force", NAME)
    docker("rmi", "--force", made)


class Stack:
    """A store with SafeTensors in it, and the playbook."""

    def __init__(self, root: Path, engine: str) -> None:
        self.engine = engine
        self.store = root / "mistral" / "models"
        self.source = self.store / f"tiny-{os.getpid()}"
        self.target = self.store / f"tiny-{os.getpid()}-uqff-q4k"
        self.container = f"mistral-convert-{self.target.name}"
        self.source.mkdir(parents=True)
        header = b'{"weight":{"dtype":"BF16","shape":[8],"data_offsets":[0,16]}}'
        (self.source / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
        (self.source / "config.json").write_text('{"model_type": "qwen2", "num_hidden_layers": 2}')
        self.inventory = root / "inventory.yml"
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
        self.inventory.write_text(json.dumps({"all": {"children": {"gpu_hosts": {"hosts": {"here": here}}}}}))

    def command(self, *arguments: str) -> list[str]:
        variables = {
            "models_convert": self.source.name,
            "models_name": f"tiny-{os.getpid()}:uqff",
            "models_quantization": "q4k",
            "mistral_models_path": str(self.store),
            "__mistral_models_engine_name": self.engine,
            "__mistral_models_convert_poll": 1,
        }
        playbook = str(ROOT / "playbooks" / "models.yml")
        return ["ansible-playbook", "-i", str(self.inventory), playbook, "-e", json.dumps(variables), *arguments]

    def run(self, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def containers(self) -> str:
        return docker("ps", "--all", "--quiet", "--filter", f"name={self.container}")

    def left(self) -> list[str]:
        """What a conversion left outside of the store."""
        return [str(path) for path in (self.store.parent / "convert").glob("*")]


@pytest.fixture
def stack(engine: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path, engine)
    yield made
    if made.containers():
        docker("rm", "--force", made.container)


def test_a_conversion(stack: Stack) -> None:
    said = stack.run("--check")
    assert f"would be converted to {stack.target.name}" in said
    assert COMMAND in said
    assert "--network none" in said
    assert "changed=1 " in said
    assert not stack.containers()
    assert {path.name for path in stack.store.parent.iterdir()} == {"models"}
    assert {path.name for path in stack.store.iterdir()} == {stack.source.name}

    said = stack.run()
    assert "changed=0" not in said
    assert sorted(path.name for path in stack.target.iterdir()) == ["config.json", "q4k-0.uqff", "residual.safetensors"]
    assert (stack.target / "q4k-0.uqff").read_bytes() == (stack.source / "model.safetensors").read_bytes()
    assert stack.target.stat().st_mode & 0o777 == 0o755
    assert json.loads((stack.store / ".store" / f"{stack.target.name}.gguf.json").read_text())["gguf"]
    assert f"{stack.target.name}" in said
    assert not stack.containers()
    assert stack.left() == []
    for arguments in ((), ("--check",)):
        assert "changed=0 " in stack.run(*arguments)
    # The inventory names it by the source that the list of the store says.
    source = json.loads((stack.store / ".store" / f"{stack.target.name}.gguf.json").read_text())["source"]
    assert source == f"file://{stack.store.parent}/convert/{stack.source.name}.{stack.target.name}"
    model = {"name": f"tiny-{os.getpid()}:uqff", "quantization": "q4k", "source": source, "state": "present"}
    fetch = subprocess.run(
        ["ansible", "here", "-i", stack.inventory, "-m", "mistralrs.stack.model", "-a"]
        + [json.dumps({"path": str(stack.store), **model})],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert fetch.returncode == 0, fetch.stdout
    assert "SUCCESS" in fetch.stdout
    said = stack.run("-e", "models_convert=another", fails=True)
    assert "has another model under the name" in said
    assert "[models.convert_name]" in said


def test_a_failed_conversion(stack: Stack) -> None:
    (stack.source / "says").write_text('Error: Unsupported architecture "qwen9"')
    said = stack.run(fails=True).replace("\\", "")
    assert 'Error: Unsupported architecture "qwen9"' in said
    assert "exit code 1" in said
    assert "[models.conversion_failed]" in said
    assert not stack.target.exists()
    assert not stack.containers()
    assert stack.left() == []
    (stack.source / "says").unlink()
    stack.run()
    assert stack.target.is_dir()


def test_an_interrupted_conversion_goes_on(stack: Stack) -> None:
    hold = stack.source / "hold"
    hold.touch()
    first = subprocess.Popen(
        stack.command(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while not stack.containers() and time.monotonic() < until:
        time.sleep(0.2)
    started = stack.containers()
    assert started
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    said = stack.run("-e", "models_convert=another", "--check", fails=True)
    assert "[models.convert_source]" in said
    second = subprocess.Popen(stack.command(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    time.sleep(3)
    assert stack.containers() == started
    hold.unlink()
    said, _nothing = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert re.search(r"Start the conversion\] \*+\s+ok: \[here\]", said)
    assert stack.target.is_dir()
    assert not stack.containers()
    assert stack.left() == []
