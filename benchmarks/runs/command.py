"""``python -m benchmarks runs``: what records of runs cost and keep, written into a part of benchmarks/README.md."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from benchmarks import machine
from benchmarks.apart import last_words
from benchmarks.contest import Timing, compete, timing
from benchmarks.finding import find
from benchmarks.part import Part, wanted
from benchmarks.report import machine_table
from benchmarks.runs import kills, report
from benchmarks.runs.findings import FINDINGS
from benchmarks.runs.rows import ROWS
from benchmarks.runs.systems import NAMES, installed, load

__all__ = ["main"]

ROUNDS, QUICK_ROUNDS = 300, 3
SECONDS_EACH, QUICK_SECONDS_EACH = 6.0, 0.2
TIMES, QUICK_TIMES = 11, 1
KILLS, QUICK_KILLS = 20, 4
QUICK_RUNS = "2000"
APART_TIMEOUT = 600
OURS = "eagerly"

PART = Part("runs", "runs", __doc__)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 whether or not targets are met: the tables say so."""
    keys = [*(row.key for row in ROWS), *(finding.key for finding in FINDINGS), "kills"]
    options = PART.parser(keys, "system", [name for name in NAMES if name != OURS]).parse_args(arguments)
    if options.quick:
        os.environ.setdefault("BENCHMARK_RUNS", QUICK_RUNS)
    if options.apart:
        _write_apart(options)
        return 0
    asked = [name for name in NAMES if name not in options.without]
    here = [name for name in asked if installed(name)]
    parts = [machine_table(machine.describe([load(name).MODULE for name in here if name != OURS]))]
    missing = [load(name).TITLE for name in asked if name not in here]
    parts += [f"Not installed: {', '.join(missing)}."] * bool(missing)
    results: dict[tuple[str, str], tuple[Timing, float]] = {}
    found: dict[str, list[float]] = {}
    for name in here:  # each in a process of its own, which has no other
        try:
            times, own_found = PART.apart(name, options, APART_TIMEOUT)
        except Exception as error:
            parts.append(f"Failed: {load(name).TITLE} ({last_words(error)}).")
            continue
        timings = {(row, who): Timing(*values) for row, who, values in times}
        for (row, who), each in timings.items():
            if name == OURS or who != OURS:  # beside a peer eagerly ran too: the ratio is one of the same turns
                results[row, who] = each, each.minimum / timings[row, OURS].minimum
        found.update(own_found)
    if results:
        parts += ["### What runs cost", report.costs_table(results)]
    if found:
        parts += ["### How soon, and at what price", report.found_table(found)]
    if wanted("kills", options):
        number = QUICK_KILLS if options.quick else KILLS
        parts += ["### What is left after kills", report.kills_table(kills.look_into(number), number)]
    PART.write(parts, options)
    return 0


def _write_apart(options: argparse.Namespace) -> None:
    """The other side of `Part.apart`: one system, and eagerly beside it."""
    times = _times(options)
    number = QUICK_TIMES if options.quick else TIMES
    asked = [each for each in FINDINGS if options.apart == OURS and wanted(each.key, options)]
    found = {each.key: find(each, number) for each in asked}
    PART.hand_over([[(row, who, astuple(each)) for (row, who), each in times.items()], found], options)


def _times(options: argparse.Namespace) -> dict[tuple[str, str], Timing]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        names = dict.fromkeys((OURS, options.apart))
        everybody = [each for name in names for each in stack.enter_context(load(name).contestants(Path(folder)))]
        rows = {each.case for each in everybody if options.apart == OURS or each.name == load(options.apart).TITLE}
        chosen = [each for each in everybody if each.case in rows and _asked(each.case, options)]
        if not chosen:
            return {}
        rounds, seconds_each = (QUICK_ROUNDS, QUICK_SECONDS_EACH) if options.quick else (ROUNDS, SECONDS_EACH)
        compete(chosen, rounds=rounds, seconds_each=seconds_each)
        return {(each.case, each.name): timing(each) for each in chosen}


def _asked(key: str, options: argparse.Namespace) -> bool:
    """Whether a row is, or one that is compared with it."""
    return any(key in (row.key, row.over) for row in ROWS if wanted(row.key, options))
