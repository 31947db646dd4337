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
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing that can be wrong.

    C(id) is C(<part>.<what_is_wrong>) and never changes once released. C(sentence) says what is wrong
    and where, C(remedy) what to do; both are C(str.format) templates over the values given to StackError.
    """

    id: str
    sentence: str
    remedy: str


class StackError(Exception):
    """A fault that happened; its text is one line: sentence, remedy, id."""

    def __init__(self, fault: Fault, **values: object) -> None:
        self.fault = fault
        self.id = fault.id
        self.sentence = fault.sentence.format(**values)
        self.remedy = fault.remedy.format(**values)
        super().__init__(f"{self.sentence} {self.remedy} [{self.id}]")


class StackErrors(StackError):
    """Several at once, a line each; C(id) is the first one's."""

    def __init__(self, errors: Sequence[StackError]) -> None:
        first = errors[0]
        whole = Fault(first.id, "{sentence}", "{remedy}")
        super().__init__(whole, sentence=first.sentence, remedy=first.remedy)
        self.errors = list(errors)
        self.fault = first.fault
        self.args = ("\n".join(str(error) for error in errors),)
