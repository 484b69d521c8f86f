"""``python -m benchmarks fanout``: what maps cost, written into its own part of benchmarks/README.md."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from dataclasses import astuple
from importlib.metadata import PackageNotFoundError, version

from benchmarks import machine
from benchmarks.apart import last_words
from benchmarks.fanout import report
from benchmarks.fanout.engines import NAMES, installed, load
from benchmarks.fanout.findings import FINDINGS
from benchmarks.fanout.race import Entrant, Result, race
from benchmarks.fanout.rows import ROWS
from benchmarks.finding import find
from benchmarks.part import Part, wanted
from benchmarks.report import machine_table

__all__ = ["main"]

TURNS, LONG_TURNS, QUICK_TURNS = 60, 7, 2
SECONDS_EACH, LONG_SECONDS_EACH, QUICK_SECONDS_EACH = 4.0, 12.0, 0.1
TIMES, QUICK_TIMES = 15, 2
APART_TIMEOUT = 600

PART = Part("fanout", "maps", __doc__)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 0 whether or not targets are met: the tables say so."""
    keys = [*(row.key for row in ROWS if row.of is None), *(finding.key for finding in FINDINGS)]
    options = PART.parser(keys, "engine", NAMES).parse_args(arguments)
    if options.apart:
        _write_apart(options)
        return 0
    asked = [name for name in NAMES if name not in options.without and _keys(name, options)]
    missing = [needs for name in asked if (needs := load(name).NEEDS) is not None and not installed(needs)]
    here = [name for name in asked if load(name).NEEDS not in missing]
    parts = [machine_table(machine.describe(_distributions(here)))]
    parts += [f"Not installed: {', '.join(missing)}."] * bool(missing)
    results: report.Results = {}
    found: dict[str, list[float]] = {}
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # workers would compile anew what they import
    for name in here:  # each in a process of its own: the threads and servers of one are nothing to the next
        try:
            own_results, own_found = _run_apart(name, options)
        except Exception as error:
            parts.append(f"Failed: {name} ({last_words(error)}).")
        else:
            results.update(own_results)
            found.update(own_found)
    parts += ["### Targets of maps", report.targets_table(results, found)]
    parts += ["### What maps cost", report.costs_table(results)]
    PART.write(parts, options)
    return 0


def _keys(engine: str, options: argparse.Namespace) -> list[str]:
    """What is asked for of an engine."""
    keys = [row.key for row in ROWS if row.engine == engine and row.of is None]
    keys += [finding.key for finding in FINDINGS] * (engine == "process")
    return [key for key in keys if wanted(key, options)]


def _distributions(engines: Sequence[str]) -> list[str]:
    names = []
    for name in (each for engine in engines for each in load(engine).DISTRIBUTIONS):
        with contextlib.suppress(PackageNotFoundError):
            version(name)
            names.append(name)
    return names


def _run_apart(name: str, options: argparse.Namespace) -> tuple[report.Results, dict[str, list[float]]]:
    results, found = PART.apart(name, options, APART_TIMEOUT)
    return {(row, who): Result(*values) for row, who, values in results}, found


def _write_apart(options: argparse.Namespace) -> None:
    """The other side of `_run_apart`."""
    keys = _keys(options.apart, options)
    rows = {row.key: row for row in ROWS if row.key in keys}
    results: report.Results = {}
    if rows:
        with load(options.apart).ways() as ways:
            for long in (False, True):
                entrants = []
                for (key, name), way in ways.items():
                    if key in rows and rows[key].long == long:
                        items = rows[key].quick if options.quick else rows[key].items
                        entrants.append(Entrant(key, name, lambda way=way, items=items: way(items), items))
                results |= _race(entrants, options, long=long)
    times = QUICK_TIMES if options.quick else TIMES
    found = {finding.key: find(finding, times) for finding in FINDINGS if finding.key in keys}
    listed = [(row, who, astuple(each)) for (row, who), each in results.items()]
    PART.hand_over([listed, found], options)


def _race(entrants: list[Entrant], options: argparse.Namespace, *, long: bool) -> report.Results:
    if options.quick:
        return race(entrants, turns=QUICK_TURNS, seconds_each=QUICK_SECONDS_EACH)
    if long:
        return race(entrants, turns=LONG_TURNS, seconds_each=LONG_SECONDS_EACH)
    return race(entrants, turns=TURNS, seconds_each=SECONDS_EACH)
