"""What ``eagerly demo`` does: runs the pipeline twice and prints what it found, what ran, and what the cache spared.

The pipeline itself is in `eagerly.demo.pipeline`; it does not know that it is being watched. Cache and datasets are in
a temporary folder that is gone afterwards.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final, TextIO

from eagerly import session
from eagerly.cache import DiskStore
from eagerly.demo.pipeline import Survey, Table, Trip, survey_airports
from eagerly.plugins.drawing import needs_ascii
from eagerly.plugins.text import format_duration, summarise
from eagerly.plugins.tree import CallTree

__all__ = ["main"]

INTERRUPTED: Final = 130  # what a shell reports of a program that Ctrl-C has ended

HONESTLY: Final = """
(The refusals that fetch_hemispheres met are simulated. The timeout is real:
loneliest_by_brute_force is too slow, so the pipeline took a faster way. Cache
and dataset were in a temporary folder, which is gone.)"""


def main(*, out: TextIO | None = None) -> int:
    """Run the demo and print its report to `out`, by default `sys.stdout`.

    Returns:
        The exit code: 0, or 130 if Ctrl-C was pressed. What fails is raised, after the tree of what ran until then.
    """
    to: TextIO = sys.stdout if out is None else out
    tree, again = CallTree(summarise=_in_a_few_words), CallTree(summarise=_in_a_few_words)
    remark = ""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="eagerly-demo-") as folder,
            closing(DiskStore(Path(folder, "cache"))) as store,
        ):
            for observer in (tree, again):
                with session(plugins=[observer], name="demo", cache_store=store, cache_mode="on", dataset_store=folder):
                    survey = asyncio.run(survey_airports())
        print(_findings(survey), file=to)
        remark = f"\n{_spared(tree, again)}\n{HONESTLY}"
    except KeyboardInterrupt:
        print("\nInterrupted.", file=to)
        return INTERRUPTED
    finally:
        if next(iter(tree.walk()), None) is not None:
            print(_what_ran(tree, to), remark, sep="", file=to)
    return 0


def _in_a_few_words(result: object) -> str:
    return str(result) if isinstance(result, Survey | Table | Trip) else summarise(result)


def _findings(survey: Survey) -> str:
    table, loneliest = survey.table, survey.loneliest
    facts = {
        "Most airports": ", ".join(f"{state} {count}" for state, count in survey.by_state),
        "Northernmost": f"{survey.northernmost} ({survey.northernmost.latitude:.1f} north)",
        **{f"Farthest from {trip.start.code}": f"{trip.end} ({trip.km:,.0f} km)" for trip in survey.farthest},
        "Loneliest": f"{loneliest.start} ({loneliest.km:,.0f} km to the nearest)",
    }
    return "\n".join(
        [
            f"US airports: {len(table.airports):,} of {table.rows:,} rows are of use, {table.corrected} corrected",
            "",
            *(f"  {what:<18} {answer}" for what, answer in facts.items()),
        ]
    )


def _what_ran(tree: CallTree, out: TextIO) -> str:
    calls = [call for _, call in tree.walk()]
    retries = sum(call.attempts - 1 for call in calls)
    failed = sum(call.state == "failed" for call in calls)
    width = shutil.get_terminal_size().columns if out.isatty() else None
    return "\n".join(
        [
            "",
            "What ran: name, duration, attempts and items, result or error, what it saved",
            "",
            tree.render(width=width, ascii=needs_ascii(out)),
            "",
            f"{len(calls)} calls, {retries} retries, {failed} failed",
        ]
    )


def _spared(tree: CallTree, again: CallTree) -> str:
    recalled = "; ".join(f"{call.name}: {call.outcome}" for _, call in again.walk() if call.state == "cached")
    before, now = (format_duration(sum(call.elapsed for call in each.calls)) for each in (tree, again))
    return f"The same survey once more: {now} instead of {before}. From the cache:\n{recalled}"
