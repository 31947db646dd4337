# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module image_build and shows the progress of the build."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.plugin_utils._job_action import JobAction
from ansible_collections.mistralrs.stack.plugins.plugin_utils._progress_lines import BuildProgress, ProgressLines


class ActionModule(JobAction):
    """The action of the module image_build."""

    module = "mistralrs.stack.image_build"
    noun = "build"
    kept = "what was compiled"
    poll_mode = "poll"
    result_keys = ("image",)

    def progress_lines(self, host: str, is_terminal: bool) -> ProgressLines:
        """Lines with phase, crates and time."""
        return BuildProgress(host, is_terminal, str(self._task.args.get("notice") or ""))
