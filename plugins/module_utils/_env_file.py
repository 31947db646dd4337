# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C(.env) file of the stack that this collection replaces.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ansible_collections.mistralrs.stack.plugins.module_utils._engine_number import PATTERN
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

BAD_LINE = Fault(
    "env.bad_line",
    "{path}, line {line}: {text!r} is no setting.",
    "Write NAME=value, or begin the line with # to make it a comment.",
)
UNKNOWN_KEY = Fault(
    "env.unknown_key",
    "{path}, line {line}: {key} is unknown (known are {known}).",
    "{way_out}",
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


def _value(text: str) -> str | None:
    """A value without its quotes and the comment behind it; nothing if its quotes don't match."""
    if text[:1] in ("'", '"'):
        match = _QUOTED.match(text)
        if not match:
            return None
        return match.group("double") if match.group("double") is not None else match.group("single")
    return re.split(r"\s+#", text, maxsplit=1)[0].strip() if not text.startswith("#") else ""


def parse(text: str, path: str) -> dict[str, str | int]:
    """The collection's variables that the file sets."""
    variables: dict[str, str | int] = {}
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        value = _value(match.group("value")) if match else None
        if match is None or value is None:
            # What follows may be a secret.
            raise StackError(BAD_LINE, path=path, line=number, text=re.split(r"[=\s]", line, maxsplit=1)[0][:60])
        key = match.group("key")
        if key not in VARIABLES:
            close = difflib.get_close_matches(key, VARIABLES, n=1)
            way_out = f"Did you mean {close[0]}?" if close else "Remove the line."
            raise StackError(UNKNOWN_KEY, path=path, line=number, key=key, known=", ".join(VARIABLES), way_out=way_out)
        if key in seen:
            raise StackError(TWICE, path=path, line=number, key=key, first=seen[key])
        seen[key] = number
        if not value:
            raise StackError(BAD_VALUE, path=path, line=number, key=key, value=value, expected="something")
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
