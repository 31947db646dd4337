# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as lines for a terminal: the choice, the arithmetic behind it, all quantizations, what to write down.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine import gpu_share
from ansible_collections.mistralrs.stack.plugins.module_utils._engine.fit_table import aligned, mebibytes, rounded
from ansible_collections.mistralrs.stack.plugins.plugin_utils._capacity.fleet import Host, Row, gpus_in_words


class Subject(NamedTuple):
    """What is planned. C(more) if there can be any number of hosts like the one that is described."""

    name: str
    source: str
    users: int
    version: str
    more: bool


def _total(sizes: Sequence[int]) -> str:
    """GPUs as they are added up: 2 x 81,559 MiB."""
    kinds = {size: sizes.count(size) for size in sizes}
    return " + ".join(f"{count} x {mebibytes(size)}" if count > 1 else mebibytes(size) for size, count in kinds.items())


def arithmetic(row: Row, number: int, host: Host) -> list[str]:
    """How the users of one host follow from its GPUs, the weights and the context."""
    way = row.ways[number]
    load = gpu_share.Load("", way.weights, way.kv, way.context, 1)
    held = gpu_share.holding([load], host.gpus, host.fraction)
    usable = [gpu_share.capacity(size, host.fraction) + gpu_share.CUDA_CONTEXT for size in held]
    kept = usable != [int(size * host.fraction) for size in held]
    activations = gpu_share.ACTIVATIONS * len(held)
    left = sum(usable) - gpu_share.CUDA_CONTEXT * len(held) - way.weights - activations
    grown = way.weights > row.candidate.bytes
    each = " on each GPU" if len(held) > 1 else ""
    steps: list[tuple[str, int]] = [
        (
            f"  {_total(held)} x {host.fraction:g} (gpu.memory_fraction)"
            + (", less what the engine keeps free" if kept else ""),
            sum(usable),
        ),
        (f"- CUDA itself{each}", gpu_share.CUDA_CONTEXT * len(held)),
        (f"- weights, {way.label}{', with the embeddings in F32' if grown else ''}", way.weights),
        (f"- activations{each}", activations),
    ]
    if left - way.room > 16 * gpu_share.MIB:
        steps.append(("- lost: layers stay whole, and the first GPU limits the KV cache", left - way.room))
    steps.append(("= left for KV caches", way.room))
    per_token = int(row.candidate.entry["gguf"].get("kv_bytes_per_token") or 0)
    steps.append((f"  KV cache of a user: {per_token:,} bytes a token x {way.context:,} tokens", way.kv))
    lines = aligned([[text, mebibytes(count)] for text, count in steps])
    lines.append(f"  users at once: {mebibytes(way.room)} / {mebibytes(way.kv)} = {way.requests:,}")
    idle = len(host.gpus) - len(held)
    if idle:
        lines.append(f"  A model that fits one GPU stays on that one; {idle} of {len(host.gpus)} are idle.")
    return lines


def _kinds(hosts: Sequence[Host]) -> dict[tuple[tuple[int, ...], float], list[int]]:
    """The numbers of the hosts that are alike."""
    found: dict[tuple[tuple[int, ...], float], list[int]] = {}
    for number, host in enumerate(hosts):
        found.setdefault((host.gpus, host.fraction), []).append(number)
    return found


def table(rows: Sequence[Row], number: int, chosen: Row | None, with_hosts: bool) -> list[str]:
    """All quantizations on one kind of host; an asterisk marks the chosen one."""
    titles = ["  quantization", "weights", "left for KV", "users at once", "longest context"]
    cells = [[*titles, "hosts"] if with_hosts else titles]
    for row in rows:
        way = row.ways[number]
        mark = "* " if row is chosen else "  "
        line = [
            f"{mark}{way.label}",
            mebibytes(way.weights),
            mebibytes(way.room),
            f"{row.users(number):,}",
            f"{rounded(way.longest(1)):,}",
        ]
        cells.append([*line, f"{row.hosts:,}" if row.hosts else "-"] if with_hosts else line)
    return aligned(cells)


def _served(row: Row, hosts: Sequence[Host], subject: Subject) -> list[tuple[int, int]]:
    """The numbers of the hosts that are taken and how many users each gets, the ablest first."""
    if subject.more:
        return [(0, -(-subject.users // (row.hosts or 1)))]
    order = sorted(range(len(hosts)), key=row.users, reverse=True)[: row.hosts]
    left, found = subject.users, []
    for position, number in enumerate(order):
        share = min(row.users(number), -(-left // (len(order) - position)))
        found.append((number, share))
        left -= share
    if left:
        # Shares of the same size are too many for some: then each takes what it can.
        return [(number, row.users(number)) for number in order]
    return found


def _settings(subject: Subject, row: Row, users: int) -> list[str]:
    return [
        "  mistral_models:",
        f"    - name: {subject.name}",
        f"      quantization: {row.candidate.label}",
        f"      source: {subject.source}",
        "  mistral_server_config:",
        f"    models: {{context_length: {row.ways[0].context}}}",
        f"    inference: {{batch_size: {users}}}",
    ]


def lines(subject: Subject, rows: Sequence[Row], hosts: Sequence[Host], chosen: Row | None) -> list[str]:
    """Everything; without a choice only what there is to choose from."""
    context = rows[0].ways[0].context
    users = f"{subject.users:,} user{'s' if subject.users > 1 else ''} at once"
    found = [
        f"{subject.name} from {subject.source}",
        f"for {users} with {context:,} tokens of context each, by mistral.rs {subject.version}",
    ]
    kinds = list(_kinds(hosts).values())
    if chosen:
        served = _served(chosen, hosts, subject)
        count = chosen.hosts or 1
        shares = {share for _number, share in served}
        most = max(shares)
        each = f", at most {most:,} user{'s' if most > 1 else ''} on each" if count > 1 else ""
        found += ["", f"Take {chosen.candidate.label} on {count} host{'s' if count > 1 else ''}{each}."]
        if not subject.more:
            found.append(f"The hosts: {', '.join(f'{hosts[number].name} ({share:,})' for number, share in served)}.")
        for number in dict.fromkeys(next(kind[0] for kind in kinds if number in kind) for number, _users in served):
            found += ["", f"{_title(hosts, number, subject)}:"]
            found += arithmetic(chosen, number, hosts[number])
    for kind in kinds:
        found += ["", f"All quantizations, {_title(hosts, kind[0], subject)}:"]
        found += table(rows, kind[0], chosen, with_hosts=len(kinds) == 1)
    if chosen:
        found += ["", "In the inventory:", *_settings(subject, chosen, most)]
    return found


def _title(hosts: Sequence[Host], number: int, subject: Subject) -> str:
    if subject.more:
        return f"a host with {gpus_in_words(hosts[number])}"
    alike = [host.name for host in hosts if host[1:3] == hosts[number][1:3]]
    return f"{', '.join(alike)} with {gpus_in_words(hosts[number])}"


def as_data(row: Row, hosts: Sequence[Host]) -> dict[str, object]:
    """A row as plain data; sizes in bytes."""
    return {
        "quantization": row.candidate.label,
        "hosts": row.hosts,
        "weights": row.ways[0].weights,
        "context": row.ways[0].context,
        "kv_each": row.ways[0].kv,
        "on": [
            {
                "host": host.name,
                "kv_room": row.ways[number].room,
                "users": row.users(number),
                "longest_context": row.ways[number].longest(1),
            }
            for number, host in enumerate(hosts)
        ],
    }
