"""tests/tools/environment.sh refuses a controller without a usable Python in one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ["sh", "dirname", "readlink", "mkdir", "ln", "cat", "cksum"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "checkout" / "tests" / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "tools" / "environment.sh", tmp_path / "checkout" / "tests" / "tools")
    return tmp_path / "checkout"


def run(checkout: Path, python: str | None) -> subprocess.CompletedProcess[str]:
    tools = checkout.parent / "bin"
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tools / tool).symlink_to(found)
    if python is not None:
        (tools / "python3").write_text(f"#!{shutil.which('sh')}\n{python}\n")
        (tools / "python3").chmod(0o755)
    return subprocess.run(
        [tools / "sh", checkout / "tests" / "tools" / "environment.sh", "demo"],
        env={"PATH": str(tools), "HOME": str(checkout.parent / "nobody")},
        capture_output=True,
        text=True,
        check=False,
    )


OLD = 'case "$1" in --version) echo "Python 3.8.10";; *) exit 1;; esac'
NO_VENV = 'case "$*" in *"venv, ensurepip"*) exit 1;; *version_info*) exit 0;; --version) echo "Python 3.11.2";; esac'


@pytest.mark.parametrize(
    ("python", "error_id", "says"),
    [
        (OLD, "controller.python_too_old", "Python 3.8.10"),
        (None, "controller.python_too_old", "no python3"),
        (NO_VENV, "controller.no_venv", "python3-venv"),
    ],
)
def test_refused_in_one_sentence(checkout: Path, python: str | None, error_id: str, says: str) -> None:
    done = run(checkout, python)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert lines[0].endswith(f"[{error_id}]")
    assert not os.path.exists(checkout / ".cache" / "venv")
