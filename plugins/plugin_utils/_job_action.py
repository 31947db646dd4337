# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that run a module as a job of the host, and show its progress.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

The action starts the job and polls it every few seconds, so that no task waits on a connection for an hour, and prints
a line now and then. When the user stops the playbook, the job is stopped too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mistralrs.stack.plugins.plugin_utils._progress_lines import ProgressLines

display = Display()

_POLL_SECONDS = (1, 1, 2, 3, 5)
_RECONNECTS = 6
_RECONNECT_SECONDS = 10
# Callbacks that promise one line a task, or something that a machine reads.
_SILENT_CALLBACKS = ("oneline", "minimal", "json", "jsonl", "null", "selective")


class Interrupted(BaseException):
    """SIGINT or SIGTERM came: the user, or a program that runs the playbook, stops it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class InterruptOnce:
    """Raises L{Interrupted} at the first SIGINT or SIGTERM, instead of ending the process; later ones do nothing.

    There are later ones: ansible-playbook sends SIGTERM to its workers as soon as it was interrupted, and this one
    still has to stop the job then. They are not ignored, since the programs that are started here would inherit that.
    """

    def __init__(self) -> None:
        self._interrupted = False
        self._previous: dict[int, Any] = {}

    def _interrupt(self, number: int, _frame: object) -> None:
        if not self._interrupted:
            self._interrupted = True
            raise Interrupted(number)

    def __enter__(self) -> None:
        self._previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def is_silent() -> bool:
    """Whether the output is not for people, or the user does not want the lines."""
    name = str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2]
    return name in _SILENT_CALLBACKS or os.environ.get("MISTRALRS_STACK_PROGRESS", "") == "never"


class JobAction(ActionBase):  # type: ignore[misc]
    """The action of a module whose option C(job) starts, polls and cancels a job.

    A subclass names the C(module), the job (C(noun)) and what stays on the host when the job is stopped (C(kept)).
    """

    _supports_async = True
    _supports_check_mode = True

    module = ""
    noun = ""
    kept = ""
    # The value of the option C(job) that polls a job which was started.
    poll_mode = "start"
    # Every result has at least one of these keys.
    result_keys: tuple[str, ...] = ()

    def progress_lines(self, host: str, is_terminal: bool) -> ProgressLines:
        """The lines that show the progress."""
        raise NotImplementedError

    def is_single_call(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the module is called once, without polling."""
        return bool(self._task.check_mode or self._task.async_val or arguments.get("job", "wait") != "wait")

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until its job has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self.is_single_call(arguments):
            return self._call_module(arguments, task_vars, wrap_async=bool(self._task.async_val))
        number = 0
        with InterruptOnce():
            try:
                return self._run_job(arguments, task_vars)
            except Interrupted as interrupt:
                number = interrupt.number
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
        """Stop the job. What it has done stays on the host; the next run continues from there."""
        # ansible-playbook waits for its workers, but may no longer read their output.
        with suppress(Exception):
            display.warning(f"{self._host(task_vars)}: the {self.noun} is being stopped; {self.kept} is kept.")
        with suppress(Exception):
            self._call_module({**arguments, "job": "cancel"}, task_vars)

    def _host(self, task_vars: dict[str, Any] | None) -> str:
        return str((task_vars or {}).get("inventory_hostname", "the host"))

    def _call_module(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, wrap_async: bool = False
    ) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name=self.module, module_args=arguments, task_vars=task_vars, wrap_async=wrap_async
        )
        return result

    def _poll(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Call the module; a lost connection is made again, since the job goes on without it."""
        for attempt in range(1, _RECONNECTS + 1):
            try:
                result = self._call_module(arguments, task_vars)
                if not result.get("unreachable") or attempt == _RECONNECTS:
                    return result
            except AnsibleConnectionFailure:
                if attempt == _RECONNECTS:
                    raise
            display.warning(f"{self._host(task_vars)}: the connection is lost, the {self.noun} goes on; trying again.")
            time.sleep(_RECONNECT_SECONDS)
        raise AnsibleConnectionFailure("unreachable")

    def _run_job(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        lines = self.progress_lines(self._host(task_vars), sys.stdout.isatty())
        silent = is_silent()
        # Without reconnecting: an unreachable host is reported at once.
        result = self._call_module({**arguments, "job": "start"}, task_vars)
        polls = 0
        warnings: list[Any] = []
        while not result.get("failed") and result.get("job", {}).get("state") == "running":
            warnings += result.get("warnings") or []
            line = lines.line(result["job"].get("progress") or {}, time.monotonic())
            if line and not silent:
                display.display(line)
            time.sleep(_POLL_SECONDS[min(polls, len(_POLL_SECONDS) - 1)])
            polls += 1
            result = self._poll({**arguments, "job": self.poll_mode}, task_vars)
        result.pop("job", None)
        if warnings:
            result["warnings"] = [*warnings, *(result.get("warnings") or [])]
        has_ended = not (result.get("failed") or result.get("unreachable"))
        if has_ended and not any(key in result for key in self.result_keys):
            message = f"The {self.noun} has ended, but its result is not known. Run it again."
            result.update(failed=True, msg=message)
        return result
