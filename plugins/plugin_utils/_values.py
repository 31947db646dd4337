# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of the roles may be: each is checked for what the program that gets it would do with it.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

INVALID = Fault(
    "variable.invalid",
    "'{name}' is {value}, but must be {expected}.",
    "Correct it in the inventory.",
)

# Nothing that ends a line, or that a shell, systemd or a configuration file would take for more than text.
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_URL = re.compile(r"https?://(?P<host>[^\s/'\"\\$`?#;{}<>]+)(?P<rest>[^\s'\"\\$`;<>{}]*)")
_DURATION = re.compile(r"(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?")
_DIRECTIVE = r"[A-Za-z0-9_:-]+(\[[^\]\s]*\])?(=[A-Za-z0-5]+)?"
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?")


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65535


def _is_host(text: str) -> bool:
    if text.startswith("["):
        return text.endswith("]") and _is_ip(text[1:-1], 6)
    if re.fullmatch(r"[0-9.]+", text):
        return _is_ip(text, 4)
    return len(text) <= 253 and _HOSTNAME.fullmatch(text) is not None


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def is_target(text: str) -> bool:
    """A host and a port, an IPv6 address in brackets."""
    host, _colon, port = text.rpartition(":")
    return _is_port(port) and _is_host(host)


def is_listener(text: str) -> bool:
    """The same, or a port alone for all addresses."""
    return is_target(text) or (text.startswith(":") and _is_port(text[1:]))


def is_url(text: str) -> bool:
    """An address of HTTP without anything that a configuration file or a shell would read as more than that."""
    match = _URL.fullmatch(text)
    if match is None:
        return False
    host = match["host"].rpartition("@")[2]
    return is_target(host) or _is_host(host)


def is_path(text: str) -> bool:
    """An absolute path that is the same for every program, whichever variables it expands."""
    return text.startswith("/") and ".." not in text.split("/") and re.search(r"[\x00-\x1f\x7f$\"'`\\]", text) is None


def _is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text) is not None and re.search(r"[1-9]", text) is not None


Check = Callable[[str], bool]


def _like(pattern: str) -> Check:
    return lambda text: re.fullmatch(pattern, text) is not None


KINDS: Mapping[str, tuple[str, Check]] = {
    "listener": ("an address with a port, such as 127.0.0.1:9100 or [::1]:9100", is_listener),
    "target": ("a host with a port, such as 10.0.0.5:9100 or [fd00::5]:9100", is_target),
    "url": ("an address that begins with http:// or https://", is_url),
    "path": ("an absolute path without '..', quotes and '$'", is_path),
    "duration": ("a time of Prometheus above 0, such as 15s, 1h30m or 30d", _is_duration),
    "size": ("a size of Prometheus above 0, such as 512MB or 5GB", _like(r"[0-9]*[1-9][0-9]*[KMGTPE]?B")),
    "version": ("a version such as 26.1.5", _like(r"[0-9]+(\.[0-9]+)*")),
    "name": ("a name of letters, digits and ._-", _like(r"[A-Za-z0-9][A-Za-z0-9._-]*")),
    "image": ("an image's name, such as debian:12", lambda text: _IMAGE.fullmatch(text) is not None),
    "sha256": ("a SHA-256, 64 hexadecimal digits", _like(r"[0-9A-Fa-f]{64}")),
    "fingerprint": ("a fingerprint, 40 hexadecimal digits", _like(r"([0-9A-Fa-f][\s:]*){40}")),
    "log_filter": (
        "what RUST_LOG may be, such as info or info,mistralrs_core=debug",
        _like(rf"{_DIRECTIVE}(,{_DIRECTIVE})*"),
    ),
    "partition": ("a profile of nvidia-smi, such as 3g.40gb or 9", _like(r"[0-9]+(g\.[0-9]+gb(\+[a-z.]+)?)?")),
    "text": ("one line of text", _like(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*")),
    "secret": ("one line without spaces", _like(r"[!-~]+")),
}
_FEW = 3


def _number(value: Any, kind: str) -> str:
    """What is wrong with a number of the kind C(int 1 65535)."""
    word, *limits = kind.split()
    low, high = (float(limit) for limit in limits)
    text = str(value).strip()
    expected = f"a {'whole ' if word == 'int' else ''}number from {limits[0]} to {limits[1]}"
    pattern = r"-?[0-9]+" if word == "int" else r"-?[0-9]+(\.[0-9]+)?"
    is_right = not isinstance(value, bool) and re.fullmatch(pattern, text) and low <= float(text) <= high
    return "" if is_right else expected


def expected(value: Any, kind: str) -> str:
    """What a value of that kind would be, if this one is not; else empty.

    A kind is one of L{KINDS} or C(int LOW HIGH) or C(float LOW HIGH); C(optional) before it allows an empty text, and
    C(list) asks for a list of such. C(dict) is any dictionary, C(partitions) what C(nvidia_driver_mig) may be.
    """
    word, _blank, rest = kind.partition(" ")
    if word == "list":
        if not isinstance(value, (list, tuple)):
            return f"a list, each entry {expected(None, rest)}"
        wrong = [found for found in (expected(one, rest) for one in value) if found]
        return f"a list, each entry {wrong[0]}" if wrong else ""
    if word == "optional":
        return "" if value is None or value == "" else f"{found} or empty" if (found := expected(value, rest)) else ""
    if word in ("int", "float"):
        return _number(value, kind)
    if word == "dict":
        return "" if isinstance(value, Mapping) else "a dictionary"
    if word == "partitions":
        return (
            "" if _are_partitions(value) else "a list, each entry with a GPU's number in 'gpu' and a list in 'profiles'"
        )
    what, check = KINDS[kind]
    return "" if isinstance(value, (str, int, float)) and not isinstance(value, bool) and check(str(value)) else what


def _are_partitions(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(one, Mapping)
        and not expected(one.get("gpu"), "int 0 255")
        and bool(one.get("profiles"))
        and not expected(one["profiles"], "list partition")
        for one in value
    )


def _shown(value: Any, kind: str) -> str:
    """The value as a message may show it: short, in one line, and no secret."""
    if "secret" in kind:
        return "of another form"
    if isinstance(value, (list, tuple)) and kind.startswith("list "):
        value = [one for one in value if expected(one, kind[5:])][:_FEW]
    text = re.sub(r"(://[^/\s:@\"]*:)[^\s\"]+(?=@)", r"\1***", repr(value))
    return text if len(text) <= 120 else f"{text[:117]}..."


def problems(values: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    """A line for each value that is not of its kind."""
    found = ((name, kinds[name], expected(values[name], kinds[name])) for name in kinds)
    return [
        str(StackError(INVALID, name=name, value=_shown(values[name], kind), expected=wanted))
        for name, kind, wanted in found
        if wanted
    ]
