"""Send the recorded requests to a server and compare its answers with the recorded ones.

    python -m tests.component.contract.replay --url http://127.0.0.1:1234 --model ID --against mistralrs-0.8.1
        [--subject real] [--only NAME]

Prints one line for each request: `same`, `wanted` (a difference that differences.py lists, with its reason) or
`UNWANTED`, with what differs. Exit code 1: something differs that should not, or a listed difference is none any more.
The last requests unload the model: the engine 0.8.1 does not find it again and has to be started anew (--no-unload
leaves them out). Only the standard library is used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tests.component.contract.compare import differences, outline
from tests.component.contract.differences import WANTED, Wanted
from tests.component.contract.http_client import send
from tests.component.contract.recorded import AFTER_UNLOAD, NETWORK, Exchange, load, versions


@dataclass(frozen=True)
class Verdict:
    """How one answer compares with the recorded one."""

    name: str
    lines: tuple[str, ...]
    unwanted: tuple[str, ...]
    stale: tuple[Wanted, ...]
    reasons: tuple[str, ...]
    seconds: float = 0

    @property
    def word(self) -> str:
        """What the table says."""
        if self.unwanted or self.stale:
            return "UNWANTED"
        return "wanted" if self.reasons else "same"


def judge(name: str, lines: list[str], wanted: Collection[Wanted], seconds: float = 0) -> Verdict:
    """Tell the differences that are wanted from those that are not, and find what is listed but no longer differs."""
    mine = [entry for entry in wanted if entry.concerns(name)]
    shown = [entry for entry in mine if any(entry.covers(line) for line in lines)]
    return Verdict(
        name=name,
        lines=tuple(lines),
        unwanted=tuple(line for line in lines if not any(entry.covers(line) for entry in mine)),
        stale=tuple(entry for entry in mine if entry not in shown and not (entry.sometimes or entry.everywhere)),
        reasons=tuple(dict.fromkeys(entry.reason for entry in shown if not entry.everywhere)),
        seconds=seconds,
    )


def replay(
    url: str, model: str, exchanges: Mapping[str, Exchange], wanted: Collection[Wanted], skip: Collection[str] = ()
) -> Iterator[Verdict]:
    """Ask a server all that was asked of the recorded one, in the same order."""
    for name, exchange in exchanges.items():
        if name in skip:
            continue
        response, seconds = send(url, exchange, model)
        lines = differences(outline(exchange.response), outline(response, model))
        yield judge(name, lines, wanted, seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True, help="where the server listens, without a path")
    parser.add_argument("--model", required=True, help="the id of its model")
    parser.add_argument("--against", required=True, choices=versions(), help="the recorded server")
    parser.add_argument("--subject", default="real", choices=sorted(WANTED), help="whose differences are wanted")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this request; can be repeated")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="not this one; can be repeated")
    parser.add_argument("--network", action="store_true", help="also what makes the server call other machines")
    parser.add_argument("--no-unload", action="store_true", help="stop before the model is unloaded")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    exchanges = load(options.against)
    unknown = {*options.only, *options.skip} - set(exchanges)
    if unknown:
        print(f"error: no such request: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    skip = {*options.skip, *(() if options.network else NETWORK)}
    if options.no_unload:
        skip |= AFTER_UNLOAD
    if options.only:
        skip |= set(exchanges) - set(options.only)
    counts: dict[str, int] = {}
    wanted = WANTED[options.subject]
    for verdict in replay(options.url.rstrip("/"), options.model, exchanges, wanted, skip):
        counts[verdict.word] = counts.get(verdict.word, 0) + 1
        print(f"{verdict.word:8} {verdict.name} ({verdict.seconds:.1f} s)", flush=True)
        for reason in verdict.reasons:
            print(f"           wanted: {reason}")
        for line in verdict.unwanted:
            print(f"           unwanted: {line}")
        for entry in verdict.stale:
            print(f"           listed in differences.py, but the same: {', '.join(entry.what)}")
    if not options.network:
        print(f"not sent, since they need a network: {', '.join(sorted(NETWORK))} (--network sends them)")
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    if not counts:
        print("error: nothing was compared.", file=sys.stderr)
    return 0 if counts and "UNWANTED" not in counts else 1


if __name__ == "__main__":
    sys.exit(main())
