# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of authorities, taken apart: one file for each, as hosts want them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NOT_A_CERTIFICATE = Fault(
    "trust.not_a_certificate",
    "The file {name}, which is to be trusted, {problem}.",
    "Put PEM files with the authorities' certificates into 'mistral_ca_certificates', nothing else.",
)
NOT_TAKEN_OVER = Fault(
    "trust.not_taken_over",
    "'{command}' succeeded but did not add {names} to {bundle}.",
    "Run it by hand on the host to see why.",
)

_BEGIN = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(rf"{_BEGIN}.*?-----END CERTIFICATE-----", re.DOTALL)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def split(name: str, content: str) -> list[str]:
    """The certificates in the PEM text C(content), each checked and in the same form however it was wrapped."""
    if "PRIVATE KEY-----" in content:
        raise StackError(NOT_A_CERTIFICATE, name=name, problem="holds a private key")
    blocks = _CERTIFICATE.findall(content)
    if not blocks or len(blocks) != content.count(_BEGIN):
        problem = "holds a certificate that is cut off" if _BEGIN in content else "holds no PEM certificate"
        raise StackError(NOT_A_CERTIFICATE, name=name, problem=problem)
    certificates = []
    for number, block in enumerate(blocks, 1):
        try:
            certificate = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(block))
            # OpenSSL reads it; a damaged one is refused here.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
        except (ValueError, ssl.SSLError) as error:
            problem = f"holds a damaged certificate (number {number} in it)"
            raise StackError(NOT_A_CERTIFICATE, name=name, problem=problem) from error
        certificates.append(certificate)
    return certificates


def files(sources: list[tuple[str, str]]) -> dict[str, str]:
    """What the folder of certificates is to hold, from files given as (name, PEM text); doubles fall together."""
    wanted: dict[str, str] = {}
    seen: set[str] = set()
    for name, content in sources:
        stem = _UNSAFE.sub("_", os.path.splitext(os.path.basename(name))[0]).lstrip(".-") or "certificate"
        for certificate in split(name, content):
            if certificate in seen:
                continue
            seen.add(certificate)
            # The host links the certificates of all folders into one: the name has to be unique there.
            fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()[:8]
            wanted[f"mistral-{stem[:100]}-{fingerprint}.crt"] = certificate
    return wanted


def missing_in_bundle(wanted: dict[str, str], bundle: str) -> list[str]:
    """The files whose certificate the host's bundle does not have."""
    return [name for name, certificate in wanted.items() if certificate.strip() not in bundle]
