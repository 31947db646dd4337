# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts of the package source and of the pin that the driver comes with.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.mistralrs.stack.plugins.module_utils._driver.apt_output import SourceLine
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NO_SOURCE = Fault(
    "driver.no_package_source",
    "None of the host's package sources is the archive of {distribution} with the suite {codename}.",
    "Add it to /etc/apt/sources.list.d, or set 'nvidia_driver_sources' to the text of one.",
)
PIN = "*nvidia* libcuda* libnvcuvid* cuda-drivers*"


def sources_text(
    lines: Sequence[SourceLine], distribution: str, codename: str, components: Sequence[str], own_file: str
) -> str:
    """The additional source (deb822) with the components that the host's own sources lack; empty if they lack none.

    Mirrors, suites and keys are those of the host's sources. Raises C(driver.no_package_source) if it has none.
    """
    suites = (codename, f"{codename}-updates", f"{codename}-security")
    have: dict[tuple[str, str], set[str]] = {}
    signed: dict[tuple[str, str], str] = {}
    for line in lines:
        known = line.origin == distribution or (not line.origin and distribution.lower() in line.uri)
        if line.suite in suites and known and not line.file.startswith(own_file):
            key = (line.uri, line.suite)
            have.setdefault(key, set()).add(line.component)
            signed[key] = line.signed_by or signed.get(key, "")
    bases = {key: found for key, found in have.items() if "main" in found}
    if not bases:
        raise StackError(NO_SOURCE, distribution=distribution, codename=codename)
    parts = []
    for (uri, suite), found in bases.items():
        missing = [component for component in components if component not in found]
        if missing:
            stanza = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {' '.join(missing)}\n"
            key_file = signed[(uri, suite)]
            parts.append(stanza + (f"Signed-By: {key_file}\n" if key_file else ""))
    return "# Written by the Ansible role nvidia_driver.\n" + "\n".join(parts) if parts else ""


def preferences_text(version: str) -> str:
    """The pin of every package of the driver to one version; above 1000, so that apt goes back to it too."""
    pattern = version if "-" in version else f"{version}-*"
    return (
        "# Written by the Ansible role nvidia_driver: no other version of the driver is installed.\n"
        f"Package: {PIN}\nPin: version {pattern}\nPin-Priority: 1001\n"
    )
