"""How long a process takes to get a large array that another one has stored: ``python -m benchmarks.caching.handover``,
once for each figure, in a process that has had small ones before.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.caching import work
from benchmarks.caching.libraries import Library, load

__all__ = ["REACHABLE", "ROUNDS", "handovers", "takes_part"]

ROUNDS = 15
REACHABLE = 0.2e-3
"""Seconds, as the design names them."""

SMALL, WARM_UP = 8, 3
TIMEOUT = 60


def takes_part(name: str) -> bool:
    """Whether processes share its results, and it needs none of its own."""
    library = load(name)
    return library.on_disk and not library.apart and "load" not in library.leaves_out


def handovers(names: Sequence[str], folder: Path, size: int, rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Minimum and median of the seconds, for each of the libraries, which take turns."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        library = _opened(name, folder)
        with library.around():
            for each in (SMALL, size):
                library.cached(work.make_array)(each)
    for _ in range(rounds):
        for name, taken in found.items():
            command = [sys.executable, "-m", "benchmarks.caching.handover", name, str(folder), str(size)]
            result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            taken.append(float(result.stdout))
    return {name: (min(taken), median(taken)) for name, taken in found.items()}


def _opened(name: str, folder: Path) -> Library:
    return load(name)(folder / name)


def main(name: str, folder: str, size: str) -> None:
    library = _opened(name, Path(folder))
    cached = library.cached(work.make_array)
    with library.around():
        for _ in range(WARM_UP):
            cached(SMALL)
        start = perf_counter()
        array = cached(int(size))
        taken = perf_counter() - start
    if array[-1] != int(size) // 8 - 1:
        raise SystemExit(f"{name} gives another array")
    print(taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
