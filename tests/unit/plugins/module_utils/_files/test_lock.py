"""One process at a time holds a lock file; the others wait, or are told who holds it."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils import _process
from ansible_collections.mistralrs.stack.plugins.module_utils._files.lock import FileLock, Locked


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


@contextmanager
def held_by_another_process(path: str, **options: Any) -> Iterator[int]:
    """Another process holds the lock; gives its pid."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with FileLock(path, **options):
                os.write(writer, b"x")
                signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(reader, 1) == b"x"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def is_locked(path: str) -> bool:
    try:
        with FileLock(path):
            return False
    except Locked:
        return True


def test_a_held_lock_is_refused_until_it_is_given_back(path: str) -> None:
    with FileLock(path):
        assert is_locked(path)
    assert not is_locked(path)
    assert os.path.exists(path)
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_an_error_gives_the_lock_back(path: str) -> None:
    with pytest.raises(ValueError, match="x"), FileLock(path, named=True):
        raise ValueError("x")
    assert not os.path.exists(path)
    assert not is_locked(path)


def test_no_descriptor_is_left_open(path: str) -> None:
    before = os.listdir("/proc/self/fd")
    with FileLock(path), pytest.raises(Locked), FileLock(path, timeout=0.03):
        pass
    assert os.listdir("/proc/self/fd") == before


def test_a_killed_holder_leaves_a_file_that_the_next_one_locks(path: str) -> None:
    with held_by_another_process(path, named=True):
        assert is_locked(path)
    assert os.path.exists(path)
    with FileLock(path, named=True):
        assert _process.own_name() == Path(path).read_text()
    assert not os.path.exists(path)


def test_a_fork_that_keeps_the_descriptor_keeps_the_lock(path: str) -> None:
    with FileLock(path):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(1)
    assert is_locked(path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not is_locked(path)


def test_shared_locks_exclude_only_an_exclusive_one(path: str) -> None:
    with FileLock(path, shared=True), FileLock(path, shared=True):
        assert is_locked(path)
    with FileLock(path), pytest.raises(Locked), FileLock(path, shared=True):
        pass


def test_a_missing_file_is_created_only_if_wanted(path: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), FileLock(path, create=False):
        pass
    assert not os.path.exists(path)
    with pytest.raises(FileNotFoundError), FileLock(str(tmp_path / "missing" / "lock")):
        pass


def test_a_link_is_not_followed(path: str, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    os.symlink(tmp_path / "other", path)
    with pytest.raises(OSError, match="symbolic links"), FileLock(path):
        pass


@pytest.mark.parametrize("timeout", [None, 10.0])
@pytest.mark.parametrize("is_removed", [False, True])
def test_who_waits_gets_the_lock_that_others_see(path: str, timeout: float | None, is_removed: bool) -> None:
    """A holder may remove the file before it gives the lock back; the lock on that file is worth nothing then."""
    first = FileLock(path)
    first.__enter__()

    def give_back() -> None:
        if is_removed:
            os.unlink(path)
        first.__exit__()

    timer = threading.Timer(0.1, give_back)
    began = time.monotonic()
    timer.start()
    with FileLock(path, timeout=timeout) as descriptor:
        assert time.monotonic() - began >= 0.09
        assert os.fstat(descriptor).st_ino == os.stat(path).st_ino
        assert is_locked(path)
    timer.join()


def test_waiting_ends_with_the_timeout(path: str) -> None:
    began = time.monotonic()
    with FileLock(path), pytest.raises(Locked), FileLock(path, timeout=0.1):
        pass
    assert 0.1 <= time.monotonic() - began < 5


def test_the_holder_is_named(path: str) -> None:
    with held_by_another_process(path, named=True) as pid, pytest.raises(Locked) as caught, FileLock(path, named=True):
        pass
    assert re.fullmatch(rf"process {pid} of this host, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", caught.value.holder)
    os.unlink(path)
    with FileLock(path), pytest.raises(Locked, match="another process, since "), FileLock(path):
        pass


def test_a_lock_that_was_given_back_has_no_holder(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def given_back(_descriptor: int, _operation: int) -> None:
        os.unlink(path)
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", given_back)
    with pytest.raises(Locked) as caught, FileLock(path, named=True):
        pass
    assert caught.value.holder == ""


def test_the_name_decides_where_every_lock_is_granted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""
    with held_by_another_process(path, named=True) as pid:
        monkeypatch.setattr(fcntl, "flock", lambda *_arguments: None)
        name = Path(path).read_text()
        with pytest.raises(Locked, match=f"process {pid} of this host"), FileLock(path, named=True):
            pass
        assert Path(path).read_text() == name
    with FileLock(path, named=True):
        assert Path(path).read_text() == _process.own_name()


def test_a_holder_has_a_second_to_write_its_name(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_arguments: None)
    Path(path).touch()
    with pytest.raises(Locked), FileLock(path, named=True):
        pass
    os.utime(path, (1, 1))
    with FileLock(path, named=True):
        assert Path(path).read_text() == _process.own_name()
