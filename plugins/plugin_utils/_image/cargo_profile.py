# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of cargo's release profile, as the arguments C(--config KEY=VALUE) that say them.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

Only settings that change how fast the engine is compiled and how fast it is, not what it does (The Cargo Book,
Profiles).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.engine import EngineVersion

PROFILE_INVALID = Fault(
    "image.cargo_profile_invalid",
    "mistral_image_cargo_profile has {key}: {value!r}, but {expected}.",
    "Correct it in the inventory.",
)

_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
_LEVELS = (0, 1, 2, 3, "s", "z")
_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "opt-level": (lambda value: value in _LEVELS and not isinstance(value, bool), "0 to 3, s or z"),
    "codegen-units": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 256,
        "a number from 1 to 256",
    ),
    "debug": (lambda value: value in (0, 1, 2, "none", "line-tables-only", "limited", "full"), "0, 1, 2, or its name"),
    "strip": (lambda value: isinstance(value, bool) or value in ("none", "debuginfo", "symbols"), "none or symbols"),
    "lto": (lambda value: isinstance(value, bool) or value in ("off", "thin", "fat"), "off, thin, fat or a boolean"),
}
# Cargo takes these for the whole profile only.
_NOT_FOR_PACKAGES = ("lto",)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'


def _number(value: Any) -> Any:
    """A number that came as text, as C(-e) and templates give it."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _settings(given: Mapping[str, Any], prefix: str, left_out: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    known = [name for name in _VALUES if name not in left_out]
    for name, raw in given.items():
        value = _number(raw)
        key = f"{prefix}{name}"
        if name not in known:
            raise StackError(PROFILE_INVALID, key=key, value=value, expected=f"the settings are {', '.join(known)}")
        accepts, expected = _VALUES[name]
        if not accepts(value):
            raise StackError(PROFILE_INVALID, key=key, value=value, expected=f"it must be {expected}")
        yield str(name), _toml(value)


def cargo_profile(given: Any, engine: EngineVersion) -> list[str]:
    """The C(KEY=VALUE) for cargo's C(--config): what the engine's version needs, and over it what was given.

    C(packages) maps names of crates to their settings; a number alone is their opt-level. Raises StackError
    C(image.cargo_profile_invalid).
    """
    wanted = given or {}
    if not isinstance(wanted, Mapping):
        raise StackError(PROFILE_INVALID, key="a value", value=wanted, expected="it must be a mapping of settings")
    first = {"lto": False} if engine.link_time_optimization else {}
    packages = wanted.get("packages") or {}
    own = {**first, **{key: value for key, value in wanted.items() if key != "packages"}}
    lines = [f"profile.release.{name}={value}" for name, value in _settings(own, "", ())]
    if not isinstance(packages, Mapping):
        raise StackError(PROFILE_INVALID, key="packages", value=packages, expected="it must be a mapping of crates")
    for package, settings in packages.items():
        if package != "*" and not _PACKAGE.match(str(package)):
            raise StackError(
                PROFILE_INVALID, key="packages", value=package, expected="it must have names of crates, or '*'"
            )
        quoted = f'"{package}"' if package == "*" else package
        mapping = settings if isinstance(settings, Mapping) else {"opt-level": settings}
        prefix = f"packages.{package}."
        lines += [
            f"profile.release.package.{quoted}.{name}={value}"
            for name, value in _settings(mapping, prefix, _NOT_FOR_PACKAGES)
        ]
    return lines
