"""The tables of the part about maps. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.fanout.findings import FINDINGS
from benchmarks.fanout.race import Result
from benchmarks.fanout.rows import OURS, ROWS
from benchmarks.report import seconds, table

__all__ = ["Results", "costs_table", "targets_table"]

Results = dict[tuple[str, str], Result]


def targets_table(results: Results, found: Mapping[str, list[float]]) -> str:
    """What was aimed at, and what came out: by the minima, and by the medians."""
    rows = []
    for row in ROWS:
        measured = row.measured(results)
        if measured is None or not row.target:
            continue
        by_minimum, by_median = measured
        verdict = "yes" if row.meets(by_median) else "by the minimum" if row.meets(by_minimum) else "**no**"
        rows.append((row.title, row.target, f"{row.shown(by_minimum)} (median {row.shown(by_median)})", verdict))
    for finding in FINDINGS:
        if values := found.get(finding.key):
            shown = f"{median(values):.3g}{finding.unit} (worst of {len(values)}: {max(values):.3g}{finding.unit})"
            verdict = "yes" if max(values) <= finding.most else "**no**"
            rows.append((finding.title, f"<= {finding.most:g}{finding.unit}", shown, verdict))
    return table(("what", "target", "measured", "met?"), rows)


def costs_table(results: Results) -> str:
    """Everybody, per item."""
    rows = []
    for row in ROWS:
        ours = results.get((row.key, OURS))
        for (key, name), result in sorted(results.items(), key=lambda each: each[0][1] != OURS):
            if key == row.key:
                ratio = "" if ours is None or name == OURS else f"{result.minimum / ours.minimum:.3g}x"
                times = (seconds(result.minimum), seconds(result.median), ratio, seconds(result.busy))
                rows.append((row.title if name == OURS else "", name, *times, str(result.turns)))
    return table(("what", "who", "per item", "median", "x eagerly", "CPU per item", "turns"), rows)
