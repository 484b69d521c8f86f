"""The tables of the caching part. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.caching import handover, loop
from benchmarks.caching.findings import ACCEPTED, TITLES, Findings
from benchmarks.caching.libraries import load
from benchmarks.caching.rows import ROWS
from benchmarks.contest import Timing
from benchmarks.report import seconds, table, verdict

__all__ = ["Timings", "costs_table", "details", "gaps_table", "handovers_table", "promises_table"]

Timings = Mapping[tuple[str, str], tuple[Timing, float]]
"""By row and library: the timing, and how many times that of eagerly in the same turns it is."""


def costs_table(timings: Timings, refused: Mapping[tuple[str, str], str], names: Sequence[str], size: int) -> str:
    """What is timed."""
    rows = []
    for row in ROWS:
        if (row.key, "eagerly") not in timings:
            continue
        ours, _ = timings[row.key, "eagerly"]
        target = "" if row.target is None else f"<= {seconds(row.target)}"
        cells = [row.title.format(size=_bytes(size)), target, seconds(row.reachable)]
        cells.append("" if row.target is None else verdict(ours, row.target))
        for name in names:
            if (row.key, name) in timings:
                timing, ratio = timings[row.key, name]
                times = "" if name == "eagerly" else f", {ratio:.3g}x"
                cells.append(f"{seconds(timing.minimum)} (median {seconds(timing.median)}{times})")
            else:
                cells.append(f"refuses ({refused[row.key, name]})" if (row.key, name) in refused else "")
        rows.append(cells)
    return table(("what", "target", "reachable", "met?", *_titles(names)), rows)


def promises_table(findings: Mapping[str, Findings], names: Sequence[str], kills: int) -> str:
    """What is checked."""
    ours = findings["eagerly"]
    rows = []
    for key, title in TITLES.items():
        if key in ours.numbers:
            target = " / ".join(map(str, ACCEPTED[key]))
            cells = [findings[name].cell(key) if name in findings else "" for name in names]
            rows.append((title.format(kills=kills), target, ours.verdict(key), *cells))
    return table(("what", "target", "met?", *_titles(names)), rows)


def gaps_table(gaps: Mapping[str, tuple[float, float]], size: int) -> str:
    """How long the loop stood still."""
    rows = []
    for name, (least, usual) in gaps.items():
        ours = name == "task"
        judged = (f"<= {seconds(loop.TARGET)}", verdict(Timing(least, usual), loop.TARGET)) if ours else ("", "")
        rows.append((loop.TITLES[name], f"{seconds(usual)} (least {seconds(least)})", *judged))
    return table((f"while {_bytes(size)} are written", "longest gap, median", "target", "met?"), rows)


def handovers_table(taken: Mapping[str, tuple[float, float]], size: int) -> str:
    """How long it took to get what another process had stored."""
    ours, _ = taken["eagerly"]
    rows = []
    for name, (least, usual) in taken.items():
        reachable = f"<= {seconds(handover.REACHABLE)}" if name == "eagerly" else ""
        rows.append((load(name).title, f"{seconds(usual)} (least {seconds(least)}, {least / ours:.3g}x)", reachable))
    return table((f"an array of {_bytes(size)} from another process", "median", "reachable"), rows)


def details(findings: Mapping[str, Findings], names: Sequence[str]) -> str:
    """Which values are meant."""
    lines = []
    for name in names:
        if name in findings:
            sorts = [f"{sort}: {'; '.join(values)}" for sort, values in findings[name].names.items() if values]
            if sorts:
                lines.append(f"* {load(name).title} " + ". It ".join(sorts) + ".")
    return "\n".join(lines)


def _titles(names: Sequence[str]) -> list[str]:
    return [load(name).title for name in names]


def _bytes(size: int) -> str:
    return f"{size / 1e6:g} MB"
