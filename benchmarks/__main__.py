"""``python -m benchmarks``: measure calls and write the tables into benchmarks/README.md; with ``cache``, caching;
with ``fanout``, maps; with ``runs``, records of runs."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from benchmarks import cases, imports, machine, memory, peers, report, variants
from benchmarks.apart import last_words, run_apart
from benchmarks.contest import Contestant, Timing, compete, timing

Timings = dict[tuple[str, str], Timing]

ROUNDS, QUICK_ROUNDS = 200, 3
SECONDS_EACH, QUICK_SECONDS_EACH = 2.0, 0.2
APART_TIMEOUT = 90
"""Seconds after which a peer in a process of its own is given up."""

PAGE = Path(__file__).with_name("README.md")
SECTIONS = ("import", "memory")
PARTS = {"cache": "caching", "fanout": "fanout", "runs": "runs"}
"""Words that have a command of their own, and the package where it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 whether or not targets are met: the table says so."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] in PARTS:
        return int(importlib.import_module(f"benchmarks.{PARTS[words[0]]}.command").main(words[1:]))
    options = _parser().parse_args(words)
    if options.apart:
        _write_apart(options)
        return 0
    found = {name: peers.load(name) for name in peers.NAMES}
    here = {name: peer for name, peer in found.items() if peer.available() and name not in options.without}
    facts = machine.describe([*(name for peer in here.values() for name in peer.DISTRIBUTIONS), "pluggy"])

    timings, failed = _contest(options, here)
    parts = [report.machine_table(facts), _absent(found, here, failed)]
    columns = [peer.NAME for peer in here.values() if any(name == peer.NAME for _, name in timings)]
    if any(key == case.key for case in cases.CASES for key, _ in timings):
        parts += ["### Calls, streams, hooks, sessions", report.main_table(timings, columns)]
        parts += [text for text in (report.notes(timings),) if text]
    if any(name in variants.SHAPES for _, name in timings):
        parts += ["### Shapes of a call that were rejected", report.shapes_table(timings)]
    if any(key in variants.INGREDIENTS for key, _ in timings):
        parts += ["### Ingredients that were rejected", report.ingredients_table(timings)]
    if _wanted("import", options):
        modules = ["eagerly", *(peer.MODULE for peer in here.values() if peer.MODULE is not None)]
        times = imports.measure(modules, rounds=2 if options.quick else imports.ROUNDS)
        parts += ["### Import time", report.imports_table(times)]
    if _wanted("memory", options):
        calls = memory.CALLS // 100 if options.quick else memory.CALLS
        grown = {kind: memory.growth(kind, calls) for kind in memory.KINDS}
        parts += ["### Memory", report.memory_table(grown, calls)]

    generated = "\n\n".join(parts) + "\n"
    if options.output is None:
        print(generated)
    else:
        report.replace_generated(options.output, generated)
        print(f"written to {options.output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    keys = [*(case.key for case in cases.CASES), *variants.INGREDIENTS, *SECTIONS]
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not to believe it")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", choices=keys, help=", ".join(keys))
    parser.add_argument("--without", action="append", default=[], metavar="PEER", choices=peers.NAMES)
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"where to write the tables; default {PAGE.name}")
    parser.add_argument("--print", dest="output", action="store_const", const=None, help="print them instead")
    parser.add_argument("--apart", help=argparse.SUPPRESS)  # how the harness starts itself for one peer
    parser.set_defaults(output=PAGE)
    return parser


def _wanted(case: str, options: argparse.Namespace) -> bool:
    return not options.only or case in options.only


def _contest(options: argparse.Namespace, here: dict[str, peers.Peer]) -> tuple[Timings, dict[str, str]]:
    """The timings by case and contestant, and why a peer failed. Who would disturb the others gets its own process."""
    with contextlib.ExitStack() as stack:
        contestants = [*cases.contestants(), *variants.contestants()]
        for peer in here.values():
            if not peer.APART:
                contestants += stack.enter_context(peer.contestants())
        timings = _times(contestants, options)
    failed = {}
    for name, peer in here.items():
        if peer.APART:
            try:
                timings.update(_times_apart(name, options))
            except subprocess.SubprocessError as error:
                failed[peer.NAME] = last_words(error)
    return timings, failed


def _times(contestants: list[Contestant], options: argparse.Namespace) -> Timings:
    needed = set(options.only) | {
        case.baseline[0] for case in cases.CASES if case.key in options.only and case.baseline is not None
    }
    chosen = [each for each in contestants if not needed or each.case in needed]
    if not chosen:
        return {}
    if options.quick:
        compete(chosen, rounds=QUICK_ROUNDS, seconds_each=QUICK_SECONDS_EACH)
    else:
        compete(chosen, rounds=ROUNDS, seconds_each=SECONDS_EACH)
    return {(each.case, each.name): timing(each) for each in chosen}


def _times_apart(name: str, options: argparse.Namespace) -> Timings:
    """The timings of one peer, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "timings.json"
        command = [sys.executable, "-m", "benchmarks", "--apart", name, "--output", str(result)]
        command += ["--quick"] * options.quick + [word for case in options.only for word in ("--only", case)]
        run_apart(command, APART_TIMEOUT)
        return {(case, who): Timing(*values) for case, who, values in json.loads(result.read_text(encoding="utf-8"))}


def _write_apart(options: argparse.Namespace) -> None:
    """The other side of `_times_apart`."""
    with peers.load(options.apart).contestants() as contestants:
        timings = _times(list(contestants), options)
    found = [(case, who, astuple(each)) for (case, who), each in timings.items()]
    options.output.write_text(json.dumps(found), encoding="utf-8")


def _absent(found: dict[str, peers.Peer], here: dict[str, peers.Peer], failed: dict[str, str]) -> str:
    """Who is missing from the table, by name."""
    left_out = [peer for name, peer in found.items() if name not in here]
    missing = ", ".join(peer.NAME for peer in left_out if not peer.available())
    unwanted = ", ".join(peer.NAME for peer in left_out if peer.available())
    lines = [f"Not installed: {missing}."] if missing else []
    lines += [f"Not asked for: {unwanted}."] if unwanted else []
    lines += [f"Failed: {name} ({reason})." for name, reason in failed.items()]
    return "\n".join(lines) or "All peers took part."


if __name__ == "__main__":
    sys.exit(main())
