# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exits 0 if and only if the engine in this container answers 200 on /health."""

from __future__ import annotations

import os
import sys
import urllib.request


def main() -> int:
    """The health check; says on standard error what is wrong."""
    url = f"http://127.0.0.1:{os.environ.get('MISTRAL_PORT', '11434')}/health"
    # A proxy from the environment has no business between a container and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, ValueError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
