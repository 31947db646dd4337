# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work as a job of the host, which goes on when the connection or the controller is lost.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

A job is known by the options it was started with (L{job_id}). Its files are C(<store>/.store/jobs/<id>.*): C(lock) is
locked as long as the job lives, C(json) is its progress, C(result.json) what came out, C(log) a few dated lines.
None of them contains the options. L{run} is all that a module needs.

Two processes are forked: the job, and a keeper that waits for it, so that the cause of a violent death is known. Both
have the lock. They are forks of the module and not new programs, because secrets then stay in memory; but Ansible
deletes the archive with the module's code as soon as the module ends. B(Everything a job uses must have been imported
before.) Later imports of C(ansible) and C(ansible_collections) are refused in the job, all the more since somebody
else could make a file under the name of the deleted archive; those of the standard library work.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import re
import signal
import stat
import sys
import threading
import time
import traceback
import urllib.parse
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Callable, NamedTuple, NoReturn

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked
from ansible_collections.mistralrs.stack.plugins.module_utils._process import began

JOB_FAILED = Fault(
    "model.job_failed",
    "The job failed unexpectedly: {what} at {where}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)
JOB_DIED = Fault(
    "model.job_died",
    "The job was ended from outside: {cause}.",
    "What it fetched is kept; run it again. If the kernel ended it, the host has too little memory (see dmesg).",
)
JOB_CANCELLED = Fault(
    "model.job_cancelled",
    "The job was cancelled.",
    "What it fetched is kept; run it again to go on.",
)
JOB_UNUSABLE = Fault(
    "model.job_unusable",
    "The job can't be run: {path}: {why}.",
    "Make it a directory that belongs to the user who runs the module, on a disk with room.",
)
JOB_STUCK = Fault(
    "model.job_stuck",
    "The job {id} does not end; its process is {pid}.",
    "Its disk or network file system probably does not answer; look at the host's kernel log.",
)

JOB_LOST = Fault(
    "model.job_lost",
    "The job {id} has ended, but what came out is gone.",
    "Run it again, and look whether something else removes files from {folder}.",
)
JOB_UNREADABLE = Fault(
    "model.job_unreadable",
    "The job {id} has ended, but what came out can't be told: {why}.",
    "Run it again; if it happens again, report it together with the job's log {log}.",
)

Work = Callable[["Reporter"], "dict[str, Any]"]

# How often progress is written, and over which time the rate is taken, in seconds.
_INTERVAL = 0.5
_WINDOW = 10.0
# So long after the last look at a job its failure is news for whoever looks next. Later it is tried again instead.
_NEWS = 30.0
# Kept on the disk from the start, so that a full disk can be reported too.
_RESULT_ROOM = 64 << 10
_MAX_FILE = 4 << 20
_FORGOTTEN = 30 * 86400.0
# So often a run begins anew because others took the results of the jobs that it waited for.
_TRIES = 10
# Whoever looks at a job has its lock for a moment; a job has it for longer.
_LOCK_SECONDS = 0.5
_NICENESS = 5
_OOM_SCORE = 500
_SECRET_WORDS = frozenset(("token", "password", "secret"))
_FILE = re.compile(r"([0-9a-f]{16})\.(lock|json|result\.json|log|tmp|result\.tmp)\Z")


class Cancelled(BaseException):
    """Somebody wants the job to stop; not an Exception, so that nothing swallows it."""


class Status(NamedTuple):
    """How a job is.

    C(state) is none, running, finished, cancelled or died. C(result) is C({"ok": outcome}) or
    C({"error": {"id": ..., "msg": ...}}) if state is finished, and the latter if it is cancelled or died.
    """

    id: str
    state: str
    progress: dict[str, Any]
    result: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """What a module returns as C(job)."""
        state = "finished" if self.state == "died" else self.state
        return {"id": self.id, "state": state, "progress": self.progress}


def job_id(params: Mapping[str, Any], secret: Collection[str] = ()) -> str:
    """The id of the job with these options; which secrets it uses makes no difference.

    An option is secret if it is in C(secret) or has the word token, password or secret in its name. Of addresses the
    user and the password don't count; the query does, because it may say which content is wanted.
    """
    plain = {
        key: _without_user(value)
        for key, value in params.items()
        if key != "job"
        and not key.startswith("_ansible_")
        and key not in secret
        and not _SECRET_WORDS.intersection(key.split("_"))
    }
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_user(value: Any) -> Any:
    """A value without the users of addresses, wherever in it they are."""
    if isinstance(value, list):
        return [_without_user(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_user(each) for key, each in value.items()}
    if not isinstance(value, str) or "://" not in value or "@" not in value:
        return value
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError:
        return value
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class Reporter:
    """How the work says how far it is; may be called often and from any thread."""

    def __init__(
        self,
        write: Callable[[dict[str, Any]], None],
        log: Callable[[str], None] = lambda _text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self.log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque()
        self._key: tuple[str, str, str] = ("", "", "")
        self._written = -_INTERVAL
        self._complete = False

    def update(self, name: str, done: int, total: int | None = None, phase: str = "", waiting_for: str = "") -> None:
        """C(done) of C(total) bytes of C(name) are there; C(waiting_for) says what holds the work up."""
        now = self._clock()
        with self._lock:
            key = (name, phase, waiting_for)
            if key[:2] != self._key[:2] or (self._samples and done < self._samples[-1][1]):
                self._samples.clear()
                self._complete = False
            complete = total is not None and done >= total and not self._complete
            due = now - self._written >= _INTERVAL or key != self._key or complete
            if not self._samples or due:
                self._samples.append((now, done))
                # The oldest sample is the youngest that is at least a window old.
                while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
                    self._samples.popleft()
            if not due:
                return
            self._key = key
            self._written = now
            self._complete = self._complete or complete
            self._write(self._progress(now, name, done, total, phase, waiting_for))

    def _progress(
        self, now: float, name: str, done: int, total: int | None, phase: str, waiting_for: str
    ) -> dict[str, Any]:
        start, before = self._samples[0]
        rate = (done - before) / (now - start) if now - start >= _INTERVAL else 0.0
        eta = None
        if total is not None and done >= total:
            eta = 0
        elif total is not None and rate >= 1:
            eta = round((total - done) / rate)
        return {
            "name": name,
            "done": done,
            "total": total,
            "rate": round(rate),
            "eta": eta,
            "phase": phase,
            "waiting_for": waiting_for,
        }


class _Refuse:
    """Refuses imports from the module's archive, which is gone, or by then somebody else's."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> None:
        if fullname.partition(".")[0] in ("ansible", "ansible_collections"):
            raise ImportError(f"{fullname} was not imported before the job was forked")


class Job:
    """One job of a store."""

    def __init__(self, store: str, identity: str) -> None:
        self.id = identity
        self._store = store
        self._directory = os.path.join(store, ".store", "jobs")
        self._seen = 0

    def _path(self, kind: str) -> str:
        return os.path.join(self._directory, f"{self.id}.{kind}")

    # Files.

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = str(error.filename or self._directory)
            raise StackError(JOB_UNUSABLE, path=path, why=error.strerror or type(error).__name__) from None

    def _make_directory(self) -> None:
        if not os.path.isdir(self._store):
            os.makedirs(self._store, exist_ok=True)
            os.chmod(self._store, 0o755)
        for path, mode in ((os.path.dirname(self._directory), 0o755), (self._directory, 0o700)):
            try:
                os.mkdir(path, mode)
                os.chmod(path, mode)
            except FileExistsError:
                self._check_directory(path, mode)

    @staticmethod
    def _check_directory(path: str, mode: int) -> None:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise OSError(errno.ENOTDIR, "it is not a directory", path)
        if mode == 0o700 and status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "it belongs to another user", path)
        if mode == 0o700 and stat.S_IMODE(status.st_mode) != mode:
            os.chmod(path, mode)

    def _read(self, kind: str) -> dict[str, Any]:
        """A file of the job; {} if it is not there or was not written to the end."""
        try:
            descriptor = os.open(self._path(kind), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return {}
        with os.fdopen(descriptor, "rb") as file:
            try:
                data = json.loads(file.read(_MAX_FILE))
            except (OSError, ValueError, RecursionError):
                return {}
        return data if isinstance(data, dict) else {}

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        """Replace a file of the job; not synced, since no job outlives a crash of the host."""
        temporary = self._path(kind.replace("json", "tmp"))
        content = json.dumps(data, separators=(",", ":"), default=str).encode()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # Over what is there, so that the room that was reserved is used.
            position = 0
            while position < len(content):
                position += os.pwrite(descriptor, content[position:], position)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)
        os.rename(temporary, self._path(kind))

    def _remove(self, *kinds: str) -> None:
        for kind in kinds:
            with suppress(FileNotFoundError):
                os.unlink(self._path(kind))

    def _tidy(self) -> None:
        """Forget the jobs that nobody asked about for a month."""
        now = time.time()
        for name in os.listdir(self._directory):
            match = _FILE.match(name)
            if not match or match.group(1) == self.id:
                continue
            with suppress(OSError):
                if now - os.lstat(os.path.join(self._directory, name)).st_mtime > _FORGOTTEN:
                    Job(self._store, match.group(1))._forget()

    def _forget(self) -> None:
        """Remove everything unless the job lives."""
        with suppress(Locked), FileLock(self._path("lock"), timeout=_LOCK_SECONDS):
            self._remove("json", "tmp", "result.json", "result.tmp", "log", "lock")

    # What others see.

    def poll(self) -> Status:
        """How the job is now."""
        with self._errors():
            try:
                with FileLock(self._path("lock"), shared=True, create=False):
                    return self._ended()
            except Locked:
                return self._running()
            except FileNotFoundError:
                return self._none()

    def _running(self) -> Status:
        return Status(self.id, "running", _progress(self._read("json")), {})

    def _none(self) -> Status:
        self._seen = 0
        return Status(self.id, "none", {}, {})

    def _ended(self) -> Status:
        """How a job is whose lock is free."""
        record = self._read("json")
        progress = _progress(record)
        result = self._read("result.json")
        self._seen = self._identity() if result else 0
        if not result and self._identity():
            error = StackError(JOB_UNREADABLE, id=self.id, why="its file is damaged", log=self._path("log"))
            result = {"error": {"id": error.id, "msg": str(error)}}
        if not result:
            if not record:
                return Status(self.id, "none", {}, {})
            error = StackError(JOB_DIED, cause="the host was restarted or all its processes were killed")
            return Status(self.id, "died", progress, {"error": {"id": error.id, "msg": str(error)}})
        state = str(result.pop("state", "finished"))
        return Status(self.id, state, progress, result)

    def _identity(self) -> int:
        try:
            return os.lstat(self._path("result.json")).st_mtime_ns
        except OSError:
            return 0

    @contextmanager
    def listening(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """Gives what tells the result of the job that lives now, also when somebody else has taken it; {} if it can't.

        The file for the result is there from the job's start, and an open file outlives its name.
        """
        descriptor = -1
        for kind in ("result.tmp", "result.json"):
            with suppress(OSError):
                descriptor = os.open(self._path(kind), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                break

        def heard() -> dict[str, Any]:
            try:
                data = json.loads(os.pread(descriptor, _MAX_FILE, 0)) if descriptor >= 0 else {}
            except (OSError, ValueError, RecursionError):
                return {}
            return data if isinstance(data, dict) else {}

        try:
            yield heard
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def lost(self) -> StackError:
        """That nobody can say what came out."""
        return StackError(JOB_LOST, id=self.id, folder=self._directory)

    def watched(self) -> bool:
        """Whether somebody looked at the job just now, who is told of a failure."""
        try:
            return abs(time.time() - os.stat(self._path("lock")).st_mtime) <= _NEWS
        except OSError:
            return False

    def watch(self) -> None:
        """Say that somebody looks at the job."""
        with suppress(OSError):
            os.utime(self._path("lock"), follow_symlinks=False)

    def collect(self) -> Status:
        """Take the result, which is gone then; of two who try at the same time one gets it."""
        with self._errors():
            try:
                with FileLock(self._path("lock"), create=False, timeout=_LOCK_SECONDS):
                    status = self._ended()
                    self._remove("json", "tmp", "result.json", "result.tmp")
                    if "ok" in status.result:
                        self._remove("log")
                    self._remove("lock")
                    return status
            except Locked:
                return self._running()
            except FileNotFoundError:
                return self._none()

    def wait(self, seconds: float | None = None) -> Status:
        """How the job is when it has ended, or after some seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        pause = 0.01
        while True:
            status = self.poll()
            if status.state != "running" or (until is not None and time.monotonic() >= until):
                return status
            self.watch()
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    def cancel(self, timeout: float = 30.0) -> Status:
        """Stop the job if it lives, and take its result; what it fetched stays."""
        until = time.monotonic() + timeout
        sent = killed = 0
        while True:
            status = self.poll()
            if status.state != "running":
                return self.collect()
            pid = self._pid()
            if pid and sent != pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                sent = pid
            if time.monotonic() > until:
                if killed or not pid:
                    raise StackError(JOB_STUCK, id=self.id, pid=pid or "unknown")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed, until = pid, time.monotonic() + 5
            time.sleep(0.02)

    def _pid(self) -> int:
        """The job's process; 0 if it is not known."""
        record = self._read("json")
        pid, recorded = record.get("pid"), record.get("began")
        if not isinstance(pid, int) or pid <= 1 or not recorded:
            return 0
        return pid if began(pid) == recorded else 0

    # The job.

    def start_or_attach(self, work: Work) -> None:
        """Start the job unless it lives, or has a good result that the last C(poll) did not see."""
        with self._errors():
            self._make_directory()
            try:
                with FileLock(self._path("lock"), timeout=_LOCK_SECONDS) as descriptor:
                    if "ok" in self._read("result.json") and self._identity() != self._seen:
                        return
                    self._remove("json", "tmp", "result.json", "result.tmp", "log")
                    self._reserve()
                    self._tidy()
                    self.watch()
                    self._fork(work, descriptor)
            except Locked:
                self.watch()

    def _reserve(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path("result.tmp"), flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESULT_ROOM)
        except OSError as error:
            # Some file systems can't reserve.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, self._path("result.tmp")) from None
        finally:
            os.close(descriptor)

    def _fork(self, work: Work, descriptor: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _forked(lambda: self._first(work, descriptor))
        if os.waitpid(child, 0)[1]:
            raise OSError(errno.EAGAIN, "its process could not be started", self._directory)

    def _first(self, work: Work, descriptor: int) -> int:
        """Leave the module's session and its children."""
        os.setsid()
        if os.fork() == 0:
            _forked(lambda: self._keep(work, descriptor))
        return 0

    def _keep(self, work: Work, descriptor: int) -> int:
        """Start the job and say how it died if it can't say so itself."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        _detach(descriptor)
        child = os.fork()
        if child == 0:
            _forked(lambda: self._do(work))
        status = os.waitpid(child, 0)[1]
        if not os.path.exists(self._path("result.json")):
            code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            cause = f"signal {code} ({_signal_name(code)})" if code else f"status {os.WEXITSTATUS(status)}"
            error = StackError(JOB_DIED, cause=cause)
            self._log(str(error))
            self._write("result.json", {"state": "died", "error": {"id": error.id, "msg": str(error)}})
        return 0

    def _log(self, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            descriptor = os.open(self._path("log"), flags, 0o600)
            try:
                os.write(descriptor, f"{now} {text}\n".encode(errors="replace"))
            finally:
                os.close(descriptor)

    def _do(self, work: Work) -> int:
        """Do the work and leave its result."""
        pid = os.getpid()
        record: dict[str, Any] = {"pid": pid, "began": began(pid), "progress": {}}

        def write(progress: dict[str, Any]) -> None:
            # That nobody can see the progress does not matter to the work.
            with suppress(OSError):
                self._write("json", {**record, "progress": progress})

        stopping: list[bool] = []

        def stop(_number: int, _frame: object) -> None:
            if not stopping:
                stopping.append(True)
                raise Cancelled

        for path, text in (("/proc/self/oom_score_adj", str(_OOM_SCORE)), ("/proc/self/comm", "mistral-model")):
            with suppress(OSError), open(path, "w") as file:
                file.write(text)
        # The kernel takes the priority at the disk from the niceness.
        with suppress(OSError):
            os.nice(_NICENESS)
        self._log(f"process {pid} started")
        result: dict[str, Any]
        try:
            signal.signal(signal.SIGTERM, stop)
            write({})
            result = {"ok": work(Reporter(write, self._log))}
            size = len(json.dumps(result, default=str))
            if size > _MAX_FILE:
                why = f"it has {size} bytes, more than the {_MAX_FILE} that are read"
                raise StackError(JOB_UNREADABLE, id=self.id, why=why, log=self._path("log"))
            stopping.append(True)
        except BaseException as error:
            stopped = bool(stopping)
            stopping.append(True)
            result = self._problem(JOB_CANCELLED if stopped else None, error)
        self._log("finished" if "ok" in result else result["error"]["msg"])
        self._write("result.json", result)
        return 0

    def _problem(self, fault: Fault | None, error: BaseException) -> dict[str, Any]:
        if fault is not None:
            told = StackError(fault)
            return {"state": "cancelled", "error": {"id": told.id, "msg": str(told)}}
        if not isinstance(error, StackError):
            error = StackError(JOB_FAILED, what=_kind(error), where=_where(error), log=self._path("log"))
        return {"state": "finished", "error": {"id": error.id, "msg": str(error)}}


def _progress(record: Mapping[str, Any]) -> dict[str, Any]:
    progress = record.get("progress")
    return progress if isinstance(progress, dict) else {}


def _forked(main: Callable[[], int]) -> NoReturn:
    """What a forked process does; it never returns into the module's code."""
    code = 70
    try:
        code = main()
    finally:
        os._exit(code)


def _detach(descriptor: int) -> None:
    """Keep nothing of the module's but the lock."""
    # What is collected later could close descriptors that are somebody else's by then.
    gc.collect()
    gc.freeze()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(1024)):
        number = int(name)
        if number > 2 and number != descriptor:
            with suppress(OSError):
                os.close(number)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Ansible's archive, whose name somebody else could use by now.
    sys.path[:] = [path for path in sys.path if not os.path.basename(path).startswith("ansible_")]
    sys.meta_path.insert(0, _Refuse())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _kind(error: BaseException) -> str:
    """The kind of an error; its own text could contain secrets."""
    if isinstance(error, OSError) and error.errno:
        return f"{type(error).__name__} ({os.strerror(error.errno)})"
    return type(error).__name__


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "an unknown place"


def run(job: Job, mode: str, work: Work, quick: Callable[[], dict[str, Any] | None], patience: float = 1.0) -> Status:
    """What a module does with its option C(job), which is wait, start or cancel.

    C(quick) looks whether there is anything to do and gives the whole outcome if there is not. It is asked first unless
    the job lives, so that a run without a change starts no process. C(start) waits C(patience) seconds for a short job.
    The status is running (only with start), finished (C(result["ok"]) or C(result["error"])), cancelled or died.
    With C(cancel) it may also be none: there was no job.

    Of several who wait one takes the result. The others look what there is to do now: nothing if all went well, else
    they tell the same. Raises C(model.job_lost) if it never becomes known what came out.
    """
    if mode == "cancel":
        return job.cancel()
    for _try in range(_TRIES):
        status = _followed(job, mode, work, quick, patience)
        if status.state == "running" or status.result:
            return status
    raise job.lost()


def _followed(job: Job, mode: str, work: Work, quick: Callable[[], dict[str, Any] | None], patience: float) -> Status:
    """How the job is after one attempt to start it or to follow it; without a result if somebody else took that."""
    status = job.poll()
    attached = status.state == "running"
    if not attached and status.state not in ("none", "cancelled") and job.watched():
        return job.collect()
    if not attached:
        outcome = quick()
        if outcome is not None:
            if status.state == "none":
                return Status(job.id, "finished", {}, {"ok": outcome})
            # What an earlier job did and nobody was told.
            status = job.collect()
            return status if "ok" in status.result else Status(job.id, "finished", {}, {"ok": outcome})
        job.start_or_attach(work)
    else:
        job.watch()
    with job.listening() as heard:
        if mode == "wait":
            status = job.wait()
        elif not attached:
            status = job.wait(patience)
        if status.state == "running":
            return status
        collected = job.collect()
        status = collected if collected.result else status
        if status.result:
            return status
        result = heard()
    if not result:
        return status
    outcome = quick()
    result.pop("state", None)
    return Status(job.id, "finished", {}, {"ok": outcome} if outcome is not None else result)
