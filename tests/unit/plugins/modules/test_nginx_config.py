from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.module_utils._files.staged_tree import Change, Wanted
from ansible_collections.mistralrs.stack.plugins.modules import nginx_config
from ansible_collections.mistralrs.stack.plugins.modules.nginx_config import difference

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(mode: str = "0644") -> dict[str, Any]:
        arguments = {
            "root": str(tmp_path / "nginx"),
            "files": [{"path": "a.conf", "content": "new\n", "mode": mode}],
            "program": "/bin/true",
            "_ansible_remote_tmp": str(tmp_path),
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            nginx_config.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


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


@pytest.mark.parametrize("mode", ["rw", "", "0888", "-644", "77777"])
def test_a_mode_that_is_none(run: Run, mode: str) -> None:
    result = run(mode)
    assert result["error_id"] == "gateway.wrong_mode"
    assert result["msg"].startswith(f"The permissions of a.conf are {mode!r}")


@pytest.mark.parametrize("mode", ["644", "0644", "0o644"])
def test_a_mode_is_octal(tmp_path: Path, run: Run, mode: str) -> None:
    (tmp_path / "nginx").mkdir()
    assert run(mode)["changed"]
    assert (tmp_path / "nginx" / "a.conf").stat().st_mode & 0o7777 == 0o644


def test_a_folder_that_cannot_be_copied(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(root: str, _stage: str, _todo: object) -> None:
        raise nginx_config.shutil.Error([(f"{root}/b.conf", "/tmp/b.conf", "No space left on device")])

    monkeypatch.setattr(nginx_config, "stage_copy", full)
    root = tmp_path / "nginx"
    root.mkdir()
    result = run()
    assert result["error_id"] == "gateway.configuration_not_written"
    assert f"in {root} could not be written: {root}/b.conf: No space left on device. " in result["msg"]
    assert not (root / "a.conf").exists()


def test_the_reason_of_a_copy_is_that_of_its_first_file() -> None:
    error = nginx_config.shutil.Error([("/etc/nginx/a", "/tmp/a", "No space left"), ("/b", "/c", "No space left")])
    assert nginx_config.reason(error) == "/etc/nginx/a: No space left"
    assert nginx_config.reason(OSError(30, "Read-only file system")) == "Read-only file system"
