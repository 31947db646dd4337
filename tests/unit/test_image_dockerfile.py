"""The rendered Dockerfile, for every version that is built and every kind of base, is what hadolint accepts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions import ENGINE_VERSIONS, EngineVersion
from ansible_collections.mistralrs.stack.plugins.module_utils._image_plan import image_plan

ROLE = Path(__file__).resolve().parents[2] / "roles" / "mistral_image"
SPEC = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
BASES = {
    "ubuntu22.04": {"base_distribution": "ubuntu22.04"},
    "ubuntu24.04": {"base_distribution": "ubuntu24.04"},
    "ubi9": {"base_distribution": "ubi9"},
    "debian": {"devel_base": "example.org/cuda-debian:12-devel", "runtime_base": "example.org/cuda-debian:12-runtime"},
}


def settings(version: str, base: str, **more: Any) -> dict[str, Any]:
    plain = {
        name.removeprefix("mistral_image_"): value
        for name, value in SPEC.items()
        if not (isinstance(value, str) and "{{" in value)
    }
    wanted = {"version": version, "architecture": "x86_64", "driver": "580.95.05", "compute_capability": "8.9"}
    # The oldest version has no CUDA for Ubuntu 24.04 but these.
    return {**plain, **wanted, **BASES[base], **more}


def rendered(name: str, source: str, plan: dict[str, Any], authorities: list[str]) -> str:
    templar = Templar(loader=DataLoader())
    templar.environment.loader.searchpath = [str(ROLE / "templates")]
    templar.available_variables = {
        "__mistral_image_plan": plan,
        "__mistral_image_target_cache": "0123456789abcdef",
        "__mistral_image_program": f"/usr/local/bin/{plan['dockerfile']['binary']}",
        "mistral_image_ca_certificates": authorities,
        "mistral_image_source": source,
    }
    return str(templar.template(trust_as_template((ROLE / "templates" / name).read_text())))


def complaints(text: str) -> str:
    program = shutil.which("hadolint")
    assert program, "hadolint is missing: it is in requirements/test.in"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("authorities", [[], ["/ca.crt"]], ids=["", "authorities"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("engine", ENGINE_VERSIONS, ids=lambda engine: engine.version)
def test_compiled(engine: EngineVersion, base: str, authorities: list[str]) -> None:
    text = rendered("Dockerfile.cuda.j2", "build", image_plan("build", settings(engine.version, base)), authorities)
    assert complaints(text) == ""
    assert f"SOURCE_COMMIT={engine.commit} " in text
    assert f"BINARY={engine.binary} " in text
    assert f"RUST_VERSION={engine.rust_version} " in text
    assert "CUDA_COMPUTE_CAP=89 " in text
    assert "RUSTFLAGS='-C target-cpu=generic'" in text
    assert ("dnf install" in text) == (base == "ubi9")
    assert text.count("extra-authorities.crt") == 2 * len(authorities)
    assert text.rstrip().endswith(f'ENTRYPOINT ["/usr/local/bin/{engine.binary}"]')


def test_from_an_archive_with_the_bases_toolchain() -> None:
    more = {
        "archive_url": "https://example.org/x.tar.gz",
        "archive_sha256": "a" * 64,
        "rust_toolchain": "distribution",
    }
    text = rendered(
        "Dockerfile.cuda.j2", "build", image_plan("build", settings("0.9.2", "debian", **more)), ["/ca.crt"]
    )
    assert complaints(text) == ""
    assert "ARG SOURCE_ARCHIVE" in text
    assert "RUST_VERSION=distribution " in text
    assert " cargo " in text


def test_published() -> None:
    plan = image_plan("pull", settings("0.9.2", "debian"))
    assert complaints(rendered("Dockerfile.published.j2", "pull", plan, [])) == ""
