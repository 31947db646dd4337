# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes long is a job, which outlives the module; several runs at the same time, and kills."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store import work as store_work
from ansible_collections.mistralrs.stack.plugins.modules import model as subject

from tests.unit.plugins.modules.model.model_server import COMPLETE, FILE, Run, Server, files, result, start


def test_what_takes_long_to_read_is_a_job(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were put there by hand, and whatever is verified."""
    jobs: list[str] = []
    begin = subject.FunctionJob.start_or_attach

    def start_or_attach(job: Any, work: Any) -> None:
        jobs.append(job.id)
        begin(job, work)

    monkeypatch.setattr(subject.FunctionJob, "start_or_attach", start_or_attach)
    monkeypatch.setattr(store_work, "LONG_BYTES", 100)
    run("/good")
    (store / "other.gguf").write_bytes((store / FILE).read_bytes())
    jobs.clear()
    there = {"name": "other", "source": f"file://{store / FILE}"}
    assert run(**there)["changed"]
    assert len(jobs) == 1
    assert not run(**there)["changed"]
    assert len(jobs) == 1
    assert not run(name="other", state="verified")["changed"]
    assert len(jobs) == 2
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_arguments: False)
        assert not run(name="other", state="verified")["changed"]
    assert len(jobs) == 2
    content = (store / "other.gguf").read_bytes()
    (store / "other.gguf").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert run(name="other", state="verified")["error_id"] == "model.corrupt"
    assert len(jobs) == 3


def test_two_processes_fetch_once(store: Path, server: Server) -> None:
    processes = [start(store, server, source=server.url("/slow")) for _index in range(2)]
    outcomes = [result(process) for process in processes]
    assert sorted(outcome["changed"] for outcome in outcomes) == [False, True]
    assert [method for method, _path, _headers in server.requests].count("GET") == 1
    assert files(store) == COMPLETE


@pytest.mark.parametrize(("path", "error"), [("/slow-and-short", "model.interrupted"), ("/slow", "")])
def test_each_of_five_equal_runs_is_told_what_came_out(path: str, error: str, store: Path, server: Server) -> None:
    """Without the action plugin, as with async: one takes the job's result, and all need it."""
    outcomes = [result(process) for process in [start(store, server, source=server.url(path)) for _index in range(5)]]
    if error:
        assert [outcome.get("error_id") for outcome in outcomes] == [error] * 5
        assert all(outcome["failed"] for outcome in outcomes)
    else:
        digest = hashlib.sha256(server.content).hexdigest()
        assert [outcome["model"]["sha256"] for outcome in outcomes] == [digest] * 5
        assert any(outcome["changed"] for outcome in outcomes)
    assert (store / FILE).exists() != bool(error)


def test_addresses_that_differ_in_their_query_are_different_jobs(run: Run) -> None:
    jobs = {run(f"/slow?content={content}", job="start")["job"]["id"] for content in (1, 2, 1)}
    assert len(jobs) == 2
    for content in (1, 2):
        run(f"/slow?content={content}", job="cancel")


def test_a_killed_module_leaves_its_job(store: Path, server: Server, run: Run) -> None:
    """As when the connection is lost: the job goes on, the next run tells what became of it."""
    options = {"timeout": 2, "retries": 1}
    process = start(store, server, source=server.url("/stalls-once"), **options)
    assert server.stalled.wait(20)
    part = store / ".store" / "incoming" / f"{FILE}.part"
    deadline = time.monotonic() + 10
    while not part.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()
    assert not (store / FILE).exists()
    assert run("/stalls-once", **options)["changed"]
    assert [method for method, _path, _headers in server.requests].count("GET") == 2
    assert (store / FILE).read_bytes() == server.content
    assert files(store) == COMPLETE


def test_killed_anywhere(tmp_path: Path, store: Path, server: Server, gguf: Any) -> None:
    """Whatever the moment, the final file is absent or right, and one more run makes all right."""
    pieces = gguf.pieces + [(f"piece{number}", float(-20 - number), 1) for number in range(60_000)]
    source = tmp_path / "source.gguf"
    source.write_bytes(gguf.sentencepiece(pieces))
    options = {"source": source.as_uri()}
    started = time.monotonic()
    assert result(start(store, server, **options))["changed"]
    duration = time.monotonic() - started
    for step in range(1, 9):
        for name in files(store):
            os.unlink(store / name)
        process = start(store, server, **options)
        time.sleep(duration * step / 9)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
        assert not (store / FILE).exists() or (store / FILE).read_bytes() == source.read_bytes()
        result(start(store, server, **options))
        assert files(store) == COMPLETE
        assert (store / FILE).read_bytes() == source.read_bytes()
        assert len(json.loads((store / "tiny.tokenizer.json").read_text())["model"]["vocab"]) == len(pieces)
        assert not result(start(store, server, **options))["changed"]
