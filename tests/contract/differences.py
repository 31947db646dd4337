"""The differences between each imitation and the recorded server that are wanted, each with its reason.

An entry that no longer shows fails the contract test, as does a difference that is not listed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def matches(pattern: str, text: str) -> bool:
    """`*` stands for any text; nothing else is special (places have brackets in their names)."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text, re.DOTALL) is not None


@dataclass(frozen=True)
class Wanted:
    """A wanted difference: the requests that show it (patterns), and the lines of compare.py that it covers (patterns)."""

    requests: tuple[str, ...]
    what: tuple[str, ...]
    reason: str
    #: It may show or not: it depends on a model's words.
    sometimes: bool = False

    def concerns(self, request: str) -> bool:
        return any(matches(pattern, request) for pattern in self.requests)

    def covers(self, line: str) -> bool:
        return any(matches(pattern, line) for pattern in self.what)


WANTED: dict[str, tuple[Wanted, ...]] = {
    "real": (),
    "evaluation": (),
    "fake": (),
}
