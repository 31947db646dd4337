# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of config.yml: what each must be, and what each is by default.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

UNKNOWN_SECTION = Fault(
    "config.unknown_section",
    "mistral_server_config: there is no section {section!r} (the sections are models, server, inference, gpu).",
    "{way_out}",
    "Correct the name of the section, or move the key into the section that it belongs to.",
)
UNKNOWN_KEY = Fault(
    "config.unknown_key",
    "mistral_server_config: there is no key {key} (the section has {known}).",
    "{way_out}",
    "Correct the name of the key, or move it into the section that it belongs to.",
)
WRONG_TYPE = Fault(
    "config.wrong_type",
    "mistral_server_config: {key} is {value} ({found}), but must be {expected}.",
    "Correct the value, or remove the key to get the default.",
)
OUT_OF_RANGE = Fault(
    "config.out_of_range",
    "mistral_server_config: {key} is {value}, but must be {expected}.",
    "Correct the value, or remove the key to get the default.",
)
KEY_UNSUPPORTED = Fault(
    "config.key_unsupported",
    "mistral_server_config: mistral.rs {version} can't honour {key} here: {reason}.",
    "{way_out}",
    "Remove the key for this host.",
)
CONTRADICTION = Fault(
    "config.contradiction",
    "mistral_server_config: {key} is {value}, which contradicts {other}.",
    "Set it in one place, or to the same value in both.",
)

DEFAULT_MODEL_PATH = "/models"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
# The engine generates until the model stops by itself when a request has no max_tokens, so there always is a default.
DEFAULT_MAX_TOKENS = 2048
DEFAULT_MEMORY_FRACTION = 0.9
# Directories of the container that the models must not cover.
_RESERVED_PATHS = re.compile(r"/(bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|tmp|usr)(/|\Z)|/\Z|/var\Z")

AUTO = "auto"

Gpu = Mapping[str, Any]


class Key(NamedTuple):
    """One key of config.yml: its type in words, a test of the type and one of the value."""

    expected: str
    of_type: Callable[[Any], bool]
    allowed: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_device_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_int(item) or _is_str(item) for item in value)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_container_path(value: str) -> bool:
    plain = re.match(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+\Z", value)
    return bool(plain) and not _RESERVED_PATHS.match(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_contexts(value: Mapping[Any, Any]) -> bool:
    return all(_is_str(name) and _is_int(tokens) and 16 <= tokens <= 16777216 for name, tokens in value.items())


def _are_layers(value: list[Any]) -> bool:
    return len(value) > 0 and all(_is_str(item) and bool(re.match(r"[0-9]{1,2}:[0-9]{1,4}\Z", item)) for item in value)


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: bool(low <= value <= high)


SCHEMA: dict[str, dict[str, Key]] = {
    "models": {
        "path": Key("an absolute path in the container outside its system directories", _is_str, _is_container_path),
        "quantization": Key(
            "a quantization's name such as Q4_K_M",
            _is_str,
            lambda value: bool(re.match(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z", value)),
        ),
        "context_length": Key("a whole number of tokens from 16 to 16777216", _is_int, _between(16, 16777216)),
        "context_lengths": Key(
            "a mapping of models' names to whole numbers of tokens from 16 to 16777216", _is_mapping, _are_contexts
        ),
        "dtype": Key("f16, bf16 or f32", _is_str, lambda value: value in ("f16", "bf16", "f32")),
    },
    "server": {
        "host": Key("an IP address of this host, 127.0.0.1 or 0.0.0.0 for example", _is_str, _is_address),
        "port": Key("a whole number from 1 to 65535", _is_int, _between(1, 65535)),
        "num_threads": Key(
            "a whole number from 1 to 1024, or auto for the number of the host's physical cores",
            lambda value: _is_int(value) or value == AUTO,
            lambda value: value == AUTO or 1 <= value <= 1024,
        ),
    },
    "inference": {
        "temperature": Key("a number from 0 to 2", _is_number, _between(0, 2)),
        "top_p": Key("a number above 0 and up to 1", _is_number, lambda value: bool(0 < value <= 1)),
        "max_tokens": Key("a whole number from 1 to 16777216", _is_int, _between(1, 16777216)),
        "batch_size": Key("a whole number from 1 to 1024", _is_int, _between(1, 1024)),
        "prefix_cache": Key("a whole number from 0 to 4096", _is_int, _between(0, 4096)),
    },
    "gpu": {
        "memory_fraction": Key("a number from 0.05 to 0.98", _is_number, _between(0.05, 0.98)),
        "allow_growth": Key("true or false", _is_bool, lambda value: True),
        "devices": Key(
            "a list of different GPU indexes or UUIDs of this host",
            _is_device_list,
            lambda value: len(value) > 0 and len({str(item) for item in value}) == len(value),
        ),
        "cache_mb": Key("a whole number of MiB from 64 to 16777216", _is_int, _between(64, 16777216)),
        "cache_type": Key("auto or f8e4m3", _is_str, lambda value: value in (AUTO, "f8e4m3")),
        "device_layers": Key(
            "a list of texts such as 0:16, each the number of one of the GPUs used and how many layers it gets",
            lambda value: isinstance(value, list),
            _are_layers,
        ),
        "tensor_parallel": Key("a whole number from 1 to 64", _is_int, _between(1, 64)),
    },
}


def _kind_of(value: Any) -> str:
    if value is None:
        return "empty"
    for kind, test in (("a boolean", _is_bool), ("an integer", _is_int), ("a number", _is_number), ("a text", _is_str)):
        if test(value):
            return kind
    return "a list" if isinstance(value, (list, tuple)) else "a mapping"


def shown(value: Any) -> str:
    """A value as the operator reads it in a message, cut to 60 characters."""
    text = "empty" if value is None else repr(value) if isinstance(value, (str, float, int)) else str(value)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    """The value without whatever Ansible hangs on it, so that a plan is plain data."""
    if isinstance(value, (bool, int, float)):
        return value if isinstance(value, bool) else int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else str(value)


def _unknown_key(section: str, key: str) -> StackError:
    elsewhere = [f"{other}.{key}" for other, keys in SCHEMA.items() if key in keys]
    close = difflib.get_close_matches(key, SCHEMA[section], n=1)
    if elsewhere:
        way_out = f"It belongs in the section {elsewhere[0].split('.')[0]}: move it there."
    elif close:
        way_out = f"Did you mean {section}.{close[0]}?"
    else:
        way_out = "Remove it."
    return StackError(UNKNOWN_KEY, key=f"{section}.{key}", known=", ".join(SCHEMA[section]), way_out=way_out)


def _unknown_section(section: str) -> StackError:
    owner = [name for name, keys in SCHEMA.items() if section in keys]
    close = difflib.get_close_matches(section, SCHEMA, n=1)
    if owner:
        way_out = f"{section} is a key of the section {owner[0]}: move it there."
    else:
        way_out = f"Did you mean {close[0]!r}?" if close else "Remove it."
    return StackError(UNKNOWN_SECTION, section=section, way_out=way_out)


def check(config: Mapping[str, Any], errors: list[StackError]) -> dict[str, dict[str, Any]]:
    """The settings that are well-formed, by section; an error is added for each that isn't."""
    settings: dict[str, dict[str, Any]] = {section: {} for section in SCHEMA}
    for section, keys in config.items():
        section = str(section)
        if section not in SCHEMA:
            errors.append(_unknown_section(section))
            continue
        if keys is None:
            continue
        if not isinstance(keys, Mapping):
            expected = "a mapping of keys to values"
            errors.append(
                StackError(WRONG_TYPE, key=section, value=shown(keys), found=_kind_of(keys), expected=expected)
            )
            continue
        for key, value in keys.items():
            key = str(key)
            rule = SCHEMA[section].get(key)
            name = f"{section}.{key}"
            if rule is None:
                errors.append(_unknown_key(section, key))
            elif not rule.of_type(value):
                errors.append(
                    StackError(WRONG_TYPE, key=name, value=shown(value), found=_kind_of(value), expected=rule.expected)
                )
            elif not rule.allowed(value):
                errors.append(StackError(OUT_OF_RANGE, key=name, value=shown(value), expected=rule.expected))
            else:
                settings[section][key] = _plain(value)
    return settings


def check_outside(
    config: Mapping[str, Any],
    settings: dict[str, dict[str, Any]],
    variables: Mapping[str, tuple[str, Any]],
    errors: list[StackError],
) -> None:
    """A setting that also is a variable of its own has one value: that of both."""
    for name, (variable, value) in variables.items():
        section, key = name.split(".")
        rule = SCHEMA[section][key]
        given = settings[section].get(key)
        section_said = config.get(section)
        if value is None:
            continue
        if given is not None and given != value:
            other = f"{variable} ({shown(value)})"
            errors.append(StackError(CONTRADICTION, key=name, value=shown(given), other=other))
        elif rule.of_type(value) and rule.allowed(value):
            settings[section][key] = _plain(value)
        elif not (isinstance(section_said, Mapping) and key in section_said):
            # Otherwise the variable only repeats the key, whose error has been said.
            errors.append(StackError(OUT_OF_RANGE, key=variable, value=shown(value), expected=rule.expected))


def resolve_threads(version: str, settings: dict[str, dict[str, Any]], cores: int, errors: list[StackError]) -> None:
    """The number of threads where it is to be that of the host's physical cores."""
    if settings["server"].get("num_threads") != AUTO:
        return
    if cores > 0:
        settings["server"]["num_threads"] = cores
        return
    reason = "the number of the host's physical cores is not known"
    way_out = "Give the number of threads."
    errors.append(
        StackError(KEY_UNSUPPORTED, version=version, key="server.num_threads", reason=reason, way_out=way_out)
    )


def fill_in(settings: dict[str, dict[str, Any]], cpu: bool, context: int = 0) -> None:
    """Fill in the defaults that act, so that the operator's view shows what the engine really does.

    C(context) is the shortest of the models' contexts, in tokens; 0 if none was set.
    """
    settings["models"].setdefault("path", DEFAULT_MODEL_PATH)
    settings["server"].setdefault("host", DEFAULT_HOST)
    settings["server"].setdefault("port", DEFAULT_PORT)
    settings["inference"].setdefault("max_tokens", min(DEFAULT_MAX_TOKENS, context or DEFAULT_MAX_TOKENS))
    if not cpu and not settings["gpu"].setdefault("allow_growth", False) and "cache_mb" not in settings["gpu"]:
        settings["gpu"].setdefault("memory_fraction", DEFAULT_MEMORY_FRACTION)
