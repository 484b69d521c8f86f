"""What the checks found about a library, as numbers to compare and cells to print."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.apart import last_words
from benchmarks.caching.checks import COROUTINES, PROCESSES, THREADS, run_check
from benchmarks.caching.libraries import load
from benchmarks.caching.values import DIFFERENT, EQUAL, KINDS

__all__ = ["TITLES", "Findings", "look_into"]

TITLES = {
    "once": f"how often a function runs for {THREADS} threads / {PROCESSES} processes / {COROUTINES} coroutines",
    "pairs": f"equal values split, of {len(EQUAL)} / different values collide, of {len(DIFFERENT)}",
    "kinds": f"unstable across processes, of {len(KINDS)} kinds of value",
    "kills": "after {kills} kill -9: corrupt reads / orphans / lost results",
}
ACCEPTED = {"once": (1, 1, 1), "pairs": (1, 0), "kinds": (0,), "kills": (0, 0, 0)}
"""At most so many. Arrays in C and in Fortran order are told apart, as functions can tell them apart."""

_WHO = ("threads", "processes", "coroutines")


@dataclass
class Findings:
    """What was found about one library.

    Attributes:
        numbers: By row, in the order of its title; None for what the library cannot do.
        remarks: By row, what belongs behind the numbers.
        names: By sort of trouble, the values that have it.
    """

    numbers: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def cell(self, row: str) -> str:
        if row not in self.numbers:
            return ""
        numbers = " / ".join("-" if number is None else str(number) for number in self.numbers[row])
        return f"{numbers} ({self.remarks[row]})" if self.remarks.get(row) else numbers

    def verdict(self, row: str) -> str:
        if row not in self.numbers:
            return ""
        pairs = zip(self.numbers[row], ACCEPTED[row], strict=True)
        return "yes" if all(found is not None and found <= most for found, most in pairs) else "**no**"


def look_into(name: str, folder: Path, rows: Collection[str], kills: int) -> Findings:
    """Ask everything of one library."""
    found, on_disk = Findings(), load(name).on_disk
    if "once" in rows:
        runs = tuple(_ask(name, check, folder) for check in _WHO)
        if any(run is not None for run in runs):
            found.numbers["once"] = runs
    if "pairs" in rows or "kinds" in rows:
        first, second = (_ask(name, "keys", folder, seed=seed) for seed in (1, 2))
        if first is not None and second is not None:
            _compare(found, first, second, shared=on_disk)
    if "kills" in rows and on_disk:
        ended = _ask(name, "kills", folder, str(kills), "1")
        if ended is not None:
            found.numbers["kills"] = tuple(ended[sort] for sort in ("corrupt", "orphans", "lost"))
            found.remarks["kills"] = f"{ended['results']:,} results"
    return found


def _ask(name: str, check: str, folder: Path, *arguments: str, seed: int = 0) -> Any:
    """What a check finds; None if the library leaves it out or cannot do it."""
    if check in load(name).leaves_out:
        return None
    try:
        return run_check(check, name, folder / f"{check}-{seed}-{name}" / "cache", *arguments, seed=seed)
    except subprocess.SubprocessError as error:
        print(f"{name}, {check}: {last_words(error)}", file=sys.stderr)
        return None


def _compare(found: Findings, first: Any, second: Any, *, shared: bool) -> None:
    equal, different, kinds = first["equal"], first["different"], first["kinds"]
    names = {
        "splits": [name for name, same in equal.items() if same is False],
        "mixes up": [name for name, same in different.items() if same],
        "keys anew in each process": [
            name for name, key in kinds.items() if shared and key is not None and key != second["kinds"][name]
        ],
    }
    found.names = names
    found.numbers["pairs"] = len(names["splits"]), len(names["mixes up"])
    found.remarks["pairs"] = _refused([*equal.values(), *different.values()])
    if shared:
        found.numbers["kinds"] = (len(names["keys anew in each process"]),)
        found.remarks["kinds"] = _refused([*kinds.values()])


def _refused(keys: list[object]) -> str:
    count = keys.count(None)
    return f"{count} refused" if count else ""
