"""What a dataset was made of: the tree of its sources, as far as manifests tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from eagerly.datasets._manifest import Dataset
from eagerly.errors import DatasetError

__all__ = ["Lineage", "trace"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """A dataset and what it was made of.

    Attributes:
        key: Of the dataset.
        version: Which save of it.
        path: Where it was then.
        dataset: What is known of this very save; None if its manifest is gone, or is in another store.
        sources: What was loaded to make it.
    """

    key: str
    version: str
    path: str
    dataset: Dataset | None
    sources: tuple[Lineage, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._lines(0))

    def _lines(self, depth: int) -> Iterator[str]:
        state = "" if self.dataset is not None else " (not in this store any more)"
        yield f"{'  ' * depth}{self.key} {self.version}{state}"
        for source in self.sources:
            yield from source._lines(depth + 1)


def trace(dataset: Dataset, history: Callable[[str], Sequence[Dataset]]) -> Lineage:
    """The tree above `dataset`.

    Args:
        dataset: Where to begin.
        history: The saves of a key that are known.
    """
    return _trace(dataset, history, ())


def _trace(dataset: Dataset, history: Callable[[str], Sequence[Dataset]], below: tuple[str, ...]) -> Lineage:
    below = (*below, dataset.version)
    noted: list[Any] = dataset.provenance.get("sources") or []
    sources: list[Lineage] = []
    for each in noted:
        if not isinstance(each, Mapping):  # written by hand
            continue
        source = cast("Mapping[str, Any]", each)
        key, version, path = (str(source.get(name, "")) for name in ("key", "version", "path"))
        found = None if version in below else _find(key, version, history)
        sources.append(Lineage(key, version, path, None) if found is None else _trace(found, history, below))
    return Lineage(dataset.key, dataset.version, dataset.path, dataset, tuple(sources))


def _find(key: str, version: str, history: Callable[[str], Sequence[Dataset]]) -> Dataset | None:
    try:
        saves = history(key)
    except DatasetError:  # no key of a store
        return None
    return next((save for save in saves if save.version == version), None)
