# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job belongs to which options.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any

_SECRET_WORDS = frozenset(("token", "password", "secret"))


def job_id(params: Mapping[str, Any], secret: Collection[str] = ()) -> str:
    """The id of the job with these options; which secrets it uses makes no difference.

    An option is secret if it is in C(secret) or has the word token, password or secret in its name. Of addresses the
    user and the password don't count; the query does, because it may say which content is wanted.
    """
    plain = {
        key: _without_user(value)
        for key, value in params.items()
        if key != "job"
        and not key.startswith("_ansible_")
        and key not in secret
        and not _SECRET_WORDS.intersection(key.split("_"))
    }
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_user(value: Any) -> Any:
    """A value without the users of addresses, wherever in it they are."""
    if isinstance(value, list):
        return [_without_user(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_user(each) for key, each in value.items()}
    if not isinstance(value, str) or "://" not in value or "@" not in value:
        return value
    try:
        parts = urllib.parse.urlsplit(value)
    except ValueError:
        return value
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
