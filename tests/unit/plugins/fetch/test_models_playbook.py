# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook for models by hand judges what fits by the GPUs of the host that it works on."""

from __future__ import annotations

import json
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
