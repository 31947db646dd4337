# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing by the kernel (fs-verity), which few file systems have: the requests to it are looked at."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils import _local_file as subject

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
    assert subject.seal(file) == f"sha256:{DIGEST.hex()}"
    assert subject.seal(file) == subject.sealed_digest(file) == f"sha256:{DIGEST.hex()}"
    assert kernel.asked == [MEASURE, ENABLE, MEASURE, ENABLE, MEASURE, MEASURE]


@pytest.mark.parametrize("error", [errno.ENOTTY, errno.EOPNOTSUPP])
def test_where_it_can_not_be_had(file: str, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.fcntl, "ioctl", Kernel(error).ioctl)
    assert subject.seal(file) == ""


def test_another_error_is_not_hidden(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.fcntl, "ioctl", Kernel(errno.EIO).ioctl)
    with pytest.raises(OSError, match="Input/output error"):
        subject.seal(file)
