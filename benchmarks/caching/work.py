"""The functions that are cached. Any library can cache any of them; nothing here knows of caches."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

__all__ = [
    "ARRAY_BYTES",
    "add",
    "blob",
    "content",
    "gate",
    "gate_async",
    "give",
    "make_array",
    "prepared",
    "runs",
    "total",
]

ARRAY_BYTES = 100_000_000
LARGE, SMALL = 250_000, 50
"""Bytes of the results that processes store until they are killed; every fourth is large."""

runs: list[int] = []
"""The numbers for which `blob` has run in this process."""


prepared: list[Any] = []
"""What `give` gives, made beforehand: it is storing it that is timed."""


def add(x: int, y: int) -> int:
    return x + y


def make_array(size: int) -> Any:
    import numpy as np

    return np.arange(size // 8, dtype=np.float64)


def total(array: Any) -> float:
    return float(array[0] + array[-1])


def blob(number: int) -> bytes:
    runs.append(number)
    return content(number)


def content(number: int) -> bytes:
    """What `blob` gives."""
    return number.to_bytes(8, "big") * ((SMALL if number % 4 else LARGE) // 8)


def gate(path: str, seconds: float) -> int:
    """Note in a file that it has run, and take some time."""
    _note(path)
    time.sleep(seconds)
    return 1


async def gate_async(path: str, seconds: float) -> int:
    _note(path)
    await asyncio.sleep(seconds)
    return 1


async def give(number: int) -> Any:
    """The first of what was prepared; None for 0."""
    return prepared[0] if number else None


def _note(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b".")
    os.close(fd)
