# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a job: who can read them, on a full disk, and when they are removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.job import Job
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.worker import Work


def test_only_the_owner_can_read_anything(
    job: Job, files: Callable[[], list[str]], until: Callable[..., Any], started: Callable[..., int]
) -> None:
    started()
    until(lambda: job.poll().progress)
    assert os.stat(job.files.directory).st_mode & 0o777 == 0o700
    assert {os.stat(os.path.join(job.files.directory, name)).st_mode & 0o077 for name in files()} == {0}


def test_a_link_in_place_of_the_directory_is_refused(job: Job, tmp_path: Path, slow: Work) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.makedirs(os.path.dirname(job.files.directory))
    os.symlink(tmp_path / "elsewhere", job.files.directory)
    with pytest.raises(StackError, match="model.job_unusable"):
        job.start_or_attach(slow)


def test_a_job_ends_well_on_a_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        job = Job(str(mount), "0123456789abcdef")

        def work(report: Reporter) -> dict[str, Any]:
            with open(mount / "part", "wb") as file:
                for step in range(100):
                    file.write(b"x" * 65536)
                    file.flush()
                    report.update("m", step, 100, f"step {step}")
            return {}

        job.start_or_attach(work)
        assert "No space left" in job.wait(10).result["error"]["msg"]
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_files_that_are_a_month_old_are_removed(job: Job, files: Callable[[], list[str]]) -> None:
    os.makedirs(job.files.directory, 0o700)
    for name in ("aaaaaaaaaaaaaaaa.log", "bbbbbbbbbbbbbbbb.result.json", "other"):
        Path(job.files.directory, name).write_text(json.dumps({}))
        os.utime(Path(job.files.directory, name), (1, 1))
    Path(job.files.directory, "cccccccccccccccc.result.json").write_text("{}")
    job.start_or_attach(lambda _report: {})
    job.wait(10)
    job.collect()
    assert files() == ["cccccccccccccccc.result.json", "other"]
    shutil.rmtree(job.files.directory)


def test_a_damaged_result_is_not_taken_for_a_restart(job: Job) -> None:
    job.start_or_attach(lambda _report: {"changed": True})
    job.wait(10)
    Path(job.files.path("result.json")).write_text('{"ok": {"chan')
    assert job.collect().result["error"]["id"] == "model.job_unreadable"
