"""The parsers on recorded outputs, whole and damaged."""

from __future__ import annotations

import timeit

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu import nvidia_smi
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.gpu import recording

RECORDINGS = {name: recording.load(name) for name in recording.names()}
XML = {name: said.answers["-q -x"] for name, said in RECORDINGS.items() if "-q -x" in said.answers}
FAILURES = {name: said.answers["*"] for name, said in RECORDINGS.items() if "*" in said.answers}
# Driver, CUDA, GPUs, MIG devices
LOGS = {
    "a100-mig__535.54.03": ("535.54.03", "12.2", 1, 4),
    "a100-three__535.309.01": ("535.309.01", "12.2", 3, 0),
    "a5000-two__590.44.01": ("590.44.01", "13.1", 2, 0),
    "gb10__580.126.09": ("580.126.09", "13.0", 1, 0),
    "gtx-1070-ti__440": ("", "", 1, 0),
    "h100__590.48.01": ("590.48.01", "13.1", 1, 0),
    "h200-mig__610.43.02": ("610.43.02", "13.3", 1, 1),
    "inforom__535.309.01": ("535.309.01", "12.2", 3, 0),
    "l40s__595.80": ("595.80", "13.2", 1, 0),
    "lost__535.309.01": ("535.309.01", "12.2", 2, 0),
    "p4-vgpu__513.46": ("513.46", "11.6", 1, 0),
    "pro-6000__590.44.01": ("590.44.01", "13.1", 1, 0),
    "rtx-3080__536.40": ("536.40", "12.2", 1, 0),
    "t4__515.105.01": ("515.105.01", "11.7", 1, 0),
}


def test_every_recording_is_either() -> None:
    assert set(LOGS) == set(XML)
    assert set(LOGS) | set(FAILURES) == set(RECORDINGS)
    assert len(RECORDINGS) >= 20


@pytest.mark.parametrize("name", XML)
def test_xml(name: str) -> None:
    log = nvidia_smi.parse_xml(XML[name][1])
    assert log is not None
    devices = sum(len(gpu.mig_devices) for gpu in log.gpus)
    assert (log.driver, log.cuda, len(log.gpus), devices) == LOGS[name]
    for gpu in log.gpus:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.bus_id.endswith(".0")
        assert not gpu.lost
        # Words for "there is none" are not values.
        assert "N/A" not in gpu
        assert not any(isinstance(value, str) and "deprecated" in value.lower() for value in gpu)


def test_values_of_an_old_driver() -> None:
    log = nvidia_smi.parse_xml(XML["t4__515.105.01"][1])
    assert log is not None
    (gpu,) = log.gpus
    assert (gpu.memory_total, gpu.memory_reserved, gpu.memory_free) == (15360 << 20, 388 << 20, 13939 << 20)
    assert (gpu.power_limit, gpu.power_limit_min, gpu.power_limit_max) == (70.0, None, None)
    assert (gpu.ecc_current, gpu.mig_current, gpu.persistence) == ("Enabled", "", False)
    assert (gpu.device_id, gpu.architecture, gpu.recovery_action, gpu.fabric_state) == ("1EB8", "Turing", "", "")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mismatch__565.57", nvidia_smi.MISMATCH),
        ("no-devices__550.163.01", nvidia_smi.NO_DEVICES),
        ("no-driver__550.163.01", nvidia_smi.NOT_LOADED),
        ("no-library__550.163.01", nvidia_smi.NO_LIBRARY),
        ("no-permission__550.163.01", nvidia_smi.NO_PERMISSION),
        ("unknown-error__550.163.01", nvidia_smi.OTHER),
    ],
)
def test_failure(name: str, kind: str) -> None:
    code, text = FAILURES[name]
    assert nvidia_smi.failure(code, text) == kind
    assert nvidia_smi.parse_xml(text) is None
    # By the code alone as well, except for what has none of its own.
    assert nvidia_smi.failure(code, "") == kind
    if kind != nvidia_smi.OTHER:
        assert nvidia_smi.failure(255, text) == kind


def test_no_failure() -> None:
    assert nvidia_smi.failure(0, "") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("handle for GPU0000:CB:00.0: Unknown Error", "0000:cb:00.0"),
        ("handle for GPU1: 0000:34:00.0: Unknown Error", "0000:34:00.0"),
        ("GPU 1", ""),
    ],
)
def test_bus_id(text: str, expected: str) -> None:
    assert nvidia_smi.bus_id(text) == expected


def test_csv_leaves_out_what_is_none_of_it() -> None:
    text = (
        "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n"
        "0, 00000000:3B:00.0, 9.0\n1, 00000000:5E:00.0, [N/A]\n[Unknown], 00000000:5F:00.0, 10.0\n, ,\n"
    )
    assert nvidia_smi.parse_csv(text) == {
        "0000:3b:00.0": (0, "9.0"),
        "0000:5e:00.0": (1, ""),
        "0000:5f:00.0": (None, "10.0"),
    }
    assert nvidia_smi.parse_csv('Field "compute_cap" is not a valid field to query.') == {}


def test_list_of_mig_devices() -> None:
    found = nvidia_smi.parse_list(RECORDINGS["a100-mig__535.54.03"].answers["-L"][1])
    assert list(found) == ["GPU-513536b6-7d19-9063-b049-1e69664bb298"]
    devices = found["GPU-513536b6-7d19-9063-b049-1e69664bb298"]
    assert devices == {number: f"MIG-0000000{number}-1111-5222-8333-444444444444" for number in range(4)}


def test_nvlink() -> None:
    assert nvidia_smi.parse_nvlink(RECORDINGS["a100-three__535.309.01"].answers["nvlink --status"][1]) is True
    assert nvidia_smi.parse_nvlink(RECORDINGS["a5000-two__590.44.01"].answers["nvlink --status"][1]) is False
    assert nvidia_smi.parse_nvlink("NVML: Unable to retrieve NVLink information") is None


@pytest.mark.parametrize("name", RECORDINGS)
def test_parsing_takes_less_than_50_ms(name: str) -> None:
    def parse() -> None:
        for code, text in RECORDINGS[name].answers.values():
            nvidia_smi.failure(code, text)
            nvidia_smi.parse_xml(text)
            nvidia_smi.parse_csv(text)
            nvidia_smi.parse_list(text)
            nvidia_smi.parse_nvlink(text)

    # The best of some tries, as other tests run beside this one.
    assert min(timeit.repeat(parse, number=1, repeat=3)) < 0.05


def test_as_long_as_real_outputs_are() -> None:
    # Eight GPUs with all the clocks that they support: about a megabyte.
    clocks = "<supported_clocks>" + "<supported_graphics_clock>1980 MHz</supported_graphics_clock>\n" * 2000
    text = XML["h100__590.48.01"][1]
    gpu = text[text.index("<gpu ") : text.index("</gpu>")] + clocks + "</supported_clocks></gpu>"
    long = text[: text.index("<gpu ")] + gpu * 8 + "</nvidia_smi_log>"
    assert len(long) > 1_000_000
    assert min(timeit.repeat(lambda: nvidia_smi.parse_xml(long), number=1, repeat=3)) < 0.5
    log = nvidia_smi.parse_xml(long)
    assert log is not None
    assert len(log.gpus) == 8


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """An answer that is cut off, has a hole, or has something else in its middle."""
    name = draw(st.sampled_from(sorted(RECORDINGS)))
    text = draw(st.sampled_from([text for _code, text in RECORDINGS[name].answers.values()]))
    first, last = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    middle = draw(st.one_of(st.just(""), st.text(max_size=30), st.sampled_from(["&x;", "<a>", "\0", "9" * 400, "]]>"])))
    return draw(st.sampled_from([text[:first], text[:first] + middle + text[last:], middle + text[first:]]))


@settings(max_examples=400, deadline=None)
@given(text=damaged(), code=st.integers(-64, 255))
def test_damaged_answers_never_raise(text: str, code: int) -> None:
    nvidia_smi.failure(code, text)
    nvidia_smi.words(text)
    for kind in (nvidia_smi.LOST, nvidia_smi.INFOROM):
        assert all(line in text for line in nvidia_smi.complaints(text, kind).values())
    nvidia_smi.parse_csv(text)
    nvidia_smi.parse_list(text)
    nvidia_smi.parse_nvlink(text)
    log = nvidia_smi.parse_xml(text)
    if log is not None:
        assert all(gpu.bus_id for gpu in log.gpus)


def test_entities_are_not_expanded() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    assert nvidia_smi.parse_xml(f"{bomb}<nvidia_smi_log><gpu id='&b;'/></nvidia_smi_log>") is None
