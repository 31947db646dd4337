# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model comes from, as the user writes it, and what it turned out to be.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Everything here is pure: nothing is read and nothing is asked.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import is_loopback, redact

SOURCE_UNSUPPORTED = Fault(
    "model.source_unsupported",
    "Model {name}: {what}.",
    "Give it as hf://org/repository/file.gguf, ollama://library/name:tag, oci://registry/repository:tag, https://..., "
    "mirror://name.gguf or file:///path/on/the/host.",
)
SOURCE_INVALID = Fault(
    "model.source_invalid",
    "Model {name}: the source {source} can't be used: {why}.",
    "Write it as hf://org/repository/file.gguf, ollama://library/name:tag, oci://registry/repository:tag, "
    "https://host/path/model.gguf, mirror://name.gguf or file:///path/on/the/host/model.gguf.",
)
SOURCE_INSECURE = Fault(
    "model.source_insecure",
    "Model {name}: {source} is plain http, so anyone on the way can change the file.",
    "Use https or give the file's 'sha256'.",
)
REVISION_UNSUPPORTED = Fault(
    "model.revision_unsupported",
    "Model {name}: 'revision' has no meaning for {source}.",
    "Leave it out; 'sha256' says which content you want.",
)
INVALID_SHA256 = Fault(
    "model.invalid_sha256",
    "Model {name}: {value!r} is not a sha256.",
    "Give 64 hexadecimal digits, as sha256sum prints them.",
)

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*\Z")
_REFERENCE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
_OLLAMA_HOST = "registry.ollama.ai"


class Source(NamedTuple):
    """A checked source; C(shown) is free of secrets.

    C(kind) is file, https, http, hf, ollama, oci or mirror. C(host) is the registry of ollama and oci. C(repository) is
    C(org/name). C(revision) is a branch, tag or commit (hf), a tag or digest (ollama, oci). C(path) is the file in a
    hub's repository, which may be '', the model's name in the mirror, or the absolute path of a file.
    """

    kind: str
    url: str
    shown: str
    host: str = ""
    repository: str = ""
    revision: str = ""
    path: str = ""


class Remote(NamedTuple):
    """One file that can be fetched.

    C(name) is its relative path in the model. C(size) is in bytes. Of C(sha256), C(git_sha1) and C(etag) those are
    filled that the source promises; C(etag) is a strong validator. C(commit) is the revision it belongs to.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str = ""
    git_sha1: str = ""
    etag: str = ""
    commit: str = ""


class Resolved(NamedTuple):
    """What a source turned out to be: its files, the revision as a commit or digest, and whether they make a directory.

    C(local) is the path of a file of this host that already has the content, such as a blob of Ollama's store.
    """

    files: tuple[Remote, ...]
    revision: str = ""
    directory: bool = False
    local: str = ""


def parse_sha256(name: str, value: str) -> str:
    """A sha256 in lower case, or ''."""
    text = value.strip().lower()
    if text.startswith("sha256:"):
        text = text[len("sha256:") :]
    if text and not _SHA256.match(text):
        raise StackError(INVALID_SHA256, name=name, value=value[:80])
    return text


class _Invalid(Exception):
    """Why a source can't be used."""


def _segments(path: str, what: str) -> list[str]:
    segments = [urllib.parse.unquote(segment) for segment in path.split("/")]
    for segment in segments:
        if segment in ("", ".", "..") or "/" in segment or "\\" in segment or not segment.isprintable():
            raise _Invalid(f"{what} {path[:200]!r} is not a plain path")
    return segments


def _parse_hf(rest: str, revision: str) -> dict[str, str]:
    path, _at, inline = rest.partition("@")
    segments = _segments(path, "its path")
    if len(segments) < 2:
        raise _Invalid("it names no repository, which is org/name")
    if not all(_SEGMENT.match(segment) for segment in segments[:2]):
        raise _Invalid(f"{'/'.join(segments[:2])!r} is not a name of a repository")
    if inline and revision and inline != revision:
        raise _Invalid(f"it says the revision {inline!r}, but 'revision' is {revision!r}")
    chosen = inline or revision or "main"
    if not _REVISION.match(chosen) or ".." in chosen:
        raise _Invalid(f"{chosen[:80]!r} is not a revision")
    return {"repository": "/".join(segments[:2]), "revision": chosen, "path": "/".join(segments[2:])}


def _parse_registry(kind: str, rest: str, revision: str) -> dict[str, str]:
    path, at, digest = rest.partition("@")
    host, segments = "", path.split("/")
    # As in image references: a first part with a dot or a port is the registry.
    if len(segments) > 1 and ("." in segments[0] or ":" in segments[0] or segments[0] == "localhost"):
        host = segments.pop(0)
    last, _colon, tag = segments[-1].partition(":")
    segments[-1] = last
    if not all(_SEGMENT.match(segment) for segment in segments):
        raise _Invalid(f"{path[:200]!r} is not a name of a model in a registry")
    if kind == "ollama":
        host = host or _OLLAMA_HOST
        if len(segments) == 1:
            segments.insert(0, "library")
    elif not host:
        raise _Invalid("it names no registry, such as registry-1.docker.io")
    said = (digest if at else tag) or revision or "latest"
    if revision and said != revision:
        raise _Invalid(f"it says the tag {said!r}, but 'revision' is {revision!r}")
    if not _REFERENCE.match(said):
        raise _Invalid(f"{said[:80]!r} is not a tag or digest")
    return {"host": host, "repository": "/".join(segments), "revision": said}


def _parse_url(parts: urllib.parse.SplitResult) -> None:
    if not parts.hostname:
        raise _Invalid("it names no host")
    if "@" in parts.netloc:
        raise _Invalid("it contains a user name or password")


def parse_source(name: str, source: str, revision: str = "", sha256: str = "") -> Source:
    """Check a source without touching it.

    Raises C(model.source_unsupported), C(model.source_invalid), C(model.source_insecure),
    C(model.revision_unsupported).
    """
    if not source:
        raise StackError(SOURCE_UNSUPPORTED, name=name, what="it has no 'source' and is not in the catalog")
    shown = redact(source)
    if _FORBIDDEN.search(source):
        raise StackError(SOURCE_INVALID, name=name, source=repr(shown), why="it contains a space or control character")
    kind, separator, rest = source.partition("://")
    kind = kind.lower()
    if not separator or kind not in ("file", "https", "http", "hf", "ollama", "oci", "mirror"):
        raise StackError(SOURCE_UNSUPPORTED, name=name, what=f"the source {shown} is of a kind that is not supported")
    try:
        if kind == "hf":
            return Source(kind, source, shown, **_parse_hf(rest, revision))
        if kind in ("ollama", "oci"):
            return Source(kind, source, shown, **_parse_registry(kind, rest, revision))
        if revision:
            raise StackError(REVISION_UNSUPPORTED, name=name, source=shown)
        if kind == "mirror":
            if not _SEGMENT.match(rest):
                raise _Invalid("it is not the name of a model in the mirror, such as mirror://name.gguf")
            return Source(kind, source, shown, path=rest)
        parts = urllib.parse.urlsplit(source)
        _port = parts.port
        if kind == "file":
            path = urllib.parse.unquote(parts.path)
            if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
                raise _Invalid("it is not an absolute path of this host")
            return Source(kind, source, shown, path=os.path.normpath(path))
        _parse_url(parts)
    except (_Invalid, ValueError) as error:
        raise StackError(SOURCE_INVALID, name=name, source=shown, why=error) from None
    if kind == "http" and not sha256 and not is_loopback(parts.hostname or ""):
        raise StackError(SOURCE_INSECURE, name=name, source=shown)
    return Source(kind, source, shown, host=parts.netloc)
