"""What of an answer is the interface: status, headers, the shape of JSON and of events, the engine's own fixed words.

An answer becomes an outline, a table from a place ("body choices[].message.content") to what stands there ("string").
Two answers are the same if their outlines are. Not compared: sentences of a model, counts, times, ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.component.contract.recorded import RECORDED_MODEL, Response

Outline = dict[str, str]

#: Headers that say how an answer travelled, not what it is.
_TRANSPORT = frozenset({"date", "content-length", "transfer-encoding", "connection", "keep-alive"})
#: Keys whose text is the interface; those of others are a model's sentences, ids and the like.
_FIXED = frozenset({"object", "owned_by", "role", "status", "system_fingerprint", "type", "param", "code", "root"})
_BACKTRACE = re.compile(r"\n\s+0: .*", re.DOTALL)
_POSITION = re.compile(r" at line \d+ column \d+\Z")
_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}\Z")


def words(text: str, model: str) -> str:
    """Fixed words without what may differ: the model's id, numbers, a stack trace, where in the body it is."""
    text = _POSITION.sub("", _BACKTRACE.sub("", text)).strip()
    if model:
        text = text.replace(model, "MODEL")
    return re.sub(r"\d+", "N", text.replace(RECORDED_MODEL, "MODEL"))


def _value(key: str, value: Any, model: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if key == "finish_reason":
        # Whether the sentence ends by itself depends on the model.
        return "stop or length" if value in ("stop", "length") else str(value)
    if key == "message" or key in _FIXED:
        return repr(words(value, model))
    return "string"


def _json(value: Any, place: str, key: str, model: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if not value:
            yield place, "{}"
        for name, inner in value.items():
            yield from _json(inner, f"{place}.{name}" if place else name, name, model)
    elif isinstance(value, list):
        if not value:
            yield f"{place}[]", "none"
        for inner in value:
            yield from _json(inner, f"{place}[]", key, model)
        if key == "choices":
            yield f"{place} count", str(len(value))
    else:
        yield place, _value(key, value, model)


def _joined(pairs: Iterable[tuple[str, str]]) -> Outline:
    """Elements of a list share a place; all their values are said."""
    found: dict[str, set[str]] = {}
    for place, value in pairs:
        found.setdefault(place, set()).add(value)
    return {place: " | ".join(sorted(values)) for place, values in found.items()}


def _text(text: str, kind: str, model: str) -> Outline:
    if "json" in kind:
        try:
            return _joined(_json(json.loads(text), "", "", model))
        except ValueError:
            return {"": f"not JSON: {words(text[:100], model)!r}"}
    if text.startswith(("# TYPE", "# HELP")):
        return _metrics(text)
    return {"text": repr(words(text, model))}


def _metrics(text: str) -> Outline:
    """Names and kinds of metrics, the labels of each, and the bounds of the buckets of a histogram."""
    found: list[tuple[str, str]] = []
    bounds: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        kind = re.match(r"# TYPE (\S+) (\S+)", line)
        sample = re.match(r"([a-z_]+)(?:\{(.*)\})? ", line)
        if kind:
            found.append((f"metric {kind[1]}", kind[2]))
        elif sample:
            labels = ",".join(sorted(re.findall(r'(\w+)="', sample[2] or "")))
            found.append((f"labels of {sample[1]}", labels))
            bound = re.search(r'\ble="([^"]*)"', sample[2] or "")
            if bound:
                bounds.setdefault(sample[1], {})[bound[1]] = None
    found += [(f"buckets of {name}", " ".join(all_bounds)) for name, all_bounds in bounds.items()]
    return _joined(found)


def _event(block: str, model: str) -> Outline:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if name:
            # As the specification has it: several lines of data are one text.
            fields[name] = f"{fields[name]}\n{value.removeprefix(' ')}" if name in fields else value.removeprefix(" ")
    data = fields.get("data", "")
    if data.startswith("{"):
        try:
            shape = _joined(_json(json.loads(data), "", "", model))
        except ValueError:
            return {"data": f"broken JSON: {words(data[:100], model)!r}"}
        del fields["data"]
        return {**{name: words(value, model) for name, value in fields.items()}, **shape}
    return {name: words(value, model) for name, value in fields.items()}


def _events(pieces: tuple[str, ...], model: str) -> Outline:
    """Consecutive events of the same shape count as one; comments, which keep a connection alive, as none."""
    kinds: list[Outline] = []
    blocks = "".join(pieces).split("\n\n")
    outline = {} if blocks.pop() == "" else {"end of the stream": "inside an event"}
    for block in blocks:
        event = _event(block, model)
        if event and (not kinds or kinds[-1] != event):
            kinds.append(event)
    for number, event in enumerate(kinds):
        outline.update({f"event {number} {place}": value for place, value in event.items()})
    return outline


def outline(response: Response, model: str = RECORDED_MODEL) -> Outline:
    """An answer as its interface has it."""
    result = {"status": str(response.status)}
    for name, value in response.headers:
        name = name.lower()
        if name == "x-request-id":
            value = "req_ and 32 digits" if _REQUEST_ID.match(value) else "another form"
        if name not in _TRANSPORT:
            result[f"header {name}"] = value
    if response.events is not None:
        inner = _events(response.events, model)
    elif response.body:
        inner = {
            f"body {place}".strip(): v
            for place, v in _text(response.body, response.header("content-type"), model).items()
        }
    else:
        inner = {"body": "empty"}
    if response.end.startswith("cut"):
        result["end"] = response.end
    return {**result, **inner}


def differences(recorded: Outline, seen: Outline) -> list[str]:
    """One line for each place where two outlines differ; of an answer with another status, only the status."""
    if recorded["status"] != seen["status"]:
        return [f"status: {seen['status']}, is {recorded['status']}"]
    lines = []
    for place in [*recorded, *(place for place in seen if place not in recorded)]:
        if place not in seen:
            lines.append(f"{place}: missing, is {recorded[place]}")
        elif place not in recorded:
            lines.append(f"{place}: added, {seen[place]}")
        elif recorded[place] != seen[place]:
            lines.append(f"{place}: {seen[place]}, is {recorded[place]}")
    return lines
