# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the engine can load a model, and the GPUs have the memory for it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import huggingface, model_files
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.http_client import HTTP_ANSWER, Client
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting, gguf_support
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, model_label
from ansible_collections.mistralrs.stack.plugins.module_utils._store.remote_headers import summary_of, tensors_summary


def check_support(name: str, summary: Mapping[str, Any], fit: Fit) -> None:
    """Refuse a GGUF that the engine can't load."""
    if fit.engine_version and summary.get("version"):
        gguf_support.check(summary, fit.engine_version, name)


def candidate_of(size: int, summary: Mapping[str, Any], quantization: str = "") -> fitting.Candidate | None:
    """What the engine loads; None if that can't be told. SafeTensors it quantizes on the way, as the label says."""
    stored = str(summary.get("quantization", ""))
    if not summary or summary.get("version"):
        return fitting.Candidate(stored, size, dict(summary)) if summary else None
    loaded = fitting.loaded_bytes(size, stored, quantization)
    return None if loaded is None else fitting.Candidate(quantization.upper() or stored, loaded, dict(summary))


def check_memory(
    name: str, asked: fitting.Candidate | None, fit: Fit, offered: Callable[[], Sequence[fitting.Candidate]] = list
) -> None:
    """Refuse what can't fit the GPUs; C(offered) are the quantizations that there are besides."""
    gpus = fit.gpu_memory
    if asked and gpus and fitting.estimate(asked, gpus, fit.context_length, fit.batch_size).total > sum(gpus):
        raise fitting.refusal(asked, offered(), gpus, fit.context_length, fit.batch_size, name)


def check_fit(
    wanted: Wanted,
    source: Source,
    resolved: Resolved,
    client: Client,
    fit: Fit,
    hub: huggingface.HubSettings,
) -> dict[str, Any]:
    """Refuse a GGUF that this engine can't load or that can't fit, before the first byte; the header's summary.

    SafeTensors may be wanted to be converted on this host, so that L{doubt} only warns of them.
    """
    models = [remote for remote in resolved.files if remote.name.endswith(".gguf")]
    tensors = [remote for remote in resolved.files if remote.name.endswith(".safetensors")]
    if any(each.size is None for each in models or tensors) or not (fit.engine_version or fit.gpu_memory):
        return {}
    try:
        if not models:
            return tensors_summary(wanted, resolved, client) if tensors else {}
        label = model_label(wanted)
        summary = gguf_model.merged([summary_of(label, resolved, each, client) for each in models], label)
    except StackError as error:
        if error.id == HTTP_ANSWER.id or not models:
            # The server gives out whole files only, or it is nothing to refuse them for: they are looked at when here.
            return {}
        raise
    check_support(wanted.name, summary, fit)

    def offered() -> list[fitting.Candidate]:
        others = model_files.quantizations(client, source, wanted.name, hub)
        return [
            fitting.Candidate(label, sum(each.size or 0 for each in files), summary) for label, files in others.items()
        ]

    check_memory(wanted.name, candidate_of(sum(each.size or 0 for each in models), summary), fit, offered)
    return summary


def doubt(facts: Mapping[str, Any], fit: Fit) -> StackError | None:
    """Why the engine will not load a model of the store with the settings and GPUs of now; None if it can."""
    size, summary = facts["size"], facts["gguf"]

    def offered() -> list[fitting.Candidate]:
        """The other ways to quantize SafeTensors while they are loaded."""
        ways = [] if summary.get("version") else [candidate_of(size, summary, label) for label in fitting.IN_SITU]
        return [way for way in ways if way and way.bytes < size]

    try:
        check_support(facts["name"], summary, fit)
        check_memory(facts["name"], candidate_of(size, summary, facts["quantization"]), fit, offered)
    except StackError as error:
        return error
    return None
