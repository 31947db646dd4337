# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of the role mistral_image's variables, checked: what gets into a Dockerfile or a shell line.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

VALUE_INVALID = Fault(
    "image.value_invalid",
    "{variable} is {value!r}, but must be {expected}.",
    "Correct it in the inventory.",
)

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# What gets into a Dockerfile or a shell line has no characters that mean something there.
_WORD = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+./-]*\Z")
# Inside a build there are neither keys for ssh nor the builder's files.
_URL = re.compile(r"(https?|git)://[^\s'\"\\$`]+\Z")


def text_of(settings: Mapping[str, Any], key: str) -> str:
    """A variable as text, without blanks around it; empty if it isn't set."""
    return str(settings.get(key) or "").strip()


def checked(settings: Mapping[str, Any], key: str, pattern: re.Pattern[str], expected: str, required: bool) -> str:
    """A text that matches the pattern. Raises StackError C(image.value_invalid)."""
    value = text_of(settings, key)
    if (value or required) and not pattern.match(value):
        raise StackError(VALUE_INVALID, variable=f"mistral_image_{key}", value=value, expected=expected)
    return value


def list_of(settings: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list; one text, as C(-e) gives it, is separated by commas, as Ansible does it."""
    values = settings.get(key) or []
    if isinstance(values, (str, int, float)):
        values = str(values).split(",")
    return [str(value).strip() for value in values]


def words_of(settings: Mapping[str, Any], key: str) -> list[str]:
    """A list of plain names. Raises StackError C(image.value_invalid)."""
    values = list_of(settings, key)
    for value in values:
        if not _WORD.match(value):
            raise StackError(
                VALUE_INVALID, variable=f"mistral_image_{key}", value=value, expected="a list of plain names"
            )
    return values


def checked_url(settings: Mapping[str, Any], key: str, required: bool = False) -> str:
    """An address that a build can reach. Raises StackError C(image.value_invalid)."""
    return checked(settings, key, _URL, "an address that begins with https:// (or http://, git://)", required)
