# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a request's JSON as the engine's server does: the types of its fields, and its words for what is wrong.

Types: ChatCompletionRequest and CompletionRequest in mistralrs-server-core/src/openai.rs at commit
9e922623f24b32d41f3892b74f0eed18707f4e6c (0.9.2+7). Words: the recordings chat_max_tokens_text,
chat_max_tokens_negative, chat_bad_json, chat_empty_body and completions_list of the same commit. The engine adds where
in the body the fault is; that is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


class RequestError(Exception):
    """A request that is not answered: HTTP status and a sentence, as plain text where the engine has it so."""

    def __init__(
        self, status: int, message: str, *, plain: bool = False, partial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.plain = plain
        self.partial = partial

    def document(self) -> dict[str, Any]:
        """The body of an answer."""
        return {"message": self.message, **({"partial_response": self.partial} if self.partial is not None else {})}

    def event(self) -> dict[str, Any]:
        """The event inside a stream."""
        return {"error": {"message": self.message, "type": "server_error", "param": None, "code": None}}


def unreadable(words: str) -> RequestError:
    """What isn't JSON."""
    return RequestError(400, f"Failed to parse the request body as JSON: {words}", plain=True)


def mismatch(words: str) -> RequestError:
    """What is JSON, but no request."""
    return RequestError(422, f"Failed to deserialize the JSON body into the target type: {words}", plain=True)


#: Of a value in JSON.
_BEGINNINGS = frozenset(bytes([byte]) for byte in b'{["-0123456789tfn')


def _constant(name: str) -> Any:
    raise ValueError(f"expected value, not {name}")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body."""
    if not body.strip():
        raise unreadable("EOF while parsing a value")
    if body.lstrip()[:1] not in _BEGINNINGS:
        raise unreadable("expected value")
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_constant)
    except UnicodeDecodeError:
        raise unreadable("invalid unicode code point") from None
    except RecursionError:
        raise unreadable("recursion limit exceeded") from None
    except json.JSONDecodeError as error:
        # Its own text quotes nothing; the exception's other fields do.
        raise unreadable(error.msg) from None
    except ValueError:
        raise unreadable("number out of range") from None
    if not isinstance(document, dict):
        raise mismatch(f"invalid type: {given(document)}, expected struct")
    return document


def given(value: Any) -> str:
    """A value as the engine's parser names it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int):
        return f"integer `{value}`"
    if isinstance(value, float):
        return f"floating point `{value}`"
    if isinstance(value, str):
        return f"string {json.dumps(value[:100], ensure_ascii=True)}"
    return "sequence" if isinstance(value, list) else "map"


def _number(kind: str, least: int, most: int) -> Callable[[Any, str], Any]:
    def check(value: Any, place: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise mismatch(f"{place}: invalid type: {given(value)}, expected {kind}")
        if not least <= value <= most:
            raise mismatch(f"{place}: invalid value: {given(value)}, expected {kind}")
        return value

    return check


usize = _number("usize", 0, 2**64 - 1)
_u32 = _number("u32", 0, 2**32 - 1)


def real(value: Any, place: str) -> float:
    """A number, whole or not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise mismatch(f"{place}: invalid type: {given(value)}, expected f64")
    try:
        return float(value)
    except OverflowError:
        raise unreadable(f"{place}: number out of range") from None


def boolean(value: Any, place: str) -> bool:
    """C(true) or C(false)."""
    if not isinstance(value, bool):
        raise mismatch(f"{place}: invalid type: {given(value)}, expected a boolean")
    return value


def string(value: Any, place: str) -> str:
    """Valid text."""
    if not isinstance(value, str):
        raise mismatch(f"{place}: invalid type: {given(value)}, expected a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, which the engine's parser refuses as JSON.
        raise unreadable(f"{place}: lone leading surrogate in hex escape") from None
    return value


def strings(value: Any, place: str) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise mismatch(f"{place}: invalid type: {given(value)}, expected a sequence")
    return [string(entry, f"{place}[{index}]") for index, entry in enumerate(value)]


def stop(value: Any, place: str) -> list[str]:
    """One stop string or several."""
    try:
        return [string(value, place)] if isinstance(value, str) else strings(value, place)
    except RequestError as error:
        raise no_variant(place, "StopTokens") if error.status == 422 else error from None


def bias(value: Any, place: str) -> dict[int, float]:
    """From numbers of tokens to what is added to them."""
    if not isinstance(value, dict):
        raise mismatch(f"{place}: invalid type: {given(value)}, expected a map")
    result = {}
    for key, amount in value.items():
        if not (len(key) <= 10 and key.isascii() and key.isdigit()):
            raise mismatch(f"{place}: invalid type: {given(key)}, expected u32")
        result[_u32(int(key), place)] = real(amount, f"{place}.{key}")
    return result


def no_variant(place: str, name: str) -> RequestError:
    """A value that fits none of the forms that a field may have."""
    return mismatch(f"{place}: data did not match any variant of untagged enum {name}")


def optional(document: Mapping[str, Any], name: str, kind: Callable[[Any, str], Any]) -> Any:
    """A field that may be missing or null."""
    value = document.get(name)
    return None if value is None else kind(value, name)


def defaulted(document: Mapping[str, Any], name: str, kind: Callable[[Any, str], Any], default: Any) -> Any:
    """A field that may be missing, but not null."""
    return kind(document[name], name) if name in document else default


def required(document: Mapping[str, Any], name: str) -> Any:
    """A field that must be there."""
    if name not in document:
        raise mismatch(f"missing field `{name}`")
    return document[name]
