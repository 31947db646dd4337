# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models of registries, and of a local Ollama."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted

from tests.fakes.hub.place import LABEL, REMOTE, Place, make_model

OLLAMA = "application/vnd.ollama.image.model"
OTHERS = [("application/vnd.ollama.image.license", b"MIT", ""), ("application/vnd.ollama.image.params", b"{}", "")]


@pytest.mark.parametrize("challenge", [False, True])
def test_ollamas_registry(place: Place, challenge: bool) -> None:
    place.hub.publish("library/m", [(OLLAMA, place.content, ""), *OTHERS], "7b")
    place.hub.challenge = challenge
    source = f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m:7b"
    assert place.fetch(source, check=True).after["size"] == len(place.content)
    outcome = place.fetch(source)
    place.check(there=True)
    assert outcome.facts["revision"].startswith("sha256:")
    assert not place.hub.cdn.secrets("registry-token")
    # The token of the hub is the hub's: here it has the same origin.
    assert not place.fetch(source).changed


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        ([("application/vnd.ollama.image.tensor", b"x", "")], "no_gguf_layer"),
        ([], "no_gguf_layer"),
        ([("application/vnd.cncf.model.weight.v1.raw", b"x", "../m.gguf")], "unsafe_name"),
    ],
)
def test_what_a_registry_does_not_offer(place: Place, layers: list[Any], error: str) -> None:
    place.hub.publish("ai/m", layers)
    place.fails(error, f"oci://127.0.0.1:{place.hub.origin.server_port}/ai/m")


def test_a_registry_that_wants_an_account(place: Place) -> None:
    host = f"127.0.0.1:{place.hub.origin.server_port}"
    manifest = "/v2/library/m/manifests/latest"
    place.hub.origin.fault(manifest, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}, times=-1)
    assert "logged in" in place.fails("registry_login", f"ollama://{host}/library/m")
    place.hub.origin.faults.clear()
    # It gives out a token without an account, which is not enough for this model.
    place.hub.origin.fault(
        manifest, status=401, times=1, headers={"WWW-Authenticate": f'Bearer realm="{place.hub.url}/token"'}
    )
    place.hub.origin.fault(manifest, status=403, times=-1)
    place.fails("registry_login", f"ollama://{host}/library/m")


def test_a_file_that_hubs_do_not_give_out_at_once(place: Place) -> None:
    place.hub.listed_sizes[REMOTE] = 50_000_000_001
    assert "splits the file" in place.fails("too_large_for_http")
    assert place.hub.cdn.log == []


def test_a_tag_that_is_not_there(place: Place) -> None:
    place.fails("not_in_registry", f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m:9b")


@pytest.mark.parametrize(
    ("media_type", "title"),
    [
        ("application/vnd.docker.ai.gguf.v3", ""),
        ("application/vnd.cncf.model.weight.v1.raw", "m.Q4_K_M.gguf"),
    ],
)
def test_model_artifacts(place: Place, media_type: str, title: str) -> None:
    place.hub.publish("ai/m", [(media_type, place.content, title)])
    place.fetch(f"oci://127.0.0.1:{place.hub.origin.server_port}/ai/m")
    place.check(there=True)


def test_a_blob_that_is_not_what_its_name_says(place: Place) -> None:
    place.hub.publish("library/m", [(OLLAMA, place.content, "")])
    place.hub.cdn.fault(place.cdn_path, body=make_model(place.gguf, fill=5))
    place.fails("checksum_mismatch", f"ollama://127.0.0.1:{place.hub.origin.server_port}/library/m")


def local_ollama(place: Place, content: bytes, host: str = "registry.ollama.ai") -> Path:
    """A store as Ollama lays it out."""
    root = place.root / "ollama"
    digest = hashlib.sha256(place.content).hexdigest()
    manifest = root / "manifests" / host / "library" / "m" / "latest"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": OLLAMA, "digest": f"sha256:{digest}", "size": len(place.content)}
    manifest.write_text(json.dumps({"layers": [layer]}))
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest}").write_bytes(content)
    place.ollama = (str(root),)
    return root


def test_the_local_ollama_needs_no_download(place: Place) -> None:
    local_ollama(place, place.content)
    assert place.fetch("ollama://library/m", offline=True).changed
    place.check(there=True)
    assert place.final.stat().st_nlink == 1


def test_the_local_ollamas_header_is_read_where_it_lies(place: Place) -> None:
    """What the engine can't load or can't fit is refused without a request to the registry, and what fits is taken."""
    local_ollama(place, place.content)
    place.fit = Fit(engine_version="0.9.5", gpu_memory=(4 << 30,))
    for check in (True, False):
        assert place.fetch("ollama://library/m", check=check, offline=True).changed
    place.check(there=True)
    absent(Wanted(str(place.store), "m", LABEL, place.final.name, "", ""), check=False)
    place.fit = Fit(gpu_memory=(1,))
    place.fails("does_not_fit", "ollama://library/m", offline=True)


def test_a_damaged_local_ollama(place: Place) -> None:
    local_ollama(place, make_model(place.gguf, fill=3))
    place.fails("checksum_mismatch", "ollama://library/m", offline=True)
    place.check(there=False)


@pytest.mark.parametrize("cut", [False, True])
def test_instead_of_a_damaged_local_ollama_its_registry_is_asked(place: Place, cut: bool) -> None:
    host = f"127.0.0.1:{place.hub.origin.server_port}"
    place.hub.publish("library/m", [(OLLAMA, place.content, "")])
    local_ollama(place, place.content[:-1] if cut else make_model(place.gguf, fill=3), host)
    outcome = place.fetch(f"ollama://{host}/library/m")
    assert outcome.changed
    assert outcome.facts["revision"].startswith("sha256:")
    place.check(there=True)
    assert place.leftovers() == []
