# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The software bill of materials of an engine image, as CycloneDX 1.5 (ECMA-424) JSON.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import urllib.parse
import uuid
from typing import Any, NamedTuple

_VALUE = re.compile(r'(\w+) = "(.*)"\Z')
_NAMESPACE = uuid.UUID("5f1d7c1e-4d67-4a6e-9b0f-4c8c6b2b7a10")


class Crate(NamedTuple):
    """One package of a Cargo.lock; C(source) and C(checksum) are empty for the workspace's own."""

    name: str
    version: str
    source: str = ""
    checksum: str = ""


class SystemPackage(NamedTuple):
    """One package of the distribution; C(kind) is deb or rpm."""

    kind: str
    name: str
    version: str
    architecture: str


def crates(lock: str) -> list[Crate]:
    """The packages of a C(Cargo.lock) (versions 1 to 4)."""
    found = []
    for block in re.split(r"^\[\[package\]\]$", lock, flags=re.MULTILINE)[1:]:
        values: dict[str, str] = {}
        for line in block.splitlines():
            if line.startswith("["):
                break
            match = _VALUE.match(line)
            if match:
                values.setdefault(match.group(1), match.group(2))
        if "name" in values and "version" in values:
            found.append(Crate(values["name"], values["version"], values.get("source", ""), values.get("checksum", "")))
    return found


def system_packages(text: str) -> list[SystemPackage]:
    """Packages from lines of C(deb|rpm TAB name TAB version TAB architecture); others are left out."""
    rows = (line.split("\t") for line in text.splitlines())
    return [SystemPackage(*row) for row in rows if len(row) == 4 and row[0] in ("deb", "rpm") and all(row)]


def _crate_component(crate: Crate) -> dict[str, Any]:
    purl = f"pkg:cargo/{urllib.parse.quote(crate.name)}@{urllib.parse.quote(crate.version)}"
    if crate.source.startswith("git+"):
        purl += f"?vcs_url={urllib.parse.quote(crate.source.replace('#', '@'), safe='')}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": crate.name,
        "version": crate.version,
        "purl": purl,
    }
    if crate.checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": crate.checksum}]
    return component


def _system_component(package: SystemPackage, distribution: str) -> dict[str, Any]:
    namespace = distribution or ("debian" if package.kind == "deb" else "redhat")
    name, version = (urllib.parse.quote(text, safe="") for text in (package.name, package.version))
    purl = f"pkg:{package.kind}/{namespace}/{name}@{version}?arch={package.architecture}"
    return {"type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl}


def sbom(
    reference: str,
    digest: str,
    engine_version: str,
    lock: str,
    packages: str,
    distribution: str = "",
) -> dict[str, Any]:
    """The document for an image.

    C(lock) is the text of its Cargo.lock, C(packages) the list that L{system_packages} reads, C(distribution) the id of
    its C(/etc/os-release). The same image gives the same document, so it has no time.
    """
    components = [_crate_component(crate) for crate in crates(lock)]
    components += [_system_component(package, distribution) for package in system_packages(packages)]
    unique = {component["bom-ref"]: component for component in components}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": digest,
                "name": reference,
                "version": engine_version,
                "hashes": [{"alg": "SHA-256", "content": digest.rpartition(":")[2]}],
            }
        },
        "components": [unique[key] for key in sorted(unique)],
    }
