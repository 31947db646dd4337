# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing by the kernel (fs-verity), which few file systems have: the requests to it are looked at."""

from __future__ import annotations

import errno
import faulthandler
import hashlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local as subject

DIGEST = bytes(range(32))


def iow(kind: str, number: int, size: int, direction: int) -> int:
    """The number of a request (include/uapi/asm-generic/ioctl.h)."""
    return direction << 30 | size << 16 | ord(kind) << 8 | number


# include/uapi/linux/fsverity.h: 128 bytes are written to the kernel; of the digest only its fixed part counts.
ENABLE, MEASURE = iow("f", 133, 128, 1), iow("f", 134, 4, 3)


class Kernel:
    """A kernel that has fs-verity, or answers with an error."""

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.sealed: set[int] = set()
        self.asked: list[int] = []

    def ioctl(self, descriptor: int, request: int, argument: Any) -> int:
        self.asked.append(request)
        inode = os.fstat(descriptor).st_ino
        assert not os.get_inheritable(descriptor)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if request == ENABLE:
            assert len(argument) == 128
            version, algorithm, block = struct.unpack_from("<III", argument)
            assert (version, algorithm, block) == (1, 1, 4096)
            assert not any(argument[12:])
            if inode in self.sealed:
                raise OSError(errno.EEXIST, "File exists")
            self.sealed.add(inode)
            return 0
        assert request == MEASURE
        if inode not in self.sealed:
            raise OSError(errno.ENODATA, "No data available")
        assert struct.unpack_from("<HH", argument) == (0, 64)
        struct.pack_into("<HH32s", argument, 0, 1, 32, DIGEST)
        return 0


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    return str(path)


def test_a_file_is_sealed_once(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(subject.fcntl, "ioctl", kernel.ioctl)
    assert subject.sealed_digest(file) == ""
    assert subject.can_be_sealed(file)
    assert subject.seal(file) == f"sha256:{DIGEST.hex()}"
    assert subject.seal(file) == subject.sealed_digest(file) == f"sha256:{DIGEST.hex()}"
    assert not subject.can_be_sealed(file)
    assert kernel.asked == [MEASURE, MEASURE, ENABLE, MEASURE, ENABLE, MEASURE, MEASURE, MEASURE]


@pytest.mark.parametrize("error", [errno.ENOTTY, errno.EOPNOTSUPP])
def test_where_it_can_not_be_had(file: str, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.fcntl, "ioctl", Kernel(error).ioctl)
    assert subject.seal(file) == ""
    assert not subject.can_be_sealed(file)


def test_another_error_is_not_hidden(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.fcntl, "ioctl", Kernel(errno.EIO).ioctl)
    with pytest.raises(OSError, match="Input/output error"):
        subject.seal(file)


def within_seconds(seconds: float, check: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(name="large")
def fixture_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is hashed in several windows, the last of them not a whole one."""
    monkeypatch.setattr(subject, "_LARGE", 1 << 20)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(5 * (1 << 20) + 123))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_large_file_is_hashed_without_being_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_read_through", lambda *_arguments, **_options: pytest.fail("it was read"))
    assert subject.hash_file(str(large)) == sha256(large)


@pytest.mark.filterwarnings("ignore:.*use of fork")
def test_many_large_files_at_once(large: Path) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert set(pool.map(subject.hash_file, [str(large)] * 64)) == {sha256(large)}


def test_a_kernel_that_can_not_map_in_bulk(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_MADV_POPULATE_READ", 9999)
    assert subject.hash_file(str(large)) == sha256(large)


def test_a_host_that_has_no_process_left(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    before = os.listdir("/proc/self/fd")
    assert subject.hash_file(str(large)) == sha256(large)
    assert os.listdir("/proc/self/fd") == before


def test_a_mapped_file_that_is_cut_off(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, asked = os.getpid(), os.getppid

    def getppid() -> int:
        # In the child, behind the check of the size: what it touches next is not there any more.
        faulthandler.disable()
        os.truncate(large, 1 << 20)
        return asked()

    monkeypatch.setattr(subject, "_MADV_POPULATE_READ", mmap.MADV_NORMAL)
    monkeypatch.setattr(os, "getppid", getppid)
    with subject.opened("m", str(large)) as (descriptor, status):
        child = os.fork()
        if child == 0:
            subject._hash_mapped(descriptor, status.st_size, parent)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGBUS, "the danger is not there: the test is void"
        os.truncate(large, status.st_size)
        assert subject._hash_in_child(descriptor, status.st_size) == ""
    assert subject.hash_file(str(large)) == sha256(large)


@pytest.mark.parametrize("breaks", [False, True])
def test_who_looks_sees_every_byte_once(large: Path, breaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the process that maps the file fails halfway, and it is read instead."""

    def broken(descriptor: int, size: int, _parent: int) -> bytes:
        os.lseek(descriptor, size // 2, os.SEEK_SET)
        time.sleep(0.2)
        raise OSError(errno.EIO, "Input/output error")

    if breaks:
        monkeypatch.setattr(subject, "_hash_mapped", broken)
    monkeypatch.setattr(subject, "_LOOK_MILLISECONDS", 1)
    seen: list[int] = []
    assert subject.hash_file(str(large), seen.append) == sha256(large)
    assert sum(seen) == large.stat().st_size
    assert large.stat().st_size // 2 in seen or not breaks


def test_who_looks_can_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_LOOK_MILLISECONDS", 10)
    path = tmp_path / "holes"
    path.touch()
    os.truncate(path, 64 << 30)

    def seen(count: int) -> None:
        if count:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        subject.hash_file(str(path), seen)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_nobody_hashes_on_for_a_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    path.touch()
    os.truncate(path, 64 << 30)
    code = f"import tests.tools.checkout; from {subject.__name__} import hash_file; hash_file({str(path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[5])}

    def readers() -> set[str]:
        found = set()
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):
                if os.readlink(link) == str(path):
                    found.add(link.parts[2])
        return found

    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        try:
            assert within_seconds(20, lambda: len(readers()) == 2), readers()
        finally:
            process.kill()
    assert within_seconds(5, lambda: not readers()), readers()
