# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module image_build and shows how far the build is."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.plugin_utils._build_progress import BuildProgress
from ansible_collections.mistralrs.stack.plugins.plugin_utils._job_action import FollowedAction, Lines


class ActionModule(FollowedAction):
    """The action of the module image_build."""

    module = "mistralrs.stack.image_build"
    noun = "build"
    kept = "what was compiled"
    poll = "poll"
    outcome_keys = ("image",)

    def lines(self, host: str, is_terminal: bool) -> Lines:
        """Lines that tell phase, crates and time."""
        return BuildProgress(host, is_terminal, str(self._task.args.get("notice") or ""))
