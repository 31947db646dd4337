"""What differences of Nginx's files show."""

from __future__ import annotations

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._files.staged_tree import Change, Wanted
from ansible_collections.mistralrs.stack.plugins.module_utils._nginx.configuration import difference


def shown(before: bytes | None, mode: int | None, content: bytes | None, new_mode: int, secret: bool = False) -> str:
    change = difference("/etc/nginx", Change(Wanted("a.conf", content, new_mode, secret), before, mode))
    assert change["before_header"] == change["after_header"] == "/etc/nginx/a.conf"
    return f"{change['before']}->{change['after']}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((None, None, b"new\n", 0o644), "->new\n"),
        ((b"old\n", 0o644, b"new\n", 0o644), "old\n->new\n"),
        ((b"old\n", 0o644, None, 0o644), "old\n->"),
        ((None, None, b"x", 0o600, True), "->(secret)\n"),
        ((b"x", 0o600, b"y", 0o600, True), "(secret)\n(before)\n->(secret)\n(after)\n"),
        ((b"x", 0o600, None, 0o644), "(secret)\n->"),
        ((b"x", 0o644, b"y", 0o600), "(secret)\n(before)\n->(secret)\n(after)\n"),
        ((b"x\n", 0o664, b"x\n", 0o644), "x\n(before)\n->x\n(after)\n"),
    ],
)
def test_differences_hide_what_is_secret(
    arguments: tuple[bytes | None, int | None, bytes | None, int], text: str
) -> None:
    assert shown(*arguments) == text
