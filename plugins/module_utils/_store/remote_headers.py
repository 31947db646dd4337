# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the headers of files say that are not here yet.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import any_source
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import (
    gguf_model,
    safetensors_header,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, model_label

_MAX_CONFIG = 1 << 20


def summary_of(label: str, resolved: Resolved, remote: Remote, client: Client) -> dict[str, Any]:
    """What the header of a file says, wherever that is."""
    if resolved.local and not resolved.directory:
        return gguf_model.inspect_file(resolved.local, label)
    return remote_summary(label, remote, client)


def remote_summary(label: str, remote: Remote, client: Client) -> dict[str, Any]:
    """What the header of a file says that is not here yet."""

    def read_range(start: int, end: int) -> bytes:
        return any_source.read_range(client, remote, start, end)

    inspect = safetensors_header.inspect_remote if remote.name.endswith(".safetensors") else gguf_model.inspect_remote
    return dict(inspect(remote.size or 0, read_range, label))


def tensors_summary(wanted: Wanted, resolved: Resolved, client: Client) -> dict[str, Any]:
    """What the headers of SafeTensors and the settings beside them say."""

    def reader(remote: Remote) -> Callable[[int, int], bytes]:
        return lambda start, end: any_source.read_range(client, remote, start, end)

    files = [(each.size or 0, reader(each)) for each in resolved.files if each.name.endswith(".safetensors")]
    by_name = {remote.name: remote for remote in resolved.files}
    config, content = by_name.get("config.json"), b"{}"
    if config is not None and 0 < (config.size or 0) <= _MAX_CONFIG:
        answer, body = client.text("GET", config.url, limit=_MAX_CONFIG)
        content = body if answer.status == 200 else content
    has_template = "chat_template.jinja" in by_name
    return safetensors_header.inspect_remote_set(files, content, model_label(wanted), has_template)
