# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which part of which content an answer brings: Content-Range, ETag and Last-Modified.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import email.utils
import re
from email.message import Message

CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\Z")


def strong(etag: str) -> str:
    """An ETag that stands for every byte, or ''."""
    text = etag.strip()
    return text if len(text) > 2 and text.startswith('"') and text.endswith('"') else ""


def validator_of(headers: Message) -> str:
    """What If-Range can say of a whole answer: its strong ETag, or else a date that stands for every byte; or ''.

    A date does if the answer is a minute younger than that (RFC 9110, 8.8.2.2).
    """
    etag = strong(headers.get("ETag") or "")
    modified = headers.get("Last-Modified") or ""
    changed, now = email.utils.parsedate_tz(modified), email.utils.parsedate_tz(headers.get("Date") or "")
    if etag or changed is None or now is None:
        return etag
    return modified if email.utils.mktime_tz(now) - email.utils.mktime_tz(changed) >= 60 else ""


def is_of(headers: Message, validator: str) -> bool:
    """Whether a part is of the content that the validator stands for, as far as its answer says anything of that."""
    told = strong(headers.get("ETag") or "") if validator.startswith('"') else headers.get("Last-Modified") or ""
    return not validator or not told or told == validator
