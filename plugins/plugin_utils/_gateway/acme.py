# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an authority that speaks ACME needs to know, and what it cannot certify.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.plugin_utils._values import is_url

NAME = Fault(
    "gateway.acme_name_invalid",
    "'mistral_gateway_acme' is true, and no authority certifies {names} of 'mistral_gateway_server_names' this way.",
    "Give DNS names with a dot in them only, none with '*'; clients then have to use one of these.",
)
TWO_SOURCES = Fault(
    "gateway.acme_and_own_certificate",
    "'mistral_gateway_acme' is true, and 'mistral_gateway_certificate' names a certificate of your own.",
    "Leave one of the two out.",
)
EMAIL = Fault(
    "gateway.acme_email_invalid",
    "'mistral_gateway_acme_email' is {value!r}, which is not an e-mail address.",
    "Give one, or leave it empty.",
)
DIRECTORY = Fault(
    "gateway.acme_directory_invalid",
    "'mistral_gateway_acme_directory' is {value!r}, which is not an address that begins with https://.",
    "Give the one that the authority names for ACME clients.",
)

EAB_INCOMPLETE = Fault(
    "gateway.acme_eab_incomplete",
    "'{given}' is given and '{missing}' is not.",
    "Give both as the authority names them for external account binding, or neither.",
)
EAB_KEY_ID = Fault(
    "gateway.acme_eab_key_id_invalid",
    "'mistral_gateway_acme_eab_key_id' is {value!r}, which is not a key id of up to 200 letters, digits and signs.",
    "Copy it as the authority shows it, without blanks or quotes.",
)
# It is not shown: it is a secret also when it is mistyped.
EAB_KEY = Fault(
    "gateway.acme_eab_key_invalid",
    "'mistral_gateway_acme_eab_hmac_key' is not a key in base64url, as authorities give it.",
    "Copy it as the authority shows it; it has letters, digits, - and _ only, and is not a path.",
)

_EMAIL = re.compile(r"[A-Za-z0-9.!#%&*+/=?^_{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


def check(given: Mapping[str, Any], names: Sequence[str], errors: list[StackError]) -> None:
    """Say what the authority would refuse, before it is asked."""
    if given.get("certificate"):
        errors.append(StackError(TWO_SOURCES))
    wrong = [name for name in names if not _is_public(name)]
    if wrong:
        errors.append(StackError(NAME, names=", ".join(wrong)))
    email = given.get("acme_email")
    if email != "" and not (isinstance(email, str) and _EMAIL.fullmatch(email)):
        errors.append(StackError(EMAIL, value=email))
    _check_binding(given.get("acme_eab_key_id", ""), given.get("acme_eab_hmac_key", ""), errors)
    directory = given.get("acme_directory")
    if not (isinstance(directory, str) and directory.startswith("https://") and is_url(directory)):
        errors.append(StackError(DIRECTORY, value=directory))


def _check_binding(key_id: Any, key: Any, errors: list[StackError]) -> None:
    both = ("mistral_gateway_acme_eab_key_id", "mistral_gateway_acme_eab_hmac_key")
    if key_id in ("", None) and key in ("", None):
        return
    if key_id in ("", None) or key in ("", None):
        given, missing = both if key in ("", None) else both[::-1]
        errors.append(StackError(EAB_INCOMPLETE, given=given, missing=missing))
        return
    # Certbot reads both from a file of lines, in which other signs have a meaning.
    if not isinstance(key_id, str) or not re.fullmatch(r"[A-Za-z0-9._~+/=:@-]{1,200}", key_id):
        errors.append(StackError(EAB_KEY_ID, value=key_id))
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9_-]{16,1000}={0,2}", key):
        errors.append(StackError(EAB_KEY))


def _is_public(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not name.startswith("*.") and "_" not in name
    return False
