"""Merging settings into Docker's daemon.json."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._docker.daemon_json import merge, parse, plan, remove
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError

PATH = "/etc/docker/daemon.json"

INVALID = [
    ('{"a": 1,}', "line 1, column"),
    ('{\n  "a": 1\n  "b": 2\n}', "line 3, column 3"),
    ("{", "line 1, column 2"),
    ("[1]", "another value begins at line 1, column 1"),
    ("\n  3", "another value begins at line 2, column 3"),
    ('{"a": 1, "a": 2}', "the key 'a' appears a second time at line 1, column 10"),
    (
        '{"o": {"x": {"a": 1},\n "a": [{"a": 1}],\n "x": 2}}',
        "the key 'x' appears a second time at line 3, column 2",
    ),
    ('{"a": NaN}', "NaN is not a JSON value"),
    ("[" * 200_000, "not valid JSON"),
]


@pytest.mark.parametrize(("text", "words"), INVALID, ids=[words for _text, words in INVALID])
def test_invalid_file_is_one_sentence_with_the_place(text: str, words: str) -> None:
    with pytest.raises(StackError) as caught:
        parse(text, PATH)
    assert caught.value.id == "docker.daemon_json_invalid"
    assert words in str(caught.value)
    assert PATH in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n\t", "{}", '{"a": {"a": "{\\"a\\": \\"a\\":"}, "b": ["a", {"a": 1}]}'])
def test_valid_file(text: str) -> None:
    assert parse(text, PATH) == (json.loads(text) if text.strip() else {})


MERGES: list[tuple[dict[str, Any], dict[str, Any], bool, dict[str, Any]]] = [
    ({}, {"a": 1}, False, {"a": 1}),
    ({"z": 1, "a": 2}, {"b": 3, "z": 4}, False, {"z": 4, "a": 2, "b": 3}),
    ({"o": {"x": 1, "y": 2}}, {"o": {"y": 3}}, False, {"o": {"x": 1, "y": 3}}),
    ({"o": 1}, {"o": {"y": 3}}, False, {"o": {"y": 3}}),
    ({"l": [1, 2]}, {"l": [3]}, False, {"l": [3]}),
    ({"l": [1, 2]}, {"l": [3, 2]}, True, {"l": [1, 2, 3]}),
    ({"l": [1]}, {"l": [True]}, True, {"l": [1, True]}),
    ({"o": {"l": ["a"]}}, {"o": {"l": ["b"]}}, True, {"o": {"l": ["a", "b"]}}),
]


@pytest.mark.parametrize(("current", "settings", "append", "expected"), MERGES)
def test_merge(current: dict[str, Any], settings: dict[str, Any], append: bool, expected: dict[str, Any]) -> None:
    before = json.dumps(current)
    merged = merge(current, settings, append)
    assert json.dumps(merged) == json.dumps(expected), "values and the order of keys"
    assert json.dumps(current) == before, "the argument is not changed"


REMOVALS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"a": 1, "b": 2}, "a", {"b": 2}),
    ({"a": 1}, "b", {"a": 1}),
    ({"o": {"x": 1, "y": 2}}, "o.x", {"o": {"y": 2}}),
    ({"o": 1}, "o.x", {"o": 1}),
    ({"runtimes": {"io.x": 1, "io": {"x": 2}}}, r"runtimes.io\.x", {"runtimes": {"io": {"x": 2}}}),
]


@pytest.mark.parametrize(("current", "dotted", "expected"), REMOVALS)
def test_remove(current: dict[str, Any], dotted: str, expected: dict[str, Any]) -> None:
    assert remove(current, dotted) == expected


def test_nothing_to_do_keeps_the_text_to_the_letter() -> None:
    text = '{ "b":true,\n\n   "a" : {"x":1} }'
    wanted = plan(text, PATH, {"a": {"x": 1}, "b": True}, absent=["c"])
    assert not wanted.changed
    assert not wanted.restart_required
    assert wanted.after == text


@pytest.mark.parametrize(
    ("settings", "absent", "keys", "restart"),
    [
        ({"live-restore": True}, [], ["live-restore"], False),
        ({"live-restore": True, "data-root": "/srv"}, [], ["data-root", "live-restore"], True),
        ({"debug": 1}, [], ["debug"], False),
        ({}, ["data-root"], ["data-root"], True),
        ({"data-root": "/x"}, ["data-root"], [], False),
    ],
)
def test_what_changes(settings: dict[str, Any], absent: list[str], keys: list[str], restart: bool) -> None:
    wanted = plan('{"debug": true, "data-root": "/x"}', PATH, settings, absent)
    assert sorted(wanted.changed_keys) == sorted(keys)
    assert wanted.restart_required is restart


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '{\n  "n": "ü"\n}\n'),
        ('{\n    "a": 1\n}\n', '{\n    "a": 1,\n    "n": "ü"\n}\n'),
        ('{\n\t"a": 1\n}', '{\n\t"a": 1,\n\t"n": "ü"\n}\n'),
    ],
)
def test_the_file_keeps_its_indentation(text: str, expected: str) -> None:
    assert plan(text, PATH, {"n": "ü"}).after == expected
