# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets of an image's build: what git and cargo read where they fetch from mirrors, with users and tokens.

Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence

from ansible_collections.mistralrs.stack.plugins.plugin_utils._image.source import split_credentials


def git_files(urls: Sequence[str], mirrors: Mapping[str, str]) -> dict[str, str]:
    """The secrets C(gitconfig) and C(git-credentials) for addresses and for mirrors (prefix: prefix instead)."""
    credentials, config = [], []
    for url in [*urls, *mirrors.values()]:
        parts = split_credentials(url)
        if parts.user or parts.password:
            scheme, _colon, rest = parts.url.partition("://")
            user, password = (urllib.parse.quote(text, safe="") for text in (parts.user, parts.password))
            credentials.append(f"{scheme}://{user}:{password}@{rest.partition('/')[0]}\n")
    for original, mirror in sorted(mirrors.items()):
        config.append(f'[url "{split_credentials(mirror).url}"]\n\tinsteadOf = {original}\n')
    if credentials:
        config.append('[credential]\n\thelper = "store --file=/run/secrets/git-credentials"\n')
    return {
        **({"gitconfig": "".join(config)} if config else {}),
        **({"git-credentials": "".join(credentials)} if credentials else {}),
    }


def cargo_files(registry: str, token: str) -> dict[str, str]:
    """The secrets C(cargo-config) and C(cargo-credentials) for a mirror of crates.io."""
    if not registry:
        return {}
    address = registry if registry.startswith("sparse+") else f"sparse+{registry}"
    files = {
        "cargo-config": '[source.crates-io]\nreplace-with = "mirror"\n[source.mirror]\n'
        f'registry = "{address}"\n[registries.mirror]\nindex = "{address}"\n'
    }
    if token:
        files["cargo-credentials"] = f'[registries.mirror]\ntoken = "{token}"\n'
    return files
