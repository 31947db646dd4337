"""The argument_specs are the single source: names, types and default values of defaults/main.yml agree with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
TYPES = {"str", "int", "float", "bool", "list", "dict", "path", "raw"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def options_of(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})


def test_there_are_roles() -> None:
    assert ROLES


@pytest.mark.parametrize("role", ROLES)
def test_defaults_equal_the_spec(role: str) -> None:
    specified = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert (load(ROOT / "roles" / role / "defaults" / "main.yml") or {}) == specified


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_typed_and_described(role: str) -> None:
    def check(options: dict[str, Any], where: str) -> None:
        for name, option in options.items():
            assert option.get("type") in TYPES, f"{where}{name} has no type"
            assert option.get("description"), f"{where}{name} has no description"
            if option["type"] == "list":
                assert "elements" in option, f"{where}{name}: a list says what its elements are"
            check(option.get("options", {}), f"{where}{name}.")

    check(options_of(role), f"{role}: ")


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_used(role: str) -> None:
    text = "\n".join(
        path.read_text()
        for path in (ROOT / "roles" / role).rglob("*")
        if path.is_file() and path.suffix in {".yml", ".j2"} and path.parent.name not in {"defaults", "meta"}
    )
    unused = [name for name in options_of(role) if not re.search(rf"\b{name}\b", text)]
    assert not unused


@pytest.mark.parametrize("role", ROLES)
def test_the_four_beats(role: str) -> None:
    tasks = ROOT / "roles" / role / "tasks"
    assert {path.name for path in tasks.glob("*.yml")} >= {
        "main.yml",
        "preflight.yml",
        "install.yml",
        "configure.yml",
        "run.yml",
    }
    assert len((tasks / "main.yml").read_text().splitlines()) <= 50


def test_no_role_hides_a_failure() -> None:
    for path in (ROOT / "roles").rglob("*.yml"):
        assert "ignore_errors" not in path.read_text(), path


@pytest.mark.parametrize("role", ROLES)
def test_jinja_selects_and_python_computes(role: str) -> None:
    """A loop, or a list that is filled, is a filter with a test; templates of files may have them."""
    computing = re.compile(r"\{%-?\s*(for|set|macro)\b|\bnamespace\(|\.(append|update|extend)\(")
    folder = ROOT / "roles" / role
    files = [path for part in ("tasks", "vars", "defaults") for path in (folder / part).rglob("*.yml")]
    assert {path.name: found for path in files if (found := computing.findall(path.read_text()))} == {}


def test_module_group_is_complete() -> None:
    group = load(ROOT / "meta" / "runtime.yml")["action_groups"]["stack"]
    assert group == sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))


def test_credentials_are_no_inventory() -> None:
    # Ansible reads every file below an inventory folder as inventory, keys included, but leaves out dot folders.
    assert options_of("mistral_gateway")["mistral_gateway_credentials_path"]["default"].endswith("/.credentials")
