"""`DatasetStore`: values under keys that people choose, as files that other programs read."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, TypeVar, overload

from eagerly.datasets._key import check_key, extension, nearest_key
from eagerly.datasets._lineage import Lineage, trace
from eagerly.datasets._manifest import (
    Dataset,
    Save,
    is_version,
    key_of_manifest,
    manifest_path,
    manifests_folder,
    versions_folder,
)
from eagerly.datasets._open import open_place
from eagerly.datasets._place import Place
from eagerly.datasets._publication import Publication, current, open_known, read_manifest, read_save, tidy
from eagerly.datasets._stream import StreamWriter
from eagerly.datasets._trouble import loading, saving
from eagerly.datasets._verify import Problem, identify, unaltered, verify
from eagerly.datasets.formats import Format, format_for
from eagerly.datasets.formats._library import value_type_name
from eagerly.errors import DatasetFormatError, DatasetNotFoundError, OptionTypeError

__all__ = ["DatasetStore"]

T = TypeVar("T")

_KNOWN = 10_000  # keys that are compared with one that does not exist


class DatasetStore:
    """A folder, or a place with a URL, in which datasets are kept as files under their keys.

    What the store knows about them it keeps in a hidden folder ``.eagerly`` there. Nothing is touched before the first
    save. A store can be pickled, and used by several threads and processes at once: whoever saves last wins, and nobody
    ever loads half of a file.

    Args:
        base: A path or any URL that fsspec knows. A relative path is taken from the working directory of now.
            A password in a URL is used, and shown nowhere.
        versions: Keep every version. What is under a key is always the latest.
        overwrite: Let two calls of one session save under the same key.
        storage_options: For URLs: what fsspec takes, for example credentials.

    Raises:
        OptionTypeError, OptionValueError: An argument cannot work.
        MissingExtraError: A URL, and fsspec or what it needs for this protocol is not installed.

    Example:
        >>> import tempfile
        >>> from eagerly import DatasetStore
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = DatasetStore(folder)
        ...     saved = store.save("2024/sales.json", {"total": 3})
        ...     saved.format, store.load("2024/sales.json")
        ('json', {'total': 3})
    """

    def __init__(
        self,
        base: str | os.PathLike[str] = ".",
        *,
        versions: bool = False,
        overwrite: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in (("versions", versions), ("overwrite", overwrite)):
            if not isinstance(value, bool):
                raise OptionTypeError(f"DatasetStore({name}=...) takes True or False, not {value!r}")
        self._place: Place = open_place(base, storage_options)
        self.versions = versions
        self.overwrite = overwrite

    def __repr__(self) -> str:
        flags = "".join(f", {name}=True" for name in ("versions", "overwrite") if getattr(self, name))
        return f"DatasetStore({self.base!r}{flags})"

    @property
    def base(self) -> str:
        """Where it is: an absolute path, or a URL without its passwords."""
        return self._place.url

    @property
    def shared(self) -> bool:
        """Whether other processes see the same datasets. ``memory://`` is the memory of this one."""
        return self._place.shared

    def path(self, key: str) -> str:
        """The file of `key`, or its URL without passwords, whether there is one or not.

        Raises:
            DatasetKeyError: `key` cannot be one.
        """
        return self._place.locate(check_key(key))

    def save(
        self,
        key: str,
        value: Any,
        *,
        format: str | None = None,  # noqa: A002 - as in save_dataset()
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        check: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> Dataset:
        """Save `value` under `key`, at once or not at all.

        Args:
            key: A relative path with ``/``.
            value: What to save.
            format: The name of one; None: by the extension of the key, then by the type of the value.
            options: Of the format.
            provenance: What to note in the manifest. What JSON does not have is noted as its ``repr``.
            check: Is given the provenance of what is there, when nobody else can replace that any more, and raises if
                it is to stay. Nothing is asked where a store has saved nothing.

        Raises:
            DatasetKeyError: `key` cannot be one, or a link leads out of the store.
            DatasetFormatError: The format does not exist or does not fit.
            DatasetError: It could not be written. Each of these has the value as ``result``; what was saved before
                is still there.
        """
        options = options or {}
        with saving(key, value):
            chosen = format_for(name=format, extension=extension(check_key(key)), value=value)
            publication = Publication(self._place, key, keep=self.versions, check=check)
            try:
                chosen.save(value, publication.file, options)
                return publication.commit(chosen, options, value_type_name(value), provenance)
            finally:
                publication.discard()

    def writer(
        self,
        key: str,
        *,
        format: str | None = None,  # noqa: A002 - as in save()
        options: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        check: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> StreamWriter:
        """Save items as they come, with arguments as those of `save`. Nobody sees any before `StreamWriter.commit`.

        Raises:
            DatasetKeyError: `key` cannot be one, or a link leads out of the store.
            DatasetFormatError: The format does not exist or does not take single items.
            DatasetError: Nothing can be written there.
        """
        return StreamWriter(self._place, key, format, options or {}, provenance, keep=self.versions, check=check)

    @overload
    def load(
        self,
        key: str,
        return_type: type[T],
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        version: str | None = None,
    ) -> T: ...
    @overload
    def load(
        self,
        key: str,
        return_type: Any = None,
        *,
        format: str | None = None,
        options: Mapping[str, Any] | None = None,
        version: str | None = None,
    ) -> Any: ...
    def load(
        self,
        key: str,
        return_type: Any = None,
        *,
        format: str | None = None,  # noqa: A002 - as in save()
        options: Mapping[str, Any] | None = None,
        version: str | None = None,
    ) -> Any:
        """The value under `key`, as it is in the file now; `verify` tells whether that is what was saved.

        Args:
            key: As given to `save`. Files that were not saved by this store can be loaded too.
            return_type: What it is to be; None: what it was when it was saved, or what the format usually gives.
            format: The name of one; None: that of the manifest, then by the extension of the key.
            options: Of the format.
            version: `Dataset.version` of an earlier save, if the store kept it.

        Raises:
            DatasetKeyError: `key` cannot be one, or a link leads out of the store.
            DatasetNotFoundError: There is no such dataset, or no such version.
            DatasetFormatError: The format is not known or cannot give `return_type`; or the manifest says that it is
                one which may run code, where the extension speaks of another.
            DatasetError: The file cannot be read, or is not of this format.
            MissingExtraError: A library that the format needs is not installed.
        """
        with loading(check_key(key)):
            file, save = self._open(key) if version is None else self._open_version(key, version)
            with file:
                name = format or (save.format if save else None)
                chosen = format_for(name=name, extension=extension(key), return_type=return_type, loading=True)
                if chosen.unsafe and format is None:
                    _refuse_in_disguise(key, chosen)
                kept: Mapping[str, Any] = {}
                if save is not None and save.format == chosen.name:
                    kept = save.options
                    return_type = return_type or chosen.type_named(save.python_type)
                return chosen.load(file, return_type, {**kept, **(options or {})})

    def exists(self, key: str) -> bool:
        """Whether there is a file under `key`."""
        with loading(check_key(key)):
            return self._place.stamp(key) is not None

    def delete(self, key: str) -> bool:
        """Remove the file under `key`, all its versions, and what is known about it.

        Returns:
            Whether there was anything.
        """
        with loading(check_key(key)), self._place.lock(key):
            removed = [self._place.remove(key), self._place.remove(manifest_path(key))]
            removed += [self._place.remove(path) for path in list(self._place.walk(versions_folder(key)))]
            return any(removed)

    def manifest(self, key: str) -> Dataset | None:
        """What is known of the file under `key`; None if there is no file, or if it was not saved by a store."""
        with loading(check_key(key)):
            save = current(self._place, key, read_manifest(self._place, key))
        return None if save is None else save.dataset(key, self.path(key))

    def _unaltered(self, key: str) -> Dataset | None:
        """As `manifest`, and None as well if the file is not what was saved, as far as that can be told quickly."""
        with loading(check_key(key)):
            save = unaltered(self._place, key)
        return None if save is None else save.dataset(key, self.path(key))

    def history(self, key: str) -> list[Dataset]:
        """All saves of `key` that can be loaded, newest first."""
        with loading(check_key(key)):
            folder = versions_folder(key)
            names = {path.rpartition("/")[2] for path in self._place.walk(folder)}
            found: dict[str, Dataset] = {}
            for name in names:
                save = read_save(self._place, key, name) if f"{name}.json" in names else None
                if save is not None:
                    found[save.version] = save.dataset(key, self._place.locate(f"{folder}/{name}"))
        latest = self.manifest(key)
        if latest is not None:
            found[latest.version] = latest
        return [found[version] for version in sorted(found, reverse=True)]

    def list(self, prefix: str = "") -> list[Dataset]:
        """The datasets that were saved here and are still there, whose keys begin with `prefix`, by key."""
        if prefix:
            check_key(prefix.removesuffix("/") or prefix)
        with loading(prefix):
            found = [self.manifest(key) for key in sorted(self._keys(prefix))]
        return [dataset for dataset in found if dataset is not None]

    def lineage(self, key: str) -> Lineage:
        """What the dataset under `key` was made of, what that was made of, and so on.

        Raises:
            DatasetNotFoundError: There is none, or nothing is known of it.
        """
        dataset = self.manifest(key)
        if dataset is None:
            raise self._not_found(key)
        return trace(dataset, self.history)

    def verify(self, key: str | None = None) -> builtins.list[Problem]:
        """Read the files and compare them with what was saved.

        Args:
            key: One dataset; None: all of them, and which files lie in their folders that no store has saved there.
                The base itself is not searched for such.

        Returns:
            What is missing, altered, foreign or unreadable; empty if all is well.
        """
        if key is not None:
            check_key(key)
        with loading(key or ""):
            self._place.sweep(partial(tidy, self._place))  # what a killed save left is no problem
            return verify(self._place, [key] if key is not None else sorted(self._keys("")), search=key is None)

    def _keys(self, prefix: str) -> Iterator[str]:
        for path in self._place.walk(manifests_folder(prefix)):
            key = key_of_manifest(path)
            if key is not None and key.startswith(prefix):
                yield key

    def _open(self, key: str) -> tuple[BinaryIO, Save | None]:
        """The file under `key`, and what is known of this very file."""
        try:
            file, stamp, manifest = open_known(self._place, key)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._not_found(key) from None
        return file, None if manifest is None else identify(file, manifest, stamp)

    def _open_version(self, key: str, version: str) -> tuple[BinaryIO, Save]:
        if is_version(version):
            save = read_save(self._place, key, version)
            if save is not None:
                try:
                    return self._place.open(f"{versions_folder(key)}/{version}")[0], save
                except FileNotFoundError:
                    raise DatasetNotFoundError(f"the file of version {version!r} of {key!r} is gone", key=key) from None
            if self.exists(key):
                file, latest = self._open(key)
                if latest is not None and latest.version == version:
                    return file, latest
                file.close()
        there = ", ".join(repr(dataset.version) for dataset in self.history(key)[:5])
        if not there:
            raise self._not_found(key)
        raise DatasetNotFoundError(f"dataset {key!r} has no version {version!r}; the latest are {there}", key=key)

    def _not_found(self, key: str) -> DatasetNotFoundError:
        near = nearest_key(key, list(islice(self._keys(""), _KNOWN)))
        return DatasetNotFoundError(f"there is no dataset {key!r} in {self.base}{near}", key=key)


def _refuse_in_disguise(key: str, chosen: Format) -> None:
    """A manifest alone does not make a pickle of what its name says is something else: others may have written it."""
    try:
        named = format_for(name=None, extension=extension(key), loading=True)
    except DatasetFormatError:
        return  # its name says nothing
    if not named.unsafe:
        raise DatasetFormatError(
            f"the manifest of {key!r} says that it is a {chosen.name}, which may run code, and its name that it is "
            f"{named.name}; write format={chosen.name!r} if you trust everybody who can write there",
            key=key,
        )
