# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors with an id, a sentence and a remedy.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Each part declares its faults as module-level constants and raises L{StackError} with one of them;
C(docs/errors.md) is generated from these constants and from the messages in the roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

# Where each error has an entry, at the anchor of its id: the page below galaxy.yml's address of the documentation.
PAGE = "https://github.com/mistralrs-stack/mistralrs.stack/tree/main/docs/errors.md"


class Fault(NamedTuple):
    """One thing that can be wrong.

    C(id) is C(<part>.<what_is_wrong>) and never changes once released. C(sentence) says what is wrong
    and where, C(remedy) what to do; both are C(str.format) templates over the values given to StackError. A remedy that
    depends on the host is one of these values as a whole; C(remedies) then says for the page of errors what it may be.
    """

    id: str
    sentence: str
    remedy: str
    remedies: str = ""


# What is longer is cut: values may come from files and servers, and end in results and logs.
_MAX_VALUE = 2_000


def plain(value: object, limit: int = _MAX_VALUE) -> object:
    """A text of any origin as it can be shown: one line, without control characters, not longer than the limit."""
    if isinstance(value, BaseException):
        value = str(value)
    if not isinstance(value, str):
        return value
    shown = "".join(each if each.isprintable() else " " for each in value[:limit])
    return shown if len(value) <= limit else f"{shown}..."


class StackError(Exception):
    """A fault that happened; its text is one line: sentence, remedy, where it is explained, id.

    C(errors) has only itself.

    C(details) are further keys of the result of a module that fails with it.
    """

    def __init__(self, fault: Fault, **values: object) -> None:
        shown = {key: plain(value) for key, value in values.items()}
        self.fault = fault
        self.id = fault.id
        self.sentence = fault.sentence.format(**shown)
        self.remedy = fault.remedy.format(**shown)
        self.errors: list[StackError] = [self]
        self.details: dict[str, Any] = {}
        super().__init__(f"{self.sentence} {self.remedy} See {PAGE}#{self.id} [{self.id}]")


class StackErrors(StackError):
    """Several at once, C(errors), a line each; C(id) is the first one's."""

    def __init__(self, errors: Sequence[StackError]) -> None:
        first = errors[0]
        whole = Fault(first.id, "{sentence}", "{remedy}")
        super().__init__(whole, sentence=first.sentence, remedy=first.remedy)
        self.sentence, self.remedy = first.sentence, first.remedy
        self.errors = list(errors)
        self.fault = first.fault
        self.args = ("\n".join(str(error) for error in errors),)
