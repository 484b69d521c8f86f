"""Who takes part, one file each. All but eagerly are optional, and run in a process of their own beside it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast

from benchmarks.contest import Contestant

__all__ = ["NAMES", "System", "installed", "load"]

NAMES = ("eagerly", "dbos", "huey")


class System(Protocol):
    """What the file of one provides.

    Attributes:
        TITLE: As people know it.
        MODULE: The module without which there is nothing to measure; the distribution has the same name.
    """

    TITLE: str
    MODULE: str

    def contestants(self, folder: Path) -> AbstractContextManager[Iterator[Contestant]]:
        """Set it up in `folder`, hand out its contestants, and clean up."""
        ...


def load(name: str) -> System:
    """The system of that name."""
    return cast("System", importlib.import_module(f"benchmarks.runs.systems.{name}"))


def installed(name: str) -> bool:
    """Whether it is there, without importing it."""
    return importlib.util.find_spec(load(name).MODULE) is not None
