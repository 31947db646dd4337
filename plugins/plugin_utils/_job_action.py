# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that follow a job of the host, and show how far it is.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The action asks for the job every few seconds, so that no task waits on a connection for an hour, and prints a line now
and then. When the user stops the playbook, the job is stopped too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

_POLL_SECONDS = (1, 1, 2, 3, 5)
_RECONNECTS = 6
_RECONNECT_SECONDS = 10
# Callbacks that promise one line a task, or something that a machine reads.
_SILENT_CALLBACKS = ("oneline", "minimal", "json", "jsonl", "null", "selective")


class Lines(Protocol):
    """Decides which lines are shown."""

    def line(self, progress: Mapping[str, Any], now: float) -> str:
        """The line for what the job said, at C(now) in seconds; '' if there is nothing new to say."""


class Stopped(BaseException):
    """The user, or who runs the playbook, wants it to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Lets the first Ctrl-C or SIGTERM end what is being done here instead of the process; later ones do nothing.

    There are later ones: ansible-playbook sends SIGTERM to its workers as soon as it was interrupted, and this one
    still has to stop the job then. They are not ignored, since the programs that are started here would inherit that.
    """

    def __init__(self) -> None:
        self._came = False
        self._before: dict[int, Any] = {}

    def _stop(self, number: int, _frame: object) -> None:
        if not self._came:
            self._came = True
            raise Stopped(number)

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def is_silent() -> bool:
    """Whether the output is not for people, or the user does not want the lines."""
    name = str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2]
    return name in _SILENT_CALLBACKS or os.environ.get("MISTRALRS_STACK_PROGRESS", "") == "never"


class FollowedAction(ActionBase):  # type: ignore[misc]
    """The action of a module whose option C(job) starts, polls and cancels a job.

    A subclass says which module, what the job is called (C(noun)) and what becomes of it when it is stopped (C(kept)).
    """

    _supports_async = True
    _supports_check_mode = True

    module = ""
    noun = ""
    kept = ""
    # What asks for a job that was started.
    poll = "start"
    # What a result has in any case, one of them.
    outcome_keys: tuple[str, ...] = ()

    def lines(self, host: str, is_terminal: bool) -> Lines:
        """Decides which lines are shown."""
        raise NotImplementedError

    def is_plain(self, arguments: Mapping[str, Any]) -> bool:
        """Whether one call of the module is all."""
        return bool(self._task.check_mode or self._task.async_val or arguments.get("job", "wait") != "wait")

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until its job has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self.is_plain(arguments):
            return self._module(arguments, task_vars, wrap_async=bool(self._task.async_val))
        number = 0
        with Signals():
            try:
                return self._followed(arguments, task_vars)
            except Stopped as stopped:
                number = stopped.number
                self._cancel(arguments, task_vars)
            except Exception:
                raise
            except BaseException:
                # The task's 'timeout' is about the task; the job has its own for a server that sends nothing.
                display.warning(f"{self._host(task_vars)}: the {self.noun} goes on; the next run reports how it ended.")
                raise
        os.kill(os.getpid(), number)
        return {"failed": True, "msg": f"The {self.noun} was stopped."}

    def _cancel(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
        """Stop the job. What it has done stays on the host; the next run goes on with it."""
        # ansible-playbook waits for its workers, but may no longer read what they say.
        with suppress(Exception):
            display.warning(f"{self._host(task_vars)}: the {self.noun} is being stopped; {self.kept} is kept.")
        with suppress(Exception):
            self._module({**arguments, "job": "cancel"}, task_vars)

    def _host(self, task_vars: dict[str, Any] | None) -> str:
        return str((task_vars or {}).get("inventory_hostname", "the host"))

    def _module(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, wrap_async: bool = False
    ) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name=self.module, module_args=arguments, task_vars=task_vars, wrap_async=wrap_async
        )
        return result

    def _asked(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Ask the module; a lost connection is made again, since the job goes on without it."""
        for attempt in range(1, _RECONNECTS + 1):
            try:
                result = self._module(arguments, task_vars)
                if not result.get("unreachable") or attempt == _RECONNECTS:
                    return result
            except AnsibleConnectionFailure:
                if attempt == _RECONNECTS:
                    raise
            display.warning(f"{self._host(task_vars)}: the connection is lost, the {self.noun} goes on; trying again.")
            time.sleep(_RECONNECT_SECONDS)
        raise AnsibleConnectionFailure("unreachable")

    def _followed(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        lines = self.lines(self._host(task_vars), sys.stdout.isatty())
        silent = is_silent()
        # The first one is no reconnection: a host that can't be reached is told at once.
        result = self._module({**arguments, "job": "start"}, task_vars)
        asked = 0
        warnings: list[Any] = []
        while not result.get("failed") and result.get("job", {}).get("state") == "running":
            warnings += result.get("warnings") or []
            line = lines.line(result["job"].get("progress") or {}, time.monotonic())
            if line and not silent:
                display.display(line)
            time.sleep(_POLL_SECONDS[min(asked, len(_POLL_SECONDS) - 1)])
            asked += 1
            result = self._asked({**arguments, "job": self.poll}, task_vars)
        result.pop("job", None)
        if warnings:
            result["warnings"] = [*warnings, *(result.get("warnings") or [])]
        has_ended = not (result.get("failed") or result.get("unreachable"))
        if has_ended and not any(key in result for key in self.outcome_keys):
            message = f"The {self.noun} has ended, but the host does not say what came out. Run it again."
            result.update(failed=True, msg=message)
        return result
