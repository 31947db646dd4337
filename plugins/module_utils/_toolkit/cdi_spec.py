# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CDI specification says, and whether it still fits the host.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

Specifications are read by their lines, since hosts have no YAML library: C(nvidia-ctk) writes one key a line.
Format: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

KIND = "nvidia.com/gpu"

_LINE = re.compile(r"^\s*(?P<item>(?:- )*)\s*(?P<key>[A-Za-z]+):\s*(?P<value>.*?)\s*$")
# Libraries that carry the driver's version in their names.
_LIBRARY = re.compile(r"/lib(?:cuda|nvidia-ml)\.so\.(\d+\.\d+(?:\.\d+)?)$")
_INDEX = re.compile(r"\d+(?::\d+)?\Z")


class Spec(NamedTuple):
    """A specification: its kind, the names of its devices, and the files of the host that it gives to containers.

    C(numbers) are the device files whose major and minor number it says too, as those of toolkits since 1.18 do.
    """

    kind: str
    version: str
    devices: tuple[str, ...]
    host_paths: tuple[str, ...]
    numbers: tuple[tuple[str, int, int], ...] = ()

    @property
    def drivers(self) -> tuple[str, ...]:
        """The versions of the driver whose libraries it names."""
        found = (_LIBRARY.search(path) for path in self.host_paths)
        return tuple(sorted({match.group(1) for match in found if match}))


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _items(text: str) -> list[dict[str, str]]:
    """The maps of a YAML text, flat: each begins with a dash."""
    items: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        if match["item"]:
            items.append({})
        items[-1].setdefault(match["key"], _unquoted(match["value"]))
    return items


def _json_items(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return [item for entry in value for item in _json_items(entry)]
    if not isinstance(value, dict):
        return []
    own = {key: str(entry) for key, entry in value.items() if not isinstance(entry, (dict, list))}
    return [own, *(item for entry in value.values() for item in _json_items(entry))]


def parse(text: str) -> Spec:
    """What is said in C(text), YAML as C(nvidia-ctk) writes it or JSON; nothing where it says nothing that is known."""
    items = _items(text)
    if text.lstrip().startswith("{"):
        try:
            items = _json_items(json.loads(text))
        except ValueError:
            items = []
    devices: list[str] = []
    paths: list[str] = []
    numbers: list[tuple[str, int, int]] = []
    kind = version = ""
    for item in items:
        kind = kind or item.get("kind", "")
        version = version or item.get("cdiVersion", "")
        if item.get("name"):
            devices.append(item["name"])
        path = item.get("hostPath") or ("" if "containerPath" in item else item.get("path", ""))
        if path.startswith("/"):
            paths.append(path)
            # A minor number of 0 is left out.
            if item.get("major", "").isdigit() and item.get("minor", "0").isdigit():
                numbers.append((path, int(item["major"]), int(item.get("minor", "0"))))
    return Spec(
        kind, version, tuple(dict.fromkeys(devices)), tuple(dict.fromkeys(paths)), tuple(dict.fromkeys(numbers))
    )


def listed(output: str) -> list[str]:
    """The devices in the output of C(nvidia-ctk cdi list)."""
    return [line.strip() for line in output.splitlines() if re.match(r"\s*[\w.-]+/[\w.-]+=\S+\s*$", line)]


def missing_devices(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Which of the C(wanted) UUIDs have no device; names may be indexes only, of which there must be enough."""
    present, needed = set(names), list(wanted)
    if any(name.startswith(("GPU-", "MIG-")) for name in present):
        return [uuid for uuid in needed if uuid not in present]
    indexes = [name for name in present if _INDEX.match(name)]
    return needed[len(indexes) :]


def stale_reasons(
    spec: Spec,
    driver: str,
    uuids: Iterable[str],
    exists: Callable[[str], bool],
    older_than_toolkit: bool = False,
    number: Callable[[str], tuple[int, int] | None] = lambda path: None,
) -> list[str]:
    """Why the specification does not fit the host any more, as parts of a sentence; none if it does.

    C(driver) is the version of the loaded driver and C(uuids) are the GPUs and MIG devices of the host. Of what is
    empty, nothing is asked. C(number) gives the major and minor number of a device file of the host, if it is one.
    """
    reasons = []
    wanted = list(uuids)
    if spec.kind != KIND:
        return [f"it describes {spec.kind or 'nothing'} instead of {KIND}"]
    others = [version for version in spec.drivers if version != driver]
    if driver and others:
        reasons.append(f"it is for the driver {', '.join(others)}, and {driver} is loaded")
    missing = missing_devices(spec.devices, wanted)
    if missing:
        reasons.append(f"it lacks {', '.join(missing)}")
    gone = [name for name in spec.devices if name.startswith(("GPU-", "MIG-")) and name not in wanted]
    if wanted and gone:
        reasons.append(f"it has {', '.join(gone)}, which the host does not have")
    lost = [path for path in spec.host_paths if not exists(path)]
    if lost:
        reasons.append(f"{lost[0]}{f' and {len(lost) - 1} more files' if len(lost) > 1 else ''} it names are gone")
    # The kernel gives nvidia-uvm and nvidia-caps their major numbers anew with each boot.
    other = [path for path, major, minor in spec.numbers if number(path) not in (None, (major, minor))]
    if other:
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        reasons.append(f"the device number of {other[0]}{more} has changed")
    if older_than_toolkit:
        reasons.append("it is older than the toolkit")
    return reasons


def foreign(texts: Mapping[str, str], own: Iterable[str]) -> list[str]:
    """The files among C(texts) (path -> content) that describe the same kind of device and are not our C(own)."""
    known = set(own)
    return sorted(path for path, text in texts.items() if path not in known and parse(text).kind == KIND)
