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
from place import REPOSITORY, Place, make_model

ROOT = Path(__file__).resolve().parents[4]


def run(place: Place, **variables: Any) -> str:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    inventory = place.root / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"children": {"gpu_hosts": {"hosts": {"here": here}}}}}))
    given = {
        "mistral_models_endpoint": place.hub.url,
        "mistral_models_path": str(place.store),
        "ansible_become": False,
        **variables,
    }
    command = ["ansible-playbook", "-i", str(inventory), "playbooks/models.yml", "-e", json.dumps(given)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def gpu(mebibytes: int) -> dict[str, Any]:
    """What M(mistralrs.stack.gpu_info) tells of a host with one GPU, as far as it counts here."""
    one = {"index": 0, "uuid": "GPU-0", "bus_id": "0", "name": "GPU", "compute_capability": "8.9"}
    memory = {"memory_total": mebibytes << 20, "memory_reserved": 0, "mig": {"current": "", "devices": []}}
    return {"gpus": [{**one, **memory}], "driver": {"loaded": "580.65.06"}}


@pytest.mark.parametrize("known", [{}, {"mistral_gpu_info": gpu(2000)}])
def test_a_search_looks_at_the_gpus(place: Place, known: dict[str, Any]) -> None:
    place.hub.add(REPOSITORY, {f"m-{label}.gguf": place.content for label in ("Q4_K_M", "Q8_0")})
    said = " ".join(run(place, search="model", **known).split())
    assert ("[Look at the GPUs]" in said) == (not known)
    assert f"hf://{REPOSITORY}: " in said
    assert "of these fit here: q" in said or not known


def test_what_does_not_fit_the_gpus_is_not_fetched(place: Place) -> None:
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": make_model(place.gguf)})
    options = {"model": "m", "quantization": "q4_k_m", "source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(500)).split())
    assert "[model.does_not_fit]" in said
    assert not place.store.exists()
    assert "failed=0" in run(place, **options, mistral_gpu_info=gpu(2000))


def test_a_lora_adapter_is_refused_before_anything_is_changed(place: Place) -> None:
    adapter = make_model(place.gguf, **{"general.type": "adapter", "adapter.type": "lora"})
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": adapter})
    options = {"model": "m", "quantization": "q4_k_m", "source": f"hf://{REPOSITORY}"}
    said = " ".join(run(place, **options, mistral_gpu_info=gpu(2000)).split())
    assert "Model m is a LoRA adapter" in said
    assert "[model.no_model]" in said
    assert not place.store.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_of_somebody_else_is_refused_instead_of_taken_over(place: Place) -> None:
    place.store.mkdir()
    os.chown(place.store, 12345, 12345)
    place.hub.add(REPOSITORY, {"m-Q4_K_M.gguf": make_model(place.gguf)})
    options = {"model": "m", "quantization": "q4_k_m", "source": f"hf://{REPOSITORY}"}
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
