"""For every driver, GPU and engine version there is a choice that the driver runs, or one named error per conflict."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.table import (
    NEWEST_PUBLISHED,
    RELEASES,
    ROWS,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackErrors
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.compute_capability import (
    CAPABILITY_CUDA,
    capability,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda import DISTRIBUTIONS, CudaChoice, cuda_choice
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.cuda_releases import (
    MAJOR_DRIVERS,
    TOOLKIT_DRIVERS,
    driver_of,
    newest_cuda,
    oldest,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import (
    ENGINE_VERSIONS,
    EngineVersion,
    engine_version,
)
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.published import published_tag
from hypothesis import given
from hypothesis import strategies as st

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# One GPU of each capability: P100, P40, V100, T4, A100, A10, Orin, L4, H100, B200, B300, Thor, RTX 5090, GB10.
GPUS = ["6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1"]
VERSIONS = ["0.6.0", "0.7.0", "0.8.0", "0.8.1", "0.8.4", "0.8.23", "0.9.0", "0.9.2", "0.9.2+7", "0.9.5"]
# Debian's own drivers, the branches of NVIDIA's repository, and one older than all.
DRIVERS = ["470.256.02", "525.147.05", "535.309.01", "550.163.01", "570.124.06", "580.95.05", "590.48.01", "615.10"]


def engine_of(version: str) -> EngineVersion:
    return engine_version(version, "" if version in RELEASES else COMMIT)


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def choose(driver: str, gpus: list[str], version: str, wanted: str = "", **more: Any) -> CudaChoice:
    return cuda_choice(driver, gpus, engine_of(version), wanted, **more)


def refused(driver: str, gpus: list[str], version: str, wanted: str = "", **more: Any) -> list[str]:
    """The ids of what is wrong."""
    with pytest.raises(StackErrors) as caught:
        choose(driver, gpus, version, wanted, **more)
    assert str(caught.value) == "\n".join(str(one) for one in caught.value.errors)
    assert caught.value.id == caught.value.errors[0].id
    return [one.id for one in caught.value.errors]


def test_the_seeds_pair() -> None:
    choice = cuda_choice("535.309.01", ["8.6"], engine_version("v0.6.0"), "12.2.0", features=("cuda",))
    assert choice == CudaChoice(
        cuda_version="12.2.0",
        devel="nvidia/cuda:12.2.0-devel-ubuntu22.04",
        runtime="nvidia/cuda:12.2.0-runtime-ubuntu22.04",
        capabilities=("86",),
        driver_minimum="535.54.03",
        warnings=(),
    )


@pytest.mark.parametrize(("cuda", "driver"), TOOLKIT_DRIVERS.items())
def test_every_line_of_the_driver_table(cuda: str, driver: str) -> None:
    """A toolkit's own driver runs it, and one a little older does not: it gets an older one, or none."""
    minor = ".".join(cuda.split(".")[:2])
    assert newest_cuda(driver_of(driver)) == minor
    if number(cuda) < (11, 8):
        assert refused(driver, ["8.0"], "0.9.2") == ["image.cuda_driver_too_old"]
        return
    # The newest of those that came with the same driver.
    expected = [one for one, its in TOOLKIT_DRIVERS.items() if its == driver][-1]
    assert choose(driver, ["8.0"], "0.9.2").cuda_version == expected
    parts = list(number(driver))
    before = ".".join(str(part) for part in (*parts[:-1], parts[-1] - 1))
    older = [one for one, its in TOOLKIT_DRIVERS.items() if number(its) < number(driver) and number(one) >= (11, 8)]
    if older:
        assert choose(before, ["8.0"], "0.9.2").cuda_version == older[-1]
    else:
        assert refused(before, ["8.0"], "0.9.2") == ["image.cuda_driver_too_old"]


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        # Debian's own and those of the recorded outputs of nvidia-smi.
        ("520.61.05", "11.8.0"),
        ("535.54.03", "12.2.0"),
        ("535.309.01", "12.2.2"),
        ("550.163.01", "12.4.1"),
        ("590.44.01", "13.1.0"),
        ("590.48.01", "13.1.1"),
        ("595.71.05", "13.2.1"),
        ("595.80", "13.2.1"),
        # The newest of each branch that came with a CUDA.
        ("525.85.12", "12.0.1"),
        ("530.30.02", "12.1.0"),
        ("545.23.08", "12.3.1"),
        ("555.42.06", "12.5.1"),
        ("560.35.05", "12.6.3"),
        ("570.124.06", "12.8.1"),
        ("575.57.08", "12.9.1"),
        ("580.173.02", "13.0.2"),
        ("610.57.04", "13.3.1"),
    ],
)
def test_drivers_in_use(driver: str, cuda: str) -> None:
    assert choose(driver, ["8.0"], "0.9.2").cuda_version == cuda


@pytest.mark.parametrize(
    ("driver", "reported", "cuda"),
    [
        ("", "", ""),
        ("470.256.02", "", ""),
        ("535.309.01", "", "12.2"),
        ("550.163.01", "12.4", "12.4"),
        ("595.80", "", "13.2"),
        # What nvidia-smi says is right also where the table is not.
        ("700.1", "14.0", "13.3"),
        ("700.1", "12.4", "12.4"),
        ("535.309.01", "12.8", "12.8"),
        ("535.309.01", "N/A", "12.2"),
    ],
)
def test_what_a_driver_runs(driver: str, reported: str, cuda: str) -> None:
    assert newest_cuda(driver_of(driver, reported)) == cuda


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("gpu", GPUS)
def test_every_gpu_with_every_engine(gpu: str, version: str) -> None:
    """On the newest driver each pair has a choice, or exactly one reason why there can't be."""
    engine = engine_of(version)
    if capability(gpu) < capability(engine.compute_minimum):
        assert refused("615.10", [gpu], version) == ["image.gpu_too_old_for_engine"]
    elif number(CAPABILITY_CUDA[gpu]) > number(engine.cuda_versions[-1]):
        assert refused("615.10", [gpu], version) == ["image.gpu_too_new_for_cuda"]
    else:
        choice = choose("615.10", [gpu], version)
        assert choice.capabilities == (gpu.replace(".", ""),)
        minor = ".".join(choice.cuda_version.split(".")[:2])
        assert minor == engine.cuda_versions[-1]


@pytest.mark.parametrize(("driver", "gpu", "version"), list(itertools.product(DRIVERS, GPUS, VERSIONS)))
def test_never_above_the_driver_and_always_the_newest(driver: str, gpu: str, version: str) -> None:
    """Checked against a search through all releases that knows nothing of how the choice is made."""
    engine = engine_of(version)
    possible = [
        cuda
        for cuda, its_driver in TOOLKIT_DRIVERS.items()
        if number(its_driver) <= number(driver)
        and cuda.rpartition(".")[0] in engine.cuda_versions
        and number(cuda) >= number(CAPABILITY_CUDA.get(gpu, "0"))
        and capability(gpu) >= capability(engine.compute_minimum)
    ]
    if possible:
        choice = choose(driver, [gpu], version)
        assert choice.cuda_version == max(possible, key=number)
        assert number(choice.driver_minimum) <= number(driver)
        assert not [one for one in choice.warnings if "driver" in one]
    else:
        assert len(refused(driver, [gpu], version)) == 1


@given(st.tuples(st.integers(400, 700), st.integers(0, 300), st.integers(0, 99)), st.sampled_from(GPUS))
def test_any_driver(parts: tuple[int, int, int], gpu: str) -> None:
    driver = ".".join(str(part) for part in parts)
    try:
        choice = choose(driver, [gpu], "0.9.2")
    except StackErrors as error:
        ids = [one.id for one in error.errors]
    else:
        ids = []
        assert number(choice.driver_minimum) <= parts
    assert len(ids) <= 1


@pytest.mark.parametrize(
    ("driver", "gpus", "version", "wanted", "ids"),
    [
        # Below the floor of a major version.
        ("450.80.01", ["8.0"], "0.9.2", "11.8", ["image.cuda_driver_too_old"]),
        ("525.60.12", ["8.0"], "0.9.2", "12.0.0", ["image.cuda_driver_too_old"]),
        ("579.99", ["8.0"], "0.9.2", "13.0.0", ["image.cuda_driver_too_old"]),
        # No CUDA of the engine's.
        ("580.95.05", ["8.0"], "0.9.2", "12.7.0", ["image.cuda_engine_unsupported"]),
        ("615.10", ["8.0"], "0.9.2", "13.4", ["image.cuda_engine_unsupported"]),
        ("615.10", ["8.0"], "0.8.0", "13.3.1", ["image.cuda_engine_unsupported"]),
        ("580.95.05", ["8.0"], "0.6.0", "12.9.1", ["image.cuda_engine_unsupported"]),
        # No GPU of the engine's or of this CUDA.
        ("580.95.05", ["7.5"], "0.8.0", "12.8.1", ["image.gpu_too_old_for_engine"]),
        ("580.95.05", ["7.0"], "0.7.0", "13.0.2", ["image.gpu_too_old_for_engine", "image.gpu_too_old_for_cuda"]),
        ("580.95.05", ["12.0"], "0.9.2", "12.6.3", ["image.gpu_too_new_for_cuda"]),
        ("580.95.05", ["10.0"], "0.9.2", "12.6.3", ["image.gpu_too_new_for_cuda"]),
        ("580.95.05", ["10.3"], "0.9.2", "12.8.1", ["image.gpu_too_new_for_cuda"]),
        ("580.95.05", ["12.1"], "0.9.2", "12.8.1", ["image.gpu_too_new_for_cuda"]),
        ("580.95.05", ["8.9"], "0.9.2", "11.7.1", ["image.cuda_engine_unsupported", "image.gpu_too_new_for_cuda"]),
        # The kernels include cuda_fp8.h, new in CUDA 11.8, though the list of the engine begins at 11.4.
        *[("580.95.05", ["8.0"], "0.9.2", one, ["image.cuda_engine_unsupported"]) for one in ("11.4.3", "11.7.1")],
        ("580.95.05", ["8.6"], "0.8.0", "11.7.1", ["image.cuda_engine_unsupported"]),
        # cudaforge compiles for sm_90a, which CUDA 12.0 was the first to have; 11.8 has sm_90 only.
        ("580.95.05", ["9.0"], "0.9.2", "11.8.0", ["image.gpu_too_new_for_cuda"]),
        ("580.95.05", ["9.0"], "0.8.0", "11.8.0", ["image.gpu_too_new_for_cuda"]),
        # 13.3 is in the list of v0.8.23, whose CUTLASS does not compile with it.
        ("615.10", ["9.0"], "0.8.23", "13.3.0", ["image.cuda_engine_unsupported"]),
        # Thor is compute capability 11.0 from CUDA 13.0 on.
        ("580.95.05", ["11.0"], "0.9.2", "12.9.1", ["image.gpu_too_new_for_cuda"]),
        # No version at all.
        ("580.95.05", ["8.9"], "0.9.2", "12", ["image.cuda_version_invalid"]),
        ("580.95.05", ["8.9"], "0.9.2", "latest", ["image.cuda_version_invalid"]),
        ("580.95.05", ["8.9"], "0.9.2", "12.8.1-devel", ["image.cuda_version_invalid"]),
        # Each conflict has its own error.
        (
            "470.1",
            ["12.0"],
            "0.9.2",
            "12.7.0",
            ["image.cuda_engine_unsupported", "image.gpu_too_new_for_cuda", "image.cuda_driver_too_old"],
        ),
    ],
)
def test_what_is_set_by_hand_is_checked(
    driver: str, gpus: list[str], version: str, wanted: str, ids: list[str]
) -> None:
    assert refused(driver, gpus, version, wanted) == ids


@pytest.mark.parametrize(("major", "floor"), MAJOR_DRIVERS.items())
def test_the_floor_itself_is_enough(major: int, floor: str) -> None:
    """NVIDIA's minor version compatibility, with a warning where the toolkit's own driver is newer."""
    wanted = {11: "11.8.0", 12: "12.8.1", 13: "13.2.1"}[major]
    choice = choose(floor, ["8.0"], "0.9.2", wanted)
    assert choice.cuda_version == wanted
    assert [one for one in choice.warnings if "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" in one]


@pytest.mark.parametrize(
    ("driver", "wanted", "cuda"),
    [
        ("580.95.05", "12.8", "12.8.1"),
        ("570.26", "12.8", "12.8.0"),
        ("535.309.01", "12.8", "12.8.1"),
        ("", "12.2", "12.2.2"),
        ("580.95.05", "12.02.0", "12.2.0"),
    ],
)
def test_two_numbers_are_completed(driver: str, wanted: str, cuda: str) -> None:
    assert choose(driver, ["8.0"], "0.9.2", wanted).cuda_version == cuda


def test_an_update_that_is_not_known_is_taken_with_a_warning() -> None:
    choice = choose("580.95.05", ["8.0"], "0.8.23", "12.3.2")
    assert choice.devel == "nvidia/cuda:12.3.2-devel-ubuntu22.04"
    assert ["12.3.2 is not among" in one for one in choice.warnings] == [True]
    assert choice.driver_minimum == MAJOR_DRIVERS[12]
    assert choose("580.95.05", ["8.0"], "0.8.23", "11.8").cuda_version == "11.8.0"


@pytest.mark.parametrize(
    ("driver", "gpu", "version", "cuda"),
    [
        # Between a driver and the newest CUDA, never one that the kernels don't compile with.
        ("520.61.05", "8.9", "0.9.2", "11.8.0"),
        ("525.60.13", "9.0", "0.9.2", "12.0.0"),
        ("525.60.13", "9.0", "0.8.0", "12.0.0"),
        ("610.43.02", "9.0", "0.8.23", "13.2.1"),
        ("610.43.02", "9.0", "0.9.0", "13.3.1"),
        ("580.95.05", "11.0", "0.9.2", "13.0.2"),
        ("535.54.03", "8.6", "0.6.0", "12.2.0"),
        ("535.54.03", "9.0", "0.6.0", "12.2.0"),
    ],
)
def test_what_compiles_is_chosen(driver: str, gpu: str, version: str, cuda: str) -> None:
    assert choose(driver, [gpu], version).cuda_version == cuda


@pytest.mark.parametrize(
    ("driver", "gpu", "version"),
    [
        # Drivers that run at most 11.7, and H100 with one that runs at most 11.8.
        ("515.105.01", "8.0", "0.9.2"),
        ("515.43.04", "8.6", "0.8.0"),
        ("520.61.05", "9.0", "0.9.2"),
        ("525.60.12", "9.0", "0.8.4"),
    ],
)
def test_no_cuda_is_better_than_one_that_does_not_compile(driver: str, gpu: str, version: str) -> None:
    assert refused(driver, [gpu], version) == ["image.cuda_driver_too_old"]


def test_without_a_driver_the_gpu_decides() -> None:
    choice = choose("", ["8.9"], "0.9.2+7")
    assert choice.cuda_version == "13.3.1"
    assert ["No NVIDIA driver is known" in one for one in choice.warnings] == [True]
    assert choose("", ["8.9"], "0.9.2+7", "12.2.0").warnings == ()


@pytest.mark.parametrize(
    ("driver", "gpus", "more", "ids"),
    [
        ("580.95.05", ["8.9"], {"architecture": "ppc64le"}, ["image.architecture_unsupported"]),
        ("580.95.05", ["8.9"], {"distribution": "debian12"}, ["image.cuda_base_unsupported"]),
        ("580.95.05", [], {}, ["image.capability_unknown"]),
        ("580.95.05", ["N/A"], {}, ["image.capability_invalid"]),
        ("580.95.05", ["8.9"], {"compute_capability": "sm_89"}, ["image.capability_invalid"]),
        ("N/A", ["8.9"], {}, ["image.driver_version_invalid"]),
        ("580.95.05", ["8.0", "8.9"], {}, ["image.capabilities_differ"]),
        ("580.95.05", ["8.0", "8.9"], {"compute_capability": "8.9"}, ["image.capabilities_differ"]),
        ("580.95.05", ["8.0", "9.0"], {"compute_capability": "8.0"}, ["image.capabilities_differ"]),
        ("580.95.05", ["12.0", "12.1"], {"compute_capability": "12.0"}, ["image.capabilities_differ"]),
        ("580.95.05", ["7.5", "8.9"], {}, ["image.gpu_too_old_for_engine"]),
        ("580.95.05", ["7.0", "7.5"], {"compute_capability": "7.0"}, ["image.gpu_too_old_for_engine"] * 2),
        ("580.95.05", ["8.9"], {"wanted": "12.2.0", "features": ["cudnn"]}, ["image.no_cudnn_image"]),
        ("580.95.05", ["8.9"], {"wanted": "12.4.0", "features": ["cudnn"]}, ["image.no_cudnn_image"]),
        ("550.54.14", ["8.9"], {"features": ["cudnn"]}, ["image.cuda_driver_too_old"]),
        ("535.309.01", ["8.9"], {"distribution": "ubuntu24.04"}, ["image.cuda_driver_too_old"]),
        ("570.124.06", ["10.0"], {"wanted": "12.8.1", "architecture": "riscv64"}, ["image.architecture_unsupported"]),
    ],
)
def test_refused(driver: str, gpus: list[str], more: dict[str, Any], ids: list[str]) -> None:
    assert refused(driver, gpus, "0.9.2", **more) == ids


def test_no_base_image_of_a_cuda_of_the_engine() -> None:
    assert refused("615.10", ["8.9"], "0.8.0", distribution="ubuntu26.04") == ["image.cuda_base_unsupported"]


@pytest.mark.parametrize(
    ("gpu", "version", "wanted", "ids"),
    [
        ("7.5", "0.7.0", "", ["image.feature_unsupported"]),
        ("7.5", "0.6.0", "12.4.1", ["image.feature_unsupported"]),
        ("8.0", "0.7.0", "13.0.2", ["image.feature_unsupported"]),
    ],
)
def test_flash_attention_refused(gpu: str, version: str, wanted: str, ids: list[str]) -> None:
    assert refused("615.10", [gpu], version, wanted, features=["cuda", "flash-attn"]) == ids


def test_features_limit_the_choice() -> None:
    assert choose("615.10", ["8.0"], "0.7.0").cuda_version == "13.0.2"
    assert choose("615.10", ["8.0"], "0.7.0", features=["cuda", "flash-attn"]).cuda_version == "12.9.1"
    assert choose("615.10", ["8.0"], "0.9.2", features=["flash-attn"]).cuda_version == "13.3.1"
    choice = choose("550.163.01", ["8.0"], "0.9.2", features=["cuda", "cudnn"])
    assert choice.devel == "nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"
    assert choice.runtime == "nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04"


def test_the_default_features_build_wherever_the_engine_does() -> None:
    """What a version is built with by default is refused on no GPU that the version supports."""
    for engine, gpu in itertools.product(ENGINE_VERSIONS, GPUS):
        if capability(gpu) >= capability(engine.compute_minimum) and gpu not in ("10.3", "11.0", "12.1"):
            assert cuda_choice("615.10", [gpu], engine, features=engine.features).cuda_version


@pytest.mark.parametrize(
    ("gpu", "version", "wanted", "feature", "reason"),
    [
        # candle-flash-attn-v3 0.9.2, build.rs:145: "Compute capability must be 90 (90a)".
        ("8.9", "0.9.2", "", "flash-attn-v3", r"compiles for compute capability 9\.0 only, and the GPU has 8\.9"),
        ("12.0", "0.7.0", "", "flash-attn-v3", r"9\.0 only"),
        # mistralrs-quant/build.rs: "the `cutile` feature requires CUDA >= 13.1" at v0.8.2, ">= 13.2" from v0.9.1 on.
        ("8.9", "0.8.2", "13.0.2", "cutile", r"needs CUDA 13\.1 or newer for it, and this is 13\.0\.2"),
        ("8.9", "0.9.1", "13.1.1", "cutile", r"needs CUDA 13\.2 or newer"),
        # Cargo.toml of the package at the tag.
        ("9.0", "0.6.0", "", "flash-attn-v3", r"mistral\.rs 0\.6\.0 has only .*mcp-server"),
        ("8.9", "0.8.1", "", "cutile", r"mistral\.rs 0\.8\.1 has only"),
        ("8.9", "0.9.2", "", "mcp-server", r"has only .*cutile"),
        ("8.9", "0.9.2", "", "flash-atn", r"has only .*flash-attn,"),
    ],
)
def test_features_that_can_not_be_built(gpu: str, version: str, wanted: str, feature: str, reason: str) -> None:
    with pytest.raises(StackErrors, match=reason) as caught:
        choose("615.10", [gpu], version, wanted, features=["cuda", feature])
    assert [one.id for one in caught.value.errors] == ["image.feature_unsupported"]


@pytest.mark.parametrize(
    ("gpu", "version", "wanted", "feature"),
    [
        ("9.0", "0.9.2", "", "flash-attn-v3"),
        ("8.9", "0.8.2", "13.1.1", "cutile"),
        ("8.9", "0.9.0", "13.1.1", "cutile"),
        ("8.9", "0.9.2", "13.2.0", "cutile"),
        # The newest CUDA is chosen, which has what the feature needs.
        ("8.9", "0.9.2", "", "cutile"),
        ("8.9", "0.6.0", "", "mcp-server"),
        ("8.9", "0.9.2", "", "mistralrs-core/utoipa"),
    ],
)
def test_features_that_can(gpu: str, version: str, wanted: str, feature: str) -> None:
    assert choose("615.10", [gpu], version, wanted, features=["cuda", feature]).cuda_version


def test_a_compiler_too_old_for_cutlass() -> None:
    """GCC 8.5 of UBI 8 (NVIDIA/cutlass issue 788); the engine's kernels need CUTLASS from v0.8.4 on."""

    def warned(version: str, distribution: str, *features: str) -> bool:
        choice = choose("580.95.05", ["8.9"], version, distribution=distribution, features=["cuda", *features])
        return any("CUTLASS" in one for one in choice.warnings)

    assert warned("0.9.2+7", "ubi8")
    assert warned("0.8.0", "ubi8", "flash-attn")
    assert not warned("0.8.0", "ubi8")
    assert not warned("0.9.2+7", "ubi9", "flash-attn")


def test_gpus_of_one_family_can_share_an_image() -> None:
    choice = choose("580.95.05", ["8.9", "8.0", "8.0"], "0.9.2", compute_capability="8.0")
    assert choice.capabilities == ("80",)
    assert any("GPUs of 8.9 may be slower" in one for one in choice.warnings)
    assert choose("580.95.05", [], "0.9.2", compute_capability="89").capabilities == ("89",)
    assert choose("580.95.05", ["8.9", "89"], "0.9.2").capabilities == ("89",)


@pytest.mark.parametrize(
    ("gpus", "way_out"),
    [
        (["8.6", "8.0", "8.9"], "Set mistral_image_compute_capability to 8.0, whose code all of them run"),
        (["8.9", "9.0"], "an image of its own"),
        (["10.0", "10.3"], "an image of its own"),
    ],
)
def test_the_way_out_of_different_gpus(gpus: list[str], way_out: str) -> None:
    with pytest.raises(StackErrors, match=way_out):
        choose("615.10", gpus, "0.9.2")


def test_a_gpu_that_is_not_known() -> None:
    choice = choose("615.10", ["13.0"], "0.9.2")
    assert choice.capabilities == ("130",)
    assert any("13.0 is not known here" in one for one in choice.warnings)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_base_images(distribution: str) -> None:
    choice = choose("615.10", ["8.9"], "0.9.2", distribution=distribution, architecture="aarch64")
    assert choice.runtime == f"nvidia/cuda:13.3.1-runtime-{distribution}"
    older = choose("615.10", ["8.6"], "0.9.2", "11.8.0", distribution=distribution)
    first = DISTRIBUTIONS[distribution]
    assert any(f"seen with {distribution} from" in one for one in older.warnings) == (number(first) > (11, 8))


@pytest.mark.parametrize(("text", "pair"), [("8.9", (8, 9)), ("89", (8, 9)), ("120", (12, 0)), ("10.3", (10, 3))])
def test_capability(text: str, pair: tuple[int, int]) -> None:
    assert capability(text) == pair


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ("580.1", "580.1"),
        (["580.1", "", None, "570.124.06", "570.26"], "570.26"),
        ([], ""),
        ([None, ""], ""),
        (None, ""),
        (["580.1", "N/A"], "N/A"),
        (iter(["580.1", "570.26"]), "570.26"),
    ],
)
def test_oldest(versions: Any, expected: str) -> None:
    assert oldest(versions) == expected


def published(driver: str, gpus: list[str], version: str, **more: Any) -> str:
    reference = published_tag(driver, gpus, engine_of(version), **more).reference
    repository, _colon, tag = reference.rpartition(":")
    assert repository == "ghcr.io/ericlbuehler/mistral.rs"
    return tag


@pytest.mark.parametrize(
    ("cuda", "gpu", "tag"),
    [
        # The lanes of upstream's page for 0.9.2.
        ("13.3", "9.0", "cuda133-sm90-0.9.2"),
        ("13.3", "8.9", "cuda132-sm89-0.9.2"),
        ("13.2", "9.0", "cuda131-sm90-0.9.2"),
        *[("13.2", gpu, f"cuda132-sm{gpu.replace('.', '')}-0.9.2") for gpu in ("8.0", "8.6", "8.9", "10.0", "12.0")],
        ("13.1", "8.0", "cuda131-sm80-0.9.2"),
        ("13.0", "8.0", "cuda130-sm80-0.9.2"),
        ("12.9", "8.0", "cuda128-sm80-0.9.2"),
        ("12.8", "12.0", "cuda128-sm120-0.9.2"),
    ],
)
def test_published_lanes(cuda: str, gpu: str, tag: str) -> None:
    assert published("600.1", [gpu], "0.9.2", driver_cuda=cuda) == tag


@pytest.mark.parametrize(
    ("cuda", "gpu", "tag"),
    [
        ("12.9", "12.1", "cuda129-sm121-0.9.2"),
        ("13.0", "12.1", "cuda130-sm121-0.9.2"),
        ("13.2", "12.1", "cuda132-sm121-0.9.2"),
        ("12.8", "9.0", "cuda128-sm90-0.9.2"),
        ("13.2", "10.0", "cuda132-sm100-0.9.2"),
    ],
)
def test_published_for_arm64(cuda: str, gpu: str, tag: str) -> None:
    assert published("600.1", [gpu], "0.9.2", driver_cuda=cuda, architecture="aarch64") == tag


@pytest.mark.parametrize(
    ("version", "driver", "gpu", "tag"),
    [
        ("0.6.0", "550.163.01", "7.5", "cuda-75-0.6.0"),
        ("0.6.0", "580.95.05", "9.0", "cuda-90-0.6.0"),
        ("0.8.4", "590.48.01", "8.9", "cuda-sm89-0.8.4"),
        ("0.8.13", "590.48.01", "8.9", "cuda131-sm89-0.8.13"),
        # release.yml: 128, 129 and 131 at v0.8.13, 130, 132 and 133 besides from v0.8.22 on, 132 for Blackwell from
        # v0.9.1 on.
        ("0.8.21", "580.95.05", "8.9", "cuda128-sm89-0.8.21"),
        ("0.8.21", "610.43.02", "9.0", "cuda131-sm90-0.8.21"),
        ("0.8.22", "580.95.05", "8.9", "cuda130-sm89-0.8.22"),
        ("0.8.22", "595.58.03", "8.6", "cuda132-sm86-0.8.22"),
        ("0.8.22", "595.58.03", "12.0", "cuda131-sm120-0.8.22"),
        ("0.8.22", "610.43.02", "9.0", "cuda133-sm90-0.8.22"),
        ("0.8.23", "580.95.05", "8.9", "cuda130-sm89-0.8.23"),
        ("0.9.0", "610.43.02", "10.0", "cuda131-sm100-0.9.0"),
        ("0.9.1", "610.43.02", "10.0", "cuda132-sm100-0.9.1"),
        ("0.9.1", "610.43.02", "9.0", "cuda133-sm90-0.9.1"),
        ("0.9.5", "580.95.05", "8.9", "cuda130-sm89-0.9.5"),
    ],
)
def test_published_of_other_versions(version: str, driver: str, gpu: str, tag: str) -> None:
    assert published(driver, [gpu], version) == tag


@pytest.mark.parametrize(
    ("version", "driver", "gpu", "architecture", "reason"),
    [
        (
            "0.9.2",
            "580.95.05",
            "7.5",
            "x86_64",
            r"has 7\.5\. Use a GPU of 8\.0 .*mistral_image_mistralrs_version: 0\.6\.0",
        ),
        ("0.9.2", "580.95.05", "7.0", "x86_64", r"has 7\.0\. Use a GPU of 8\.0 or newer\. See "),
        ("0.6.0", "580.95.05", "7.0", "x86_64", r"has 7\.0\. Use a GPU of 7\.5 or newer\. See "),
        ("0.9.2", "580.95.05", "10.3", "x86_64", r"has 10\.3\. Set mistral_image_source: build"),
        ("0.9.2", "580.95.05", "8.9", "aarch64", r"on arm64 they are for .*9\.0, 10\.0, 12\.1, and the GPU has 8\.9"),
        ("0.6.0", "580.95.05", "9.0", "aarch64", r"all are for x86_64"),
        (
            "0.9.2",
            "550.163.01",
            "8.9",
            "x86_64",
            r"start at CUDA 12\.8, and NVIDIA driver 550\.163\.01 runs CUDA 12\.4",
        ),
        ("0.9.2", "450.1", "8.9", "x86_64", r"driver 450\.1 is older than CUDA 11\.7.*Update the driver to 570\.26"),
        ("0.9.2", "570.124.06", "12.1", "aarch64", r"start at CUDA 12\.9, .*Update the driver to 575\.51\.03"),
        ("0.8.4", "580.95.05", "8.9", "x86_64", r"start at CUDA 13\.1"),
        ("0.9.2+7", "580.95.05", "8.9", "x86_64", r"a commit after the release 0\.9\.2.*mistralrs_version: 0\.9\.2\."),
        ("0.9.3+1", "580.95.05", "8.9", "x86_64", r"a commit after the release 0\.9\.3"),
        ("0.8.1", "580.95.05", "8.9", "x86_64", r"lack the program mistralrs"),
        ("0.7.0", "580.95.05", "8.9", "x86_64", r"lack the program mistralrs"),
        ("0.8.3", "580.95.05", "8.9", "x86_64", r"lack the program mistralrs"),
    ],
)
def test_nothing_published(version: str, driver: str, gpu: str, architecture: str, reason: str) -> None:
    with pytest.raises(StackErrors, match=reason) as caught:
        published(driver, [gpu], version, architecture=architecture)
    assert [one.id for one in caught.value.errors] == ["image.no_published_image"]


@pytest.mark.parametrize(
    ("driver", "gpus", "architecture", "ids"),
    [
        ("580.95.05", ["8.9"], "ppc64le", ["image.architecture_unsupported"]),
        ("N/A", ["8.9"], "x86_64", ["image.driver_version_invalid"]),
        ("580.95.05", [], "x86_64", ["image.capability_unknown"]),
        ("580.95.05", ["8.9", "9.0"], "x86_64", ["image.capabilities_differ"]),
    ],
)
def test_published_refuses(driver: str, gpus: list[str], architecture: str, ids: list[str]) -> None:
    with pytest.raises(StackErrors) as caught:
        published(driver, gpus, "0.9.2", architecture=architecture)
    assert [one.id for one in caught.value.errors] == ids


def test_published_without_a_driver() -> None:
    image = published_tag("", ["8.9"], engine_version("0.8.23"))
    assert image.reference.endswith(":cuda128-sm89-0.8.23")
    assert ["No NVIDIA driver" in one for one in image.warnings] == [True]


def test_the_newest_release_has_images() -> None:
    assert published("580.95.05", ["8.9"], NEWEST_PUBLISHED) == f"cuda130-sm89-{NEWEST_PUBLISHED}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ".".join(str(part) for part in row.since))
def test_every_published_capability_has_a_lane(row: Any) -> None:
    published = row.published
    lanes = {one for _cuda, capabilities in published.lanes for one in capabilities}
    assert lanes >= {one for capabilities in published.capabilities.values() for one in capabilities}
    # The first CUDA of a lane compiles for all that it is for.
    for cuda, capabilities in published.lanes:
        for one in capabilities:
            minimum = CAPABILITY_CUDA[".".join(str(part) for part in capability(one))]
            assert not published.capabilities or row.since == (0, 6, 0) or number(minimum) <= number(cuda)


@given(st.lists(st.text(), max_size=2), st.text(), st.text(), st.text())
def test_nothing_else_is_raised(gpus: list[str], driver: str, wanted: str, reported: str) -> None:
    for call in (
        lambda: choose(driver, gpus, "0.9.2", wanted, driver_cuda=reported),
        lambda: published(driver, gpus, "0.9.2", driver_cuda=reported),
    ):
        try:
            call()
        except StackErrors as error:
            problems = error.errors
        else:
            problems = []
        assert all(one.id.startswith("image.") for one in problems)
