# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator gives the engine beyond the settings: variables of its environment, keys of its configuration file.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Nobody knows here whether the engine knows them. What the collection itself sets can't be changed this way.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

TAKEN = Fault(
    "config.extra_taken",
    "'{variable}' has {name}, which the collection sets itself.",
    "Remove it there; docs/engine-settings.md names the setting that changes it.",
)
INVALID = Fault(
    "config.extra_invalid",
    "'{variable}' has {name}, which is {found}, but must be {expected}.",
    "Correct it, or remove it.",
)
NO_MAPPING = Fault(
    "config.extra_not_a_mapping",
    "'{variable}' is {found}, not a mapping of names to values.",
    "Write a name and its value on each line, or leave it empty.",
)
NO_FILE = Fault(
    "config.extra_toml_without_file",
    "'mistral_server_extra_toml' is given, but mistral.rs {version} reads no configuration file.",
    "Use version 0.7.0 or newer, or leave it empty.",
)

ENVIRONMENT, TOML = "mistral_server_extra_environment", "mistral_server_extra_toml"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Set in the definition of the container, or by another variable of the role.
_RESERVED = ("HOME", "RUST_LOG", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")


def with_environment(environment: Mapping[str, str], extra: Any, errors: list[StackError]) -> dict[str, str]:
    """The environment with the operator's variables; what is wrong with them is added to C(errors)."""
    result = dict(environment)
    if not isinstance(extra, Mapping):
        errors.append(StackError(NO_MAPPING, variable=ENVIRONMENT, found=_kind(extra)))
        return result
    for name, value in extra.items():
        name = str(name)
        if not _NAME.match(name):
            expected = "a name of letters, digits and underscores"
            errors.append(StackError(INVALID, variable=ENVIRONMENT, name=repr(name), found="a name", expected=expected))
        elif name in environment or name in _RESERVED:
            errors.append(StackError(TAKEN, variable=ENVIRONMENT, name=name))
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)) or "\n" in str(value):
            expected = "a text of one line, in quotes if it is true or false, or a number"
            errors.append(StackError(INVALID, variable=ENVIRONMENT, name=name, found=_kind(value), expected=expected))
        else:
            result[name] = str(value)
    return result


def with_toml(configuration: Mapping[str, Any], extra: Any, errors: list[StackError]) -> dict[str, Any]:
    """The configuration with the operator's keys; those below C(models) are for each of the models."""
    result = copy.deepcopy(dict(configuration))
    if not isinstance(extra, Mapping):
        errors.append(StackError(NO_MAPPING, variable=TOML, found=_kind(extra)))
        return result
    for name, value in extra.items():
        if str(name) == "models":
            if not isinstance(value, Mapping):
                errors.append(
                    StackError(INVALID, variable=TOML, name="models", found=_kind(value), expected="a mapping")
                )
                continue
            found: list[StackError] = []
            for model in result["models"]:
                found = []
                _merge(model, value, "models", found)
            errors += found
        else:
            _merge(result, {name: value}, "", errors)
    return result


def _merge(into: dict[str, Any], extra: Mapping[Any, Any], path: str, errors: list[StackError]) -> None:
    for name, value in extra.items():
        name = str(name)
        where = f"{path}.{name}" if path else name
        present = into.get(name)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value, where, errors)
        elif name in into:
            errors.append(StackError(TAKEN, variable=TOML, name=where))
        elif isinstance(value, Mapping):
            into[name] = {}
            _merge(into[name], value, where, errors)
        elif _is_value(value):
            into[name] = value
        else:
            expected = "a text, a number, true, false, a mapping, or a list of the former"
            errors.append(StackError(INVALID, variable=TOML, name=where, found=_kind(value), expected=expected))


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, (str, int, float)) for item in value)
    return isinstance(value, (str, int, float))


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, Mapping) else "a text"
