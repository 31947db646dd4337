# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source turns out to be: the files of a Hugging Face hub's repository, with sizes and digests, at one commit.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only what is said about files is asked here. Registries are in L{registry}.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import registry
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    HTTP_STATUS,
    NOT_A_MODEL,
    Answer,
    Client,
    TransportError,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import (
    Remote,
    Resolved,
    Source,
    redact,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._model import quantization_names
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import check_path

GATED = Fault(
    "model.gated",
    "Model {name}: {repository} is gated.",
    "Accept its licence at {page} and give a token with read access ('mistral_models_token').",
)
UNAUTHORIZED = Fault(
    "model.unauthorized",
    "Model {name}: {repository} is not found, private or gated; the hub does not say which (HTTP {status}).",
    "Correct its name, or give a token with read access ('mistral_models_token').",
)
TOKEN_INVALID = Fault(
    "model.token_invalid",
    "Model {name}: {host} does not know the token.",
    "Make a new token with read access, or leave it out for public repositories.",
)
DISABLED = Fault(
    "model.disabled",
    "Model {name}: the hub has disabled {repository}.",
    "Use another repository.",
)
REPOSITORY_NOT_FOUND = Fault(
    "model.repository_not_found",
    "Model {name}: there is no repository {repository} at {host}.",
    "Correct 'source'.",
)
REVISION_NOT_FOUND = Fault(
    "model.revision_not_found",
    "Model {name}: {repository} has no revision {revision!r}.",
    "Correct 'revision'; it is a branch, a tag or a commit.",
)
ENTRY_NOT_FOUND = Fault(
    "model.entry_not_found",
    "Model {name}: {file} is not in {repository} at {revision}.",
    "Use one of the files that are there: {there}.",
)
AMBIGUOUS = Fault(
    "model.ambiguous",
    "Model {name}: {what} in {repository}: {there}.",
    "Name the file in 'source', or give one of their labels as 'quantization'.",
)
BYTE_SPLIT = Fault(
    "model.byte_split",
    "Model {name}: {repository} has {file} only in pieces that were cut like any file, which no engine reads.",
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

TOO_MANY_FILES = Fault(
    "model.too_many_files",
    "Model {name}: {source} has {count} files for it, more than the {most} that a model can have.",
    "Use a repository or a directory that holds this model alone.",
)
MIRROR_MISSING = Fault(
    "model.mirror_missing",
    "Model {name}: {source} is in the fleet's mirror, but no mirror is known.",
    "Give the mirror's address ('mistral_models_mirror_url'), or another 'source'.",
)
NOT_IN_MIRROR = Fault(
    "model.not_in_mirror",
    "Model {name}: the mirror {mirror} has no {file}, or does not serve its record {record}.",
    "Fetch the model on the mirror first; its server has to give out '.store/*.json' beside the models.",
)

FILES_COLLIDE = Fault(
    "model.files_collide",
    "Model {name}: {source} has the files {first!r} and {second!r}, which would be one file in the store.",
    "Use a source without one of them.",
)

_HTTP_LIMIT = 50_000_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_SHA1 = re.compile(r"[0-9a-f]{40}\Z")
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_MAX_PAGES = 100
# What an engine reads of a repository of SafeTensors; pickles are never fetched.
_WANTED = re.compile(r"(?:.+\.(?:safetensors|json|jinja)|tokenizer.*|.+\.model|.+\.tiktoken|merges\.txt)\Z")
_UNWANTED = re.compile(r"(?:.*training.*|.*optimizer.*|.*\.(?:bin|pt|pth|ckpt|h5|msgpack|onnx|md|py|sh)|\..*)\Z")


class HubSettings(NamedTuple):
    """Where hubs are: the Hugging Face C(endpoint), directories of local Ollama stores, the fleet's mirror."""

    endpoint: str = "https://huggingface.co"
    ollama_models: tuple[str, ...] = ()
    mirror_url: str = ""


class _Hub:
    """One repository of a hub."""

    def __init__(self, client: Client, source: Source, name: str, settings: HubSettings) -> None:
        self.client = client
        self.name = name
        self.endpoint = settings.endpoint.rstrip("/")
        self.repository = source.repository
        self.revision = source.revision
        self.api = f"{self.endpoint}/api/models/{source.repository}"

    def fault(self, fault: Fault, **fields: Any) -> StackError:
        """A fault about the repository."""
        return StackError(fault, name=self.name, repository=self.repository, **fields)

    def check(self, answer: Answer, file: str = "") -> None:
        """Say what a hub's refusal means (huggingface_hub, utils/_http.py)."""
        status = answer.status
        if status == 200:
            return
        code = answer.headers.get("X-Error-Code") or ""
        message = (answer.headers.get("X-Error-Message") or "").strip()
        host = urllib.parse.urlsplit(self.endpoint).netloc
        if status == 401 and message.startswith("Invalid credentials in Authorization"):
            raise self.fault(TOKEN_INVALID, host=host)
        if code == "GatedRepo":
            raise self.fault(GATED, page=f"{self.endpoint}/{self.repository}")
        if status == 403 and message.startswith("Access to this resource is disabled"):
            raise self.fault(DISABLED)
        if code == "RevisionNotFound":
            raise self.fault(REVISION_NOT_FOUND, revision=self.revision)
        if code == "RepoNotFound" and self.client.settings.token:
            raise self.fault(REPOSITORY_NOT_FOUND, host=host)
        if code == "EntryNotFound":
            raise self.fault(ENTRY_NOT_FOUND, file=file, revision=self.revision, there="see its page")
        if status in (401, 403) or code == "RepoNotFound":
            raise self.fault(UNAUTHORIZED, status=status)
        if status == 404:
            raise self.fault(REPOSITORY_NOT_FOUND, host=host)
        raise StackError(HTTP_STATUS, name=self.name, source=redact(answer.url), status=status)

    def check_access(self, remote: Remote) -> None:
        """Refuse a file that may not be read: a hub lists the files of gated repositories to everybody."""
        answer, _body = self.client.text("HEAD", remote.url, follow="none")
        if answer.status == 401 or answer.headers.get("X-Error-Code") == "GatedRepo":
            self.check(answer, remote.name)

    def pin(self) -> str:
        """The commit that the revision stands for."""
        if _COMMIT.match(self.revision):
            return self.revision
        answer, data = self.client.json("GET", f"{self.api}/revision/{urllib.parse.quote(self.revision, safe='')}")
        self.check(answer)
        commit = data.get("sha") if isinstance(data, dict) else None
        if not isinstance(commit, str) or not _COMMIT.match(commit):
            raise self.client.fault(HTTP_ANSWER, answer.url, why="it names no commit; is the endpoint a hub?")
        return commit

    def remote(self, entry: Mapping[str, Any], commit: str) -> Remote:
        """A file out of a listing."""
        path = entry["path"]
        check_path(path)
        lfs = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
        sha256 = _SHA256.match(str((lfs or {}).get("oid") or (lfs or {}).get("sha256") or ""))
        size = (lfs or {}).get("size", entry.get("size"))
        oid = str(entry.get("oid") or "")
        quoted = urllib.parse.quote(path)
        return Remote(
            name=path,
            url=f"{self.endpoint}/{self.repository}/resolve/{commit}/{quoted}",
            size=size if isinstance(size, int) and size >= 0 else None,
            sha256=sha256[1] if sha256 else "",
            git_sha1=oid if not sha256 and _SHA1.match(oid) else "",
            commit=commit,
        )

    def listing(self, commit: str) -> list[Remote]:
        """All files at a commit."""
        url = f"{self.api}/tree/{commit}?recursive=true"
        found: list[Remote] = []
        for _page in range(_MAX_PAGES):
            answer, data = self.client.json("GET", url)
            self.check(answer)
            if not isinstance(data, list):
                raise self.client.fault(HTTP_ANSWER, url, why="it is no list of files")
            for entry in data:
                if isinstance(entry, dict) and entry.get("type") == "file" and isinstance(entry.get("path"), str):
                    found.append(self.remote(entry, commit))
            following = _NEXT.search(answer.headers.get("Link") or "")
            if not following:
                return found
            url = self.client.redirected(url, following[1])
        raise self.client.fault(HTTP_ANSWER, url, why="its list of files has no end")

    def head(self, path: str) -> Remote:
        """A file of a hub that has no API, by the headers of its address."""
        url = (
            f"{self.endpoint}/{self.repository}/resolve/{urllib.parse.quote(self.revision, safe='')}/"
            f"{urllib.parse.quote(path)}"
        )
        answer, _body = self.client.text("HEAD", url, follow="relative")
        if answer.status not in (200, 301, 302, 303, 307, 308):
            self.check(answer, path)
        commit = (answer.headers.get("X-Repo-Commit") or "").lower()
        if not _COMMIT.match(commit):
            raise self.client.fault(HTTP_ANSWER, url, why="it names no commit; a login page may be in between")
        etag = (answer.headers.get("X-Linked-Etag") or answer.headers.get("ETag") or "").strip()
        digest = etag[2:] if etag.startswith("W/") else etag
        sha256 = _SHA256.match(digest.strip('"'))
        size = answer.headers.get("X-Linked-Size") or ""
        if not size and answer.status == 200:
            size = answer.headers.get("Content-Length") or ""
        return Remote(
            name=path,
            url=url.replace(f"/resolve/{urllib.parse.quote(self.revision, safe='')}/", f"/resolve/{commit}/", 1),
            size=int(size) if size.isascii() and size.isdigit() else None,
            sha256=sha256[1] if sha256 else "",
            git_sha1=digest.strip('"') if _SHA1.match(digest.strip('"')) else "",
            commit=commit,
        )


def is_wanted(name: str) -> bool:
    """Whether a file that lies in a model's directory is one that an engine reads."""
    return "/" not in name and bool(_WANTED.match(name)) and not _UNWANTED.match(name.lower())


def check_files(names: Sequence[str], source: Source, name: str) -> None:
    """Refuse more files than a record can name, and two that one file of the store would be for some file systems."""
    if len(names) > _model_record.MAX_FILES:
        raise StackError(TOO_MANY_FILES, name=name, source=source.shown, count=len(names), most=_model_record.MAX_FILES)
    seen: dict[str, str] = {}
    for each in names:
        key = unicodedata.normalize("NFKC", each).casefold()
        if key in seen:
            raise StackError(FILES_COLLIDE, name=name, source=source.shown, first=seen[key], second=each)
        seen[key] = each


def _shown(paths: Iterable[str]) -> str:
    names = sorted(paths)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _with_shards(hub: _Hub, paths: list[str], by_path: Mapping[str, Remote]) -> tuple[Remote, ...]:
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


def _pick(hub: _Hub, remotes: list[Remote], quantization: str) -> Resolved:
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


def _whole(hub: _Hub, remotes: list[Remote]) -> Resolved:
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


def _resolve_hf(hub: _Hub, path: str, quantization: str, to_read: bool) -> Resolved:
    resolved = _resolve_file(hub, path) if path else _pick(hub, hub.listing(hub.pin()), quantization)
    if to_read:
        hub.check_access(resolved.files[0])
    return resolved


def _resolve_file(hub: _Hub, path: str) -> Resolved:
    """One named file; the shards that belong to it too."""
    check_path(path)
    answer, data = hub.client.json("GET", f"{hub.api}/revision/{urllib.parse.quote(hub.revision, safe='')}")
    if answer.status == 404 and not answer.headers.get("X-Error-Code"):
        # A cache before a hub knows the files only.
        remote = hub.head(path)
        return Resolved(_flat((remote,)), remote.commit)
    hub.check(answer)
    commit = str(data.get("sha") or "") if isinstance(data, dict) else ""
    if not _COMMIT.match(commit):
        raise hub.client.fault(HTTP_ANSWER, answer.url, why="it names no commit; is the endpoint a hub?")
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


def _resolve_mirror(client: Client, source: Source, name: str, mirror_url: str) -> Resolved:
    """A model of a store that a file server gives out, by the record that lies beside it."""
    if not mirror_url:
        raise StackError(MIRROR_MISSING, name=name, source=source.shown)
    stem = source.path[: -len(".gguf")] if source.path.endswith(".gguf") else source.path
    record = f".store/{stem}.gguf.json"
    url = f"{mirror_url}/{record}"
    answer, data = client.json("GET", url)
    if answer.status == 404:
        raise StackError(NOT_IN_MIRROR, name=name, mirror=redact(mirror_url), file=source.path, record=record)
    if answer.status != 200:
        raise StackError(HTTP_STATUS, name=name, source=redact(answer.url), status=answer.status)
    try:
        files = _model_record.files_of(data)
    except _model_record.InvalidRecord as problem:
        raise client.fault(HTTP_ANSWER, url, why=problem) from None
    folder = f"{mirror_url}/{stem}" if files else mirror_url
    remotes = [
        Remote(file, f"{folder}/{urllib.parse.quote(file)}", known["size"], known["sha256"])
        for file, known in sorted((files or {f"{stem}.gguf": data}).items())
    ]
    return Resolved(tuple(remotes), str(data.get("revision") or "")[:200], directory=bool(files))


def _probe_url(client: Client, source: Source, name: str) -> Resolved:
    """What a server says of a file, without its body."""
    answer, _body = client.text("HEAD", source.url)
    if answer.status in (403, 405, 501):
        # Some servers and signed addresses know only GET; its body is not read.
        try:
            with client.attempt("GET", source.url) as got:
                answer = got
        except TransportError as error:
            raise error.fault from None
    if answer.status != 200:
        raise StackError(HTTP_STATUS, name=name, source=redact(answer.url), status=answer.status)
    if answer.headers.get_content_type() == "text/html":
        raise client.fault(NOT_A_MODEL, source.url)
    encoding = (answer.headers.get("Content-Encoding") or "identity").lower()
    if encoding not in ("identity", ""):
        raise client.fault(HTTP_ANSWER, source.url, why=f"it is encoded as {encoding[:40]!r}")
    etag = (answer.headers.get("ETag") or "").strip()
    strong = etag if etag.startswith('"') else ""
    amazon = answer.headers.get("x-amz-checksum-sha256") or ""
    return Resolved((Remote("model.gguf", source.url, answer.length, _from_base64(amazon), "", strong),))


def _from_base64(text: str) -> str:
    """A digest in hexadecimal, '' if it is none; S3 gives those of whole objects in base64."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return ""
    return raw.hex() if len(raw) == 32 else ""


def resolve(
    client: Client,
    source: Source,
    name: str,
    quantization: str,
    settings: HubSettings,
    to_read: bool = True,
) -> Resolved:
    """The files that a source stands for, at one commit.

    With C(to_read) it is also checked that they may be read, as far as a hub's lists are open to more than its files.
    Raises StackError with what is wrong: no such repository, revision or file, gated, private, ambiguous and so on.
    """
    if source.kind == "hf":
        resolved = _resolve_hf(_Hub(client, source, name, settings), source.path, quantization, to_read)
    elif source.kind in ("ollama", "oci"):
        resolved = registry.resolve(client, source, name, settings.ollama_models)
    elif source.kind == "mirror":
        resolved = _resolve_mirror(client, source, name, settings.mirror_url)
    else:
        resolved = _probe_url(client, source, name)
    check_files([remote.name for remote in resolved.files], source, name)
    return resolved


def quantizations(client: Client, source: Source, name: str, settings: HubSettings) -> dict[str, tuple[Remote, ...]]:
    """The quantizations that a repository offers as GGUF, by label, each with its files."""
    if source.kind != "hf":
        return {}
    hub = _Hub(client, source, name, settings)
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


def read_range(client: Client, remote: Remote, start: int, end: int) -> bytes:
    """The bytes from C(start) up to, without, C(end) of a file. Raises StackError if the server has no ranges."""
    answer, content = client.text("GET", remote.url, {"Range": f"bytes={start}-{end - 1}"}, limit=end - start)
    if answer.status != 206 or len(content) > end - start:
        raise client.fault(HTTP_ANSWER, remote.url, why="it does not give out parts of a file")
    return content


def search(client: Client, settings: HubSettings, query: str, limit: int) -> list[dict[str, Any]]:
    """Repositories of a hub that hold GGUF files, most downloaded first."""
    question = urllib.parse.urlencode(
        {"search": query, "filter": "gguf", "sort": "downloads", "direction": "-1", "limit": str(limit), "full": "true"}
    )
    url = f"{settings.endpoint.rstrip('/')}/api/models?{question}"
    answer, data = client.json("GET", url)
    if answer.status != 200:
        raise StackError(HTTP_STATUS, name=query, source=redact(url), status=answer.status)
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
