# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module model and shows how far its download is.

The download is a job on the host. This plugin asks for it every few seconds, so that no task waits on a connection for
an hour, and prints a line now and then. When the user stops the playbook, the job is stopped too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.mistralrs.stack.plugins.module_utils._model_progress import Progress

display = Display()

_POLL_SECONDS = (1, 1, 2, 3, 5)
_RECONNECTS = 6
_RECONNECT_SECONDS = 10
# Callbacks that promise one line a task, or something that a machine reads.
_SILENT_CALLBACKS = ("oneline", "minimal", "json", "jsonl", "null", "selective")


class _Stopped(BaseException):
    """The user, or who runs the playbook, wants it to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
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
            raise _Stopped(number)

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _is_silent() -> bool:
    """Whether the output is not for people, or the user does not want the lines."""
    name = str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2]
    return name in _SILENT_CALLBACKS or os.environ.get("MISTRALRS_STACK_PROGRESS", "") == "never"


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action of the module model."""

    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until its job has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        plain = self._task.check_mode or self._task.async_val or arguments.get("job", "wait") != "wait"
        if plain or arguments.get("state", "present") != "present":
            return self._module(arguments, task_vars, wrap_async=bool(self._task.async_val))
        number = 0
        with _Signals():
            try:
                return self._followed(arguments, task_vars)
            except _Stopped as stopped:
                number = stopped.number
                self._cancel(arguments, task_vars)
            except Exception:
                raise
            except BaseException:
                # The task's 'timeout' is about the task; the job has its own for a server that sends nothing.
                display.warning(f"{self._host(task_vars)}: the download goes on; the next run reports how it ended.")
                raise
        os.kill(os.getpid(), number)
        return {"failed": True, "msg": "The download was stopped."}

    def _cancel(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
        """Stop the job. What has arrived stays on the host; the next run goes on with it."""
        # ansible-playbook waits for its workers, but may no longer read what they say.
        with suppress(Exception):
            display.warning(f"{self._host(task_vars)}: the download is being stopped; what has arrived is kept.")
        with suppress(Exception):
            self._module({**arguments, "job": "cancel"}, task_vars)

    def _host(self, task_vars: dict[str, Any] | None) -> str:
        return str((task_vars or {}).get("inventory_hostname", "the host"))

    def _module(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, wrap_async: bool = False
    ) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="mistralrs.stack.model", module_args=arguments, task_vars=task_vars, wrap_async=wrap_async
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
            display.warning(f"{self._host(task_vars)}: the connection is lost, the download goes on; trying again.")
            time.sleep(_RECONNECT_SECONDS)
        raise AnsibleConnectionFailure("unreachable")

    def _followed(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        progress = Progress(self._host(task_vars), is_terminal=sys.stdout.isatty())
        is_silent = _is_silent()
        # The first one is no reconnection: a host that can't be reached is told at once.
        result = self._module({**arguments, "job": "start"}, task_vars)
        asked = 0
        while not result.get("failed") and result.get("job", {}).get("state") == "running":
            line = progress.line(result["job"].get("progress") or {}, time.monotonic())
            if line and not is_silent:
                display.display(line)
            time.sleep(_POLL_SECONDS[min(asked, len(_POLL_SECONDS) - 1)])
            asked += 1
            result = self._asked({**arguments, "job": "start"}, task_vars)
        result.pop("job", None)
        return result
