# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and logs of earlier builds that are removed.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import BuildOptions, Run

_REPOSITORY = "mistralrs-stack/engine"


def prunable(options: BuildOptions, run: Run) -> list[str]:
    """Names of engine images beyond the newest C(keep), without those of containers and of generations."""
    if options.keep <= 0:
        return []
    template = "{{.ID}} {{.Repository}}:{{.Tag}}"
    _status, out, _err = run(
        ["docker", "image", "ls", "--no-trunc", "--filter", f"reference={_REPOSITORY}", "--format", template]
    )
    rows = [tuple(line.split(" ", 1)) for line in out.splitlines() if " " in line]
    old = [(image, name) for image, name in rows if name != options.reference][max(0, options.keep - 1) :]
    if not old:
        return []
    status, out, _err = run(["docker", "ps", "--all", "--no-trunc", "--quiet"])
    if status != 0:
        # Without a list of containers any image may be in use.
        return []
    containers = out.split()
    used = _generations(options)
    if containers:
        template = "{{.Image}} {{.Config.Image}}"
        _status, out, _err = run(["docker", "inspect", "--format", template, *containers])
        used += out
    return [name for image, name in old if name not in used and image not in used]


def _generations(options: BuildOptions) -> str:
    """All that the generations say; an image that one of them names can be wanted again."""
    texts = []
    for place, _folders, files in os.walk(os.path.join(options.path, "generations")):
        for name in files:
            with suppress(OSError), open(os.path.join(place, name), encoding="utf-8", errors="replace") as file:
                texts.append(file.read(1 << 20))
    return "\n".join(texts)


def prune(options: BuildOptions, run: Run) -> list[str]:
    """Remove old images; which ones. One that is in use after all is left."""
    return [name for name in prunable(options, run) if run(["docker", "image", "rm", name])[0] == 0]


def prune_logs(folder: str, keep: int = 10) -> None:
    """Remove all but the newest builds beside C(folder), and none whose attempt has not ended."""
    place = os.path.dirname(folder)
    with suppress(FileNotFoundError):
        found = sorted(
            (entry for entry in os.scandir(place) if entry.is_dir()), key=lambda entry: entry.stat().st_mtime
        )
        for entry in found[: max(0, len(found) - keep)]:
            if entry.path != folder and not os.path.exists(os.path.join(entry.path, "attempt.json")):
                shutil.rmtree(entry.path, ignore_errors=True)
                with suppress(FileNotFoundError):
                    os.remove(f"{entry.path}.lock")
