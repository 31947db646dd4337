# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Ansible's own module for packages, waits as long as every role does, and says who was in the way."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.mistralrs.stack.plugins.module_utils._host import package_lock


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action of the module packages."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Install, and name whoever has the lock."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = {"lock_timeout": package_lock.TIMEOUT, **self._task.args}
        use = arguments.pop("use", "apt")
        if use not in ("apt", "dnf"):
            return {**result, "failed": True, "msg": f"packages: 'use' is {use!r}, but must be apt or dnf."}
        name = f"ansible.builtin.{use}"
        result.update(self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars))
        if result.get("failed"):
            said = "\n".join(str(result.get(key, "")) for key in ("stdout", "stderr", "msg"))
            host = task_vars.get("inventory_hostname", "the host")
            error = package_lock.busy(said, f"The packages of {host} cannot be changed", int(arguments["lock_timeout"]))
            if error is not None:
                result.update(msg=str(error), error_id=error.id)
        return result
