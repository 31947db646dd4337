"""The tree ends up as wanted, and nothing of somebody else's is ever removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import link_tree


def converge(root: Path, wanted: dict[str, str]) -> bool:
    link_tree.check_names(str(root), wanted)
    steps = link_tree.plan(str(root), link_tree.read(str(root)), wanted)
    link_tree.apply(str(root), steps)
    return bool(steps)


def test_from_nothing_to_something_else_and_back(tmp_path: Path) -> None:
    root = tmp_path / "serve"
    first = {"a/a.gguf": "/store/a.gguf", "a/tokenizer.json": "/store/a.json", "deep/er/b": "/b"}
    second = {"a/a.gguf": "/store/A.gguf", "c/c.gguf": "/store/c.gguf"}
    for wanted in (first, second, {}):
        converge(root, wanted)
        tree = link_tree.read(str(root))
        assert tree.links == wanted
        assert tree.directories == {"/".join(name.split("/")[:end]) for name in wanted for end in (1, 2)} - set(wanted)
        assert not converge(root, wanted)
    assert list(root.iterdir()) == []


def test_directories_can_be_entered(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        converge(tmp_path / "var" / "serve", {"a/b": "/x"})
    finally:
        os.umask(old)
    for path in ("var", "var/serve", "var/serve/a"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\n", "a\0", ".staged-1", "a/.staged-x"]
)
def test_unsafe_names(name: str) -> None:
    with pytest.raises(StackError, match=r"links\.unsafe_name"):
        link_tree.check_names("/root", {name: "/x"})


@pytest.mark.parametrize("links", [{"a": "x"}, {"a": "/x\n"}, {"a": ""}, {"a": "/x", "a/b": "/y"}])
def test_unsafe_links(links: dict[str, str]) -> None:
    with pytest.raises(StackError, match=r"links\.unsafe_name"):
        link_tree.check_names("/root", links)


def test_a_file_in_the_tree_is_kept(tmp_path: Path) -> None:
    converge(tmp_path, {"a/b": "/x"})
    (tmp_path / "a" / "mine").write_text("precious")
    with pytest.raises(StackError, match=r"a/mine is a file.*links\.in_the_way"):
        converge(tmp_path, {})
    assert (tmp_path / "a" / "mine").read_text() == "precious"
    assert os.readlink(tmp_path / "a" / "b") == "/x"


def test_a_directory_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    converge(tmp_path, {"a/b": "/x"})
    with pytest.raises(StackError, match="a directory"):
        converge(tmp_path, {"a": "/y"})


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "serve"
    converge(root, {"a": str(outside)})
    with pytest.raises(StackError, match="a link to elsewhere"):
        converge(root, {"a/b": "/x"})
    converge(root, {})
    assert outside.is_dir()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_the_root_is_a_directory(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "serve"
    root.write_text("x") if kind == "file" else root.symlink_to(tmp_path)
    with pytest.raises(StackError, match=r"links\.not_a_directory"):
        converge(root, {})


def test_shown() -> None:
    assert link_tree.shown("/r", {"b": "/2", "a": "/1"}) == "/r/a -> /1\n/r/b -> /2\n"
