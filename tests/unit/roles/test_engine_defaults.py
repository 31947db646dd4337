"""The roles' default versions of the engine are those of the tables, which no YAML file can import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    DEFAULT_VERSION,
    NEWEST_PUBLISHED,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._version_number import parse

ROLES = Path(__file__).resolve().parents[3] / "roles"


def default(role: str, name: str, **known: Any) -> str:
    text = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())[name]
    return str(Templar(DataLoader(), known).template(trust_as_template(text)))


def evaluation_versions() -> list[str]:
    found = yaml.safe_load((ROLES / "mistral_image" / "vars" / "main.yml").read_text())
    return list(found["__mistral_image_evaluation_versions"])


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ("build", DEFAULT_VERSION),
        ("load", DEFAULT_VERSION),
        # Upstream publishes images of releases only.
        ("pull", NEWEST_PUBLISHED),
        ("evaluation", evaluation_versions()[-1]),
    ],
)
def test_the_images_version(source: str, version: str) -> None:
    assert default("mistral_image", "mistral_image_mistralrs_version", mistral_image_source=source) == version


def test_the_evaluation_engine_is_what_the_wheel_is() -> None:
    pinned = (ROLES / "mistral_image" / "files" / "evaluation" / "requirements.txt").read_text()
    for version in evaluation_versions():
        assert f"mistralrs=={version} " in pinned
        assert parse(version)


@pytest.mark.parametrize(
    ("known", "version"),
    [
        ({}, DEFAULT_VERSION),
        ({"mistral_image_mistralrs_version": "0.8.23"}, "0.8.23"),
        # What the host's image is counts more than what the inventory asks for.
        ({"mistral_image_mistralrs_version": "v0.6.0", "mistral_image_result": {"engine_version": "0.6.0"}}, "0.6.0"),
        ({"mistral_image_result": {"engine_version": "0.9.5"}}, "0.9.5"),
        ({"mistral_image_result": {"engine_version": ""}}, DEFAULT_VERSION),
    ],
)
def test_the_version_that_models_are_checked_for(known: dict[str, Any], version: str) -> None:
    assert default("mistral_models", "mistral_models_engine_version", **known) == version


@pytest.mark.parametrize(
    ("commit", "expected"),
    [
        ("", "0.8.9"),
        # A commit of the operator's own may call itself anything.
        ("0123456789abcdef0123456789abcdef01234567", ""),
    ],
)
def test_the_proof_compares_with_what_the_program_calls_itself(commit: str, expected: str) -> None:
    tasks = yaml.safe_load((ROLES / "mistral_image" / "tasks" / "engine" / "build.yml").read_text())
    module = "mistralrs.stack.image_build"
    (option,) = [task[module]["version"] for task in tasks if module in task]
    known = {
        "mistral_image_commit": commit,
        "__mistral_image_plan": {"engine_version": "0.8.10", "reported_version": "0.8.9"},
    }
    assert Templar(DataLoader(), known).template(trust_as_template(option)) == expected
