# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a store that a file server gives out, by the record that lies beside it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import urllib.parse

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import HTTP_ANSWER, HTTP_STATUS, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.url import redact
from ansible_collections.mistralrs.stack.plugins.module_utils._model import record as _model_record

MIRROR_MISSING = Fault(
    "model.mirror_missing",
    "Model {name}: {source} is in the fleet's mirror, but no mirror is configured.",
    "Give the mirror's address ('mistral_models_mirror_url'), or another 'source'.",
)
NOT_IN_MIRROR = Fault(
    "model.not_in_mirror",
    "Model {name}: the mirror {mirror} has no {file}, or does not serve its record {record}.",
    "Fetch the model on the mirror first; its server has to give out '.store/*.json' beside the models.",
)


def resolve_mirror(client: Client, source: Source, name: str, mirror_url: str) -> Resolved:
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
