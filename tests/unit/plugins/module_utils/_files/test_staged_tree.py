from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import staged_tree as tree


def wanted(path: str, content: str | None, mode: int = 0o644) -> tree.Wanted:
    return tree.Wanted(path, None if content is None else content.encode(), mode, False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "etc"
    (root / "conf.d").mkdir(parents=True)
    (root / "nginx.conf").write_text(f"include {root}/conf.d/*.conf;\n")
    (root / "conf.d" / "a.conf").write_text("a")
    (root / "conf.d" / "a.conf").chmod(0o644)
    return root


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("path", "normal"), [("a", "a"), ("a/b.conf", "a/b.conf"), ("a//b", "a/b"), ("a/../b", "b"), ("..a/b", "..a/b")]
)
def test_paths_within(path: str, normal: str) -> None:
    assert tree.checked_path(path) == normal


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "../x", "a/../../x", "."])
def test_paths_outside(path: str) -> None:
    with pytest.raises(StackError) as caught:
        tree.checked_path(path)
    assert caught.value.id == "gateway.path_outside"


@pytest.mark.parametrize(
    ("one", "different"),
    [
        (wanted("conf.d/a.conf", "a"), False),
        (wanted("conf.d/a.conf", "b"), True),
        (wanted("conf.d/a.conf", "a", 0o600), True),
        (wanted("conf.d/a.conf", None), True),
        (wanted("conf.d/new.conf", "a"), True),
        (wanted("conf.d/new.conf", None), False),
        (wanted("elsewhere/new.conf", ""), True),
    ],
)
def test_what_is_to_do(root: Path, one: tree.Wanted, different: bool) -> None:
    assert bool(tree.changes(str(root), [one])) is different


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("include /etc/nginx/x;", "include /s/x;"),
        ("root /etc/nginx;", "root /s;"),
        ("'/etc/nginx/x' \"/etc/nginx\"", "'/s/x' \"/s\""),
        ("/etc/nginx", "/s"),
        ("/etc/nginx2/x /etc/nginx-old/x", "/etc/nginx2/x /etc/nginx-old/x"),
        ("/opt/etc/nginx/x ./etc/nginx/x", "/opt/etc/nginx/x ./etc/nginx/x"),
    ],
)
def test_paths_are_moved(text: str, moved: str) -> None:
    assert tree.relocated(text.encode(), "/etc/nginx", "/s").decode() == moved


def test_the_stage_is_what_would_be(root: Path, tmp_path: Path) -> None:
    (root / "inside").symlink_to(root / "conf.d" / "a.conf")
    (root / "outside").symlink_to("/dev/null")
    before = content(root)
    stage = tmp_path / "stage"
    todo = tree.changes(str(root), [wanted("conf.d/a.conf", None), wanted("new/b.conf", f"x {root}/y")])
    tree.stage_copy(str(root), str(stage), todo)
    assert content(stage) == {"nginx.conf": f"include {stage}/conf.d/*.conf;\n", "new/b.conf": f"x {stage}/y"}
    assert os.readlink(stage / "inside") == str(stage / "conf.d" / "a.conf")
    assert os.readlink(stage / "outside") == "/dev/null"
    assert content(root) == before


def test_all_changes_are_made(root: Path) -> None:
    files = [wanted("conf.d/a.conf", "new", 0o600), wanted("nginx.conf", None), wanted("b/c", "c")]
    tree.apply(str(root), tree.changes(str(root), files)).keep()
    assert content(root) == {"conf.d/a.conf": "new", "b/c": "c"}
    assert (root / "conf.d" / "a.conf").stat().st_mode & 0o777 == 0o600
    assert tree.changes(str(root), files) == []


def test_a_link_is_removed_and_not_what_it_leads_to(root: Path) -> None:
    (root / "link").symlink_to(root / "nginx.conf")
    tree.apply(str(root), tree.changes(str(root), [wanted("link", None)])).keep()
    assert not os.path.lexists(root / "link")
    assert (root / "nginx.conf").exists()


@pytest.mark.parametrize("failing", [1, 2])
def test_nothing_is_changed_if_one_file_cannot_be(root: Path, failing: int) -> None:
    before = content(root)
    calls = []

    def rename(old: str, new: str) -> None:
        calls.append(new)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        os.rename(old, new)

    files = [wanted("conf.d/a.conf", "new"), wanted("conf.d/b.conf", "new"), wanted("nginx.conf", None)]
    with pytest.raises(StackError) as caught:
        tree.apply(str(root), tree.changes(str(root), files), rename)
    assert caught.value.id == "gateway.configuration_not_written"
    assert "No space left" in str(caught.value)
    assert content(root) == before


def test_what_was_put_in_place_can_be_taken_back(root: Path) -> None:
    (root / "link").symlink_to(root / "nginx.conf")
    before = content(root)
    files = [
        wanted("conf.d/a.conf", "new"),
        wanted("new/b.conf", "b"),
        wanted("nginx.conf", None),
        wanted("link", None),
    ]
    applied = tree.apply(str(root), tree.changes(str(root), files))
    assert not os.path.lexists(root / "link")
    applied.undo()
    assert content(root) == before
    assert os.readlink(root / "link") == str(root / "nginx.conf")
    applied.undo()
    assert content(root) == before


def test_what_a_killed_run_left_is_swept_away(root: Path) -> None:
    before = content(root)
    files = [wanted("conf.d/a.conf", "new"), wanted("new/b.conf", "b")]
    tree.apply(str(root), tree.changes(str(root), files))
    (root / "new" / ".b.conf.new").write_text("half a secr")
    left = {name for name in content(root) if os.path.basename(name).startswith(".")}
    assert left == {"conf.d/.a.conf.old", "new/.b.conf.new"}
    tree.sweep(str(root), [one.path for one in files] + ["nowhere/c"])
    assert content(root) == {**before, "conf.d/a.conf": "new", "new/b.conf": "b"}


def test_each_writing_makes_another_name_of_the_files(root: Path) -> None:
    paths = ["conf.d/a.conf", "nginx.conf", "none"]
    first = tree.identity(str(root), paths)
    assert tree.identity(str(root), paths[::-1]) == first
    file = root / "conf.d" / "a.conf"
    times = file.stat()
    names = {first}
    for text in ("a", "b", "a"):
        time.sleep(0.02)
        file.write_text(text)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        names.add(tree.identity(str(root), paths))
    file.unlink()
    names.add(tree.identity(str(root), paths))
    assert len(names) == 5


def test_a_file_of_another_owner_is_to_be_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wanted("conf.d/a.conf", "a")
    assert tree.changes(str(root), [one]) == []
    monkeypatch.setattr(tree.os, "geteuid", lambda: os.getuid() + 1)
    assert tree.changes(str(root), [one])


def test_the_packages_own_file(root: Path) -> None:
    path = str(root / "conf.d" / "a.conf")
    digest = hashlib.md5(b"a", usedforsecurity=False).hexdigest()
    assert tree.is_stock(path, f"\n /other {digest}\n {path} {digest}\n")
    assert tree.is_stock(path, f" {path} {digest} obsolete\n")
    assert not tree.is_stock(path, f" {path} {'0' * 32}\n")
    assert not tree.is_stock(path + "x", f" {path}x {digest}\n")
