# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that only look."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mistralrs.stack.plugins.modules import model_info, model_search

from tests.fakes.hub.hub import COMMIT
from tests.fakes.hub.place import LABEL, REMOTE, REPOSITORY, Place, make_model

Run = Callable[..., dict[str, Any]]
SIZES = {"Q4_K_M": 1 << 20, "Q8_0": 2 << 20, "IQ4_XS": 3 << 20}


@pytest.fixture
def run(place: Place, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(module: Any = model_info, **options: Any) -> dict[str, Any]:
        given = {"endpoint": place.hub.url, "_ansible_remote_tmp": str(place.root), "retries": 0, **options}
        if module is model_info:
            given["path"] = str(place.store)
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        return dict(json.loads(capsys.readouterr().out))

    return call


@pytest.fixture
def several(place: Place) -> Place:
    models = {f"m-{label}.gguf": make_model(place.gguf, size) for label, size in SIZES.items()}
    place.hub.add("org/coder-7B-GGUF", models)
    return place


def test_an_empty_store(run: Run, place: Place) -> None:
    result = run()
    assert (result["models"], result["others"], result["changed"]) == ([], [], False)
    assert result["free"] > 0
    assert not place.store.exists()


def test_a_store(run: Run, place: Place) -> None:
    place.fetch()
    (place.store / "somebody-elses.gguf").write_bytes(b"x")
    result = run()
    (model,) = result["models"]
    assert {key: model[key] for key in ("name", "file", "size", "sha256", "present", "source", "revision")} == {
        "name": "m",
        "file": f"m-{LABEL}.gguf",
        "size": len(place.content),
        "sha256": hashlib.sha256(place.content).hexdigest(),
        "present": True,
        "source": place.source,
        "revision": COMMIT,
    }
    assert result["others"] == ["somebody-elses.gguf"]
    place.final.write_bytes(place.content)
    assert not run()["models"][0]["present"]


def test_a_remote_file_costs_its_header(run: Run, place: Place) -> None:
    remote = run(source=f"{place.source}/{REMOTE}")["remote"]
    assert (remote["revision"], remote["size"]) == (COMMIT, len(place.content))
    assert remote["gguf"]["architecture"] == "llama"
    assert place.bodies() == [f"bytes=0-{min(1 << 20, len(place.content)) - 1}"]
    plain = run(source=f"{place.plain.url}/model.gguf")["remote"]
    assert plain["gguf"] == remote["gguf"]


def test_a_repository_tells_what_fits(run: Run, several: Place) -> None:
    result = run(source="hf://org/coder-7B-GGUF", fit={"gpu_memory": [4096]})
    offered = result["remote"]["quantizations"]
    assert [(each["label"], each["loadable"], each["fits"]) for each in offered] == [
        ("q4_k_m", True, True),
        ("q8_0", True, True),
        ("iq4_xs", False, True),
    ]
    small = run(source="hf://org/coder-7B-GGUF", fit={"gpu_memory": [64]})["remote"]["quantizations"]
    assert not any(each["fits"] for each in small)
    assert run(source="hf://org/coder-7B-GGUF")["remote"]["quantizations"][0]["fits"] is None


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("hf://org/nothing", "model.unauthorized"),
        ("s3://x", "model.source_unsupported"),
        ("hf://x", "model.source_invalid"),
    ],
)
def test_what_can_not_be_looked_at(run: Run, source: str, error: str) -> None:
    assert run(source=source)["error_id"] == error


def test_search(run: Run, several: Place) -> None:
    found = run(model_search, query="coder", fit={"gpu_memory": [4096]})["models"]
    assert found == [
        {
            "repository": "org/coder-7B-GGUF",
            "source": "hf://org/coder-7B-GGUF",
            "task": "text-generation",
            "license": "apache-2.0",
            "gated": False,
            "downloads": 1000,
            "quantizations": ["iq4_xs", "q4_k_m", "q8_0"],
            "fitting": ["q8_0", "q4_k_m"],
        }
    ]
    assert len(run(model_search, query="org")["models"]) == 2
    assert len(run(model_search, query="org", limit=1)["models"]) == 1


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"size": "7b"}, 1),
        ({"size": "17b"}, 0),
        ({"task": "text-generation"}, 2),
        ({"task": "translation"}, 0),
        ({"quantization": "Q8_0"}, 1),
        ({"quantization": "q5_k_m"}, 0),
    ],
)
def test_conditions(run: Run, several: Place, options: dict[str, Any], count: int) -> None:
    assert len(run(model_search, query="o", **options)["models"]) == count


def test_a_gated_repository_is_found_too(run: Run, place: Place) -> None:
    place.hub.add(REPOSITORY, {REMOTE: place.content}, gated=True)
    (found,) = run(model_search, query="model", fit={"gpu_memory": [4096]})["models"]
    assert (found["gated"], found["fitting"]) == (True, [])
