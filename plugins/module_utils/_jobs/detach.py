# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forked processes that outlive the module which forked them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Ansible deletes the archive with the module's code as soon as the module ends. B(Everything that such a process uses
must have been imported before the fork.) Later imports of C(ansible) and C(ansible_collections) are refused, all the
more since somebody else could make a file under the name of the deleted archive; those of the standard library work.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings
from contextlib import suppress
from typing import Callable, NoReturn


class _RefuseImports:
    """Refuses imports from the module's archive, which is gone, or by then somebody else's."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> None:
        if fullname.partition(".")[0] in ("ansible", "ansible_collections"):
            raise ImportError(f"{fullname} was not imported before the job was forked")


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """What a forked process does; it never returns into the module's code."""
    code = 70
    try:
        code = main()
    finally:
        os._exit(code)


def fork_detached(main: Callable[[], int], keep_descriptor: int) -> bool:
    """Run C(main) in a process of a new session, which is not a child of this one; whether it could be started.

    It keeps C(keep_descriptor) open and nothing else of this process. Raises OSError.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        run_and_exit(lambda: _lead_session(main, keep_descriptor))
    return not os.waitpid(child, 0)[1]


def _lead_session(main: Callable[[], int], keep_descriptor: int) -> int:
    """Leave the module's session and its children."""
    os.setsid()
    if os.fork() == 0:
        run_and_exit(lambda: _run_detached(main, keep_descriptor))
    return 0


def _run_detached(main: Callable[[], int], keep_descriptor: int) -> int:
    _detach(keep_descriptor)
    return main()


def _detach(keep_descriptor: int) -> None:
    """Ignore the signals of a terminal, and drop what belongs to the module."""
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    # What is collected later could close descriptors that are somebody else's by then.
    gc.collect()
    gc.freeze()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else map(str, range(1024)):
        descriptor = int(name)
        if descriptor > 2 and descriptor != keep_descriptor:
            with suppress(OSError):
                os.close(descriptor)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Ansible's archive, whose name somebody else could use by now.
    sys.path[:] = [path for path in sys.path if not os.path.basename(path).startswith("ansible_")]
    sys.meta_path.insert(0, _RefuseImports())
