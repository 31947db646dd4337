"""Settings of cargo's release profile, as arguments for cargo."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cargo_profile import cargo_profile
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import engine_version


def made(given: Any, version: str = "0.9.2") -> list[str]:
    return cargo_profile(given, engine_version(version))


# What a test build is affordable with, seen at 0.8.1.
QUICK = {
    "opt-level": 0,
    "lto": "off",
    "codegen-units": 64,
    "debug": 0,
    "packages": {"gemm-f32": 3, "mistralrs-quant": {"opt-level": "s", "codegen-units": 16}, "*": {"opt-level": 1}},
}


def test_settings() -> None:
    assert made(QUICK) == [
        "profile.release.opt-level=0",
        'profile.release.lto="off"',
        "profile.release.codegen-units=64",
        "profile.release.debug=0",
        "profile.release.package.gemm-f32.opt-level=3",
        'profile.release.package.mistralrs-quant.opt-level="s"',
        "profile.release.package.mistralrs-quant.codegen-units=16",
        'profile.release.package."*".opt-level=1',
    ]


def test_none() -> None:
    assert made({}) == made(None) == []


def test_the_first_version_has_no_optimisation_of_all_crates_at_once() -> None:
    # v0.6.0, Cargo.toml: [profile.release] lto = true, opt-level = 3. v0.7.0 has it as a comment.
    assert made({}, "0.6.0") == ["profile.release.lto=false"]
    assert made({"lto": "fat", "strip": True}, "0.6.0") == ['profile.release.lto="fat"', "profile.release.strip=true"]
    assert made({}, "0.7.0") == []


def test_numbers_as_text() -> None:
    assert made({"opt-level": "2", "packages": {"half": "3"}}) == made({"opt-level": 2, "packages": {"half": 3}})


@pytest.mark.parametrize(
    "given",
    [
        {"opt-level": 4},
        {"opt-level": True},
        {"lto": "slim"},
        {"codegen-units": 0},
        {"codegen-units": "many"},
        {"panic": "abort"},
        {"debug": '1"; reboot'},
        {"packages": ["half"]},
        {"packages": {"half$(reboot)": 3}},
        {"packages": {"half": {"lto": "off"}}},
        {"packages": {"half": "fast"}},
        ["opt-level"],
        "opt-level=0",
    ],
)
def test_refusals(given: Any) -> None:
    with pytest.raises(StackError, match="mistral_image_cargo_profile has") as caught:
        made(given)
    assert caught.value.id == "image.cargo_profile_invalid"


@pytest.mark.skipif(not shutil.which("cargo"), reason="cargo is not installed")
def test_cargo_takes_them(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text("fn main() {}\n")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "half"\nversion = "1.0.0"\nedition = "2021"\n')
    settings = made({**QUICK, "strip": "symbols", "packages": {"half": 3}})
    arguments = [part for setting in settings for part in ("--config", setting)]
    done = subprocess.run(
        ["cargo", "build", "--release", "--offline", "--verbose", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "opt-level=3" in done.stderr
    assert "codegen-units=64" in done.stderr
    assert "warning" not in done.stderr
