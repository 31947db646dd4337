# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's last words mean, and what to do.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._engine.log_signs import REMAKE_IMAGE, SIGNS, Sign
from ansible_collections.mistralrs.stack.plugins.module_utils._errors import Fault, StackError

OOM_KILLED = Fault(
    "engine.oom_killed",
    "The kernel killed the engine because it used more memory than its limit.",
    "Raise mistral_server_memory_limit, or use a smaller quantization or a smaller models.context_length.",
)
# What an exit code says when no line does.
EXIT_CODES = {
    101: Fault("engine.panic", "The engine ended with an internal error.", "Its last lines say where."),
    126: Fault("engine.not_executable", "The image's program can't be run.", REMAKE_IMAGE),
    127: Fault("engine.program_missing", "The image lacks the engine's program.", REMAKE_IMAGE),
    132: Fault(
        "engine.illegal_instruction",
        "The engine was built for a newer processor than this host's.",
        "Build the image on this host, or for any processor with mistral_image_rustflags: -C target-cpu=generic.",
    ),
    134: Fault("engine.aborted", "The engine aborted.", "Its last lines say why."),
    137: Fault("engine.killed", "Something killed the engine.", "See 'journalctl -b' on the host for what it was."),
    139: Fault("engine.crashed", "The engine crashed.", "Try another mistral_image_mistralrs_version."),
    143: Fault("engine.stopped", "Something stopped the engine.", "See 'journalctl -b' on the host for what it was."),
}
# What a smaller quantization or context helps against.
OF_GPU_MEMORY = frozenset({"engine.no_room_for_kv_cache", "engine.model_too_big", "engine.gpu_out_of_memory"})
UNEXPLAINED = Fault("engine.ended", "The engine ended.", "Its last lines say why.")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Frames of a backtrace tell developers where, and drown what happened: everything indented belongs to one, but for the
# reasons that follow "Caused by:".
_FRAME = re.compile(r"\s|\d+: |[Ss]tack backtrace:|Traceback |\Z")
_CAUSES = "Caused by:"
# What the engine itself calls no error. A warning is not a cause: it goes on after it.
_HARMLESS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z?\s+(?:TRACE|DEBUG|INFO|WARN)\s")
_REPORTED = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z?\s+ERROR\s")
# Up to 0.9.0 the engine prints what the GGUF says of itself, below a line that ends so.
_METADATA_FOLLOWS = re.compile(r"Model config:$")
_METADATA = re.compile(r"[\w-]+(?:\.[\w-]+)+: ")


def clean(text: str) -> list[str]:
    """The lines of a log without colours and backtraces."""
    kept: list[str] = []
    in_causes = False
    for line in (_COLOUR.sub("", line).rstrip() for line in text.splitlines()):
        in_causes = line == _CAUSES or (in_causes and line[:1].isspace())
        # A parser draws an arrow below what it points at.
        is_word = any(character.isalnum() for character in line)
        if is_word if in_causes else not _FRAME.match(line):
            kept.append(line.strip())
    return kept


class Finding(NamedTuple):
    """What the engine died of, and the lines that say so."""

    error: StackError
    quote: list[str]


def _telling(lines: list[str]) -> list[int]:
    """The positions of lines that may say why the engine ended, the most telling first.

    Its last words have no time and no level. What it logged as an error it survived: that counts only if there is
    nothing else. The later line counts more.
    """
    last_words, reported = [], []
    in_metadata = False
    for position, line in enumerate(lines):
        if _HARMLESS.match(line):
            in_metadata = bool(_METADATA_FOLLOWS.search(line))
        elif _REPORTED.match(line):
            reported.append(position)
        elif not (in_metadata and _METADATA.match(line)):
            in_metadata = False
            last_words.append(position)
    return [*reversed(last_words), *reversed(reported)]


def _end_of_message(lines: list[str], position: int) -> int:
    """Behind the reasons that follow a line."""
    end = position + 1
    if lines[end : end + 1] == [_CAUSES]:
        end = next((later for later in range(end, len(lines)) if _HARMLESS.match(lines[later])), len(lines))
    return end


def _error(sign: Sign, match: re.Match[str]) -> StackError:
    """The fault with what the line says; the alternatives of a pattern name the same value C(x) and C(x_only)."""
    groups = {name.replace("_only", ""): value for name, value in match.groupdict().items() if value is not None}
    return StackError(sign.fault, **groups)


def diagnose(
    text: str, exit_code: int | None = None, oom_killed: bool = False, quoted: int = 6, width: int = 300
) -> Finding:
    """Explain why the engine ended: by its own words (the last telling ones), else by the way it ended."""
    lines = clean(text)

    def quote(start: int, end: int) -> list[str]:
        return [line[:width] for line in lines[max(start, end - quoted) : end]]

    if oom_killed:
        return Finding(StackError(OOM_KILLED), quote(0, len(lines)))
    for position in _telling(lines):
        for sign in SIGNS:
            match = sign.pattern.search(lines[position])
            if match:
                # An engine that is started again and again dies of the same each time: once is enough.
                before = [index for index in range(position) if sign.pattern.search(lines[index])]
                start = before[-1] + 1 if before else 0
                return Finding(_error(sign, match), quote(start, _end_of_message(lines, position)))
    fault = EXIT_CODES.get(exit_code, UNEXPLAINED) if exit_code is not None else UNEXPLAINED
    return Finding(StackError(fault), quote(0, len(lines)))
