"""With Debian unstable's Docker, whose BuildKit looks at Dockerfiles (Debian 13's can't yet): what it says of each.

The host's Docker is another one afterwards.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import ENGINE_VERSIONS
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.plan import image_plan

from tests.tools.dockerfiles import BASES, rendered, settings
from tests.tools.scenario import bed, run_module

pytestmark = pytest.mark.slow(reason="installs Docker from Debian unstable, 40 MB")

On = Callable[..., str]
# Docker 28 with buildx 0.29 and nothing else: what they need is in Debian 13 in the right versions.
UPGRADE = r"""
echo 'deb [check-valid-until=no] http://deb.debian.org/debian sid main' >/etc/apt/sources.list.d/sid.list
printf 'Package: *\nPin: release n=sid\nPin-Priority: 100\n' >/etc/apt/preferences.d/sid
apt-get update --quiet=2
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
    docker.io/sid docker-cli/sid docker-buildx/sid
systemctl restart docker
docker version --format '{{.Server.Version}}'
"""
# The bases are stand-ins: whether their names exist is not asked here.
BASES_HERE = (
    "DEVEL_IMAGE=stand-in/cuda:devel",
    "RUNTIME_IMAGE=stand-in/cuda:runtime",
    "PUBLISHED_IMAGE=stand-in/cuda:runtime",
)
CHECK = [
    "docker",
    "buildx",
    "build",
    "--call",
    "check,format=json",
    *[f"--build-arg={base}" for base in BASES_HERE],
    "-",
]


@pytest.fixture(scope="module", autouse=True)
def newer(on_host: On) -> None:
    said = on_host("sh", "-ec", UPGRADE)
    assert int(said.split()[-1].split(".")[0]) >= 28


@pytest.fixture(scope="module")
def check() -> Callable[[str], dict[str, Any]]:
    """What BuildKit on the host says of a Dockerfile."""

    def ask(text: str) -> dict[str, Any]:
        done = subprocess.run(bed("exec", *CHECK), input=text, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout.startswith("{"), done.stderr
        return dict(json.loads(done.stdout))

    return ask


def test_it_would_say_what_is_wrong(check: Callable[[str], dict[str, Any]]) -> None:
    text = rendered("Dockerfile.build.j2", "build", image_plan("build", settings("0.9.2", "debian")), [])
    found = check(text.replace(" AS builder", " as builder"))
    assert [warning["ruleName"] for warning in found["warnings"]] == ["FromAsCasing"]
    assert check(text.replace("\nEXPOSE ", "\nEXPOSED "))["buildError"]["message"]


def test_every_dockerfile(check: Callable[[str], dict[str, Any]]) -> None:
    texts = {
        f"{engine.version} {base} {authorities}": rendered(
            "Dockerfile.build.j2", "build", image_plan("build", settings(engine.version, base)), authorities
        )
        for engine in ENGINE_VERSIONS
        for base in BASES
        for authorities in ([], ["/ca.crt"])
    }
    texts["published"] = rendered(
        "Dockerfile.published.j2", "pull", image_plan("pull", settings("0.9.2", "debian")), []
    )
    assert len(texts) > 2 * len(BASES)
    for name, text in texts.items():
        found = check(text)
        assert not found["warnings"], (name, found["warnings"])
        assert "buildError" not in found, (name, found["buildError"])


def test_the_role_builds_with_it(role: Any, on_host: On) -> None:
    played = role.play(role.fresh())
    assert played.code == 0, played.text[-3000:]
    assert "BuildKit on" not in played.words
    on_host("docker", "run", "--rm", "--network", "none", played.result["reference"], "--version")


def test_what_it_would_do_otherwise_is_shown() -> None:
    # Nothing that the role renders has a warning, so its module is asked.
    result = run_module("image_build", {
        "reference": "mistralrs-stack/engine:other",
        "inputs": "0123456789abcdef",
        "context": {"Dockerfile": "FROM stand-in/cuda:runtime as x\nUSER 65532\nENTRYPOINT [\"/bin/true\"]\n"},
        "program": "/bin/true",
    }, group="builders")  # fmt: skip
    assert "BuildKit on the host says of line 1 of the image's Dockerfile: 'as' and 'FROM'" in result["warned"]
