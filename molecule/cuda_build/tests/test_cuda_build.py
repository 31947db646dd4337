"""The image of the real engine with CUDA: code for the GPU that was asked for, its libraries, and that it starts.

There is no GPU here. With the stub of libcuda in the place of the driver's the engine starts, and finds none; the
recording tests/recordings/mistralrs-0.8.1-cuda is the same crate compiled by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._image.doctor import report_of, verdict

On = Callable[..., str]
ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "tests" / "recordings" / "mistralrs-0.8.1-cuda"
PROGRAM = "/usr/local/bin/mistralrs"
CUDA = "/usr/local/cuda/lib64"
DEVEL = "stand-in/cuda:13.0.2-devel"
STUBS = "/srv/cache/cuda-13.0.2/nvidia/cu13/lib/stubs"


@pytest.fixture(scope="module")
def image(on_host: On) -> str:
    names = on_host("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "mistralrs-stack/engine").split()
    assert len(names) == 1
    return names[0]


@pytest.fixture(scope="module")
def record(image: str, on_host: On) -> dict[str, object]:
    """What the role wrote down of the image."""
    inputs = on_host(
        "docker", "image", "inspect", "--format", '{{index .Config.Labels "io.mistralrs.stack.inputs"}}', image
    )
    return dict(json.loads(on_host("cat", f"/var/lib/mistral/images/{inputs.strip()[:16]}.json")))


def in_image(on_host: On, image: str, *command: str) -> str:
    """Run the engine where the stub stands in for the driver's library, as locked down as it is served."""
    options = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    driver = ["--volume", f"{STUBS}/libcuda.so.1:/usr/lib/x86_64-linux-gnu/libcuda.so.1:ro"]
    return on_host("docker", "run", "--rm", *options, *driver, image, *command)


def test_the_role_did_not_start_it_without_a_driver(record: dict[str, object]) -> None:
    proof = record["proof"]
    assert isinstance(proof, dict)
    assert "driver" in proof["skipped"]


def test_it_links_what_the_runtime_base_has(image: str, on_host: On) -> None:
    said = on_host("docker", "run", "--rm", "--network", "none", "--entrypoint", "ldd", image, PROGRAM)
    missing = re.findall(r"^\s+(\S+) => not found", said, re.MULTILINE)
    assert missing == ["libcuda.so.1"]
    of_the_toolkit = set(re.findall(rf"=> {CUDA}/(\S+)", said))
    recorded = set(re.findall(r"^\s+(libcu\S+) => not found", (RECORDED / "ldd.txt").read_text(), re.MULTILINE))
    # The recorded program is optimised; without optimisation the linker also keeps libnvrtc, which is never called.
    assert of_the_toolkit - {"libnvrtc.so.13"} == recorded - {"libcuda.so.1"}
    # The base has these libraries and no others.
    there = on_host("docker", "run", "--rm", "--network", "none", "--entrypoint", "ls", image, CUDA).split()
    assert set(there) == of_the_toolkit


def test_it_holds_code_for_the_gpu_that_was_asked_for(image: str, on_host: On) -> None:
    on_host("sh", "-c", f'c=$(docker create {image}) && docker cp "$c":{PROGRAM} /srv/program && docker rm "$c"')
    mount = ["--volume", "/srv/program:/program:ro", "--entrypoint", "/usr/local/cuda/bin/cuobjdump"]
    said = on_host(
        "docker", "run", "--rm", "--network", "none", *mount, "stand-in/cuda:13.0.2-devel", "--list-elf", "/program"
    )
    found = re.findall(r"\.(sm_\w+)\.cubin", said)
    assert len(found) > 20
    # cudaforge asks for the architecture-specific code of the capability.
    assert set(found) == {"sm_90a"}


def test_it_says_which_version_it_is(image: str, on_host: On) -> None:
    assert in_image(on_host, image, "--version").strip() == "mistralrs 0.8.1"


def test_its_own_check_says_that_it_has_cuda(image: str, on_host: On) -> None:
    report = report_of(in_image(on_host, image, "doctor", "--json"))
    recorded = report_of((RECORDED / "doctor-without-gpu.json").read_text())
    assert report.build == recorded.build
    assert report.build["cuda"] is True
    statuses = {check.name: check.status for check in report.checks}
    assert statuses["binary_hardware_match"] == "ok"
    # Seen with GPUs this would be refused, without it is what there is to be seen.
    assert statuses["cuda_devices"] == "warn"
    assert verdict(report, gpu=False).failures == ()
    assert verdict(report, gpu=True).failures != ()
