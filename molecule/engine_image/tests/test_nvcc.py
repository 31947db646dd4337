"""The same stand-in source with NVIDIA's own compiler: the program holds code for the GPU asked for, and no other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow(reason="fetches NVIDIA's compiler, 117 MB")

On = Callable[..., str]
ROOT = Path(__file__).resolve().parents[3]
WANTED = ROOT / "tests" / "fakes" / "cuda_images" / "cuda.txt"
BASE = "stand-in/cuda:13.3-devel"
# As NVIDIA's images have it; the wheels keep the libraries in lib.
DOCKERFILE = """\
FROM stand-in/cuda:devel
RUN rm -rf /usr/local/cuda
COPY . /usr/local/cuda/
RUN ln -s lib /usr/local/cuda/lib64
"""


@pytest.fixture(scope="module")
def cuda(on_host: On) -> dict[str, Any]:
    """Variables for a base with the real CUDA compiler."""
    folder = ROOT / ".cache" / "image" / "cuda-13.3.73"
    if not folder.exists():
        staged = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(staged, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([*pip, "--no-deps", "--require-hashes", "--target", str(staged), "-r", str(WANTED)], check=True)
        (staged / "Dockerfile").write_text(DOCKERFILE)
        staged.rename(folder)
    # The scenario mounts .cache/image there.
    on_host("docker", "build", "--quiet", "--tag", BASE, "--file", f"/srv/cache/{folder.name}/Dockerfile",
            f"/srv/cache/{folder.name}/nvidia/cu13")  # fmt: skip
    return {
        "mistral_image_devel_base": BASE,
        "mistral_image_cuda_version": "13.3.1",
        "mistral_image_driver_version": "610.43.02",
    }


def holds(reference: str, what: str, on_host: On) -> set[str]:
    """The architectures of the machine code (C(elf)) or the intermediate code (C(ptx)) in the image's program."""
    copy = f'container=$(docker create {reference}) && docker cp "$container":/usr/local/bin/mistralrs /srv/program >&2'
    on_host("sh", "-c", f'{copy} && docker rm "$container"')
    mount = ["--volume", "/srv/program:/program:ro", "--entrypoint", "/usr/local/cuda/bin/cuobjdump"]
    said = on_host("docker", "run", "--rm", "--network", "none", *mount, BASE, f"--list-{what}", "/program")
    return set(re.findall(r"\.(sm_\w+)\.", said))


@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_it_holds_code_for_the_gpu_that_was_asked_for(
    capability: str, cuda: dict[str, Any], role: Any, on_host: On
) -> None:
    played = role.play({**role.fresh(), **cuda, "mistral_image_compute_capability": capability})
    assert played.code == 0, played.text[-3000:]
    reference = played.result["reference"]
    wanted = {f"sm_{capability.replace('.', '')}"}
    assert holds(reference, "elf", on_host) == wanted
    assert holds(reference, "ptx", on_host) == wanted
    assert on_host("docker", "run", "--rm", "--network", "none", reference, "kernels").strip() == capability


def test_a_gpu_that_the_compiler_does_not_know(cuda: dict[str, Any], role: Any) -> None:
    variables = {**role.fresh(), **cuda, "mistral_image_compute_capability": "13.0"}
    played = role.refused(variables, "image.build_capability_unsupported", "Unsupported gpu architecture 'sm_130'")
    assert "is not known here; only the build will show whether CUDA supports it" in played.words
