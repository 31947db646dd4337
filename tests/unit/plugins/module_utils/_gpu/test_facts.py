"""Everything together, over answers that nobody foresaw."""

from __future__ import annotations

import json
import timeit
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.facts import HANGS, MISSING, Answer, gpu_info
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.pci import Tree
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.gpu import recording

RECORDINGS = {name: recording.load(name) for name in recording.names()}
CODES = st.one_of(st.sampled_from([0, 4, 6, 9, 12, 14, 15, 16, 18, 255, MISSING, HANGS]), st.integers(-64, 255))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    planted = {}
    for name, said in RECORDINGS.items():
        root = tmp_path_factory.mktemp("host")
        recording.plant(said.files, root)
        planted[name] = Tree(str(root))
    return planted


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_answer_on_any_host(trees: dict[str, Tree], data: st.DataObject) -> None:
    tree = trees[data.draw(st.sampled_from(sorted(trees)))]
    answers = RECORDINGS[data.draw(st.sampled_from(sorted(RECORDINGS)))].answers

    def ask(arguments: Sequence[str]) -> Answer:
        code, text = answers.get(" ".join(arguments)) or answers.get("*") or (2, "")
        first = data.draw(st.integers(0, len(text)))
        last = data.draw(st.integers(first, len(text)))
        kind = data.draw(st.sampled_from(["whole", "cut", "hole"]))
        text = {"whole": text, "cut": text[:first], "hole": text[:first] + text[last:]}[kind]
        return Answer(data.draw(st.one_of(st.just(code), CODES)), text, data.draw(st.sampled_from(["", text])))

    info = gpu_info(tree, ask)
    json.dumps(info)
    assert len({gpu["bus_id"] for gpu in info["gpus"]}) == len(info["gpus"])
    for problem in info["problems"]:
        assert problem["message"].endswith(f"[{problem['id']}]")


def test_every_gpu_of_the_bus_is_there_whatever_is_said(trees: dict[str, Tree]) -> None:
    info = gpu_info(trees["a100-three__535.309.01"], lambda _arguments: Answer(0, "what?"))
    assert [gpu["bus_id"] for gpu in info["gpus"]] == ["0000:17:00.0", "0000:65:00.0", "0000:ca:00.0"]
    assert [problem["id"] for problem in info["problems"]] == ["driver.smi_unreadable"]


def test_nothing_is_asked_without_gpu_and_driver(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/6.1/kernel").mkdir(parents=True)

    def ask(_arguments: Sequence[str]) -> Answer:
        raise AssertionError("nvidia-smi was called")

    assert gpu_info(Tree(str(tmp_path)), ask)["gpus"] == []
    # The best of some tries, as other tests run beside this one.
    assert min(timeit.repeat(lambda: gpu_info(Tree(str(tmp_path)), ask), number=1, repeat=3)) < 0.1


def test_no_more_calls_than_needed(trees: dict[str, Tree]) -> None:
    calls = []

    def ask(arguments: Sequence[str]) -> Answer:
        calls.append(arguments[0])
        return Answer(*RECORDINGS["h100__590.48.01"].answers[" ".join(arguments)])

    gpu_info(trees["h100__590.48.01"], ask)
    assert calls == ["-q", "--query-gpu=index,pci.bus_id,compute_cap"]
