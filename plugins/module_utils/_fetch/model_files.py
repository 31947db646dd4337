# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of a hub's repository are the model that is meant.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.huggingface import (
    ENTRY_NOT_FOUND,
    Hub,
    HubSettings,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._model import quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import check_path

AMBIGUOUS = Fault(
    "model.ambiguous",
    "Model {name}: {what} in {repository}: {there}.",
    "Name the file in 'source', or give one of their labels as 'quantization'.",
)
BYTE_SPLIT = Fault(
    "model.byte_split",
    "Model {name}: {repository} has {file} only in raw pieces (not GGUF shards), which no engine can read.",
    "Use another repository, or put the pieces together with cat and give the result as file:///...",
)
SHARDS_MISSING = Fault(
    "model.shards_missing",
    "Model {name}: {repository} has {got} of the {want} files of {file}.",
    "Use another revision or repository.",
)
TOO_LARGE = Fault(
    "model.too_large_for_http",
    "Model {name}: {file} has {size} bytes; hubs serve at most 50 GB over plain HTTP.",
    "Use a repository that splits the file.",
)

_HTTP_LIMIT = 50_000_000_000
# What an engine reads of a repository of SafeTensors; pickles are never fetched.
_WANTED = re.compile(r"(?:.+\.(?:safetensors|json|jinja)|tokenizer.*|.+\.model|.+\.tiktoken|merges\.txt)\Z")
_UNWANTED = re.compile(r"(?:.*training.*|.*optimizer.*|.*\.(?:bin|pt|pth|ckpt|h5|msgpack|onnx|md|py|sh)|\..*)\Z")


def is_wanted(name: str) -> bool:
    """Whether a file that lies in a model's directory is one that an engine reads."""
    return "/" not in name and bool(_WANTED.match(name)) and not _UNWANTED.match(name.lower())


def _shown(paths: Iterable[str]) -> str:
    names = sorted(paths)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _with_shards(hub: Hub, paths: list[str], by_path: Mapping[str, Remote]) -> tuple[Remote, ...]:
    """All files of a GGUF model, complete."""
    shard = quantization_names.shard_of(paths[0])
    if shard and len(paths) != shard[2]:
        raise hub.fault(SHARDS_MISSING, got=len(paths), want=shard[2], file=shard[0])
    for path in paths:
        size = by_path[path].size
        if size is not None and size > _HTTP_LIMIT:
            raise hub.fault(TOO_LARGE, file=path, size=size)
    return tuple(by_path[path] for path in paths)


def _by_label(found: Mapping[str, list[str]]) -> dict[str, list[list[str]]]:
    labelled: dict[str, list[list[str]]] = {}
    for paths in found.values():
        labelled.setdefault(quantization_names.label_of(paths[0]), []).append(paths)
    return labelled


def _pick(hub: Hub, remotes: list[Remote], quantization: str) -> Resolved:
    """The model of a repository that is meant."""
    by_path = {remote.name: remote for remote in remotes}
    commit = remotes[0].commit if remotes else ""
    found = quantization_names.models(by_path)
    pieces = sorted(path for path in by_path if quantization_names.is_byte_split(path))
    if not found and not pieces:
        return _whole(hub, remotes)
    labelled = _by_label(found)
    wanted = [quantization_names.plain(quantization)] if quantization else ["Q4_K_M", "Q8_0"]
    for label in wanted:
        choices = labelled.get(label, [])
        if len(choices) > 1:
            # The same model as one file and as shards: one file is simpler.
            choices = [paths for paths in choices if len(paths) == 1 and "/" not in paths[0]] or choices
        if len(choices) == 1:
            files = _with_shards(hub, choices[0], by_path)
            return Resolved(_flat(files), commit, directory=len(files) > 1)
        if choices:
            what = f"{label} matches {len(choices)} files"
            raise hub.fault(AMBIGUOUS, what=what, there=_shown(paths[0] for paths in choices))
    cut = [path for path in pieces if not quantization or quantization.lower() in path.lower()]
    if cut:
        raise hub.fault(BYTE_SPLIT, file=cut[0])
    if not quantization and len(found) == 1:
        files = _with_shards(hub, next(iter(found.values())), by_path)
        return Resolved(_flat(files), commit, directory=len(files) > 1)
    what = f"no file is labelled {quantization.upper()}" if quantization else f"there are {len(found)} models"
    raise hub.fault(AMBIGUOUS, what=what, there=_shown(paths[0] for paths in found.values()))


def _flat(files: tuple[Remote, ...]) -> tuple[Remote, ...]:
    """Shards lie side by side, also where the repository has them in a folder."""
    return tuple(remote._replace(name=remote.name.rpartition("/")[2]) for remote in files)


def _whole(hub: Hub, remotes: list[Remote]) -> Resolved:
    """All that an engine reads of a repository of SafeTensors."""
    chosen = [remote for remote in remotes if is_wanted(remote.name)]
    # Mistral's repositories hold the same weights twice, once for its own programs.
    others = [remote for remote in chosen if not remote.name.startswith("consolidated")]
    if any(remote.name.endswith(".safetensors") for remote in others):
        chosen = others
    if not any(remote.name.endswith(".safetensors") for remote in chosen):
        raise hub.fault(
            ENTRY_NOT_FOUND,
            file="a GGUF or SafeTensors file",
            revision=hub.revision,
            there=_shown(r.name for r in remotes),
        )
    return Resolved(tuple(chosen), chosen[0].commit, directory=True)


def resolve_repository(hub: Hub, path: str, quantization: str, to_read: bool) -> Resolved:
    """The files of a hub's repository: of one named C(path), or of the quantization, or of all that is one model.

    With C(to_read) it is also checked that they may be read. Raises StackError, as L{resolve} says.
    """
    resolved = _resolve_file(hub, path) if path else _pick(hub, hub.listing(hub.pin()), quantization)
    if to_read:
        hub.check_access(resolved.files[0])
    return resolved


def _resolve_file(hub: Hub, path: str) -> Resolved:
    """One named file; the shards that belong to it too."""
    check_path(path)
    answer, data = hub.revision_info()
    if answer.status == 404 and not answer.headers.get("X-Error-Code"):
        # A cache before a hub knows the files only.
        remote = hub.head(path)
        return Resolved(_flat((remote,)), remote.commit)
    commit = hub.commit_in(answer, data)
    shard = quantization_names.shard_of(path)
    names = (
        [path] if not shard else [f"{shard[0]}-{index:05}-of-{shard[2]:05}.gguf" for index in range(1, shard[2] + 1)]
    )
    form = urllib.parse.urlencode([("paths", name) for name in names] + [("expand", "false")]).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    url = f"{hub.api}/paths-info/{commit}"
    answer, data = hub.client.json("POST", url, headers, form)
    hub.check(answer)
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    found = {str(entry.get("path")): entry for entry in entries if entry.get("type", "file") == "file"}
    missing = [name for name in names if name not in found]
    if missing:
        models = [remote.name for remote in hub.listing(commit) if remote.name.lower().endswith(".gguf")]
        raise hub.fault(ENTRY_NOT_FOUND, file=missing[0], revision=hub.revision, there=_shown(models))
    by_path = {name: hub.remote(found[name], commit) for name in names}
    files = _with_shards(hub, names, by_path)
    return Resolved(_flat(files), commit, directory=len(files) > 1)


def quantizations(client: Client, source: Source, name: str, settings: HubSettings) -> dict[str, tuple[Remote, ...]]:
    """The quantizations that a repository offers as GGUF, by label, each with its files."""
    if source.kind != "hf":
        return {}
    hub = Hub(client, source, name, settings)
    remotes = hub.listing(hub.pin())
    by_path = {remote.name: remote for remote in remotes}
    offered: dict[str, tuple[Remote, ...]] = {}
    for label, choices in _by_label(quantization_names.models(by_path)).items():
        complete = [
            paths for paths in choices if (quantization_names.shard_of(paths[0]) or ("", 1, 1))[2] == len(paths)
        ]
        if label and complete:
            offered[label] = tuple(by_path[path] for path in min(complete, key=len))
    if offered:
        hub.check_access(next(iter(offered.values()))[0])
    return offered
