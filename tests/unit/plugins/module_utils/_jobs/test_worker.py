# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker leaves when its work ends or fails, what it is like as a process, and where its code comes from."""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import PAGE
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import worker
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.function_job import FunctionJob

from tests.unit.plugins.module_utils._jobs.job_work import Endless, Fails, Returns

PACKAGE = "ansible_collections.mistralrs.stack.plugins.module_utils"


def test_a_fault_of_the_work_is_the_error(job: FunctionJob) -> None:
    job.start_or_attach(Fails().work)
    text = f"The thing is wrong. Mend it. See {PAGE}#model.of_this_test [model.of_this_test]"
    assert job.wait(20).result == {"error": {"id": "model.of_this_test", "msg": text}}
    assert "Mend it." in Path(job.path("log")).read_text()
    assert job.state().code == 1


def test_an_unexpected_error_has_its_kind_and_location_but_not_its_text(
    job: FunctionJob, files: Callable[[], list[str]]
) -> None:
    job.start_or_attach(Fails("unexpected").work)
    error = job.wait(20).result["error"]
    assert error["id"] == "model.job_failed"
    assert "ValueError at job_work.py:" in error["msg"]
    for name in files():
        assert "hf_secret" not in Path(job.folder).parent.joinpath(name).read_text()


def test_a_worker_has_nothing_of_the_module_but_its_environment(
    job: FunctionJob, tmp_path: Path, started: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://u:pr0xy@proxy:3128")
    secret = tmp_path / "secret"
    secret.write_text("x")
    with secret.open():
        pid = started()
    assert os.getsid(pid) != os.getsid(0)
    targets = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    own = {"/dev/null", job.path("log"), job.path("running"), job.path("private/code.zip")}
    assert targets <= own
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    assert ignored >> (signal.SIGINT - 1) & 1
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5
    assert "pr0xy" not in Path(f"/proc/{pid}/cmdline").read_text()


def test_what_the_work_was_given_is_on_no_disk_once_it_has_begun(
    job: FunctionJob, started: Callable[..., int], files: Callable[[], list[str]]
) -> None:
    work = Endless()
    work.token = "hf_secret"  # type: ignore[attr-defined]
    started(work.work)
    for name in files():
        assert b"hf_secret" not in Path(job.folder).parent.joinpath(name).read_bytes()
    assert not os.path.exists(job.path("private/work"))


def test_the_work_has_the_environment_of_who_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "of this test")
    monkeypatch.setenv("NOTIFY_SOCKET", "/of/somebody/else")
    environment, _mask, work = pickle.loads(worker.packed(Returns({"x": 1}).work))
    assert environment["no_proxy"] == "of this test"
    assert "NOTIFY_SOCKET" not in environment
    assert work.__self__.outcome == {"x": 1}


# A module as Ansible runs it: its code is in an archive that is deleted when it ends.
MODULE = f"""
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from {PACKAGE}._jobs.function_job import FunctionJob
from {PACKAGE}._jobs.launch import Process
from {PACKAGE}._formats import gguf_header
import job_work

os.environ["no_proxy"] = "of the module"
work = job_work.Imports(gguf_header.__name__, Path(sys.argv[1])).work
FunctionJob(sys.argv[2], Process(sys.argv[2])).start_or_attach(work)
print("started")
os.unlink(sys.argv[1])
"""


def test_a_job_outlives_the_archive_that_its_code_came_from(job: FunctionJob, tmp_path: Path) -> None:
    archive = tmp_path / "ansible_model_payload.zip"
    plugins = Path(str(worker.__file__)).parents[2]
    package = Path("ansible_collections", "mistralrs", "stack", "plugins")
    names = {package / path.relative_to(plugins): path for path in plugins.glob("module_utils/**/*.py")}
    packages = {str(parent) for name in names for parent in name.parents if str(parent) != "."}
    with zipfile.ZipFile(archive, "w") as file:
        for parent in sorted(packages):
            file.writestr(f"{parent}/__init__.py", "")
        for name, path in names.items():
            file.write(path, str(name))
        file.write(Path(__file__).with_name("job_work.py"), "job_work.py")
    command = [sys.executable, "-c", MODULE, str(archive), job.folder]
    # The pipes are closed at once, although the job goes on.
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "started\n"
    outcome = job.wait(20).result["ok"]
    assert outcome["imported"] == f"{PACKAGE}._formats.gguf_header"
    assert outcome["environment"]["no_proxy"] == "of the module"


def test_systemd_is_told_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    monkeypatch.setattr(worker, "_yield_to_others", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        assert worker.run_work(Returns({}).work, str(tmp_path)) == 0
        assert channel.recv(1000) == b"STATUS=m, download 25 %"
    signal.signal(signal.SIGTERM, before)


def test_the_archive_has_what_is_loaded_and_nothing_of_others() -> None:
    with zipfile.ZipFile(io.BytesIO(worker.code_archive(Returns({}).work))) as archive:
        names = archive.namelist()
    work = f"{Returns.__module__.replace('.', '/')}.py"
    assert {"__main__.py", work, f"{PACKAGE.replace('.', '/')}/_errors.py"} <= set(names)
    others = [name for name in names if not name.startswith("ansible_collections/") and "__init__" not in name]
    assert sorted(others) == ["__main__.py", work]
    modules = [name for name in names if name.startswith("ansible_collections/") and "__init__" not in name]
    assert all(name.startswith("ansible_collections/mistralrs/stack/") for name in modules)
