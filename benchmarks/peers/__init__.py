"""Other libraries that people would use for this, one file each. All are optional."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol, cast

from benchmarks.contest import Contestant

NAMES = ("stamina", "tenacity", "daglite", "dbos", "prefect", "reference")
"""The peers, in the order of their columns."""


class Peer(Protocol):
    """What the file of a peer provides.

    Attributes:
        NAME: As people know it.
        DISTRIBUTIONS: Installed packages whose versions the table names.
        MODULE: What to import to measure its import time, or None.
        APART: Whether it starts threads or servers and must be measured in a process of its own, lest it disturb the
            others.
    """

    NAME: str
    DISTRIBUTIONS: tuple[str, ...]
    MODULE: str | None
    APART: bool

    def available(self) -> bool:
        """Whether it is installed here."""
        ...

    def contestants(self) -> AbstractContextManager[Iterator[Contestant]]:
        """Set it up, hand out its contestants, and clean up."""
        ...


def load(name: str) -> Peer:
    """The peer in the file of that name."""
    return cast(Peer, importlib.import_module(f"benchmarks.peers.{name}"))


def installed(module: str) -> bool:
    """Whether `module` can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
