"""What a dataset was made of: the tree of its sources, as far as manifests tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from eagerly.datasets._manifest import Dataset
from eagerly.errors import DatasetError

__all__ = ["Lineage", "trace"]

_GENERATIONS = 100


@dataclass(frozen=True, slots=True)
class Lineage:
    """A dataset and what it was made of. ``str()`` draws the tree.

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
        return "\n".join(self._lines(0, set()))

    def _lines(self, depth: int, drawn: set[str]) -> Iterator[str]:
        again = self.version in drawn
        drawn.add(self.version)
        note = " (nothing more is known of this save)" if self.dataset is None else ""
        note = " (see above)" if again and self.sources else note
        yield f"{'  ' * depth}{self.key} {self.version}{note}"
        if not again:
            for source in self.sources:
                yield from source._lines(depth + 1, drawn)


def trace(dataset: Dataset, history: Callable[[str], Sequence[Dataset]]) -> Lineage:
    """The tree above `dataset`, of a hundred generations at most.

    Args:
        dataset: Where to begin.
        history: The saves of a key that are known.
    """
    return _Tracer(history).trace(dataset, 0)


class _Tracer:
    def __init__(self, history: Callable[[str], Sequence[Dataset]]) -> None:
        self._history = history
        self._saves: dict[str, dict[str, Dataset]] = {}
        self._traced: dict[str, Lineage] = {}

    def trace(self, dataset: Dataset, generation: int) -> Lineage:
        """Each save once, however many were made of it; one that claims to be made of itself is not followed."""
        bare = Lineage(dataset.key, dataset.version, dataset.path, dataset)
        self._traced[dataset.version] = bare
        if generation < _GENERATIONS:
            sources = tuple(self._source(source, generation + 1) for source in _sources(dataset))
            self._traced[dataset.version] = Lineage(bare.key, bare.version, bare.path, dataset, sources)
        return self._traced[dataset.version]

    def _source(self, source: Mapping[str, Any], generation: int) -> Lineage:
        key, version, path = (str(source.get(name, "")) for name in ("key", "version", "path"))
        if version in self._traced:
            return self._traced[version]
        found = self._known(key).get(version)
        return Lineage(key, version, path, None) if found is None else self.trace(found, generation)

    def _known(self, key: str) -> dict[str, Dataset]:
        if key not in self._saves:
            try:
                self._saves[key] = {save.version: save for save in self._history(key)}
            except DatasetError:  # no key of a store
                self._saves[key] = {}
        return self._saves[key]


def _sources(dataset: Dataset) -> Iterator[Mapping[str, Any]]:
    noted: object = dataset.provenance.get("sources")
    for source in cast("list[object]", noted) if isinstance(noted, list | tuple) else ():
        if isinstance(source, Mapping):  # a manifest may have been written by hand
            yield cast("Mapping[str, Any]", source)
