# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server can use a TLS certificate, and its clients believe it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

INVALID = Fault(
    "gateway.certificate_invalid",
    "{where}: this is not a certificate in PEM form{detail}.",
    "The file must contain -----BEGIN CERTIFICATE----- on a line of its own, your own certificate first, then the "
    "intermediate ones.",
)
EXPIRED = Fault(
    "gateway.certificate_expired",
    "{where}: {which} is valid only until {until}.",
    "Get a new one from its authority.",
)
NOT_YET = Fault(
    "gateway.certificate_not_yet_valid",
    "{where}: {which} is valid only from {since}.",
    "Check the controller's clock, or wait.",
)
WRONG_ORDER = Fault(
    "gateway.certificate_order",
    "{where}: certificate {number} ({subject}) is not the issuer of the one before it.",
    "Put your own certificate first, then the one that issued it, and so on; leave out what does not belong to them.",
)
WRONG_PURPOSE = Fault(
    "gateway.certificate_purpose",
    "{where}: the certificate is not for servers.",
    "Get one with the extended key usage serverAuth.",
)
HOLDS_KEY = Fault(
    "gateway.certificate_holds_key",
    "{where}: the certificate's file holds a private key too, and everybody may read the certificate.",
    "Keep the key in a file of its own.",
)
REFUSED = Fault(
    "gateway.certificate_refused",
    "{where}: OpenSSL refuses the certificate and its key: {problem}.",
    "Get a certificate with a key of at least 2048 bits (RSA) or 256 bits (ECDSA), signed with SHA-256 or better.",
)
KEY_INVALID = Fault(
    "gateway.private_key_invalid",
    "{where}: the private key is not a PEM file without a passphrase.",
    "Remove the passphrase (openssl pkey -in old.key -out new.key) and protect the file by its mode or Ansible Vault.",
)
KEY_MISMATCH = Fault(
    "gateway.private_key_mismatch",
    "{where}: the private key belongs to another certificate.",
    "Give the key that the certificate was requested with; in the certificate's file your own one must come first.",
)
NAMES_DIFFER = Fault(
    "gateway.certificate_names_differ",
    "{where}: the certificate is for {names}.",
    "Make a new one.",
)

_BLOCK = re.compile(r"-----BEGIN ((?:X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def canonical(name: str) -> str:
    """The one form of a DNS name or an IP address."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def check(
    certificate: str, private_key: str | None, names: list[str] | None = None, days: int = 0, where: str = ""
) -> None:
    """Raise StackError if a server could not use them, or clients would not believe them."""
    chain = _chain(certificate, where)
    _times(chain, days, where)
    for number, (child, issuer) in enumerate(zip(chain, chain[1:]), 2):
        if not _issued(child, issuer):
            raise StackError(WRONG_ORDER, where=where, number=number, subject=issuer.subject.rfc4514_string())
    if private_key is not None:
        _key(certificate, private_key, where)
    _purpose(chain[0], where)
    if names is not None:
        has = _names(chain[0])
        if has != {canonical(name) for name in names}:
            raise StackError(NAMES_DIFFER, where=where, names=", ".join(sorted(has)) or "no name")


def _chain(text: str, where: str) -> list[Certificate]:
    # On a host the library comes with the gateway's packages, so it is not there while this file is imported.
    from cryptography import x509

    blocks = [match.group(0) for match in _BLOCK.finditer(text)]
    if not blocks:
        raise StackError(INVALID, where=where, detail="")
    if _KEY.search(text):
        raise StackError(HOLDS_KEY, where=where)
    if len(re.findall("-----BEGIN (?:X509 )?CERTIFICATE-----", text)) != len(blocks):
        raise StackError(INVALID, where=where, detail=": it ends within a certificate")
    if text.startswith("\ufeff"):
        raise StackError(INVALID, where=where, detail=": it begins with a byte order mark")
    if re.search(r"-----(BEGIN|END) [A-Z0-9 ]+-----[^\s]|[^\s]-----(BEGIN|END) [A-Z0-9 ]+-----", text):
        raise StackError(INVALID, where=where, detail=": the line of a BEGIN or END holds something else too")
    try:
        return [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    except ValueError as error:
        raise StackError(INVALID, where=where, detail="") from error


def _times(chain: list[Certificate], days: int, where: str) -> None:
    now = datetime.now(timezone.utc)
    for number, found in enumerate(chain, 1):
        which = "the certificate" if number == 1 else f"certificate {number} of the chain"
        since, until = _span(found)
        if now < since:
            raise StackError(NOT_YET, where=where, which=which, since=since.date())
        if now + timedelta(days=days if number == 1 else 0) >= until:
            raise StackError(EXPIRED, where=where, which=which, until=until.date())


def _span(found: Certificate) -> tuple[datetime, datetime]:
    if hasattr(found, "not_valid_after_utc"):
        return found.not_valid_before_utc, found.not_valid_after_utc
    # cryptography before 42, which Debian 12 has.
    return found.not_valid_before.replace(tzinfo=timezone.utc), found.not_valid_after.replace(tzinfo=timezone.utc)


def _issued(child: Certificate, issuer: Certificate) -> bool:
    if child.issuer != issuer.subject:
        return False
    if not hasattr(child, "verify_directly_issued_by"):
        return True
    from cryptography.exceptions import InvalidSignature

    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _purpose(found: Certificate, where: str) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise StackError(WRONG_PURPOSE, where=where)


def _names(found: Certificate) -> set[str]:
    from cryptography import x509

    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {canonical(str(entry.value)) for entry in extension}


def _key(certificate: str, private_key: str, where: str) -> None:
    """Load them as Nginx does: by the same functions of OpenSSL."""

    def locked() -> str:
        raise StackError(KEY_INVALID, where=where)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _file(certificate) as certificate_file, _file(private_key) as key_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password=locked)
        except ssl.SSLError as error:
            problem = (error.reason or "").replace("_", " ").lower()
            if "mismatch" in problem:
                raise StackError(KEY_MISMATCH, where=where) from error
            if not _is_key(private_key):
                raise StackError(KEY_INVALID, where=where) from error
            if not problem:
                raise StackError(INVALID, where=where, detail=": OpenSSL cannot read it") from error
            raise StackError(REFUSED, where=where, problem=problem) from error


def _is_key(text: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


@contextmanager
def _file(text: str) -> Iterator[str]:
    """The text as a file, in memory where that is possible."""
    data = text.encode("utf-8", "surrogateescape")
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate")
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name
