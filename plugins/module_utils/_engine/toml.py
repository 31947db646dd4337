# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes TOML.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Python's standard library reads TOML and doesn't write it. This writes what configurations are made of:
strings, booleans, integers, floats, lists of those, tables, and lists of tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def _string(text: str) -> str:
    def escape(character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if ord(character) < 0x20 or ord(character) == 0x7F:
            return f"\\u{ord(character):04x}"
        return character

    return '"' + "".join(escape(character) for character in text) + '"'


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else _string(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"TOML has no value for {type(value).__name__}")


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _table(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    # Plain values come first: what follows a header belongs to that header's table.
    for name, value in table.items():
        if not isinstance(value, Mapping) and not _is_table_list(value):
            lines.append(f"{_key(name)} = {_value(value)}")
    for name, value in table.items():
        inner = f"{path}.{_key(name)}" if path else _key(name)
        if isinstance(value, Mapping):
            lines.extend(["", f"[{inner}]"])
            _table(value, inner, lines)
        elif _is_table_list(value):
            for item in value:
                lines.extend(["", f"[[{inner}]]"])
                _table(item, inner, lines)


def dumps(document: Mapping[str, Any]) -> str:
    """The document as TOML text, in the order of its keys (values before tables)."""
    lines: list[str] = []
    _table(document, "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"
