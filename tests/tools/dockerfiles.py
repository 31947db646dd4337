"""The role's Dockerfiles, rendered as the role does it, for any version and any kind of base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[2] / "roles" / "mistral_image"
SPEC = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
BASES = {
    "ubuntu22.04": {"base_distribution": "ubuntu22.04"},
    "ubuntu24.04": {"base_distribution": "ubuntu24.04"},
    "ubi9": {"base_distribution": "ubi9"},
    "debian": {"devel_base": "example.org/cuda-debian:12-devel", "runtime_base": "example.org/cuda-debian:12-runtime"},
}


def settings(version: str, base: str, **more: Any) -> dict[str, Any]:
    plain = {
        name.removeprefix("mistral_image_"): value
        for name, value in SPEC.items()
        if not (isinstance(value, str) and "{{" in value)
    }
    wanted = {"version": version, "architecture": "x86_64", "driver": "580.95.05", "compute_capability": "8.9"}
    # The oldest version has no CUDA for Ubuntu 24.04 but these.
    return {**plain, **wanted, **BASES.get(base, {}), **more}


def rendered(name: str, source: str, plan: dict[str, Any], authorities: list[str]) -> str:
    templar = Templar(loader=DataLoader())
    templar.environment.loader.searchpath = [str(ROLE / "templates")]
    templar.available_variables = {
        "__mistral_image_plan": plan,
        "__mistral_image_program": f"/usr/local/bin/{plan['dockerfile']['binary']}",
        "mistral_image_ca_certificates": authorities,
        "mistral_image_source": source,
    }
    return str(templar.template(trust_as_template((ROLE / "templates" / name).read_text())))
