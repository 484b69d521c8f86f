"""Datasets: results saved under names that people choose, in formats that other programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eagerly._lazy import lazily as _lazily

if TYPE_CHECKING:
    from eagerly.datasets._lineage import Lineage as Lineage
    from eagerly.datasets._manifest import Dataset as Dataset
    from eagerly.datasets._store import DatasetStore as DatasetStore
    from eagerly.datasets._stream import StreamWriter as StreamWriter
    from eagerly.datasets._verify import Problem as Problem

__all__ = [
    "Dataset",
    "DatasetStore",
    "Lineage",
    "Problem",
    "StreamWriter",
]

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "Dataset": "eagerly.datasets._manifest",
        "DatasetStore": "eagerly.datasets._store",
        "Lineage": "eagerly.datasets._lineage",
        "Problem": "eagerly.datasets._verify",
        "StreamWriter": "eagerly.datasets._stream",
    },
)
