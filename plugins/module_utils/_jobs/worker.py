# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of a job that is a Python function: it runs the function and leaves its result.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Ansible deletes a module's code when the module ends. So the job has an archive of the code that the module had
loaded, and Python runs that archive: B(what the function uses must be imported at the top of files.)
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import sys
import traceback
import zipfile
from contextlib import suppress
from io import BytesIO
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs import result_file
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.result_file import failure
from ansible_collections.mistralrs.stack.plugins.module_utils._process import began

JOB_FAILED = Fault(
    "model.job_failed",
    "The job failed unexpectedly: {what} at {where}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)
JOB_CANCELLED = Fault(
    "model.job_cancelled",
    "The job was cancelled.",
    "What it fetched is kept; run it again to go on.",
)
JOB_UNREADABLE = Fault(
    "model.job_unreadable",
    "The job {id} has ended, but its result can't be read: {why}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)

# What a job does: it gets the reporter of its progress and returns the outcome. It is a function of a module util or a
# bound method, and is pickled, so what it needs is plain data.
Work = Callable[[Reporter], dict[str, Any]]

_COLLECTION = "ansible_collections.mistralrs.stack."
_MAIN = f"import sys\nfrom {__name__} import main\nsys.exit(main(*sys.argv[1:]))\n"
_NICENESS = 5
_OOM_SCORE = 500


class Cancelled(BaseException):
    """The job is to stop; not an Exception, so that nothing swallows it."""


def code_archive(work: Work) -> bytes:
    """A program for Python: a zip file with all modules of this collection that are loaded, and the one of C(work)."""
    names = {name for name in sys.modules if name.startswith(_COLLECTION)} | {work.__module__}
    packages = {name[:position] for name in names for position, letter in enumerate(name) if letter == "."}
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", _MAIN)
        for name in sorted(names | packages):
            loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
            get_source = getattr(loader, "get_source", None)
            source = get_source(name) if get_source else ""
            path = name.replace(".", "/")
            archive.writestr(f"{path}/__init__.py" if name in packages else f"{path}.py", source or "")
    return content.getvalue()


def packed(work: Work) -> bytes:
    """The work and the surroundings that it would have in this process, secrets included."""
    mask = os.umask(0o077)
    os.umask(mask)
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    return pickle.dumps((environment, mask, work))


def main(private: str, folder: str) -> int:
    """Do the work that C(packed) put into the private directory; the exit status is 0 if it went well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.path.join(private, "work"), "rb") as file:
        content = file.read()
    os.remove(file.name)
    environment, mask, work = pickle.loads(content)
    os.environ.update(environment)
    os.umask(mask)
    return run_work(work, folder)


def run_work(work: Work, folder: str) -> int:
    """Do the work and leave its result; the exit status is 0 if it went well."""
    pid = os.getpid()
    record: dict[str, Any] = {"pid": pid, "began": began(pid), "progress": {}}

    def write(progress: dict[str, Any]) -> None:
        _show_status(progress)
        # That nobody can see the progress does not matter to the work.
        with suppress(OSError):
            result_file.write(folder, "progress.json", {**record, "progress": progress})

    stopping: list[bool] = []

    def stop(_number: int, _frame: object) -> None:
        if not stopping:
            stopping.append(True)
            raise Cancelled

    _yield_to_others()
    _log(f"process {pid} started")
    log = os.path.join(folder, "log")
    result: dict[str, Any]
    try:
        signal.signal(signal.SIGTERM, stop)
        write({})
        result = {"ok": work(Reporter(write, _log))}
        size = len(json.dumps(result, default=str))
        if size > result_file.MAX_BYTES:
            why = f"it has {size} bytes, more than the {result_file.MAX_BYTES} that are read"
            raise StackError(JOB_UNREADABLE, id=os.path.basename(folder), why=why, log=log)
        stopping.append(True)
    except BaseException as error:
        is_cancelled = bool(stopping)
        stopping.append(True)
        if is_cancelled:
            result = {"state": "cancelled", **failure(StackError(JOB_CANCELLED))}
        elif isinstance(error, StackError):
            result = {"state": "finished", **failure(error)}
        else:
            fault = StackError(JOB_FAILED, what=_error_kind(error), where=_error_location(error), log=log)
            result = {"state": "finished", **failure(fault)}
    _log("finished" if "ok" in result else result["error"]["msg"])
    result_file.write(folder, "result.json", result)
    return 0 if "ok" in result else 1


def _log(text: str) -> None:
    """Add a dated line to the log, which is where this program writes to."""
    with suppress(OSError):
        os.write(2, f"{text_files.now()} {text}\n".encode(errors="replace"))


def _show_status(progress: dict[str, Any]) -> None:
    """Tell systemd how far the job is; 'systemctl status' shows that."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not progress:
        return
    done, total = progress["done"], progress["total"]
    share = f" {100 * done // total} %" if total else ""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        channel.send(f"STATUS={progress['name']}, {progress['phase']}{share}".replace("\n", " ").encode())


def _yield_to_others() -> None:
    """Let the host's other processes have the CPU and the disk first, and be the first to go when memory runs out."""
    for path, text in (("/proc/self/oom_score_adj", str(_OOM_SCORE)), ("/proc/self/comm", "mistral-model")):
        with suppress(OSError), open(path, "w") as file:
            file.write(text)
    # The kernel takes the priority at the disk from the niceness.
    with suppress(OSError):
        os.nice(_NICENESS)


def _error_kind(error: BaseException) -> str:
    """The kind of an error; its own text could contain secrets."""
    if isinstance(error, OSError) and error.errno:
        return f"{type(error).__name__} ({os.strerror(error.errno)})"
    return type(error).__name__


def _error_location(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "an unknown place"
