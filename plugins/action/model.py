# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module model and shows the progress of its download or verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.plugin_utils._job_action import JobAction
from ansible_collections.mistralrs.stack.plugins.plugin_utils._progress_lines import DownloadProgress, ProgressLines


class ActionModule(JobAction):
    """The action of the module model."""

    module = "mistralrs.stack.model"
    noun = "download"
    kept = "what has arrived"
    result_keys = ("model", "models")

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module until its job has ended."""
        if self._task.args.get("state") == "verified":
            self.noun, self.kept = "verification", "what it has found"
        return super().run(tmp, task_vars)

    def progress_lines(self, host: str, is_terminal: bool) -> ProgressLines:
        """Lines with the bytes that have arrived, or were read."""
        return DownloadProgress(host, is_terminal)

    def is_single_call(self, arguments: Mapping[str, Any]) -> bool:
        """Removing is quick."""
        return super().is_single_call(arguments) or arguments.get("state") == "absent"
