# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container that converts SafeTensors to UQFF: what is on the host for it, its start, its end, its removal.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

It goes on without the controller. Its name and its label say what it converts, so that the next run finds it.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.conversion_plan import (
    LABEL,
    Conversion,
    Engine,
    Found,
    command,
    engine_of,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import SUFFIX

NOT_STARTED = Fault(
    "models.conversion_not_started",
    "The container {container} for the conversion of {source} does not start: {why}.",
    "Correct that and run again; nothing of it is left on the host.",
)
NOT_WATCHED = Fault(
    "models.conversion_not_watched",
    "Docker no longer reports the state of the container {container}: {why}.",
    "Check Docker and run again: the run waits for a conversion that is still running, or starts it again.",
)
NOT_REMOVED = Fault(
    "models.conversion_not_removed",
    "Docker can't remove the container {container} of the conversion: {why}.",
    "Remove it with 'docker rm --force {container}' and run again.",
)
FAILED = Fault(
    "models.conversion_failed",
    "The engine did not convert {source} to {type}: it ended with exit code {code} and said: {said} --",
    "Nothing was put into the store; correct what it says and run again.",
)

# Runs a command line: exit status, standard output, standard error. Raises FileNotFoundError without such a program.
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
_LOG_LINES = "20"
# The end says why; StackError would keep the beginning.
_LOG_CHARACTERS = 1_900
_KILLED = "137"


def _size(directory: str) -> int | None:
    """The bytes of the files in a directory of SafeTensors; None if it is none."""
    if not os.path.isfile(os.path.join(directory, "config.json")):
        return None
    total = 0
    for folder, _folders, files in os.walk(directory, followlinks=True):
        paths = (os.path.join(folder, file) for file in files)
        total += sum(os.stat(path).st_size for path in paths if os.path.exists(path))
    return total


def _free(directory: str) -> int:
    """The bytes that are left on a directory's disk; 0 if it is not there."""
    try:
        disk = os.statvfs(directory)
    except FileNotFoundError:
        return 0
    return disk.f_bavail * disk.f_frsize


def _recorded(conversion: Conversion) -> str | None:
    """The source that the store's record of the result says, '' if it says none; None if the result is not there."""
    if not os.path.exists(os.path.join(conversion.store, conversion.target)):
        return None
    try:
        with open(os.path.join(conversion.store, ".store", f"{conversion.target}{SUFFIX}.json"), "rb") as file:
            record = json.load(file)
    except (FileNotFoundError, ValueError):
        return ""
    return str(record.get("source") or "") if isinstance(record, dict) else ""


def _user_id(user: str) -> int:
    """The id of a container's user, such as C(1000:1000). Raises KeyError if the host doesn't know its name."""
    name = (user or "0").partition(":")[0]
    return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid


class ConversionContainer:
    """The container of one conversion."""

    def __init__(self, conversion: Conversion, run: Run, docker: str = "docker") -> None:
        self.conversion = conversion
        self._run = run
        self._docker = docker

    def _inspect(self, name: str) -> dict[str, Any] | None:
        """What Docker says of a container; None if there is none, or no Docker."""
        try:
            status, out, _err = self._run([self._docker, "container", "inspect", "--format", "{{json .}}", name])
        except FileNotFoundError:
            return None
        found: dict[str, Any] | None = json.loads(out) if status == 0 else None
        return found

    def observe(self, engine_name: str) -> Found:
        """What there is for the conversion."""
        conversion = self.conversion
        engine, converter = self._inspect(engine_name), self._inspect(conversion.container)
        return Found(
            source_size=_size(os.path.join(conversion.store, conversion.source)),
            free=_free(conversion.store),
            recorded=_recorded(conversion),
            engine=engine_of(engine) if engine else None,
            purpose=(converter["Config"].get("Labels") or {}).get(LABEL, "") if converter else None,
        )

    def start(self, engine: Engine) -> None:
        """Start it with an empty directory for the result. Raises C(models.conversion_not_started)."""
        conversion = self.conversion
        try:
            user = _user_id(engine.user)
        except KeyError:
            raise self._not_started(f"this host does not know its user {engine.user}") from None
        self._remove_result()
        os.makedirs(conversion.result, mode=0o700)
        os.chown(conversion.result, user, -1)
        status, out, err = self._run(command(conversion, engine, self._docker))
        if status:
            why = (err or out).strip()
            # The name's container is another run's, which has begun since.
            if "is already in use" not in why:
                self.remove()
            raise self._not_started(why)

    def _not_started(self, why: str) -> StackError:
        return StackError(NOT_STARTED, container=self.conversion.container, source=self.conversion.source, why=why)

    def wait(self) -> None:
        """Wait until it has ended; what a failed one leaves is removed.

        Raises C(models.conversion_failed) or C(models.conversion_not_watched).
        """
        conversion = self.conversion
        status, out, err = self._run([self._docker, "wait", conversion.container])
        if status:
            raise StackError(NOT_WATCHED, container=conversion.container, why=err.strip())
        code = out.strip()
        if code == "0":
            return
        _status, out, err = self._run([self._docker, "logs", "--tail", _LOG_LINES, conversion.container])
        self.remove()
        hint = " (killed, perhaps because the memory was not enough: see dmesg)" if code == _KILLED else ""
        said = f"{out} {err}".strip()[-_LOG_CHARACTERS:]
        raise StackError(FAILED, source=conversion.source, type=conversion.type, code=code + hint, said=said)

    def exists(self) -> bool:
        """Whether there is the container, or the directory for its result."""
        return os.path.lexists(self.conversion.result) or self._inspect(self.conversion.container) is not None

    def remove(self) -> None:
        """Remove the container, also a running one, and its result. Raises C(models.conversion_not_removed)."""
        name = self.conversion.container
        status, _out, err = self._run([self._docker, "rm", "--force", name])
        if status and self._inspect(name):
            raise StackError(NOT_REMOVED, container=name, why=err.strip())
        self._remove_result()

    def _remove_result(self) -> None:
        if os.path.lexists(self.conversion.result):
            shutil.rmtree(self.conversion.result)
