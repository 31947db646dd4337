from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import nginx_config

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(mode: str = "0644", **more: Any) -> dict[str, Any]:
        arguments = {
            "root": str(tmp_path / "nginx"),
            "files": [{"path": "a.conf", "content": "new\n", "mode": mode}],
            "program": "/bin/true",
            "_ansible_remote_tmp": str(tmp_path),
            **more,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            nginx_config.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


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


def test_a_folder_that_cannot_be_copied(tmp_path: Path, run: Run) -> None:
    root = tmp_path / "nginx"
    root.mkdir()
    os.mkfifo(root / "b.conf")
    result = run()
    assert result["error_id"] == "gateway.configuration_not_written"
    assert f"in {root} could not be written: {root}/b.conf: `{root}/b.conf` is a named pipe. " in result["msg"]
    assert not (root / "a.conf").exists()
    assert not list(tmp_path.glob("**/nginx-*")), "the copy is removed"


def test_room_for_connections_is_made_in_the_main_file(tmp_path: Path, run: Run) -> None:
    main = tmp_path / "nginx" / "nginx.conf"
    main.parent.mkdir()
    main.write_text("events { worker_connections 768; }\n")
    main.chmod(0o640)
    assert run(worker_connections=2000)["changed_files"] == [str(main.parent / "a.conf"), str(main)]
    assert main.read_text() == "worker_rlimit_nofile 2512;\nevents { worker_connections 2000; }\n"
    assert main.stat().st_mode & 0o7777 == 0o640
    assert run(worker_connections=1000)["changed"] is False


def test_a_main_file_without_the_block(tmp_path: Path, run: Run) -> None:
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "nginx.conf").write_text("include other.conf;\n")
    assert run(worker_connections=2000)["error_id"] == "gateway.events_not_found"
    assert not (tmp_path / "nginx" / "a.conf").exists()


TRIAL = """#!/bin/sh
# nginx, as far as the module asks for it: it starts unless the program is wrong.
case "$*" in
    -t*) exit 0 ;;
    *" -s stop") echo stopped >>{log}; exit 0 ;;
esac
folder=${{2%/*}}
if grep -q wrong "$folder/a.conf"; then
    echo "nginx: [error] init_by_lua error: $folder/a.lua:3: unexpected symbol near 'wrong'" >&2
    exit 1
fi
if grep -q unreadable "$folder/a.conf"; then
    echo "nginx: [error] init_by_lua error: error loading module 'b' from file '$folder/b.lua':" >&2
    printf "\\t%s/b.lua:2: '=' expected near 'x'\\nstack traceback:\\n" "$folder" >&2
    exit 1
fi
echo started >>{log}
"""


def test_a_program_that_cannot_be_loaded_never_gets_to_its_place(tmp_path: Path, run: Run) -> None:
    root, log = tmp_path / "nginx", tmp_path / "log"
    root.mkdir()
    nginx = tmp_path / "nginx-stand-in"
    nginx.write_text(TRIAL.format(log=log))
    nginx.chmod(0o755)
    with_trial: dict[str, Any] = {"program": str(nginx), "trial": "trial.conf"}
    good = {"path": "a.conf", "content": "good"}
    assert run(files=[good], **with_trial)["changed"]
    assert log.read_text() == "started\nstopped\n"
    # What has not changed is not tried again.
    assert run(files=[good], **with_trial)["changed"] is False
    assert log.read_text() == "started\nstopped\n"
    result = run(files=[{**good, "content": "wrong"}], **with_trial)
    assert result["error_id"] == "gateway.configuration_rejected"
    assert f"init_by_lua error: {root}/a.lua:3: unexpected symbol near 'wrong'." in result["msg"]
    result = run(files=[{**good, "content": "unreadable"}], **with_trial)
    assert f"from file '{root}/b.lua': {root}/b.lua:2: '=' expected near 'x'." in result["msg"]
    assert (root / "a.conf").read_text() == "good"
