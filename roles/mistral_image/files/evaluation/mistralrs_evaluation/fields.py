# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a request's JSON as the engine's server does: the types of its fields, and its words for what is wrong.

Types: ChatCompletionRequest and CompletionRequest in mistralrs-server-core/src/openai.rs at commit
9e922623f24b32d41f3892b74f0eed18707f4e6c (0.9.2+7). Words: the recordings chat_max_tokens_text,
chat_max_tokens_negative, chat_bad_json, chat_empty_body and completions_list of the same commit, and wrong-fields.json
of 0.8.1. The engine adds where in the body the fault is; that is not known here.
"""

from __future__ import annotations

import json
import math
import re
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


#: Python's words for what isn't JSON, and the engine's.
_WORDS = {
    "Extra data": "trailing characters",
    "Expecting property name enclosed in double quotes": "key must be a string",
    "Expecting ':' delimiter": "expected `:`",
}


def _constant(name: str) -> Any:
    raise ValueError("expected value")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("number out of range")
    return value


def parse(body: bytes, struct: str) -> dict[str, Any]:
    """The JSON object in a request's body; C(struct) is what the engine calls it."""
    if not body.strip():
        raise unreadable("EOF while parsing a value")
    if body.lstrip()[:1] not in _BEGINNINGS:
        raise unreadable("expected value")
    try:
        text = body.decode("utf-8")
        document = json.loads(text, parse_constant=_constant, parse_float=_float)
    except UnicodeDecodeError:
        raise unreadable("invalid unicode code point") from None
    except RecursionError:
        raise unreadable("recursion limit exceeded") from None
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            raise unreadable(
                f"EOF while parsing {'a value' if error.msg == 'Expecting value' else 'an object'}"
            ) from None
        raise unreadable(_WORDS.get(error.msg, "expected value")) from None
    except ValueError as error:
        # A number of thousands of digits has words of Python's own.
        known = str(error) if str(error) == "expected value" else "number out of range"
        raise unreadable(known) from None
    if isinstance(document, list):
        raise mismatch(f"invalid length {len(document)}, expected struct {struct}")
    if not isinstance(document, dict):
        raise mismatch(f"invalid type: {given(document)}, expected struct {struct}")
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


def _whole(kind: str, most: int) -> Callable[[Any, str], int]:
    def check(value: Any, place: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
            # The engine's parser takes what is too long for a whole number as another number.
            value = _as_float(value, place)
        if isinstance(value, bool) or not isinstance(value, int):
            raise mismatch(f"{place}: invalid type: {given(value)}, expected {kind}")
        if not 0 <= value <= most:
            raise mismatch(f"{place}: invalid value: {given(value)}, expected {kind}")
        return value

    return check


usize = _whole("usize", 2**64 - 1)
_u32 = _whole("u32", 2**32 - 1)


def _as_float(value: float, place: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise unreadable(f"{place}: number out of range") from None


def _real(kind: str) -> Callable[[Any, str], float]:
    def check(value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise mismatch(f"{place}: invalid type: {given(value)}, expected {kind}")
        return _as_float(value, place)

    return check


f32 = _real("f32")
f64 = _real("f64")


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
        raise unreadable(f"{place}: unexpected end of hex escape") from None
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
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", key):
            raise unreadable(f"{place}.?: invalid value: expected key to be a number in quotes")
        result[_u32(int(key), f"{place}.{key}")] = f32(amount, f"{place}.{key}")
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
