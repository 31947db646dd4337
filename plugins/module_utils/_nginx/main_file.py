# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two limits of Nginx that no file of ours can set, since nginx.conf alone may have them.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re

from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

NO_EVENTS = Fault(
    "gateway.events_not_found",
    "{path} has no block 'events', in which Nginx is told how many connections a worker may have.",
    "Put that block back (events {{ worker_connections 768; }}), or tell the role to leave these limits alone "
    "(mistral_gateway_max_connections: 0).",
)

# Files that a worker has open beside its connections: logs, sockets that it listens on, its event queue.
OTHER_FILES = 512

_COMMENT = re.compile(r"#[^\n]*")
_EVENTS = re.compile(r"(?:^|(?<=[\s;}]))events\s*\{([^}]*)\}")
_CONNECTIONS = re.compile(r"(?:^|(?<=[\s;{]))worker_connections\s+([0-9]+)\s*;")
_FILES = re.compile(r"(?:^|(?<=[\s;}]))worker_rlimit_nofile\s+([0-9]+)\s*;")


def with_room(text: str, connections: int, path: str) -> str:
    """The text of nginx.conf with at least that many connections for each worker, and files to match.

    Larger numbers stay, and so does all the rest. Raises StackError C(gateway.events_not_found).
    """
    bare = _without_comments(text)
    events = _EVENTS.search(bare)
    if not events:
        raise StackError(NO_EVENTS, path=path)
    wanted = f"worker_connections {connections};"
    found = _CONNECTIONS.search(bare, events.start(1), events.end(1))
    # From the end of the file to its beginning, so that places stay right.
    if not found:
        text = f"{text[: events.start(1)]}\n\t{wanted}{text[events.start(1) :]}"
    elif int(found[1]) < connections:
        text = text[: found.start()] + wanted + text[found.end() :]
    return _with_files(text, max(connections, int(found[1]) if found else 0) + OTHER_FILES, path)


def _with_files(text: str, files: int, path: str) -> str:
    bare = _without_comments(text)
    wanted = f"worker_rlimit_nofile {files};"
    found = _FILES.search(bare)
    if found:
        return text if int(found[1]) >= files else text[: found.start()] + wanted + text[found.end() :]
    events = _EVENTS.search(bare)
    if not events:
        raise StackError(NO_EVENTS, path=path)
    return f"{text[: events.start()]}{wanted}\n{text[events.start() :]}"


def _without_comments(text: str) -> str:
    """The same text with blanks for comments, so that each place stays where it was."""
    return _COMMENT.sub(lambda match: " " * len(match[0]), text)
