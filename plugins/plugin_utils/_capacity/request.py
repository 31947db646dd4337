# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook plan was asked, checked before any host or hub is.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.settings import SCHEMA
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._gpu.table import DEVICES
from ansible_collections.mistralrs.stack.plugins.plugin_utils._gpu_devices import usable

NO_MODEL = Fault(
    "plan.no_model",
    "There is no model to plan for.",
    "Give -e model=NAME (docs/catalog.md has the names), and -e source=URL for a model that the catalog doesn't have.",
)
WRONG_VALUE = Fault(
    "plan.wrong_value",
    "-e {name}={value!r} is not {expected}.",
    "Correct it, or leave it out.",
)
GPUS_TWICE = Fault(
    "plan.gpus_twice",
    "Both -e gpu={gpu} and -e gpu_memory={memory} say how much memory a GPU has.",
    "Give one of them, with -e gpus=NUMBER for more than one in each host.",
)
GPUS_OF_NO_KIND = Fault(
    "plan.gpus_of_no_kind",
    "-e gpus={count} does not say which GPUs.",
    "Add -e gpu_memory=80GiB or -e gpu=NAME, or leave it out to plan for the GPUs of gpu_hosts.",
)
UNKNOWN_GPU = Fault(
    "plan.unknown_gpu",
    "{what} of the name {name!r} in the collection's table of GPUs.",
    "Give -e gpu_memory=80GiB instead, or a name such as {similar}.",
)

MOST_USERS = 1_000_000
MOST_GPUS = 16
_SIZE = re.compile(r"(?P<number>[0-9]{1,7}(?:\.[0-9]{1,3})?) ?(?P<unit>[GM]i?B?)\Z", re.IGNORECASE)
_UNITS = {"gb": 10**9, "mb": 10**6, "g": 1 << 30, "m": 1 << 20, "gi": 1 << 30, "mi": 1 << 20}
_MAKERS = re.compile(r"^(?:nvidia|tesla)\s+", re.IGNORECASE)


def _whole(least: int, most: int) -> Callable[[str], int | None]:
    def read(text: str) -> int | None:
        number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
        return number if least <= number <= most else None

    return read


def _memory(text: str) -> int | None:
    found = _SIZE.match(text)
    if found is None:
        return None
    unit = found["unit"].lower()
    count = int(float(found["number"]) * _UNITS.get(unit, _UNITS[unit[:2]]))
    return count if 1 << 30 <= count <= 1 << 40 else None


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if SCHEMA["gpu"]["memory_fraction"].allowed(number) else None


def _label(text: str) -> str | None:
    return text.lower() if SCHEMA["models"]["quantization"].allowed(text) else None


# How each value is read, and what it has to be.
_VALUES: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "users": (_whole(1, MOST_USERS), f"a whole number from 1 to {MOST_USERS}: how many requests are answered at once"),
    "context": (_whole(16, 1 << 24), SCHEMA["models"]["context_length"].expected),
    "quantization": (_label, SCHEMA["models"]["quantization"].expected),
    "gpus": (_whole(1, MOST_GPUS), f"a whole number from 1 to {MOST_GPUS}: the GPUs of each host"),
    "gpu_memory": (_memory, "the memory of one GPU from 1GiB to 1024GiB, such as 80GiB or 24564MiB"),
    "memory_fraction": (_fraction, SCHEMA["gpu"]["memory_fraction"].expected),
}


def gpu_of(name: str) -> tuple[str, int]:
    """The full name of a GPU and its memory in bytes, by a name such as L40S. Raises C(plan.unknown_gpu)."""
    wanted = _MAKERS.sub("", name.strip()).lower()
    short = {_MAKERS.sub("", row.name).lower(): row.name for row in DEVICES.values()}
    exact = [row for row in DEVICES.values() if _MAKERS.sub("", row.name).lower() == wanted]
    words = [row for row in DEVICES.values() if re.search(rf"\b{re.escape(wanted)}\b", row.name, re.IGNORECASE)]
    found = {(row.name, row.memory) for row in (exact or words) if wanted}
    memories = {memory for _name, memory in found}
    if len(memories) == 1 and 0 not in memories:
        return min(found)[0], usable(memories.pop() << 30)
    if found:
        similar = [f"{each}{f' ({memory} GiB)' if memory else ''}" for each, memory in sorted(found)]
        what = "There are several sizes"
    else:
        close = difflib.get_close_matches(wanted, short, n=3, cutoff=0.3)
        similar, what = [short[each] for each in close] or ["L40S"], "There is none"
    raise StackError(UNKNOWN_GPU, what=what, name=name, similar=", ".join(similar[:5]))


def read(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[StackError]]:
    """The values with their types, and everything that is wrong with them.

    C(gpus) are the GPUs of one host that is not there yet, with their memory in bytes; none if gpu_hosts are meant.
    What was not given is empty or 0, but for one user.
    """
    errors = [] if str(given.get("model", "")).strip() else [StackError(NO_MODEL)]
    values: dict[str, Any] = {}
    for name, (reader, expected) in _VALUES.items():
        text = str(given.get(name, "")).strip()
        values[name] = reader(text) if text else None
        if text and values[name] is None:
            errors.append(StackError(WRONG_VALUE, name=name, value=text[:60], expected=expected))
    gpu, memory = str(given.get("gpu", "")).strip(), values["gpu_memory"]
    name = ""
    if gpu and str(given.get("gpu_memory", "")).strip():
        errors.append(StackError(GPUS_TWICE, gpu=gpu, memory=given["gpu_memory"]))
    elif gpu:
        try:
            name, memory = gpu_of(gpu)
        except StackError as error:
            errors.append(error)
    elif values["gpus"] and not str(given.get("gpu_memory", "")).strip():
        errors.append(StackError(GPUS_OF_NO_KIND, count=values["gpus"]))
    return {
        "users": values["users"] or 1,
        "context": values["context"] or 0,
        "quantization": values["quantization"] or "",
        "memory_fraction": values["memory_fraction"] or 0,
        "gpus": [{"name": name, "memory": memory}] * (values["gpus"] or 1) if memory else [],
    }, errors
