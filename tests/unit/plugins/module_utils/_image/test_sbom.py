"""Bills of materials: valid by the schema of CycloneDX, with the right names and purls, repeatable."""

from __future__ import annotations

import json

from ansible_collections.mistralrs.stack.plugins.module_utils._image.sbom import crates, sbom, system_packages
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

LOCK = """\
version = 4

[[package]]
name = "candle-core"
version = "0.11.0"
source = "git+https://github.com/huggingface/candle.git?rev=35d7ae7c#35d7ae7c1111"

[[package]]
name = "mistralrs-cli"
version = "0.9.2"
dependencies = [
 "candle-core",
]

[[package]]
name = "serde"
version = "1.0.219"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "5f0e2c6ed6606019b4e29e69dbaba95b11854410e5347d525002456dbbb786b6"

[metadata]
"checksum x" = "y"
"""
PACKAGES = "ubuntu\ndeb\tlibc6\t2.35-0ubuntu3.10\tamd64\ndeb\tbroken\n"


def test_crates() -> None:
    assert [(crate.name, crate.version) for crate in crates(LOCK)] == [
        ("candle-core", "0.11.0"),
        ("mistralrs-cli", "0.9.2"),
        ("serde", "1.0.219"),
    ]
    assert crates("") == []


def test_system_packages() -> None:
    assert [package.name for package in system_packages(PACKAGES)] == ["libc6"]


def test_document() -> None:
    document = sbom("engine:1", "sha256:00", "0.9.2", LOCK, PACKAGES, "ubuntu")
    purls = [component["purl"] for component in document["components"]]
    assert purls == [
        "pkg:cargo/candle-core@0.11.0?vcs_url=git%2Bhttps%3A%2F%2Fgithub.com%2Fhuggingface%2Fcandle.git%3Frev%3D"
        "35d7ae7c%4035d7ae7c1111",
        "pkg:cargo/mistralrs-cli@0.9.2",
        "pkg:cargo/serde@1.0.219",
        "pkg:deb/ubuntu/libc6@2.35-0ubuntu3.10?arch=amd64",
    ]
    assert document["components"][2]["hashes"][0]["content"].startswith("5f0e2c6e")
    assert document == sbom("engine:1", "sha256:00", "0.9.2", LOCK, PACKAGES, "ubuntu")
    assert document["serialNumber"] != sbom("engine:1", "sha256:01", "0.9.2", LOCK, PACKAGES)["serialNumber"]


def test_the_schema() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    document = sbom("engine:1", f"sha256:{'0' * 64}", "0.9.2", LOCK, PACKAGES, "ubuntu")
    assert validator.validate_str(json.dumps(document)) is None
    # An image without a Cargo.lock and without a package manager.
    assert validator.validate_str(json.dumps(sbom("engine:1", f"sha256:{'0' * 64}", "", "", ""))) is None
    assert validator.validate_str(json.dumps({**document, "components": [{"name": "x"}]})) is not None
