# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file or directory of this host is, as the source of a model.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch import any_source, model_files
from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Remote, Resolved, Source
from ansible_collections.mistralrs.stack.plugins.module_utils._files import local
from ansible_collections.mistralrs.stack.plugins.module_utils._formats import gguf_model
from ansible_collections.mistralrs.stack.plugins.module_utils._model.naming import check_path
from ansible_collections.mistralrs.stack.plugins.module_utils._store import companion_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.hashing import hash_files
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Wanted, model_label
from ansible_collections.mistralrs.stack.plugins.module_utils._store.structure import inspect_files

_QUANTIZED = (".gguf", ".uqff")


def probe_file(wanted: Wanted, source: Source, read: bool) -> tuple[Resolved, dict[str, Any]]:
    """What a file or directory of this host is, and its header's summary.

    With C(read) it is hashed where a sha256 is wanted, and has that as its promise.
    """
    if os.path.isdir(source.path):
        return _probe_directory(wanted, source, read)
    with local.opened(wanted.name, source.path) as (_descriptor, status):
        summary = gguf_model.inspect(source.path, model_label(wanted))
        companion_files.check([source.path], model_label(wanted))
        sha256 = local.hash_file(os.path.realpath(source.path)) if read and wanted.sha256 else ""
        remote = Remote(wanted.file, source.url, size=status.st_size, sha256=sha256)
        return Resolved((remote,), local=source.path), summary


def _probe_directory(wanted: Wanted, source: Source, read: bool) -> tuple[Resolved, dict[str, Any]]:
    """What a directory of this host is: SafeTensors, the shards of a GGUF, or what the engine's quantize wrote."""
    names = sorted(name for name in os.listdir(source.path) if model_files.is_wanted(name) or name.endswith(_QUANTIZED))
    any_source.check_files(names, source, wanted.name)
    paths = {name: os.path.join(source.path, name) for name in names}
    remotes = []
    for name, path in paths.items():
        check_path(name)
        with local.opened(wanted.name, path) as (_descriptor, status):
            version = f"{status.st_mtime_ns}-{status.st_ino}"
            remotes.append(Remote(name, path, size=status.st_size, etag=version))
    summary = inspect_files(wanted, paths)
    companion_files.check([paths[name] for name in names if name.endswith(".gguf")], model_label(wanted))
    if read and wanted.sha256:
        digests = hash_files(paths.values())
        remotes = [remote._replace(sha256=digest) for remote, digest in zip(remotes, digests)]
    return Resolved(tuple(remotes), directory=True, local=source.path), summary
