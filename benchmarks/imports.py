"""Import time, from ``python -X importtime`` in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

ROUNDS = 15
SLOW_ROUNDS = 5
SLOW = 0.3
"""Seconds from which a module is imported `SLOW_ROUNDS` times only."""


class ImportTime(NamedTuple):
    """Seconds: for everything that came along, and for the package's own modules; medians."""

    total: float
    own: float


def measure(modules: Iterable[str], *, rounds: int = ROUNDS) -> dict[str, ImportTime]:
    """The import times of `modules`, taken in turns."""
    found: dict[str, list[ImportTime]] = {module: [] for module in modules}
    for module in found:
        _once(module)  # compiles what has no .pyc yet
    for turn in range(rounds):
        for module, samples in found.items():
            if turn < SLOW_ROUNDS or samples[0].total < SLOW:
                samples.append(_once(module))
    return {
        module: ImportTime(median(each.total for each in samples), median(each.own for each in samples))
        for module, samples in found.items()
    }


def _environment() -> dict[str, str]:
    """Ours, but with bytecode written: what is measured is loading modules, not compiling them each time."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _once(module: str) -> ImportTime:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    report = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment()).stderr
    total = own = 0
    for line in report.splitlines():
        # import time: self [us] | cumulative | imported package
        fields = line.removeprefix("import time:").split("|")
        if len(fields) != 3 or not fields[0].strip().isdigit():
            continue
        name = fields[2].strip()
        if name == module:
            total = int(fields[1])
        if name == module or name.startswith(f"{module}."):
            own += int(fields[0])
    return ImportTime(total / 1e6, own / 1e6)
