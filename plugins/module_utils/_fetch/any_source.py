# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source of any kind turns out to be: its files, at one commit.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only what is said about files is asked here.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Sequence

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import registry
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import (
    HTTP_ANSWER,
    HTTP_STATUS,
    NOT_A_MODEL,
    Client,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.huggingface import Hub, HubSettings
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.mirror import resolve_mirror
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_files import resolve_repository
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.transport import TransportError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record

TOO_MANY_FILES = Fault(
    "model.too_many_files",
    "Model {name}: {source} has {count} files for it, more than the {most} that a model can have.",
    "Use a repository or a directory that holds this model alone.",
)

FILES_COLLIDE = Fault(
    "model.files_collide",
    "Model {name}: {source} has the files {first!r} and {second!r}, which would be one file in the store.",
    "Use a source without one of them.",
)


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
        resolved = resolve_repository(Hub(client, source, name, settings), source.path, quantization, to_read)
    elif source.kind in ("ollama", "oci"):
        resolved = registry.resolve(client, source, name, settings.ollama_models)
    elif source.kind == "mirror":
        resolved = resolve_mirror(client, source, name, settings.mirror_url)
    else:
        resolved = _probe_url(client, source, name)
    check_files([remote.name for remote in resolved.files], source, name)
    return resolved


def read_range(client: Client, remote: Remote, start: int, end: int) -> bytes:
    """The bytes from C(start) up to, without, C(end) of a file. Raises StackError if the server has no ranges."""
    answer, content = client.text("GET", remote.url, {"Range": f"bytes={start}-{end - 1}"}, limit=end - start)
    if answer.status != 206 or len(content) > end - start:
        raise client.fault(HTTP_ANSWER, remote.url, why="it does not give out parts of a file")
    return content
