# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an image: its bill of materials, and the vulnerabilities that a scanner of the host finds in it.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._image import sbom
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions, Run
from ansible_collections.mistralrs.stack.plugins.module_utils._image.verification import Verification

CONTENTS_UNREADABLE = Fault(
    "image.contents_unreadable",
    "The packages of the image that was built can't be listed on {host}: {why}.",
    "Use a mistral_image_runtime_base that has a shell and dpkg or rpm.",
)
SCAN_FAILED = Fault(
    "image.scan_failed",
    "The scanner {scanner} on {host} did not scan the image: {why}.",
    "Run '{command}' there, or set mistral_image_scan_fail_on to '' to do without the scan.",
)
VULNERABLE = Fault(
    "image.vulnerable",
    "The scanner {scanner} found vulnerabilities of severity {severity} or above in the image: {line}.",
    "The report is {report} on {host}; update the bases, or raise mistral_image_scan_fail_on.",
)

_SEVERITIES = ("low", "medium", "high", "critical")
# Says what an image consists of; it has either dpkg or rpm.
_INVENTORY = r"""
. /etc/os-release 2>/dev/null; echo "$ID"
dpkg-query --show --showformat 'deb\t${Package}\t${Version}\t${Architecture}\n' 2>/dev/null ||
rpm --query --all --queryformat 'rpm\t%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n' 2>/dev/null
echo '# Cargo.lock'
cat /usr/share/mistralrs/Cargo.lock 2>/dev/null || true
"""


class Inventory:
    """Lists and scans one image. C(warn) tells the operator."""

    def __init__(self, options: BuildOptions, run: Run, warn: Callable[[str], None]) -> None:
        self.options = options
        self.run = run
        self.warn = warn

    def write(self, verification: Verification) -> tuple[str, dict[str, Any]]:
        """Write the image's bill of materials; its path, and what a scanner says of it, if there is one."""
        status, out, err = verification.container("/bin/sh", "-c", _INVENTORY)
        packages, mark, lock = out.partition("# Cargo.lock\n")
        distribution, _newline, rows = packages.partition("\n")
        if status != 0 or not mark or not rows.strip():
            why = (err.strip().splitlines() or ["neither dpkg nor rpm lists a package"])[-1].rstrip(".")
            self._unchecked(StackError(CONTENTS_UNREADABLE, why=why, host=self.options.host))
        image = verification.subject.image
        version = verification.subject.label("engine_version")
        document = sbom.sbom(self.options.reference, image, version, lock, packages, distribution.strip())
        path = os.path.join(self.options.images, f"{self.options.id}.cdx.json")
        text_files.write(path, json.dumps(document, indent=1) + "\n", 0o644)
        return path, self._scan(path)

    def _unchecked(self, error: StackError) -> None:
        """That vulnerabilities can't be looked for: an error where some are refused, else a warning."""
        if self.options.scan_fail_on:
            raise error
        self.warn(f"{error.sentence} {error.remedy}")

    def _scan(self, bill: str) -> dict[str, Any]:
        """What trivy or grype says of the bill of materials; empty if neither is installed."""
        report = bill.replace(".cdx.json", ".scan.json")
        commands = {
            "trivy": ["trivy", "sbom", "--quiet", "--format", "json", "--output", report, bill],
            "grype": ["grype", f"sbom:{bill}", "--quiet", "--output", f"json={report}"],
        }
        scanner = next((name for name in commands if shutil.which(name)), "")
        limit = self.options.scan_fail_on
        if not scanner:
            if limit:
                self.warn(
                    f"The image was not scanned for vulnerabilities of severity {limit} or above: neither trivy nor "
                    f"grype is installed on {self.options.host}."
                )
            return {}
        status, _out, err = self.run(commands[scanner])
        why = "" if status == 0 else (err.strip().splitlines() or ["it says nothing"])[-1].rstrip(".")
        found: dict[str, int] = {}
        if not why:
            try:
                with open(report, encoding="utf-8") as file:
                    found = severities(json.load(file))
            except (OSError, ValueError, AttributeError) as error:
                why = f"its report {report} can't be read ({error})"
        if why:
            command = shlex.join(commands[scanner])
            self._unchecked(StackError(SCAN_FAILED, scanner=scanner, host=self.options.host, why=why, command=command))
            return {"scanner": scanner, "problem": why}
        above = [key for key in _SEVERITIES[_SEVERITIES.index(limit) :] if found.get(key)] if limit else []
        if above:
            line = ", ".join(f"{found[key]} {key}" for key in reversed(above))
            raise StackError(
                VULNERABLE, scanner=scanner, severity=limit, line=line, report=report, host=self.options.host
            )
        return {"scanner": scanner, "found": found, "report": report}


def severities(report: Mapping[str, Any]) -> dict[str, int]:
    """How many vulnerabilities of each severity a report of trivy or grype has."""
    found: dict[str, int] = {}
    names = [
        vulnerability.get("Severity")
        for result in report.get("Results") or []
        for vulnerability in result.get("Vulnerabilities") or []
    ]
    names += [(match.get("vulnerability") or {}).get("severity") for match in report.get("matches") or []]
    for name in names:
        key = str(name or "unknown").lower()
        found[key] = found.get(key, 0) + 1
    return found
