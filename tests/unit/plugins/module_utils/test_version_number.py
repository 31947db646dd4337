"""One way to write a version of mistral.rs, read alike by everything that reads one."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import engine_of
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model.gguf_support import check
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import PATTERN, parse, tag_of, text_of
from ansible_collections.mistralrs.stack.plugins.plugin_utils._env_file import parse as parse_env
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import engine_version, number_of
from hypothesis import given
from hypothesis import strategies as st

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WRITTEN = {
    "0.9.2": (0, 9, 2),
    "v0.9.2": (0, 9, 2),
    "0.9.2+7": (0, 9, 2, 7),
    "v0.9.2+7": (0, 9, 2, 7),
    "0.9.2+0": (0, 9, 2),
    "0.8.10": (0, 8, 10),
}


@pytest.mark.parametrize(("text", "number"), WRITTEN.items())
def test_read(text: str, number: tuple[int, ...]) -> None:
    assert parse(text) == number
    assert re.match(PATTERN, text)
    assert parse(text_of(number)) == number


def test_order() -> None:
    order = ["0.8.9", "0.8.10", "0.9.2", "0.9.2+3", "0.9.2+7", "0.9.2+10", "0.9.3", "0.10.0"]
    assert sorted(order[::-1], key=lambda one: parse(one) or ()) == order


@pytest.mark.parametrize("text", ["", "0.9", "0.9.2-7", "0.9.2+", "0.9.2+a", "0.9.2.7", "0.9.2+7\n", "٠.٩.٢", "V0.9.2"])
def test_not_a_version(text: str) -> None:
    assert parse(text) is None
    assert not re.match(PATTERN, text)


@given(st.text(alphabet="v0123456789.+ \n", max_size=12))
def test_pattern_and_parser_agree(text: str) -> None:
    assert bool(re.match(PATTERN, text)) == (parse(text) is not None)


@pytest.mark.parametrize("text", WRITTEN)
def test_everything_that_reads_a_version_takes_it(text: str) -> None:
    """The planner, the table of versions, the check of models, and the former stack's .env."""
    number = WRITTEN[text]
    assert engine_of(text).generation <= number
    assert number_of(text) == number
    assert engine_version(text, COMMIT).version == text_of(number)
    check({"architecture": "qwen2", "tensor_types": ["Q4_K"]}, text, "model")
    variables = parse_env(f"MISTRAL_RS_VERSION={text}", ".env")
    assert parse(variables["mistral_image_mistralrs_version"]) == number


def test_a_commit_after_a_release_loads_what_the_release_loads() -> None:
    summary = {"architecture": "gemma3", "tensor_types": ["Q4_K"]}
    check(summary, "0.9.1+1", "model")
    check(summary, "0.9.2+7", "model")
    with pytest.raises(StackError) as caught:
        check(summary, "0.9.0+5", "model")
    assert caught.value.id == "model.engine_too_old"


@pytest.mark.parametrize("text", ["0.9", "latest", "0.9.2-7"])
def test_models_are_not_checked_for_what_is_not_a_version(text: str) -> None:
    with pytest.raises(StackError) as caught:
        check({"architecture": "qwen2", "tensor_types": ["Q4_K"]}, text, "model")
    assert caught.value.id == "model.engine_version_invalid"


def test_in_an_images_tag() -> None:
    """A tag may hold letters, digits, `_`, `.` and `-` (distribution-spec)."""
    assert tag_of("0.9.2+7") == "0.9.2-7"
    assert re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", tag_of("0.9.2+7"))
