"""``python -m benchmarks cache``: what caching costs and keeps, written into its own part of benchmarks/README.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from benchmarks import imports, machine
from benchmarks.apart import last_words
from benchmarks.caching import handover, loop, report
from benchmarks.caching.findings import TITLES, look_into
from benchmarks.caching.libraries import NAMES, load
from benchmarks.caching.rows import ROWS, contestants
from benchmarks.caching.work import ARRAY_BYTES
from benchmarks.contest import Timing, compete, timing
from benchmarks.part import Part, wanted
from benchmarks.report import imports_table, machine_table

__all__ = ["main"]

ROUNDS, LARGE_ROUNDS, QUICK_ROUNDS = 200, 12, 3
SECONDS_EACH, QUICK_SECONDS_EACH = 3.0, 0.1
KILLS, QUICK_KILLS = 400, 4
QUICK_ARRAY_BYTES = 2_000_000
IMPORT_ROUNDS = 7
APART_TIMEOUT = 150

PART = Part("cache", "caching", __doc__)

Refused = dict[tuple[str, str], str]


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 whether or not targets are met: the tables say so."""
    options = _parser().parse_args(arguments)
    if options.apart:
        _write_apart(options)
        return 0
    names = [name for name in NAMES if name == "eagerly" or name not in options.without]
    here = [name for name in names if load(name).available()]
    distributions = dict.fromkeys(load(name).distribution for name in here if name != "eagerly")
    parts = [machine_table(machine.describe([each for each in distributions if each is not None]))]
    absent = ", ".join(load(name).title for name in names if name not in here)
    parts += [f"Not installed: {absent}."] * bool(absent)

    timings, refused, failed = _timings(options, here)
    parts += [f"Failed: {load(name).title} ({reason})." for name, reason in failed.items()]
    if timings:
        parts += ["### What caching costs", report.costs_table(timings, refused, names, _size(options))]
    if wanted("handover", options):
        sharing = [name for name in here if handover.takes_part(name)]
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            taken = handover.handovers(sharing, Path(folder), _size(options), 1 if options.quick else handover.ROUNDS)
        parts += ["### What another process has stored", report.handovers_table(taken, _size(options))]
    checks = [key for key in TITLES if wanted(key, options)]
    if checks:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            kills = QUICK_KILLS if options.quick else options.kills
            findings = {name: look_into(name, Path(folder), checks, kills) for name in here}
        parts += ["### What caches keep", report.promises_table(findings, names, kills)]
        parts += [text for text in (report.details(findings, names),) if text]
    if wanted("loop", options):
        gaps = loop.longest_gaps(_size(options), 1 if options.quick else loop.ROUNDS)
        parts += ["### The longest gap of an event loop", report.gaps_table(gaps, _size(options))]
    if wanted("import", options):
        modules = [load(name).module for name in here if not load(name).apart and load(name).distribution]
        times = imports.measure(dict.fromkeys(modules), rounds=2 if options.quick else IMPORT_ROUNDS)
        parts += ["### Import time of libraries that cache", imports_table(times)]

    PART.write(parts, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    keys = [*(row.key for row in ROWS), *TITLES, "handover", "loop", "import"]
    parser = PART.parser(keys, "library", [name for name in NAMES if name != "eagerly"])
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N", help="processes to kill; default %(default)s")
    return parser


def _size(options: argparse.Namespace) -> int:
    return QUICK_ARRAY_BYTES if options.quick else ARRAY_BYTES


def _timings(
    options: argparse.Namespace, here: list[str]
) -> tuple[dict[tuple[str, str], tuple[Timing, float]], Refused, dict[str, str]]:
    """The timings, who refuses what, and why a library failed."""
    refused: Refused = {}
    if not any(wanted(row.key, options) for row in ROWS):
        return {}, refused, {}
    timings = _ratios(_times(options, [name for name in here if not load(name).apart], refused))
    failed = {}
    for name in here:
        if load(name).apart:
            try:
                apart, refusals = _times_apart(name, options)
            except Exception as error:
                failed[name] = last_words(error)
            else:
                # Beside it eagerly ran too, so that the ratio is one of the same turns; its own column stays as it is.
                timings.update({key: each for key, each in _ratios(apart).items() if key[1] == name})
                refused.update(refusals)
    return timings, refused, failed


def _ratios(times: dict[tuple[str, str], Timing]) -> dict[tuple[str, str], tuple[Timing, float]]:
    return {(row, name): (each, each.minimum / times[row, "eagerly"].minimum) for (row, name), each in times.items()}


def _times(options: argparse.Namespace, names: list[str], refused: Refused) -> dict[tuple[str, str], Timing]:
    times = {}
    rows = [row for row in ROWS if wanted(row.key, options)]
    seconds_each = QUICK_SECONDS_EACH if options.quick else SECONDS_EACH
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        taking_part = list(contestants(names, rows, Path(folder), _size(options), refused))
        for large, rounds in ((False, ROUNDS), (True, LARGE_ROUNDS)):
            chosen = [contestant for row, contestant in taking_part if row.large == large]
            if chosen:
                compete(chosen, rounds=QUICK_ROUNDS if options.quick else rounds, seconds_each=seconds_each)
                times.update({(each.case, each.name): timing(each) for each in chosen})
    return times


def _times_apart(name: str, options: argparse.Namespace) -> tuple[dict[tuple[str, str], Timing], Refused]:
    """The timings of one library and of eagerly, from a process that has no other."""
    times, refused = PART.apart(name, options, APART_TIMEOUT)
    return (
        {(row, who): Timing(*values) for row, who, values in times},
        {(row, who): reason for row, who, reason in refused},
    )


def _write_apart(options: argparse.Namespace) -> None:
    """The other side of `_times_apart`."""
    refused: Refused = {}
    times = _times(options, ["eagerly", options.apart], refused)
    found = [(row, who, astuple(each)) for (row, who), each in times.items()]
    missing = [(row, who, reason) for (row, who), reason in refused.items()]
    PART.hand_over([found, missing], options)
