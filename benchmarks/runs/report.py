"""The tables of the part about runs. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.contest import Timing
from benchmarks.report import seconds, table, verdict
from benchmarks.runs.findings import FINDINGS
from benchmarks.runs.kills import TITLES
from benchmarks.runs.rows import ROWS, Row

__all__ = ["Results", "costs_table", "found_table", "kills_table"]

OURS = "eagerly"

Results = Mapping[tuple[str, str], tuple[Timing, float]]
"""By row and name: the timing, and how many times that of eagerly in the same turns it is."""


def costs_table(results: Results) -> str:
    """What is timed in turns."""
    rows = []
    for row in ROWS:
        here = {name: found for (key, name), found in results.items() if key == row.key}
        for name, (timing, ratio) in sorted(here.items(), key=lambda each: each[0] != OURS):
            ours = name == OURS
            added = _over(row, results) if ours else None
            rows.append(
                (
                    row.title if ours else "",
                    name,
                    seconds(timing.minimum),
                    seconds(timing.median),
                    "" if ours else f"{ratio:.3g}x",
                    _target(row) if ours else "",
                    _judged(row, added) if ours else "",
                )
            )
    return table(("what", "who", "minimum", "median", "x eagerly", "target", "met?"), rows)


def _over(row: Row, results: Results) -> Timing | None:
    timing, _ = results[row.key, OURS]
    if row.over is None:
        return timing
    return timing - results[row.over, OURS][0] if (row.over, OURS) in results else None


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    return f"<= {seconds(row.target)}" + ("" if row.over is None else " more than the row above")


def _judged(row: Row, added: Timing | None) -> str:
    found = verdict(added, row.target)
    return f"{found} ({seconds(added.median)} more)" if found and row.over is not None and added is not None else found


def found_table(found: Mapping[str, list[float]]) -> str:
    """What is found out several times."""
    rows = []
    for each in FINDINGS:
        if values := found.get(each.key):
            spread = f"least {min(values):.3g}, worst of {len(values)} {max(values):.3g}"
            shown = f"{median(values):.3g}{each.unit} ({spread})"
            judged = verdict(Timing(min(values), median(values)), each.most)
            rows.append((each.title, f"<= {each.most:g}{each.unit}", shown, judged))
    return table(("what", "target", "median", "met?"), rows)


def kills_table(found: Mapping[str, int], kills: int) -> str:
    """What is left after kills."""
    rows = [(title, "0", str(found[key]), _yes(not found[key])) for key, title in TITLES.items()]
    return table((f"after {kills} kills, {found['acknowledged']:,} runs acknowledged", "target", "found", "met?"), rows)


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"
