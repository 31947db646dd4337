# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base images by digest: a base keeps the digest that it had when it was first used.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import StackError
from ansible_collections.mistralrs.stack.plugins.module_utils._files import text_files
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_log import BASE_UNREACHABLE
from ansible_collections.mistralrs.stack.plugins.module_utils._image.build_options import Run


class Bases:
    """Resolves bases, and records their digests in C(bases.json) in the directory C(images)."""

    def __init__(self, images: str, run: Run) -> None:
        self.images = images
        self.run = run

    def resolve(self, base: str) -> str:
        """The base by digest: the one that was recorded, else the one that the registry names now.

        Raises StackError C(image.base_unreachable).
        """
        if "@sha256:" in base:
            return base
        records = self._records()
        if base in records:
            return str(records[base]["reference"])
        name = base.rpartition(":")[0] if ":" in base.rpartition("/")[2] else base
        status, out, _err = self.run(["docker", "image", "inspect", base])
        if status == 0:
            found = json.loads(out)[0]
            digests = found.get("RepoDigests") or []
            # One that was made here has no digest of a registry, and is taken as it is.
            resolved, digest = (str(digests[0]), str(digests[0])) if digests else (base, str(found.get("Id")))
        else:
            template = "{{json .Manifest}}"
            status, out, err = self.run(["docker", "buildx", "imagetools", "inspect", "--format", template, base])
            digest = str(json.loads(out).get("digest", "")) if status == 0 and out.startswith("{") else ""
            if not digest:
                digest, err = self._pulled(base)
            if not digest:
                words = err.strip().splitlines() or ["no answer"]
                raise StackError(BASE_UNREACHABLE, line=f"{base}: {words[-1].removeprefix('ERROR: ').rstrip('.')}")
            resolved = f"{name}@{digest}"
        if resolved != base:
            records[base] = {"reference": resolved, "digest": digest, "resolved": text_files.now()}
            text_files.write(os.path.join(self.images, "bases.json"), json.dumps(records, indent=2) + "\n", 0o644)
        return resolved

    def _pulled(self, base: str) -> tuple[str, str]:
        """The digest of a base that is fetched, where there is no buildx to ask; and what docker said."""
        status, _out, err = self.run(["docker", "pull", "--quiet", base])
        if status != 0:
            return "", err
        _status, out, err = self.run(["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", base])
        return out.strip().rpartition("@")[2], err

    def _records(self) -> dict[str, Any]:
        try:
            with open(os.path.join(self.images, "bases.json"), encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
