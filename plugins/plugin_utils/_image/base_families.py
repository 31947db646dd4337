# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How base images get packages, by the family of their distribution.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

BASE_FAMILY_UNKNOWN = Fault(
    "image.base_family_unknown",
    "The package manager of the base image {base} isn't known by its name.",
    "Set mistral_image_base_family to apt (Debian, Ubuntu) or dnf (UBI and the like).",
)

# How each family of base images gets packages. `installed` fails if one of the packages after it is missing.
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "apt": {
        "installed": "dpkg --status",
        "install": "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends",
        "clean": "rm -rf /var/lib/apt/lists/*",
        # The toolkit is in the base already; its repository would only be one more that has to be reachable.
        "forget": "/etc/apt/sources.list.d/cuda*",
        "authorities": "/usr/local/share/ca-certificates",
        "trust": "update-ca-certificates",
        "build": ["build-essential", "ca-certificates", "curl", "git", "libssl-dev", "pkg-config"],
        # `openssl` depends on the library under its name in each release.
        "runtime": ["ca-certificates", "libgomp1", "openssl"],
        "build_cpu": ["build-essential", "ca-certificates", "curl", "git", "libssl-dev", "pkg-config"],
        "runtime_cpu": ["ca-certificates", "openssl"],
        "toolchain": ["cargo", "rustc"],
        # hadolint: versions of packages can't be pinned, the repositories keep only the newest.
        "lint": "DL3008",
    },
    "dnf": {
        "installed": "rpm --query",
        "install": "dnf install --assumeyes --setopt=install_weak_deps=False --nodocs",
        "clean": "dnf clean all",
        "forget": "/etc/yum.repos.d/cuda*",
        "authorities": "/etc/pki/ca-trust/source/anchors",
        "trust": "update-ca-trust",
        "build": ["ca-certificates", "gcc", "gcc-c++", "git-core", "make", "openssl-devel", "pkgconf-pkg-config"],
        "runtime": ["ca-certificates", "libgomp", "openssl-libs"],
        "build_cpu": ["ca-certificates", "gcc", "gcc-c++", "git-core", "make", "openssl-devel", "pkgconf-pkg-config"],
        "runtime_cpu": ["ca-certificates", "openssl-libs"],
        "toolchain": ["cargo", "rust"],
        "lint": "DL3041",
    },
}
_FAMILY_OF = (("apt", re.compile(r"debian|ubuntu")), ("dnf", re.compile(r"ubi\d|rocky|alma|centos|fedora|rhel")))


def family_of(base: str, wanted: str) -> str:
    """The family of a base image: as it was said, or by the image's name."""
    if wanted:
        return wanted
    name = base.lower().partition("@")[0]
    for family, pattern in _FAMILY_OF:
        if pattern.search(name):
            return family
    raise StackError(BASE_FAMILY_UNKNOWN, base=base)
