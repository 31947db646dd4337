# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each module of this collection runs and fails.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError


def run_module(
    module: AnsibleModule,
    run: Callable[[AnsibleModule], Mapping[str, Any]],
    os_error: Callable[[str, str], StackError] | None = None,
) -> None:
    """Exit with the result of C(run), or fail with the C(error_id) of its StackError.

    C(os_error) makes a StackError from the path (C('') if none is known) and the reason of an OSError; without it an
    OSError is a bug.
    """
    try:
        result = run(module)
    except StackError as error:
        module.fail_json(msg=str(error), error_id=error.id, **error.details)
    except OSError as error:
        if os_error is None:
            raise
        fault = os_error(str(error.filename or ""), error.strerror or str(error))
        module.fail_json(msg=str(fault), error_id=fault.id)
    module.exit_json(**result)


def program_runner(module: AnsibleModule) -> Callable[[Sequence[str]], tuple[int, str, str]]:
    """A function that runs a program with its arguments and returns its exit status, stdout and stderr.

    They are (127, "", "") where there is no such program.
    """

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        path = module.get_bin_path(command[0])
        if path is None:
            return 127, "", ""
        # An argument such as dpkg's ${Package} is not a variable of the environment.
        status, out, err = module.run_command([path, *command[1:]], expand_user_and_vars=False)
        return status, out, err

    return run
