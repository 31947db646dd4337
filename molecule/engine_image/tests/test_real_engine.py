"""The real engine, from PyPI, in the place of upstream's published image: a new image's engine answers with a model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.scenario import bed

pytestmark = pytest.mark.slow(reason="two minutes")

On = Callable[..., str]
ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / ".cache" / "models" / "gemma-3-270m-q4_k_m.gguf"
# Of a build with CUDA, as the image says that it is.
DOCTOR = ROOT / "tests" / "recordings" / "mistralrs-0.8.1-cuda" / "doctor-without-gpu.json"
# The evaluation image has its wheel, and no doctor.
DOCKERFILE = r"""
FROM {evaluation}
USER 0
COPY doctor.json /usr/share/doctor.json
RUN mv /usr/local/bin/mistralrs /usr/local/bin/engine \
 && printf '%s\n' '#!/bin/sh' "# Imitates upstream's command: the real engine behind it has no doctor." \
    'if [ "$1" = doctor ]; then cat /usr/share/doctor.json; else exec engine "$@"; fi' >/usr/local/bin/mistralrs \
 && chmod 0755 /usr/local/bin/mistralrs
USER 65532:65532
"""
AUTHORITIES = [
    *Path("/usr/local/share/ca-certificates").glob("*.crt"),
    *Path("/etc/pki/ca-trust/source/anchors").glob("*"),
]


def to_host(text: bytes, path: str) -> None:
    subprocess.run(bed("exec", "sh", "-c", f"cat >{path}"), input=text, check=True)


@pytest.fixture(scope="module")
def published(role: Any, on_host: On) -> dict[str, Any]:
    """Variables for an image that has the real engine."""
    played = role.play(
        {
            "mistral_image_source": "evaluation",
            "mistral_ca_certificates": [str(path) for path in AUTHORITIES],
        }
    )
    assert played.code == 0, played.text[-3000:]
    name = f"localhost:5001/mistral.rs:{role.fresh()['mistral_image_rustflags'][-6:]}"
    on_host("mkdir", "-p", "/srv/published")
    to_host(DOCKERFILE.format(evaluation=played.result["reference"]).encode(), "/srv/published/Dockerfile")
    to_host(DOCTOR.read_bytes(), "/srv/published/doctor.json")
    on_host(
        "sh",
        "-ec",
        f"docker build --quiet --tag {name} /srv/published && docker push --quiet {name} && docker image rm {name}",
    )
    return {
        "mistral_image_source": "pull",
        "mistral_image_published": name,
        "mistral_image_mistralrs_version": "0.9.5",
        # Of a version that the table does not know; nothing is built from it.
        "mistral_image_commit": "0" * 40,
        "mistral_image_proof_model": "/srv/models/gemma-3-270m-q4_k_m.gguf",
    }


@pytest.fixture
def models(on_host: On) -> Iterator[str]:
    on_host("mkdir", "-p", "/srv/models")
    yield "/srv/models"
    on_host("rm", "-r", "/srv/models")


def test_a_model_that_the_engine_can_not_load(published: dict[str, Any], role: Any, models: str) -> None:
    to_host(MODEL.read_bytes()[:100_000], f"{models}/gemma-3-270m-q4_k_m.gguf")
    role.refused(published, "image.proof_without_answer", "gemma-3-270m-q4_k_m.gguf", "the file ends inside its header")


def test_it_answers(published: dict[str, Any], role: Any, models: str, on_host: On) -> None:
    to_host(MODEL.read_bytes(), f"{models}/gemma-3-270m-q4_k_m.gguf")
    played = role.play(published)
    assert played.code == 0, played.text[-3000:]
    name = played.result["labels"]["io.mistralrs.stack.inputs"][:16]
    record = json.loads(on_host("cat", f"/var/lib/mistral/images/{name}.json"))
    assert record["proof"]["version"].startswith("mistralrs 0.9.5 ")
    assert len(record["proof"]["completion"]["answer"].strip()) > 1
    assert on_host("docker", "ps", "--all", "--quiet") == ""
