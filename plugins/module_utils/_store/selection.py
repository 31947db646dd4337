# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source offers, and which of its quantizations is taken.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import any_source, model_files
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting, gguf_support
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import store_file_name
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import AUTO, Wanted, model_label
from ansible_collections.mistralrs.stack.plugins.module_utils._store.local_source import probe_file
from ansible_collections.mistralrs.stack.plugins.module_utils._store.records import chosen, is_same_source, read_sidecar
from ansible_collections.mistralrs.stack.plugins.module_utils._store.remote_headers import remote_summary, summary_of


def chosen_before(wanted: Wanted, source: Source) -> Wanted | None:
    """The model that an earlier run chose for C(quantization=auto)."""
    found = [each for each in chosen(wanted) if is_same_source(source, read_sidecar(each))]
    return found[0] if found else None


def choose(wanted: Wanted, source: Source, client: Client, access: Access) -> Wanted:
    """The best quantization that fits, for C(quantization=auto)."""
    offered = model_files.quantizations(client, source, wanted.name, access.hub)
    sizes = {label: sum(remote.size or 0 for remote in files) for label, files in offered.items()}
    summary: Mapping[str, Any] = {}
    if sizes:
        # All of them share the architecture: the smallest one's header is enough.
        smallest = offered[min(sizes, key=lambda label: sizes[label])][0]
        summary = remote_summary(model_label(wanted), smallest, client)
    fit = access.fit
    candidates = [fitting.Candidate(label, sizes[label], dict(summary)) for label in sorted(sizes)]
    choice = fitting.choose(candidates, list(fit.gpu_memory), fit.context_length, fit.batch_size, wanted.name)
    label = choice.label.lower()
    return wanted._replace(quantization=label, file=store_file_name(wanted.name, label), asked=AUTO)


class Offer(NamedTuple):
    """A quantization that a source offers; sizes are in bytes. C(fits) is None if no GPUs are known."""

    label: str
    files: tuple[Remote, ...]
    size: int
    loadable: bool
    needs: int
    fits: bool | None


def offers(source: Source, name: str, access: Access) -> tuple[list[Offer], dict[str, Any]]:
    """What a hub's repository offers as GGUF, the smallest first, and the summary of the smallest one's header."""
    client = Client(name, access.http)
    offered = model_files.quantizations(client, source, name, access.hub)
    sizes = {label: sum(remote.size or 0 for remote in files) for label, files in offered.items()}
    ordered = sorted(offered, key=lambda label: sizes[label])
    if not ordered:
        return [], {}
    summary = remote_summary(f"Model {name}", offered[ordered[0]][0], client)
    fit, found = access.fit, []
    for label in ordered:
        candidate = fitting.Candidate(label, sizes[label], summary)
        needs = fitting.estimate(candidate, fit.gpu_memory, fit.context_length, fit.batch_size).total
        fits = needs <= sum(fit.gpu_memory) if fit.gpu_memory else None
        loadable = gguf_support.is_loadable_label(label, str(summary.get("architecture") or ""))
        found.append(Offer(label, offered[label], sizes[label], loadable, needs, fits))
    return found, summary


def inspect_remote(source: Source, name: str, quantization: str, access: Access) -> tuple[Resolved, dict[str, Any]]:
    """The files that a source stands for, and the summary of the first model's header; nothing else is transferred."""
    client = Client(name, access.http)
    if source.kind == "file":
        return probe_file(Wanted("/", name, quantization, "model.gguf", "", ""), source, read=False)
    resolved = any_source.resolve(client, source, name, quantization, access.hub)
    label, ggufs = f"Model {name}", [remote for remote in resolved.files if remote.name.endswith(".gguf")]
    if ggufs:
        return resolved, gguf_model.merged([summary_of(label, resolved, each, client) for each in ggufs], label)
    tensors = [remote for remote in resolved.files if remote.name.endswith(".safetensors")]
    return resolved, summary_of(label, resolved, tensors[0], client) if tensors else {}
