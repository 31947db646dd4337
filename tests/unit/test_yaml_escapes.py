"""Escapes in expressions: Ansible doubles backslashes there, so only a double-quoted scalar can hold a newline.

Elsewhere an escaped n stays a backslash and an n. At the end of a bundle of authorities it made every HTTPS request of
a build fail (curl: error 77).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    path for place in ("roles", "playbooks", "molecule", "tests/demo") for path in sorted((ROOT / place).rglob("*.yml"))
]
EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", flags=re.DOTALL)
ESCAPE = re.compile(r"""(?<![\\])\\[nt](?=['"])""")


def scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars(item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from scalars(key)
            yield from scalars(value)


def literal_escapes(text: str) -> list[int]:
    """The lines of scalars whose expressions hold an escape that stays a backslash and a letter."""
    return [
        node.start_mark.line + 1
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader)
        for node in scalars(document)
        if node.style != '"' and any(ESCAPE.search(found) for found in EXPRESSION.findall(node.value))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_expression_holds_an_escape_that_stays_literal(path: Path) -> None:
    assert literal_escapes(path.read_text(encoding="utf-8")) == []


def test_the_check_finds_them() -> None:
    assert literal_escapes(
        "a: >-\n  {{ text ~ '\\n' }}\nb: \"{{ text ~ '\\n' }}\"\nc: '{{ x | join(\"\\t\") }}'\n"
    ) == [1, 4]
