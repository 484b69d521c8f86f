"""Datasets that are written item by item, and appear when they are complete."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from eagerly.datasets._key import check_key, extension
from eagerly.datasets._manifest import Dataset
from eagerly.datasets._place import Place
from eagerly.datasets._publication import Publication
from eagerly.datasets._trouble import saving
from eagerly.datasets.formats import Format, ItemWriter, format_for, type_name
from eagerly.errors import DatasetError

__all__ = ["StreamWriter"]


class StreamWriter:
    """Writes the items of a stream under a key. Nothing is there before `commit`, and nothing is left after `abort`.

    As a context manager it commits at the end of the block, or aborts if that fails. Made by `DatasetStore.writer`.

    Attributes:
        key: Under which it will be saved.
        count: How many items were written.

    Example:
        >>> import tempfile
        >>> from eagerly import DatasetStore
        >>> with tempfile.TemporaryDirectory() as folder, DatasetStore(folder).writer("today.jsonl") as writer:
        ...     for number in range(3):
        ...         writer.write({"n": number})
    """

    def __init__(
        self,
        place: Place,
        key: str,
        format: str | None,  # noqa: A002 - as in DatasetStore.writer()
        options: Mapping[str, Any],
        provenance: Mapping[str, Any] | None,
        *,
        keep: bool,
        check: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:
        self.key = key
        self.count = 0
        self._publication: Publication | None = None
        self._name = format
        self._options = options
        self._provenance = provenance
        self._python_type = "Iterator"
        self._items: ItemWriter | None = None
        with saving(key, None):
            self._format: Format = format_for(name=format, extension=extension(check_key(key)), streaming=True)
            self._publication = Publication(place, key, keep=keep, check=check)

    def write(self, item: Any) -> None:
        """Take one item. Its bytes may reach the disk later, but never after `commit`.

        Raises:
            DatasetFormatError: The format does not take it.
            DatasetError: It could not be written. Each of these has the item as ``result``; the writer is aborted.
        """
        with saving(self.key, item):
            publication = self._open_publication()
            try:
                if self._items is None:
                    self._begin(publication, item)
                assert self._items is not None
                self._items.write(item)
            except BaseException:
                self.abort()
                raise
        self.count += 1

    def commit(self) -> Dataset:
        """Publish what was written, also if it was nothing.

        Raises:
            DatasetError: It could not be written. Nothing has changed then.
        """
        with saving(self.key, None):
            publication = self._open_publication()
            try:
                if self._items is None:
                    self._items = self._format.writer(publication.file, self._options)
                self._items.close()
                return publication.commit(self._format, self._options, self._python_type, self._provenance)
            finally:
                self.abort()

    def abort(self) -> None:
        """Forget what was written. After `commit`, or a second time, it does nothing."""
        publication, self._publication = self._publication, None
        self._items = None
        if publication is not None:
            publication.discard()

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None or self._publication is None:
            self.abort()
        else:
            self.commit()

    def __del__(self) -> None:
        if self._publication is not None and not sys.is_finalizing():
            import warnings

            warnings.warn(
                f"the stream of dataset {self.key!r} was neither committed nor aborted; nothing was saved",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
            self.abort()

    def _open_publication(self) -> Publication:
        if self._publication is None:
            raise DatasetError(f"the stream of dataset {self.key!r} has ended; open another writer", key=self.key)
        return self._publication

    def _begin(self, publication: Publication, item: Any) -> None:
        self._format = format_for(name=self._name, extension=extension(self.key), value=item, streaming=True)
        self._items = self._format.writer(publication.file, self._options)
        self._python_type = f"Iterator[{type_name(type(item))}]"
