# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files of this host: opened safely, hashed, copied without copying where the file system can, sealed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import select
import signal
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

SOURCE_MISSING = Fault(
    "model.source_missing",
    "Model {name}: the file {path} does not exist on this host.",
    "Copy it there or correct 'source'.",
)
SOURCE_UNREADABLE = Fault(
    "model.source_unreadable",
    "Model {name}: {path} can't be read: {why}.",
    "'source' must be a regular file that root can read.",
)

_CHUNK = 4 << 20
# From here on a file is worth a process of its own, which maps so much of it at a time.
_LARGE = 64 << 20
_WINDOW = 2 << 20
_LOOK_MILLISECONDS = 500
# Of linux/mman.h, since Linux 5.14: pages are mapped in bulk, and a bad one is an error instead of a signal.
_MADV_POPULATE_READ = 22
# Of linux/fs.h and linux/fsverity.h; the same on all architectures that NVIDIA's driver runs on.
_FICLONE = 0x40049409
_FS_IOC_ENABLE_VERITY = 0x40806685
_FS_IOC_MEASURE_VERITY = 0xC0046686
_VERITY_SHA256 = 1
# Of sync_file_range(2); a C library without it, such as musl's, does without.
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4
_BEHIND = 64 << 20
_sync_file_range = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_forking = threading.Lock()
Seen = Callable[[int], None]
_NOT_SUPPORTED = (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EPERM)
_SPARE = 64 << 20
_MOST_SPARE = 1 << 30


def identity(status: os.stat_result) -> dict[str, int]:
    """What tells a file that was verified from another one, without reading it."""
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def origin(path: str) -> dict[str, int]:
    """What tells whether a file or directory that was copied earlier has been replaced; {} if it can't be told."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            within = [os.stat(os.path.join(path, name)) for name in os.listdir(path)]
            newest = max([each.st_mtime_ns for each in within], default=0)
            return {"size": sum(each.st_size for each in within), "mtime_ns": newest}
    except OSError:
        return {}
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


@contextmanager
def opened(name: str, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file as a descriptor, with its status. Raises C(model.source_missing), C(model.source_unreadable)."""
    try:
        # A FIFO must not block the open.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StackError(SOURCE_MISSING, name=name, path=path) from None
    except OSError as error:
        raise StackError(SOURCE_UNREADABLE, name=name, path=path, why=error.strerror) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StackError(SOURCE_UNREADABLE, name=name, path=path, why="it is not a regular file")
        named = os.lstat(path)
        # Its owner would have root copy what only root can read to where everybody can.
        if not os.path.samestat(named, status) and named.st_uid not in (0, os.geteuid(), status.st_uid):
            why = f"it is a link of the user {named.st_uid} to a file of the user {status.st_uid}"
            raise StackError(SOURCE_UNREADABLE, name=name, path=path, why=why)
        yield descriptor, status
    finally:
        os.close(descriptor)


def _read_through(
    descriptor: int, take: Callable[[memoryview], object], keep_cache: bool, most: int | None = None
) -> int:
    """Read a file in pieces from its start, or C(most) bytes of it; their number."""
    buffer = memoryview(bytearray(_CHUNK))
    done = 0
    while True:
        count = os.preadv(descriptor, [buffer if most is None else buffer[: min(_CHUNK, most - done)]], done)
        if not count:
            return done
        take(buffer[:count])
        if not keep_cache:
            # What is read once must not push a running engine's model out of the page cache.
            os.posix_fadvise(descriptor, done, count, os.POSIX_FADV_DONTNEED)
        done += count


def _hash_mapped(descriptor: int, size: int, parent: int) -> bytes:
    """The sha256 of a file, without a copy of its bytes; b'' if nobody waits for that any more."""
    digest = hashlib.sha256()
    with mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ) as mapped, memoryview(mapped) as view:
        mapped.madvise(mmap.MADV_SEQUENTIAL)
        for begin in range(0, size, _WINDOW):
            if os.getppid() != parent:
                return b""
            # Both processes share the position, which nothing else uses: there the other one sees how far this one is.
            os.lseek(descriptor, begin, os.SEEK_SET)
            count = min(_WINDOW, size - begin)
            mapped.madvise(_MADV_POPULATE_READ, begin, count)
            with view[begin : begin + count] as window:
                digest.update(window)
            mapped.madvise(mmap.MADV_DONTNEED, begin, count)
    return digest.digest()


def _nobody(_count: int) -> None:
    """Nobody looks."""


def _hash_in_child(descriptor: int, size: int, seen: Seen = _nobody) -> str:
    """The sha256 of a large file; '' if it must be read otherwise, or can't be read.

    A mapped file that is cut off, or whose disk fails, ends the process that reads it. So that is another one.
    """
    parent = os.getpid()
    # Threads take turns, so that no child has the pipe of another one.
    with _forking:
        reader, writer = os.pipe()
        try:
            child = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            return ""
        if child == 0:
            try:
                os.write(writer, _hash_mapped(descriptor, size, parent))
            finally:
                os._exit(0)
        os.close(writer)
    done = 0
    try:
        with os.fdopen(reader, "rb") as file:
            ready = select.poll()
            ready.register(file, select.POLLIN)
            while not ready.poll(_LOOK_MILLISECONDS):
                before, done = done, os.lseek(descriptor, 0, os.SEEK_CUR)
                seen(done - before)
            found = file.read().hex()
        seen((size if found else 0) - done)
        return found
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def hash_file(path: str, seen: Seen = _nobody) -> str:
    """The sha256 of a file. C(seen) is told now and then how many more bytes were read; it may raise to end that."""
    digest = hashlib.sha256()

    def take(data: memoryview) -> None:
        digest.update(data)
        seen(len(data))

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        found = _hash_in_child(descriptor, size, seen) if size >= _LARGE else ""
        if not found:
            _read_through(descriptor, take, keep_cache=True)
    finally:
        os.close(descriptor)
    return found or digest.hexdigest()


def write_all(descriptor: int, data: memoryview) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def _reflink(source: int, target: int) -> bool:
    """Let two files share their blocks until one is written to, as Btrfs, XFS and others can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NOT_SUPPORTED:
            return False
        raise
    return True


def copy(source: int, target: int, most: int, report: Callable[[int], None]) -> tuple[str, int]:
    """Copy a file, by sharing its blocks where that is possible; the copy's sha256 and size.

    Not more than C(most) bytes are copied: a file that somebody still writes to would have no end. C(report) is told
    the number of bytes done.
    """
    digest = hashlib.sha256()
    done = 0

    def take(data: memoryview) -> None:
        nonlocal done
        digest.update(data)
        if not shared:
            write_all(target, data)
            write_behind(target, done, len(data))
        done += len(data)
        report(done)

    shared = _reflink(source, target)
    # The copy is hashed, not what it was made from.
    size = _read_through(target if shared else source, take, keep_cache=False, most=None if shared else most)
    return digest.hexdigest(), size


def readable(count: int) -> str:
    """A number of bytes for people."""
    amount, units = float(count), ["bytes", "KB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.3g} {units[0]}" if amount < 1000 else f"{amount:.0f} {units[0]}"


def reserve(status: os.statvfs_result) -> int:
    """The bytes of a file system that no download takes: a full one stops everything else on the host."""
    return max(_SPARE, min(_MOST_SPARE, status.f_blocks * status.f_frsize // 50))


def seal(path: str) -> str:
    """Have the kernel refuse altered bytes of a file from now on (fs-verity); the measured digest.

    '' where the file system or the kernel can't. The file can't be written to any more, only removed. Source of the
    interface: the kernel's Documentation/filesystems/fsverity.rst.
    """
    # struct fsverity_enable_arg: version, algorithm, block size, salt, signature; all else is reserved.
    arguments = struct.pack("<IIIIQIIQ11Q", 1, _VERITY_SHA256, 4096, 0, 0, 0, 0, 0, *[0] * 11)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_ENABLE_VERITY, arguments)
    except OSError as error:
        if error.errno not in (*_NOT_SUPPORTED, errno.EEXIST):
            raise
    finally:
        os.close(descriptor)
    return sealed_digest(path)


def _measured(path: str) -> tuple[str, int]:
    """The digest of a sealed file, or '' and the number of the error that says why there is none."""
    # struct fsverity_digest: algorithm, size of the digest, the digest.
    buffer = bytearray(struct.pack("<HH64s", 0, 64, b""))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_MEASURE_VERITY, buffer)
    except OSError as error:
        return "", error.errno or errno.EIO
    finally:
        os.close(descriptor)
    algorithm, size, digest = struct.unpack("<HH64s", buffer)
    return (f"sha256:{digest[:size].hex()}", 0) if algorithm == _VERITY_SHA256 else ("", errno.EINVAL)


def sealed_digest(path: str) -> str:
    """The digest of a sealed file as the kernel measures it, C(sha256:...); '' if the file is not sealed."""
    return _measured(path)[0]


def can_be_sealed(path: str) -> bool:
    """Whether a file is not sealed and lies where files can be."""
    return _measured(path)[1] == errno.ENODATA


def write_behind(descriptor: int, offset: int, count: int) -> None:
    """Start to write out what was just written, and let go of what is on the disk already.

    A download of 70 GB must neither end in one long sync nor push a running engine's model out of the page cache.
    """
    if _sync_file_range is None:
        return
    _sync_file_range(descriptor, offset, count, _WRITE)
    behind = offset - _BEHIND
    if behind >= 0:
        _sync_file_range(descriptor, behind, count, _WAIT_BEFORE | _WRITE | _WAIT_AFTER)
        os.posix_fadvise(descriptor, behind, count, os.POSIX_FADV_DONTNEED)
