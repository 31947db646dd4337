# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states present, verified and absent, and pruning."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import worker
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.launch import Launcher, Process
from ansible_collections.mistralrs.stack.plugins.modules import model as subject

from tests.unit.plugins.modules.model.model_server import FILE, Run, Server, files


def test_states(run: Run, store: Path) -> None:
    assert run(state="verified")["error_id"] == "model.not_stored"
    run("/good")
    assert not run(state="verified")["changed"]
    assert run(state="absent", check=True)["changed"]
    assert (store / FILE).exists()
    removed = run(state="absent")
    assert removed["changed"]
    assert removed["diff"]["after"] == {}
    assert files(store) == set()
    assert not run(state="absent")["changed"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "a:b"}, {"name": "a-b"}),
        ({"name": "a-b"}, {"name": "A:B"}),
        ({"name": "a", "quantization": "q4_0"}, {"name": "a-q4_0"}),
        ({"name": "a.gguf"}, {"name": "a"}),
        ({"name": "a"}, {"name": "a"}),
    ],
)
@pytest.mark.parametrize("state", ["present", "verified", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_two_names_of_one_file(
    first: dict[str, str], second: dict[str, str], state: str, check: bool, run: Run, server: Server, store: Path
) -> None:
    """Both would be reported, and each run would put the other one's content there."""
    models = [{**first, "source": server.url("/good")}, {**second, "source": server.url("/again")}]
    failed = run(name="", models=models, state=state, check=check)
    assert failed["error_id"] == "model.duplicate"
    assert all(repr(model["name"]) in failed["msg"] for model in models)
    assert server.requests == []
    assert not store.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("state", ["present", "verified", "absent"])
@pytest.mark.parametrize("check", [True, False])
def test_a_store_of_somebody_else_is_refused(state: str, check: bool, run: Run, store: Path) -> None:
    """Its record would have root change what lies outside of it."""
    secret = store.parent / "rootsecret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)
    status = secret.stat()
    identity = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    known = {**identity, "sha256": hashlib.sha256(b"secret").hexdigest()}
    (store / ".store").mkdir(parents=True)
    (store / "tiny").mkdir()
    record = {"format": 1, "sha256": "0" * 64, "size": 6, "gguf": {}, "files": {"../../rootsecret": known}}
    (store / ".store" / f"{FILE}.json").write_text(json.dumps(record))
    os.chown(store, 12345, 12345)
    before = sorted(store.rglob("*"))
    failed = run("/good" if state == "present" else "", check=check, state=state, prune=state == "present")
    assert failed["error_id"] == "model.store_untrusted"
    assert "belongs to the user 12345" in failed["msg"]
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"secret", 0o600)
    assert sorted(store.rglob("*")) == before


def test_states_of_what_auto_chose(run: Run, store: Path) -> None:
    """The name of the file was made from the choice; whoever asks for auto means that."""
    run("/good", quantization="q4_0")
    record = store / ".store" / "tiny-q4_0.gguf.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "asked": "auto"}))
    assert run(state="verified", quantization="auto")["model"]["file"] == "tiny-q4_0.gguf"
    assert run(state="absent", quantization="Auto")["changed"]
    assert files(store) == set()
    assert run(state="verified", quantization="auto")["error_id"] == "model.not_stored"
    assert not run(state="absent", quantization="auto")["changed"]


class Forked(Process):
    """Does the work in a copy of this process, and so with what the test has patched."""

    def start(self, _script: str, folder: str) -> None:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT, 0o600), 2)
                os._exit(worker.main(self.private, folder))
            finally:
                os._exit(70)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        Path(folder, "status").write_text(str(status))


def forked(_name: str, _description: str, folder: str, _run: Any) -> Launcher:
    return Forked(folder)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("digest", ["", "sha256:00"])
def test_what_should_be_sealed(digest: str, run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for it is told each time where it can't be had."""
    monkeypatch.setattr(subject, "launcher_for", forked)
    monkeypatch.setattr(local, "seal", lambda _path: digest)
    warned: list[str] = []
    monkeypatch.setattr(subject.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    for changed in (True, False):
        outcome = run("/good", seal=True)
        assert (outcome["changed"], outcome["model"]["sealed"]) == (changed, digest)
    run("/good")
    assert len(warned) == (0 if digest else 2)
    assert all(f"the kernel has no fs-verity, so that these are not sealed: {FILE}" in text for text in warned)


@pytest.mark.parametrize("check", [False, True])
def test_a_stored_model_that_will_not_load_any_more(
    check: bool, run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host has lost a GPU, or got an older engine; nothing is changed, but it is said before the engine says it."""
    warned: list[str] = []
    monkeypatch.setattr(subject.AnsibleModule, "warn", lambda _module, text: warned.append(text))
    fitting = {"gpu_memory": [24_000], "engine_version": "0.9.5"}
    assert run("/good", fit=fitting)["changed"]
    assert not run("/good", fit=fitting, check=check)["changed"]
    assert warned == []
    assert not run("/good", fit={**fitting, "gpu_memory": [1]}, check=check)["changed"]
    (text,) = warned
    assert "[model.does_not_fit]" in text
    assert "It is in the store and stays there" in text
    assert (store / FILE).exists()


def test_prune(run: Run, store: Path, server: Server) -> None:
    """Only what the store fetched goes, by the name that it has there."""
    run("/good", name="first")
    run("/good", name="second")
    (store / "somebody-elses.gguf").write_bytes(b"x")
    folder = store.parent / "split"
    folder.mkdir()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    run(name="several", source=folder.as_uri())
    told = run("/good", name="first")["prunable"]
    assert [entry["file"] for entry in told] == ["second.gguf", "several"]
    predicted = run("/good", check=True, name="first", prune=True)
    assert (predicted["changed"], predicted["prunable"]) == (True, told)
    assert (store / "several" / "config.json").exists()
    pruned = run("/good", name="first", prune=True)
    assert (pruned["changed"], pruned["prunable"]) == (True, told)
    assert files(store) == {
        "first.gguf",
        "first.tokenizer.json",
        "first.tokenizer_config.json",
        ".store/first.gguf.json",
        "somebody-elses.gguf",
    }
    assert not (store / "several").exists()
    assert not run("/good", name="first", prune=True)["changed"]
