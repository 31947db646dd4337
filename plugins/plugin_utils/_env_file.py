# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C(.env) file of the stack that this collection replaces.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Mapping

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import PATTERN

BAD_LINE = Fault(
    "env.bad_line",
    "{path}, line {line}: {text!r} is not a setting.",
    "Write NAME=value, or begin the line with # to make it a comment.",
)
UNKNOWN_KEY = Fault(
    "env.unknown_key",
    "{path}, line {line}: {key} is unknown (known are {known}).",
    "{way_out}",
    "Correct the name, or remove the line.",
)
BAD_VALUE = Fault(
    "env.bad_value",
    "{path}, line {line}: {key} is {value!r}, but must be {expected}.",
    "Correct the value, or remove the line to get the default.",
)
TWICE = Fault(
    "env.key_twice",
    "{path}, line {line}: {key} was set in line {first} already.",
    "Keep one of the lines.",
)
# Compose expands references, and from an environment that is not there when the file is read here.
NOT_EXPANDED = Fault(
    "env.not_expanded",
    "{path}, line {line}: {key} has {reference!r}, {why}.",
    "Write the value itself ($$ or single quotes stand for a plain $).",
)
# Compose starts at the folder of its own file, which no host of this collection has.
PATH_RELATIVE = Fault(
    "env.path_relative",
    "{path}, line {line}: {key} is {value!r}, a relative path.",
    "Write where on the hosts this is, such as {example}, or remove the line to get the default.",
)

VARIABLES: Mapping[str, str] = {
    "MISTRAL_MODELS_PATH": "mistral_models_path",
    "MISTRAL_MODEL_PATH": "mistral_server_model_path",
    "DEFAULT_MODEL": "mistral_server_default_model",
    "MISTRAL_MEMORY_LIMIT": "mistral_server_memory_limit",
    "MISTRAL_MEMORY_RESERVATION": "mistral_server_memory_reservation",
    "CUDA_VERSION": "mistral_image_cuda_version",
    "MISTRAL_RS_VERSION": "mistral_image_mistralrs_version",
    "RUST_LOG": "mistral_server_rust_log",
    "MISTRAL_PORT": "mistral_server_port",
    "MISTRAL_HOST": "mistral_server_host",
}
# Values that must have a shape: the shape, and what it is called.
_SHAPES: Mapping[str, tuple[str, str]] = {
    "CUDA_VERSION": (r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?\Z", "a version such as 12.2.0"),
    "MISTRAL_RS_VERSION": (PATTERN, "a version such as v0.6.0"),
    "MISTRAL_PORT": (r"[0-9]{1,5}\Z", "a port's number"),
}
_LINE = re.compile(r"(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)\Z")
_QUOTED = re.compile(r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*(?:#.*)?\Z""")


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What Compose may do with a variable: `:-` and `-` a default, `:+` and `+` a replacement, `:?` and `?` an error.
_OPERATOR = re.compile(r":?[-+?]")
_OF_THE_HOST = frozenset({"MISTRAL_MODELS_PATH", "MISTRAL_MODEL_PATH"})


class _NotExpanded(Exception):
    """A reference that can't be expanded, and why."""

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(reference)
        self.reference = reference
        self.why = why


def _value(text: str) -> tuple[str, bool] | None:
    """A value without its quotes and the comment behind it, and whether Compose expands it; nothing for odd quotes."""
    if text[:1] in ("'", '"'):
        match = _QUOTED.match(text)
        if not match:
            return None
        double = match.group("double")
        return (match.group("single"), False) if double is None else (double, True)
    return (re.split(r"\s+#", text, maxsplit=1)[0].strip() if not text.startswith("#") else ""), True


def _expand(text: str, values: Mapping[str, str]) -> str:
    """The text with references to C(values) replaced as Compose does."""
    done = ""
    rest = text
    while "$" in rest:
        plain, _dollar, rest = rest.partition("$")
        done += plain
        name = _NAME.match(rest)
        if rest.startswith("$"):
            done, rest = f"{done}$", rest[1:]
        elif rest.startswith("{"):
            inner, rest = _braces(rest)
            done += _reference(inner, values)
        elif name:
            done += _reference(name.group(), values)
            rest = rest[name.end() :]
        else:
            raise _NotExpanded(f"${rest[:20]}", "which Compose can't expand either")
    return done + rest


def _braces(text: str) -> tuple[str, str]:
    """What stands between the first brace and the one that closes it, and what follows."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[1:position], text[position + 1 :]
    raise _NotExpanded(f"${text[:20]}", "whose brace is not closed")


def _reference(inner: str, values: Mapping[str, str]) -> str:
    name = _NAME.match(inner)
    operator = _OPERATOR.match(inner, name.end()) if name else None
    if name is None or (operator is None and name.end() != len(inner)):
        raise _NotExpanded(f"${{{inner}}}", "which Compose can't expand either")
    value = values.get(name.group())
    if value is None:
        raise _NotExpanded(
            f"${{{inner}}}", f"and {name.group()} is not set above it: Compose takes it from the environment"
        )
    # Every value above is set and not empty, so a default or an error does not come to pass.
    return _expand(inner[operator.end() :], values) if operator and operator.group()[-1] == "+" else value


def parse(text: str, path: str, base: str = "", others: dict[str, str] | None = None) -> dict[str, str | int]:
    """The collection's variables that the file sets.

    With C(base), relative paths start there. With C(others), what is unknown is put into it instead of being refused.
    """
    variables: dict[str, str | int] = {}
    seen: dict[str, int] = {}
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        written = _value(match.group("value")) if match else None
        if match is None or written is None:
            # What follows may be a secret.
            raise StackError(BAD_LINE, path=path, line=number, text=re.split(r"[=\s]", line, maxsplit=1)[0][:60])
        key = match.group("key")
        if key not in VARIABLES and others is not None:
            others[key] = written[0]
            values[key] = written[0]
            continue
        if key not in VARIABLES:
            close = difflib.get_close_matches(key, VARIABLES, n=1)
            way_out = f"Did you mean {close[0]}?" if close else "Remove the line."
            raise StackError(UNKNOWN_KEY, path=path, line=number, key=key, known=", ".join(VARIABLES), way_out=way_out)
        if key in seen:
            raise StackError(TWICE, path=path, line=number, key=key, first=seen[key])
        seen[key] = number
        value, expands = written
        try:
            value = _expand(value, values) if expands else value
            if key in _OF_THE_HOST and re.search(r"\$|^~", value):
                raise _NotExpanded(value, "which is not a plain path")
        except _NotExpanded as problem:
            raise StackError(
                NOT_EXPANDED, path=path, line=number, key=key, reference=problem.reference, why=problem.why
            ) from problem
        if base and key in _OF_THE_HOST and value:
            value = posixpath.normpath(posixpath.join(base, value))
        values[key] = value
        if not value:
            raise StackError(BAD_VALUE, path=path, line=number, key=key, value=value, expected="something")
        if key in _OF_THE_HOST and not value.startswith("/"):
            example = posixpath.normpath(f"/opt/mistral/{value}")
            raise StackError(PATH_RELATIVE, path=path, line=number, key=key, value=value, example=example)
        shape, expected = _SHAPES.get(key, ("", ""))
        if not re.match(shape, value):
            raise StackError(BAD_VALUE, path=path, line=number, key=key, value=value, expected=expected)
        if key == "MISTRAL_PORT":
            variables[VARIABLES[key]] = int(value)
        elif key == "MISTRAL_RS_VERSION":
            # The roles name versions as the engine itself does; only its git tags have the v.
            variables[VARIABLES[key]] = value.removeprefix("v")
        else:
            variables[VARIABLES[key]] = value
    return variables
