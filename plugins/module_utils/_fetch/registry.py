# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in container registries: Ollama's, Docker Model Runner's, the CNCF's ModelPack; and Ollama's local store.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import HTTP_ANSWER, HTTP_STATUS, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import is_loopback, redact
from ansible_collections.mistralrs.stack.plugins.module_utils._model import quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import UNSAFE_NAME

MODEL_NOT_FOUND = Fault(
    "model.not_in_registry",
    "Model {name}: {host} has no model {repository}:{tag}.",
    "Correct 'source'; the registry's page lists the tags.",
)
LOGIN_REQUIRED = Fault(
    "model.registry_login",
    "Model {name}: {host} gives {repository} only to users who are logged in.",
    "Use a public model, or fetch it with the registry's own tool and give the file as file:///...",
)
NO_GGUF = Fault(
    "model.no_gguf_layer",
    "Model {name}: {repository}:{tag} holds no GGUF file, but {types}.",
    "Use another tag, or the model's repository on a hub.",
)
WITH_ADAPTER = Fault(
    "model.with_adapter",
    "Model {name}: {repository}:{tag} is a model with a LoRA adapter, which would be left out.",
    "Use the model without it, or one into which it was merged.",
)

_ACCEPT = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_ADAPTER = "application/vnd.ollama.image.adapter"
_MODELPACK_WEIGHT = re.compile(r"application/vnd\.cncf\.model\.weight(?:\.config)?\.v1\.raw\Z")
_FILE_ANNOTATIONS = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_MAX_MANIFEST = 4 << 20


def _base(host: str) -> str:
    """The address of a registry; only one on this host may be without TLS."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    return f"{'http' if is_loopback(name) else 'https'}://{host}"


def _authorize(client: Client, source: Source, name: str, url: str, challenge: str) -> None:
    """Get the token that a registry's challenge asks for, without an account."""
    scheme, _space, rest = challenge.partition(" ")
    fields = dict(_CHALLENGE.findall(rest))
    realm = fields.get("realm", "")
    parts = urllib.parse.urlsplit(realm)
    if scheme.lower() != "bearer" or not parts.hostname:
        raise StackError(LOGIN_REQUIRED, name=name, host=source.host, repository=source.repository)
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise client.fault(HTTP_ANSWER, url, why=f"it sends for a token to the insecure address {redact(realm)}")
    scope = fields.get("scope") or f"repository:{source.repository}:pull"
    query = urllib.parse.urlencode({"service": fields.get("service", ""), "scope": scope})
    answer, data = client.json("GET", f"{realm}{'&' if parts.query else '?'}{query}")
    token = (data.get("token") or data.get("access_token")) if isinstance(data, dict) else None
    if answer.status != 200 or not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise StackError(LOGIN_REQUIRED, name=name, host=source.host, repository=source.repository)
    client.extra_token(url, token)


def _manifest(client: Client, source: Source, name: str) -> tuple[dict[str, Any], str]:
    """The manifest and its digest, if the registry says it."""
    url = f"{_base(source.host)}/v2/{source.repository}/manifests/{source.revision}"
    headers = {"Accept": _ACCEPT}
    answer, content = client.text("GET", url, headers, limit=_MAX_MANIFEST)
    if answer.status == 401:
        _authorize(client, source, name, url, answer.headers.get("WWW-Authenticate") or "")
        answer, content = client.text("GET", url, headers, limit=_MAX_MANIFEST)
    if answer.status in (401, 403):
        raise StackError(LOGIN_REQUIRED, name=name, host=source.host, repository=source.repository)
    if answer.status == 404:
        raise StackError(
            MODEL_NOT_FOUND, name=name, host=source.host, repository=source.repository, tag=source.revision
        )
    if answer.status != 200:
        raise StackError(HTTP_STATUS, name=name, source=redact(url), status=answer.status)
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
        raise client.fault(HTTP_ANSWER, url, why="it is not a manifest of a model")
    return manifest, answer.headers.get("Docker-Content-Digest") or ""


def _layers(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        layer
        for layer in manifest["layers"]
        if isinstance(layer, dict)
        and isinstance(layer.get("mediaType"), str)
        and _DIGEST.match(str(layer.get("digest")))
        and isinstance(layer.get("size"), int)
        and layer["size"] >= 0
    ]


def _file_name(layer: Mapping[str, Any]) -> str:
    """The name that a layer's annotations give its file; it must be a plain one."""
    annotations = layer.get("annotations")
    notes = annotations if isinstance(annotations, dict) else {}
    name = next((str(notes[key]) for key in _FILE_ANNOTATIONS if notes.get(key)), "")
    if name and (not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._ +@-]{0,199}", name) or ".." in name):
        raise StackError(UNSAFE_NAME, what="file of the source", name=name[:80], why="it is not a plain file name")
    return name


def _chosen(source: Source, name: str, manifest: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The layers that are the model, with the names of their files."""
    layers = _layers(manifest)
    if any(layer["mediaType"] == _OLLAMA_ADAPTER for layer in layers):
        raise StackError(WITH_ADAPTER, name=name, repository=source.repository, tag=source.revision)
    ggufs = [
        layer
        for layer in layers
        if layer["mediaType"] == _OLLAMA_MODEL
        or "gguf" in layer["mediaType"].lower()
        or (_MODELPACK_WEIGHT.match(layer["mediaType"]) and _file_name(layer).lower().endswith(".gguf"))
    ]
    if len(ggufs) == 1:
        return [("model.gguf", ggufs[0])]
    if ggufs:
        count = len(ggufs)
        named = [_file_name(layer) for layer in ggufs]
        if all(quantization_names.shard_of(file) for file in named):
            return list(zip(named, ggufs))
        return [(f"model-{index:05}-of-{count:05}.gguf", layer) for index, layer in enumerate(ggufs, 1)]
    files = [(_file_name(layer), layer) for layer in layers if "tar" not in layer["mediaType"].lower()]
    wanted = [(file, layer) for file, layer in files if file.endswith((".safetensors", ".json", ".model", ".jinja"))]
    if any(file.endswith(".safetensors") for file, _layer in wanted):
        return wanted
    types = ", ".join(sorted({layer["mediaType"] for layer in layers})) or "nothing"
    raise StackError(NO_GGUF, name=name, repository=source.repository, tag=source.revision, types=types[:300])


def _local_manifest(source: Source, roots: Iterable[str]) -> tuple[str, dict[str, Any]] | None:
    """The manifest of a model in a local Ollama store, and the store."""
    for root in roots:
        path = os.path.join(root, "manifests", source.host, source.repository, source.revision)
        try:
            # The store is Ollama's user's: a FIFO must not block the open.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                manifest = json.loads(file.read(_MAX_MANIFEST))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(manifest, dict) and isinstance(manifest.get("layers"), list):
            return root, manifest
    return None


def resolve(client: Client, source: Source, name: str, ollama_models: Iterable[str]) -> Resolved:
    """The files of a model in a registry; those of a local Ollama store need no download."""
    local = _local_manifest(source, ollama_models) if source.kind == "ollama" else None
    manifest, revision = (local[1], "") if local else _manifest(client, source, name)
    files = []
    for file, layer in _chosen(source, name, manifest):
        digest = str(layer["digest"])
        url = f"{_base(source.host)}/v2/{source.repository}/blobs/{digest}"
        files.append(Remote(file, url, layer["size"], digest.partition(":")[2], commit=revision))
    directory = len(files) > 1 or not files[0].name.endswith(".gguf")
    if local and not directory:
        blob = os.path.join(local[0], "blobs", "sha256-" + files[0].sha256)
        if os.path.isfile(blob) and os.path.getsize(blob) == files[0].size:
            return Resolved(tuple(files), revision, local=blob)
        # The manifest is there, the blob is not, or not all of it: as if the store had nothing.
        return resolve(client, source, name, ())
    return Resolved(tuple(files), revision, directory=directory)
