# Copyright (c) 2026, the mistralrs.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the module model does, from its options to its result; where it takes long, in a job.

Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ansible_collections.mistralrs.stack.plugins.module_utils._fetch.model_source import Source
from ansible_collections.mistralrs.stack.plugins.module_utils._jobs.reporter import Reporter
from ansible_collections.mistralrs.stack.plugins.module_utils._store.access_options import Access, Fit
from ansible_collections.mistralrs.stack.plugins.module_utils._store.apply import apply
from ansible_collections.mistralrs.stack.plugins.module_utils._store.contents import absent, surplus
from ansible_collections.mistralrs.stack.plugins.module_utils._store.entry import (
    Hashes,
    bytes_to_read,
    hashes,
    read_ahead,
    remember,
)
from ansible_collections.mistralrs.stack.plugins.module_utils._store.layout import Report, Wanted, no_report
from ansible_collections.mistralrs.stack.plugins.module_utils._store.outcome import Outcome
from ansible_collections.mistralrs.stack.plugins.module_utils._store.plan import Prepared, prepare_all
from ansible_collections.mistralrs.stack.plugins.module_utils._store.predict import predict
from ansible_collections.mistralrs.stack.plugins.module_utils._store.suitability import doubt
from ansible_collections.mistralrs.stack.plugins.module_utils._store.verify import verified_all

# From here on reading what is in the store is worth a job, which tells how far it is.
LONG_BYTES = 1 << 30


class Request(NamedTuple):
    """The options of the module model, which documents each, besides those of the sources."""

    store: str
    wanted: Sequence[Wanted]
    prune: bool = False
    seal: bool = False
    check: bool = False


class PresentWork:
    """Has the models in the store: C(plan) finds out what is to be done, C(apply) does it."""

    def __init__(self, request: Request, sources: Sequence[Source], access: Access) -> None:
        self._request = request
        self._sources = sources
        self._access = access
        self._planned: list[Prepared] = []
        # A job is another process.
        self._hashes: Hashes = {}

    def plan(self) -> None:
        """Ask and check all that can be known before the first byte of the first model."""
        request = self._request
        self._planned = prepare_all(request.wanted, self._sources, self._access, read=request.check)
        self._hashes = hashes()

    def predict(self) -> dict[str, Any]:
        """What L{apply} would return; nothing is changed."""
        return self._result([predict(each) for each in self._planned])

    def apply(self, report: Report = no_report) -> dict[str, Any]:
        """Do what is planned; the module's result."""
        return self._result([apply(each, self._access, report) for each in self._planned])

    def quick(self) -> dict[str, Any] | None:
        """The module's result if that takes no time worth a job; else None."""
        if sum(bytes_to_read(each) for each in self._request.wanted) >= LONG_BYTES:
            return None
        self.plan()
        is_long = any(each.plan.fetch or each.plan.adopt for each in self._planned)
        return None if is_long else self.apply()

    def work(self, reporter: Reporter) -> dict[str, Any]:
        """All of it, in a job; the module's result."""
        remember(self._hashes)
        if not self._planned:
            read_ahead(self._request.wanted, reporter.update)
            self.plan()
        return self.apply(reporter.update)

    def _result(self, outcomes: list[Outcome]) -> dict[str, Any]:
        warnings = [*_unsealed(self._request, outcomes), *_doubts(outcomes, self._access.fit)]
        # What was planned may be another quantization than what is wanted.
        prunable = _pruned(self._request, [each.wanted for each in self._planned])
        return result_of(self._request.store, outcomes, prunable, self._request.prune, warnings)


class VerifyWork:
    """Hashes the stored models again."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def verify(self, report: Report | None = None) -> dict[str, Any]:
        """Read all of it; the module's result."""
        request = self._request
        return result_of(request.store, verified_all(request.wanted, request.check, report))

    def quick(self) -> dict[str, Any] | None:
        """The module's result if that takes no time worth a job; else None."""
        size = sum(bytes_to_read(each, rehash=True) for each in self._request.wanted)
        return None if size >= LONG_BYTES else self.verify()

    def work(self, reporter: Reporter) -> dict[str, Any]:
        """All of it, in a job; the module's result."""
        return self.verify(reporter.update)


def result_of(
    store: str,
    outcomes: Sequence[Outcome],
    prunable: Sequence[dict[str, Any]] = (),
    prune: bool = False,
    warnings: Iterable[str] = (),
) -> dict[str, Any]:
    """What the module returns, with C(models) always as a list."""
    removed = bool(prunable) and prune
    diffs = [
        {
            "before": outcome.before,
            "after": outcome.after,
            "before_header": outcome.facts["path"],
            "after_header": outcome.facts["path"],
        }
        for outcome in outcomes
        if outcome.before != outcome.after
    ]
    if removed:
        for pruned in prunable:
            path = os.path.join(store, pruned["file"])
            diffs.append({"before": pruned, "after": {}, "before_header": path, "after_header": path})
    return {
        "changed": removed or any(outcome.changed for outcome in outcomes),
        "diff": diffs,
        "models": [{**outcome.facts, "changed": outcome.changed} for outcome in outcomes],
        "prunable": list(prunable),
        "warnings": list(warnings),
    }


def _pruned(request: Request, wanted: Iterable[Wanted]) -> list[dict[str, Any]]:
    """The models that are not named; if they are to be pruned they are removed."""
    unnamed = surplus(request.store, [each.file for each in wanted])
    if request.prune and not request.check:
        for file, found in unnamed.items():
            absent(Wanted(request.store, found["file"], "", file, "", ""), check=False)
    return list(unnamed.values())


def _unsealed(request: Request, outcomes: Iterable[Outcome]) -> list[str]:
    """What to say of models that should be sealed and could not be."""
    if not request.seal or request.check:
        return []
    files = [os.path.basename(outcome.facts["path"]) for outcome in outcomes if not outcome.facts["sealed"]]
    if not files:
        return []
    return [
        f"The file system of {request.store} or the kernel has no fs-verity, so that these are not sealed: "
        f"{', '.join(files)}. "
        "It is available on ext4 ('tune2fs -O verity'), f2fs and Btrfs; or set 'seal' to false."
    ]


def _doubts(outcomes: Iterable[Outcome], fit: Fit) -> list[str]:
    """What to say of stored models that the engine will not load: since they came, settings or GPUs have changed."""
    found = [doubt(outcome.facts, fit) for outcome in outcomes] if fit else []
    return [f"{error} It is in the store and stays there, but the engine will not load it." for error in found if error]
