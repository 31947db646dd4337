# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook for models by hand judges what fits by the GPUs of the host that it works on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub.place import REPOSITORY, Place, make_model

ROOT = Path(__file__).resolve().parents[3]


def run(place: Place, *arguments: str, theirs: dict[str, Any] | None = None, **variables: Any) -> str:
    """What the playbook says with variables of the command line, and with C(theirs) in the inventory."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    here |= theirs or {}
    inventory = place.root / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"children": {"gpu_hosts": {"hosts": {"here": here}}}}}))
    given = {
        "mistral_models_endpoint": place.hub.url,
        "mistral_models_path": str(place.store),
        "ansible_become": False,
        **variables,
    }
    command = ["ansible-playbook", "-i", str(inventory), "playbooks/models.yml", "-e", json.dumps(given), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def gpu(mebibytes: int) -> dict[str, Any]:
    """What M(mistralrs.stack.gpu_info) tells of a host with one GPU, as far as it counts here."""
    one = {"index": 0, "uuid": "GPU-0", "bus_id": "0", "name": "GPU", "compute_capability": "8.9"}
    memory = {"memory_total": mebibytes << 20, "memory_reserved": 0, "mig": {"current": "", "devices": []}}
    return {"gpus": [{**one, **memory}], "driver": {"loaded": "580.65.06"}}


@pytest.mark.parametrize("known", [{}, {"mistral_gpu_info": gpu(2000)}])
def test_a_search_looks_at_the_gpus(place: Place, known: dict[str, Any]) -> None:
    place.hub.add(REPOSITORY, {f"m-{label}.gguf": place.content for label in ("Q4_K_M", "Q8_0")})
    said = " ".join(run(place, models_search="model", **known).split())
    assert ("[Gather facts about the GPUs]" in said) == (not known)
    assert f"hf://{REPOSITORY}: " in said
    assert "of these fit here: q" in said or not known


def test_what_does_not_fit_the_gpus_is_not_fetched(place: Place) -> None:
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": make_model(place.gguf)})
    options = {"models_name": "m", "models_quantization": "q4_k_m", "models_source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(500)).split())
    assert "[model.does_not_fit]" in said
    assert not place.store.exists()
    assert "failed=0" in run(place, **options, mistral_gpu_info=gpu(2000))


def test_a_lora_adapter_is_refused_before_anything_is_changed(place: Place) -> None:
    adapter = make_model(place.gguf, **{"general.type": "adapter", "adapter.type": "lora"})
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": adapter})
    options = {"models_name": "m", "models_quantization": "q4_k_m", "models_source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(2000)).split())
    assert "Model m is a LoRA adapter" in said
    assert "[model.no_model]" in said
    assert not place.store.exists()


def recap(said: str) -> str:
    """How the play ended on the host, as C(ok=4 changed=0 ... failed=0 ...)."""
    return " ".join(said.rpartition("PLAY RECAP")[2].split())


def test_the_life_of_a_model_whatever_the_inventory_calls_its_variables(place: Place) -> None:
    """Fetched, verified and removed; only what -e says counts."""
    file = place.root / "m.gguf"
    file.write_bytes(make_model(place.gguf))
    theirs = {"state": "absent", "model": "x", "source": "nowhere", "models_state": "absent", "models_convert": "x"}
    known = {"mistral_gpu_info": gpu(2000)}
    name = {"models_name": "m", "models_quantization": "q4_k_m"}
    fetch = {**name, "models_source": f"file://{file}", **known}
    stored = place.store / "m-q4_k_m.gguf"
    for options, arguments, changed, is_there in (
        (fetch, ["--check"], 1, False),
        (fetch, [], 1, True),
        (fetch, [], 0, True),
        ({**name, "models_state": "verified"}, [], 0, True),
        ({**name, "models_state": "absent"}, [], 1, False),
        ({}, [], 0, False),
    ):
        said = run(place, *arguments, theirs=theirs, **options)
        assert f" changed={changed} " in recap(said), said
        assert " failed=0 " in recap(said), said
        assert stored.exists() == is_there
        assert "DEPRECATED" not in said
        assert "nowhere" not in said


def test_the_former_names_still_count_and_say_the_new_ones(place: Place) -> None:
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": make_model(place.gguf)})
    options = {"model": "m", "quantization": "q4_k_m", "source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(2000)).split()).replace("''", "'")
    assert " changed=1 " in said
    assert "failed=0" in said
    assert (place.store / "m-q4_k_m.gguf").exists()
    for former, name in (
        ("model", "models_name"),
        ("quantization", "models_quantization"),
        ("source", "models_source"),
    ):
        assert f"DEPRECATED: '-e {former}=' is now '-e {name}='" in said
    assert "'-e state='" not in said


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"models_state": "gone", "models_name": "m"}, "models.arguments"),
        ({"models_state": "absent", "models_name": ""}, "models.arguments"),
        ({"models_search": "m", "models_name": "m"}, "models.arguments"),
        ({"models_convert": "m"}, "models.arguments"),
        ({"models_convert": "m", "models_name": "n", "models_state": "verified"}, "models.arguments"),
        ({"models_name": "m", "mistral_models": [{"name": "other:1b"}]}, "models.overridden"),
        ({"models_convert": "m", "models_name": "n"}, "models.convert_type"),
        ({"models_convert": "m", "models_name": "../n", "models_quantization": "q4k"}, "model.unsafe_name"),
    ],
)
def test_what_does_not_go_together(place: Place, variables: dict[str, Any], error: str) -> None:
    said = run(place, **variables)
    assert f"[{error}]" in said
    assert " changed=0 " in recap(said)
    assert not place.store.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_of_somebody_else_is_refused_instead_of_taken_over(place: Place) -> None:
    place.store.mkdir()
    os.chown(place.store, 12345, 12345)
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": make_model(place.gguf)})
    options = {"models_name": "m", "models_quantization": "q4_k_m", "models_source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(2000)).split())
    assert "[model.store_untrusted]" in said
    assert "it belongs to the user 12345" in said
    assert (place.store.stat().st_uid, list(place.store.iterdir())) == (12345, [])


@pytest.mark.parametrize("is_there", [True, False])
def test_equal_tasks_in_the_background_are_all_told(place: Place, is_there: bool) -> None:
    """With async the module waits for the job itself; here it does so on five hosts that share a store."""
    if not is_there:
        place.plain.fault("/model.gguf", stall_after=500_000, stall_seconds=1, times=-1)
    hosts = {f"h{number}": {"ansible_connection": "local"} for number in range(5)}
    inventory = place.root / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": {"ansible_python_interpreter": sys.executable}}}))
    task = {
        "mistralrs.stack.model": {
            "path": str(place.store),
            "name": "m",
            "source": f"{place.plain.url}/model.gguf",
            "timeout": 2,
            "retries": 0,
        },
        "async": 60,
        "poll": 1,
        "register": "done",
    }
    told = {"ansible.builtin.assert": {"that": ["done.model.size > 0", "done.model.sha256 | length == 64"]}}
    playbook = place.root / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task, told]}]))
    command = ["ansible-playbook", "--forks", "5", "-i", str(inventory), str(playbook)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    ends = [line for line in said.splitlines() if "failed=" in line]
    assert len(ends) == 5
    assert all(("failed=0" if is_there else "failed=1") in line for line in ends), said
    assert (place.store / "m.gguf").exists() == is_there
