"""Engines, one file each: who takes part in the rows that run in its process. Those not installed are left out."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, cast

__all__ = ["NAMES", "Engine", "Ways", "installed", "load"]

NAMES = ("local", "process", "dask", "ray")
"""The engines, in the order of the table."""

Ways: TypeAlias = "dict[tuple[str, str], Callable[[int], object]]"
"""By row and name: what maps so many items."""


class Engine(Protocol):
    """What the file of an engine provides.

    Attributes:
        NEEDS: The package without which there is nothing to measure, or None.
        DISTRIBUTIONS: Installed packages whose versions the table names, if they are there.
    """

    NEEDS: str | None
    DISTRIBUTIONS: tuple[str, ...]

    def ways(self) -> AbstractContextManager[Ways]:
        """Everybody who takes part, while the workers are there."""
        ...


def load(name: str) -> Engine:
    """The engine of that name."""
    return cast("Engine", importlib.import_module(f"benchmarks.fanout.engines.{name}"))


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
