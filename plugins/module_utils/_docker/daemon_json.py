# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge settings into Docker's daemon.json without losing what others wrote there.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

INVALID = Fault(
    "docker.daemon_json_invalid",
    "Docker's settings in {path} cannot be used: {problem}.",
    "Correct that file by hand and run again; nothing was changed.",
)
REFUSED = Fault(
    "docker.daemon_settings_refused",
    "Docker refuses the settings meant for {path}: {problem}.",
    "Correct the setting it names (role docker_engine: 'docker_engine_daemon_settings'); nothing was changed.",
)

# What dockerd takes over on SIGHUP; a change of any other key needs a restart.
RELOADABLE = frozenset(
    {
        "allow-nondistributable-artifacts",
        "authorization-plugins",
        "debug",
        "default-runtime",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


_PASSWORD = re.compile(r'(://[^/\s:@"]*:)[^\s"]+(?=@)')


def masked(value: Any) -> Any:
    """C(value) with C(***) in place of the passwords in URLs: proxies may carry one, and it belongs in no log."""
    if isinstance(value, str):
        return _PASSWORD.sub(r"\1***", value)
    if isinstance(value, dict):
        return {key: masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


class Plan(NamedTuple):
    """What the file is to become."""

    before: str
    after: str
    settings: dict[str, Any]
    settings_before: dict[str, Any]
    changed_keys: list[str]

    @property
    def changed(self) -> bool:
        return bool(self.changed_keys)

    @property
    def restart_required(self) -> bool:
        return not RELOADABLE.issuperset(self.changed_keys)


def _position(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return f"line {line}, column {column}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _duplicate_key(text: str) -> tuple[str, int] | None:
    """The first key that stands twice in the same object of a valid JSON text, and where."""
    objects: list[set[str] | None] = []
    tokens = list(_TOKEN.finditer(text))
    for token, following in zip(tokens, [*tokens[1:], None]):
        word = token.group()
        if word in "{[":
            objects.append(set() if word == "{" else None)
        elif word in "}]":
            objects.pop()
        elif word != ":" and following is not None and following.group() == ":":
            keys = objects[-1]
            key = json.loads(word)
            if keys is None or key in keys:
                return key, token.start()
            keys.add(key)
    return None


def parse(text: str, path: str) -> dict[str, Any]:
    """The settings in C(text); nothing but white space means no settings, as it does to dockerd."""
    if not text.strip():
        return {}
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        problem = f"not valid JSON at line {error.lineno}, column {error.colno} ({error.msg})"
        raise StackError(INVALID, path=path, problem=problem) from error
    except (ValueError, RecursionError) as error:
        raise StackError(INVALID, path=path, problem=f"not valid JSON ({error})") from error
    if not isinstance(data, dict):
        start = len(text) - len(text.lstrip())
        problem = f"it has to hold one JSON object, and another value begins at {_position(text, start)}"
        raise StackError(INVALID, path=path, problem=problem)
    duplicate = _duplicate_key(text)
    if duplicate is not None:
        problem = f"the key '{duplicate[0]}' appears a second time at {_position(text, duplicate[1])}"
        raise StackError(INVALID, path=path, problem=problem)
    return data


def _canonical(value: object) -> str:
    # As text, since Python takes true for 1 and 1 for 1.0; dockerd does not.
    return json.dumps(value, sort_keys=True)


def merge(current: dict[str, Any], settings: dict[str, Any], append_lists: bool = False) -> dict[str, Any]:
    """C(current) with C(settings) laid over it; keys keep their order, new ones come last."""
    merged = dict(current)
    for key, value in settings.items():
        present = merged.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            merged[key] = merge(present, value, append_lists)
        elif append_lists and isinstance(value, list) and isinstance(present, list):
            known = {_canonical(item) for item in present}
            merged[key] = present + [item for item in value if _canonical(item) not in known]
        else:
            merged[key] = value
    return merged


def remove(current: dict[str, Any], dotted: str) -> dict[str, Any]:
    r"""C(current) without the key at the path C(dotted); C(\.) is a dot that belongs to a key."""
    head, *rest = (part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", dotted))
    return _remove(current, head, rest)


def _remove(current: dict[str, Any], head: str, rest: list[str]) -> dict[str, Any]:
    if head not in current:
        return current
    if not rest:
        return {key: value for key, value in current.items() if key != head}
    inner = current[head]
    if not isinstance(inner, dict):
        return current
    return {**current, head: _remove(inner, rest[0], rest[1:])}


def _render(settings: dict[str, Any], like: str) -> str:
    indent = re.search(r"^([ \t]+)\S", like, re.MULTILINE)
    return json.dumps(settings, indent=indent.group(1) if indent else 2, ensure_ascii=False) + "\n"


def plan(
    text: str, path: str, settings: dict[str, Any], absent: list[str] | None = None, append_lists: bool = False
) -> Plan:
    """What the file with C(text) becomes: keys in C(absent) go first, then C(settings) are merged."""
    before = parse(text, path)
    after = before
    for dotted in absent or []:
        after = remove(after, dotted)
    after = merge(after, settings, append_lists)
    changed = [key for key in {**before, **after} if _differs(before, after, key)]
    return Plan(text, _render(after, text) if changed else text, after, before, changed)


def _differs(before: dict[str, Any], after: dict[str, Any], key: str) -> bool:
    return (key in before) != (key in after) or _canonical(before.get(key)) != _canonical(after.get(key))
