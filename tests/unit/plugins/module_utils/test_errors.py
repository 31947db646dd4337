"""A fault and its values in, the line that the user sees out."""

from __future__ import annotations

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import PAGE, Fault, StackError


def test_the_line_says_what_is_wrong_what_to_do_where_it_is_explained_and_its_id() -> None:
    error = StackError(Fault("a.b", "x {n}.", "do {n}."), n=1)
    assert str(error) == f"x 1. do 1. See {PAGE}#a.b [a.b]"
