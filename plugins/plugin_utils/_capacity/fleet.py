# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many users each quantization of a model serves on each host, and which one is taken on how many hosts.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Whether a model fits is the plan's own arithmetic (C(_engine/gpu_share.py)); here it is only asked for each of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine import fit_table, gpu_share
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.fit_table import SHORTEST, Way
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import (
    DEFAULT_MEMORY_FRACTION,
    OUT_OF_RANGE,
    SCHEMA,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._engine_versions.row import Engine
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._model import fitting, gguf_support

NO_GPUS = Fault(
    "plan.no_gpus",
    "{what}, so there is nothing to plan for.",
    "Give the GPUs that you think of: -e gpu_memory=80GiB or -e gpu=L40S, and -e gpus=2 for two in each host.",
)
MEMORY_UNKNOWN = Fault(
    "plan.gpu_memory_unknown",
    "The memory of a GPU of {host} is not known.",
    "Say it: -e gpu_memory=80GiB, and -e gpus=2 for two in each host.",
)
NO_SUCH_DEVICE = Fault(
    "plan.no_such_device",
    "gpu.devices of {host} has {device}, which is none of its GPUs ({known}).",
    "Correct gpu.devices in the host's mistral_server_config.",
)
HEADER_INCOMPLETE = Fault(
    "plan.header_incomplete",
    "The header of {name} does not say {what}, so its need of memory can't be computed.",
    "Plan for another file or conversion of this model (-e source=URL).",
)
CONTEXT_TOO_LONG = Fault(
    "plan.context_too_long",
    "{name} was made for at most {native} tokens of context, not for {context}.",
    "Give -e context={native} or less, or choose another model.",
)
NO_SUCH_QUANTIZATION = Fault(
    "plan.no_such_quantization",
    "{source} has no {label} of {name} that mistral.rs can load.",
    "Give one of -e quantization={known}, or leave it out.",
)
DOES_NOT_FIT = Fault(
    "plan.does_not_fit",
    "{what} does not fit {gpus} with {context} tokens of context, not even for one user.",
    "{nearest}",
    "Give the context, the quantization or the number of GPUs that the message names.",
)
TOO_FEW_HOSTS = Fault(
    "plan.too_few_hosts",
    "{hosts} serve at most {most} users at once with {context} tokens of context each (with {label}), not {users}.",
    "Add {more} more like {host}, or give -e users={most} or a shorter -e context.",
)

# What is below loses more than it saves, as far as there is a choice.
GOOD_BITS = 4.5
# The engine's own limit of requests at once.
MOST_REQUESTS = 1024


class Candidate(NamedTuple):
    """A quantization that is offered; C(entry) is the model as L{gpu_share.load_of} takes it."""

    label: str
    entry: dict[str, Any]
    bytes: int


class Host(NamedTuple):
    """A host: what its GPUs are called, the bytes of each that the engine sees, and gpu.memory_fraction."""

    name: str
    gpus: tuple[int, ...]
    fraction: float
    gpu: str = ""


class Row(NamedTuple):
    """A quantization: how it fits each host (in their order), and how many of these serve all users, if they can."""

    candidate: Candidate
    ways: list[Way]
    hosts: int | None

    def users(self, number: int) -> int:
        """How many users a host serves at once."""
        return min(self.ways[number].requests, MOST_REQUESTS)


def _used(host: str, gpus: Sequence[Mapping[str, Any]], devices: Sequence[Any]) -> list[Mapping[str, Any]]:
    try:
        return gpu_share.used_gpus(gpus, devices)
    except KeyError as error:
        known = ", ".join(str(gpu.get("index", place)) for place, gpu in enumerate(gpus)) or "it has none"
        raise StackError(NO_SUCH_DEVICE, host=host, device=error.args[0], known=known) from None


def _fraction(value: Any) -> float:
    """What the inventory says of gpu.memory_fraction. Raises C(config.out_of_range)."""
    rule = SCHEMA["gpu"]["memory_fraction"]
    if not rule.of_type(value) or not rule.allowed(value):
        raise StackError(OUT_OF_RANGE, key="gpu.memory_fraction", value=value, expected=rule.expected)
    return float(value)


def hosts_of(given: Sequence[Mapping[str, Any]], fraction: float) -> list[Host]:
    """The hosts to plan for; C(fraction) wins over theirs. Raises C(plan.no_gpus), C(plan.gpu_memory_unknown)."""
    found = []
    for each in given:
        name = str(each["name"])
        gpus = gpu_share.visible(_used(name, each["gpus"], each.get("devices") or []))
        if not gpus:
            raise StackError(NO_GPUS, what=f"The host {name} has no GPU")
        memory = tuple(int(gpu.get("memory") or 0) for gpu in gpus)
        if not all(memory):
            raise StackError(MEMORY_UNKNOWN, host=name)
        own = fraction or _fraction(each.get("memory_fraction") or DEFAULT_MEMORY_FRACTION)
        found.append(Host(name, memory, own, str(gpus[0].get("name") or "")))
    if not found:
        raise StackError(NO_GPUS, what="No host is in the group gpu_hosts")
    return found


def candidates_of(name: str, remote: Mapping[str, Any]) -> list[Candidate]:
    """What a source offers that the engine can load, the best first; C(remote) is what the module model_info says."""
    summary, size = remote["gguf"], int(remote["size"] or 0)
    if remote["quantizations"]:
        found = [
            Candidate(str(each["label"]).lower(), fit_table.entry_of(name, each["size"], summary), each["size"])
            for each in remote["quantizations"]
            if each["loadable"]
        ]
    elif summary and not summary.get("version"):
        stored = str(summary.get("quantization") or "")
        loaded = {label: fitting.loaded_bytes(size, stored, label) for label in (stored, *fitting.IN_SITU)}
        found = [
            Candidate(label.lower() or "safetensors", fit_table.entry_of(name, size, summary, label), taken)
            for label, taken in loaded.items()
            if taken
        ]
    else:
        label = str(summary.get("quantization") or "")
        loadable = gguf_support.is_loadable_label(label, str(summary.get("architecture") or ""))
        found = [Candidate(label.lower(), fit_table.entry_of(name, size, summary), size)] if size and loadable else []
    return sorted(found, key=lambda each: fitting.rank(fitting.Candidate(each.label, each.bytes, {})), reverse=True)


def check_model(name: str, summary: Mapping[str, Any], context: int, version: str) -> None:
    """Refuse what the engine can't load, a model of which too little is known, and a context it was not made for."""
    if summary.get("version"):
        # The header may be that of another quantization; the labels are looked at for each of them.
        gguf_support.check({**summary, "tensor_types": []}, version, name)
    if not summary.get("kv_bytes_per_token"):
        raise StackError(HEADER_INCOMPLETE, name=name, what="what a token of context takes")
    native = int(summary.get("context_length") or 0)
    if native and context > native:
        raise StackError(CONTEXT_TOO_LONG, name=name, native=native, context=context)


def chosen_labels(name: str, source: str, candidates: list[Candidate], label: str) -> list[Candidate]:
    """The candidates, or only the one that is asked for. Raises C(plan.no_such_quantization)."""
    asked = [each for each in candidates if each.label == label] if label else candidates
    if not asked:
        known = [each.label for each in candidates]
        close = difflib.get_close_matches(label, known, n=3, cutoff=0.3) or known[:5] or ["(none)"]
        raise StackError(NO_SUCH_QUANTIZATION, source=source, label=label or "file", name=name, known=", ".join(close))
    return asked


def _needed(capacities: Sequence[int], users: int, more: bool) -> int | None:
    """How many of the hosts serve all users, the ablest first; any number of hosts like the first one if C(more)."""
    if more:
        return -(-users // capacities[0]) if capacities[0] else None
    served = 0
    for number, count in enumerate(sorted(capacities, reverse=True), 1):
        served += count
        if served >= users:
            return number
    return None


def rows_of(
    engine: Engine, candidates: Sequence[Candidate], hosts: Sequence[Host], context: int, users: int, more: bool
) -> list[Row]:
    """A row for each candidate; C(more) if there can be any number of hosts like the first one.

    Raises ValueError if the size of a candidate is not known.
    """
    found = []
    for candidate in candidates:
        by_kind: dict[tuple[tuple[int, ...], float], Way] = {}
        ways = []
        for host in hosts:
            kind = (host.gpus, host.fraction)
            if kind not in by_kind:
                one = fit_table.way(engine, candidate.label, candidate.entry, host.gpus, host.fraction, context)
                if one is None:
                    raise ValueError(f"the size of {candidate.label} is not known")
                by_kind[kind] = one
            ways.append(by_kind[kind])
        row = Row(candidate, ways, None)
        capacities = [row.users(number) for number in range(len(hosts))]
        found.append(row._replace(hosts=_needed(capacities, users, more)))
    return found


def _is_good(row: Row) -> bool:
    parameters = int(row.candidate.entry["gguf"].get("parameters") or 0)
    return not parameters or row.candidate.bytes * 8 / parameters >= GOOD_BITS


def choose(rows: Sequence[Row], more: bool) -> Row | None:
    """The row to take; None if none serves all users.

    On hosts that are there it is the best quantization. Where hosts are still to be bought it is the best one that
    needs the fewest of them, of those with at least L{GOOD_BITS} bits for each parameter if there are any.
    """
    able = [row for row in rows if row.hosts]
    if not able or not more:
        return able[0] if able else None
    worthy = [row for row in able if _is_good(row)] or able
    return min(worthy, key=lambda row: row.hosts or 0)


def gpus_in_words(host: Host) -> str:
    """What a host has, such as 2 GPUs of 81,559 MiB."""
    count = len(host.gpus)
    sizes = " and ".join(fit_table.mebibytes(size) for size in dict.fromkeys(host.gpus))
    name = f" ({host.gpu})" if host.gpu else ""
    return f"{count} GPU{'s' if count > 1 else ''} of {sizes}{name}"


def refusal(engine: Engine, rows: Sequence[Row], hosts: Sequence[Host], users: int, name: str) -> StackError:
    """Why no row serves all users, and what would."""
    context = rows[0].ways[0].context
    best = max(rows, key=lambda row: sum(row.users(number) for number in range(len(hosts))))
    most = sum(best.users(number) for number in range(len(hosts)))
    if most:
        number = max(range(len(hosts)), key=best.users)
        missing = -(-(users - most) // best.users(number))
        return StackError(
            TOO_FEW_HOSTS,
            hosts=f"The {len(hosts)} hosts" if len(hosts) > 1 else f"The host {hosts[0].name} alone can",
            most=most,
            context=context,
            label=best.candidate.label,
            users=users,
            more=f"{missing} host{'s' if missing > 1 else ''}",
            host=hosts[number].name,
        )
    smallest = min(rows, key=lambda row: row.ways[0].weights)
    what = f"No quantization of {name}" if len(rows) > 1 else f"{smallest.candidate.label} of {name}"
    gpus = gpus_in_words(hosts[0]) if len({host.gpus for host in hosts}) == 1 else "any of the hosts"
    nearest = _nearest(engine, smallest, hosts[0], context)
    return StackError(DOES_NOT_FIT, what=what, gpus=gpus, context=context, nearest=nearest)


def _nearest(engine: Engine, smallest: Row, host: Host, context: int) -> str:
    label = smallest.candidate.label
    offers = []
    longest = fit_table.rounded(smallest.ways[0].longest(1))
    if longest >= SHORTEST:
        offers.append(f"{label} with a context of at most {longest} tokens (-e context={longest})")
    for count in range(len(host.gpus) + 1, 17):
        gpus = [host.gpus[0]] * count
        one = fit_table.way(engine, label, smallest.candidate.entry, gpus, host.fraction, context)
        if one and one.requests:
            offers.append(f"{label} on {count} such GPUs in one host")
            break
    return f"What would fit: {', or '.join(offers)}." if offers else "Choose a smaller model, or GPUs with more memory."
