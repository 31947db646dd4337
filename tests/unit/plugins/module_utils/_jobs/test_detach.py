# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job shares with the module that forked it: the lock, and no archive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import detach
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job


def test_a_job_is_in_a_session_of_its_own_without_any_open_file_of_the_module(
    job: Job, tmp_path: Path, started: Callable[..., int]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with secret.open():
        pid = started()
    assert os.getsid(pid) != os.getsid(0)
    targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    assert sorted(set(targets)) == sorted(["/dev/null", job.files.path("lock")])
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5


# A module as Ansible runs it: its code is in an archive that is deleted when it ends.
MODULE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job

def work(report):
    while os.path.exists(sys.argv[1]):
        pass
    import colorsys, json.tool
    try:
        import ansible_collections.mistralrs.stack.plugins.module_utils._formats.gguf_header
    except ImportError as error:
        return {"late": str(error)}
    return {"late": "imported"}

Job(sys.argv[2], "0123456789abcdef").start_or_attach(work)
print("started")
os.unlink(sys.argv[1])
"""


def test_a_job_outlives_the_archive_that_its_code_came_from(job: Job, tmp_path: Path) -> None:
    archive = tmp_path / "ansible_model_payload.zip"
    plugins = Path(str(detach.__file__)).parents[2]
    package = Path(*detach.__name__.split(".")[:4])
    names = {package / path.relative_to(plugins): path for path in plugins.glob("module_utils/**/*.py")}
    packages = {str(parent) for name in names for parent in name.parents if str(parent) != "."}
    with zipfile.ZipFile(archive, "w") as file:
        for parent in sorted(packages):
            file.writestr(f"{parent}/__init__.py", "")
        for name, path in names.items():
            file.write(path, str(name))
    command = [sys.executable, "-c", MODULE, str(archive), job.files.store]
    # The pipes are closed at once, although the job goes on.
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "started\n"
    assert "was not imported before" in job.wait(10).result["ok"]["late"]
