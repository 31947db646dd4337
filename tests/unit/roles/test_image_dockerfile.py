"""The rendered Dockerfile, for every version that is built and every kind of base, is what hadolint accepts."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import ENGINE_VERSIONS, EngineVersion
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.plan import image_plan

from tests.tools.dockerfiles import BASES, rendered, settings


def complaints(text: str) -> str:
    program = shutil.which("hadolint")
    assert program, "hadolint is missing: it is in requirements/test.in"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("authorities", [[], ["/ca.crt"]], ids=["", "authorities"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("engine", ENGINE_VERSIONS, ids=lambda engine: engine.version)
def test_compiled(engine: EngineVersion, base: str, authorities: list[str]) -> None:
    text = rendered("Dockerfile.build.j2", "build", image_plan("build", settings(engine.version, base)), authorities)
    assert complaints(text) == ""
    assert f"SOURCE_COMMIT={engine.commit} " in text
    assert f"BINARY={engine.binary} " in text
    assert f"RUST_VERSION={engine.rust_version} " in text
    assert f"ENV RUSTUP_TOOLCHAIN={engine.rust_version}\n" in text
    assert "CUDA_COMPUTE_CAP=89 " in text
    # Before 0.8.0 the engine's build would fetch Swagger UI by itself.
    assert ("ARG SWAGGER_UI_URL" in text) == (engine.version in ("0.6.0", "0.7.0"))
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
        "Dockerfile.build.j2", "build", image_plan("build", settings("0.9.2", "debian", **more)), ["/ca.crt"]
    )
    assert complaints(text) == ""
    assert "ARG SOURCE_ARCHIVE" in text
    assert "RUST_VERSION=distribution " in text
    assert "RUSTUP_TOOLCHAIN" not in text
    assert " cargo " in text


@pytest.mark.parametrize("base", ["ubuntu22.04", "debian13", "ubi9"])
@pytest.mark.parametrize("toolchain", ["rustup", "distribution"])
def test_a_crate_for_the_cpu(base: str, toolchain: str) -> None:
    more = {
        "driver": "",
        "compute_capability": "",
        "rust_toolchain": toolchain,
        "base_distribution": base,
        "processor_flags": "",
    }
    text = rendered("Dockerfile.build.j2", "build", image_plan("build", settings("0.8.1", "cpu", **more)), ["/ca.crt"])
    assert complaints(text) == ""
    assert "for the CPU" in text
    assert "cuda/bin" not in text
    assert "ARG SOURCE_ARCHIVE" in text
    assert "SOURCE_KIND=crate " in text
    assert "    FEATURES='' \\\n" in text


def test_published() -> None:
    plan = image_plan("pull", settings("0.9.2", "debian"))
    assert complaints(rendered("Dockerfile.published.j2", "pull", plan, [])) == ""
