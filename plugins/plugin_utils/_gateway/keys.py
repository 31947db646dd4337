# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API keys: what is wrong with them, and the digests and rules that a host gets instead of them.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NO_KEYS = Fault(
    "gateway.api_keys_empty",
    "'mistral_gateway_api_keys' has no entry, so nobody could use the gateway.",
    "Give it at least one entry with a name, or leave it out.",
)
NAME = Fault(
    "gateway.api_key_name_invalid",
    "'mistral_gateway_api_keys' has an entry whose name is {value!r}.",
    "Give each its own name: a letter or digit, and then up to 63 letters, digits, dots, dashes and underscores, but "
    "no .before at the end, which the former key of a rotation has.",
)
TWICE = Fault(
    "gateway.api_key_twice",
    "'mistral_gateway_api_keys' has {what} twice: {names}.",
    "Give each entry a name and a key of its own.",
)
WEAK = Fault(
    "gateway.api_key_weak",
    "The key {name} of 'mistral_gateway_api_keys' {reason}.",
    "Leave 'key' out to have a random one made, which lies in {path}; or give 20 or more random letters and digits.",
)
FIELD = Fault(
    "gateway.api_key_rule_invalid",
    "The key {name} of 'mistral_gateway_api_keys' has {field} {value!r}, which is not {expected}.",
    "Correct it, or leave it out for no such rule.",
)
UNKNOWN_MODEL = Fault(
    "gateway.api_key_model_unknown",
    "The key {name} of 'mistral_gateway_api_keys' may use the model {model!r}, which there is not.",
    "Give the name or id of one of these: {known}.",
)

NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?<![.]before)")
# How much a key must have for that nobody guesses it, who knows the digests and has years.
LEAST_BITS = 64
SHORTEST = 20
# What people write into a key that is to be remembered; worth next to nothing to who guesses.
WORDS = re.compile(
    "password|passwort|passphrase|secret|geheim|change-?me|example|default|letmein|welcome|qwerty|qwertz|asdfgh|"
    "mistral|ollama|openai|gateway|server|admin|token|access|bearer|private|public|test|demo|key|api|sk-",
    re.IGNORECASE,
)
COUNTS = {
    "requests_per_minute": 1_000_000,
    "concurrent_requests": 1024,
    "tokens_per_minute": 1_000_000_000,
    "tokens_per_day": 1_000_000_000_000,
}
# What the gateway calls it where that differs.
CALLED = {"concurrent_requests": "concurrent"}


def bits(key: str) -> float:
    """About how much chance is in a key: repetitions, runs such as 1234 and common words count as nearly nothing."""
    rest = WORDS.sub("", key)
    rest = re.sub(r"(.+?)\1+", r"\1", rest)
    kept = [
        letter
        for number, letter in enumerate(rest)
        if number < 2 or ord(letter) - ord(rest[number - 1]) != ord(rest[number - 1]) - ord(rest[number - 2])
    ]
    size = len(kept)
    return -sum(count * math.log2(count / size) for count in Counter(kept).values()) if size else 0.0


def weakness(key: str) -> str:
    """What is wrong with a key that somebody chose; '' if nothing."""
    if re.fullmatch(r"[!-~]*", key) is None:
        return "has characters that do not fit into an HTTP header"
    if len(key) < SHORTEST:
        return f"has fewer than {SHORTEST} characters"
    if bits(key) < LEAST_BITS:
        return "could be guessed: it has too many repetitions, common words or characters in a row"
    return ""


def problems(
    entries: Sequence[Mapping[str, Any]], generated: Mapping[str, str], models: Sequence[Mapping[str, Any]], path: str
) -> list[StackError]:
    """What is wrong with the entries of the variable; C(generated) are the keys in files by their names."""
    if not entries:
        return [StackError(NO_KEYS)]
    errors: list[StackError] = []
    known = list(ids_by_name(models))
    owners: dict[str, list[str]] = {}
    names = Counter(str(entry.get("name")) for entry in entries)
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or not NAMES.fullmatch(name):
            errors.append(StackError(NAME, value=name))
            continue
        key = _key(entry, generated)
        if key is not None:
            owners.setdefault(key, []).append(name)
            reason = weakness(key)
            if reason:
                errors.append(StackError(WEAK, name=name, reason=reason, path=path))
        _rules(entry, name, known, errors)
    doubled = [name for name, count in names.items() if count > 1]
    if doubled:
        errors.append(StackError(TWICE, what="the name", names=", ".join(doubled)))
    for same in owners.values():
        if len(set(same)) > 1:
            errors.append(StackError(TWICE, what="one key", names=" and ".join(same)))
    return errors


def _key(entry: Mapping[str, Any], generated: Mapping[str, str]) -> str | None:
    """The key of an entry, without the end of a file's line; L{None} if it is yet to be made."""
    if "key" not in entry:
        found = generated.get(entry["name"])
        return None if found is None else found.removesuffix("\n")
    # A key without a value is none, and not the word None.
    return "" if entry["key"] is None else str(entry["key"]).removesuffix("\n")


def _rules(entry: Mapping[str, Any], name: str, known: Sequence[str], errors: list[StackError]) -> None:
    for field, highest in COUNTS.items():
        value = entry.get(field)
        if value is not None and not is_count(value, highest):
            errors.append(
                StackError(FIELD, name=name, field=field, value=value, expected=f"a whole number from 1 to {highest}")
            )
    tenant = entry.get("tenant")
    if tenant is not None and not (isinstance(tenant, str) and NAMES.fullmatch(tenant)):
        errors.append(StackError(FIELD, name=name, field="tenant", value=tenant, expected="a name like those of keys"))
    if entry.get("expires") is not None and _moment(entry["expires"]) is None:
        expected = "a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"
        errors.append(StackError(FIELD, name=name, field="expires", value=str(entry["expires"]), expected=expected))
    for address in entry.get("addresses") or []:
        if network(address) is None:
            expected = "an address or a network such as 192.0.2.0/24"
            errors.append(StackError(FIELD, name=name, field="addresses", value=address, expected=expected))
    for model in entry.get("models") or []:
        if known and model not in known:
            errors.append(StackError(UNKNOWN_MODEL, name=name, model=model, known=", ".join(known)))


def is_count(value: Any, highest: int, lowest: int = 1) -> bool:
    """Whether it is a whole number in that range, which a text may be too."""
    text = str(value)
    return (
        not isinstance(value, bool) and re.fullmatch("[0-9]{1,13}", text) is not None and lowest <= int(text) <= highest
    )


def _moment(value: Any) -> int | None:
    """Seconds since 1970 of a date, whose day is in UTC and no longer valid, or of a time; L{None} if it is neither."""
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    try:
        found = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp())


def network(value: Any) -> str | None:
    """The one form of a network or an address; L{None} if it is neither."""
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else ""))
    except ValueError:
        return None


def digest(key: str, chosen: bool, secret: str) -> tuple[str, str]:
    """The name and the value of a key's digest. A chosen one can't be tried out without the secret of the host."""
    if chosen:
        return "hmac", hmac.new(secret.encode(), key.encode(), hashlib.sha256).hexdigest()
    return "sha256", hashlib.sha256(key.encode()).hexdigest()


def ids_by_name(models: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The id of the model that each name means."""
    return {name: model["id"] for model in models for name in (model["id"], *(model.get("aliases") or []))}


def plan_keys(
    entries: Sequence[Mapping[str, Any]],
    generated: Mapping[str, str],
    former: Mapping[str, str],
    secret: str,
    models: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The keys as the gateway reads them. C(former) are those that a rotation has left valid, by their names.

    A key that is yet to be made, in check mode, counts as an unknown one.
    """
    ids = ids_by_name(models)
    found = []
    for entry in entries:
        name, key = entry["name"], _key(entry, generated)
        kind, value = digest(f"not made yet: {name}" if key is None else key, "key" in entry, secret)
        rules: dict[str, Any] = {"name": name, "tenant": entry.get("tenant") or name, kind: value}
        if name in former:
            rules["sha256_before"] = digest(former[name].strip(), False, "")[1]
        for field in COUNTS:
            if entry.get(field) is not None:
                rules[CALLED.get(field, field)] = int(entry[field])
        if entry.get("expires") is not None:
            rules["expires"] = _moment(entry["expires"])
        if entry.get("addresses"):
            rules["addresses"] = [network(address) for address in entry["addresses"]]
        if entry.get("models"):
            rules["models"] = sorted({ids.get(model, model) for model in entry["models"]})
        found.append(rules)
    return found
