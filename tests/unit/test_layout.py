"""The layout of the code: what decides and what acts are apart, and rooms import only rooms below them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PACKAGE = "ansible_collections.mistralrs.stack.plugins."
# From the ground up: each may import those before it.
FLOORS = [
    ["_errors"],
    ["_process", "_module", "_version_number", "_host"],
    ["_engine_versions", "_files", "_formats", "_trust", "_gpu"],
    ["_jobs", "_docker", "_driver", "_model", "_nginx"],
    ["_toolkit", "_fetch", "_engine"],
    ["_store", "_image"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> set[str]:
    """The files of this collection that a file imports, as C(module_utils._files.atomic)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            whole = node.module.removeprefix(PACKAGE)
            found |= {f"{whole}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PLUGINS / "module_utils").parts[0].removesuffix(".py")


HOST_FILES = sorted([*PLUGINS.glob("module_utils/**/*.py"), *PLUGINS.glob("modules/*.py")])


def test_there_are_files_to_look_at() -> None:
    assert len(HOST_FILES) > 60


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in PLUGINS.glob("module_utils/**/*.py")} == set(FLOOR)


@pytest.mark.parametrize("path", HOST_FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_what_acts_on_the_host_does_not_import_what_decides(path: Path) -> None:
    assert not [name for name in imported(path) if not name.startswith("module_utils.")]


@pytest.mark.parametrize(
    "path", sorted(PLUGINS.glob("module_utils/**/*.py")), ids=lambda path: str(path.relative_to(PLUGINS))
)
def test_a_room_imports_only_rooms_below(path: Path) -> None:
    own = room_of(path)
    for name in imported(path):
        room = name.split(".")[1]
        assert room == own or FLOOR[room] < FLOOR[own], f"{path.name} imports {name}"


PYTHON_FILES = sorted(PLUGINS.rglob("*.py"))
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
MOST_LINES = 450
MOST_LINES_OF_A_CLASS = 150


def lines_of(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def is_documentation(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in DOCUMENTATION


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_no_file_and_no_class_is_long(path: Path) -> None:
    text = path.read_text()
    statements = ast.parse(text).body
    documentation = sum(lines_of(node) for node in statements if is_documentation(node))
    assert len(text.splitlines()) - documentation <= MOST_LINES
    classes = {node.name: lines_of(node) for node in statements if isinstance(node, ast.ClassDef)}
    assert {name: size for name, size in classes.items() if size > MOST_LINES_OF_A_CLASS} == {}


def undocumented(path: Path) -> list[str]:
    """Public functions and classes of a file without a docstring."""
    return [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def test_every_public_name_says_what_it_is() -> None:
    """Of what is shared; a module and a filter have their DOCUMENTATION."""
    shared = [path for path in PYTHON_FILES if path.relative_to(PLUGINS).parts[0] in ("module_utils", "plugin_utils")]
    found = {str(path.relative_to(PLUGINS)): undocumented(path) for path in shared}
    assert {path: names for path, names in found.items() if names} == {}


ROOT = PLUGINS.parent


def names_sys_path(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"


def test_no_test_touches_sys_path() -> None:
    """They find each other as tests.*, by the setting C(pythonpath) in pyproject.toml."""
    files = [path for folder in ("tests", "molecule") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 200
    assert [path for path in files if any(map(names_sys_path, ast.walk(ast.parse(path.read_text()))))] == []
