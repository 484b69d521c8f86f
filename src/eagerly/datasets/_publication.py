"""How a dataset gets under its key: written where nobody sees it, then published with its manifest, or not at all.

The order is what makes a crash harmless: the version that is kept, the manifest (which still has the save before), the
file. What is under the key changes in one moment, with the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, BinaryIO

from eagerly.datasets._key import check_key
from eagerly.datasets._manifest import (
    Dataset,
    Manifest,
    Save,
    manifest_path,
    next_version,
    now,
    software,
    versions_folder,
)
from eagerly.datasets._place import Draft, Place, Stamp
from eagerly.datasets.formats import Format
from eagerly.errors import DatasetKeyError

__all__ = ["Publication", "current", "open_known", "read_manifest", "read_save", "tidy"]


_REMEMBERED = 4  # saves in a manifest that several processes write without a lock
_INSISTENCE = 3
_READS = 8  # more saves than that while one file is opened: what is there is taken


class Publication:
    """One save that is under way. Ends with `commit` or `discard`.

    Args:
        place: Where.
        key: Checked already.
        keep: Whether every version is kept.
        check: Is given the provenance of what is there, and raises if that must not be replaced.
    """

    def __init__(
        self, place: Place, key: str, *, keep: bool, check: Callable[[Mapping[str, Any]], object] | None = None
    ) -> None:
        self._place = place
        self._key = key
        self._keep = keep
        self._check = check
        place.sweep(partial(tidy, place))
        self._drafts: list[Draft] = []
        if keep:
            self._drafts.append(place.draft(f"{versions_folder(key)}/new"))
        else:
            self._drafts.append(place.draft(key))

    @property
    def file(self) -> BinaryIO:
        return self._drafts[0].file

    def discard(self) -> None:
        for draft in self._drafts:
            draft.discard()

    def commit(
        self, chosen: Format, options: Mapping[str, Any], python_type: str, provenance: Mapping[str, Any] | None
    ) -> Dataset:
        """Publish what was written.

        Args:
            chosen: The format it was written in.
            options: Those it was written with.
            python_type: Of the value.
            provenance: Of the value.
        """
        written = self._drafts[0].finish()
        if self._keep:
            self._drafts.append(self._drafts[0].twin(self._key))
        visible = self._drafts[-1]
        stamp = visible.finish().stamp if self._keep else written.stamp
        with self._place.lock(self._key):
            manifest = read_manifest(self._place, self._key)
            before = current(self._place, self._key, manifest)
            if self._check is not None and before is not None:
                self._check(before.provenance)
            moment = now()
            save = Save(
                format=chosen.name,
                sha256=written.sha256,
                version=next_version(moment, [each.version for each in manifest.saves] if manifest else ()),
                python_type=python_type,
                saved_at=moment,
                software=software(chosen.versions()),
                provenance=dict(provenance or {}),
                options={name: options[name] for name in chosen.kept_options if name in options},
                stamp=stamp,
            )
            if self._keep:
                if before is not None:
                    keep_version(self._place, self._key, before)
                self._drafts[0].publish(save.version, like=self._key)
            self._publish(visible, manifest, save, before)
            if self._keep:
                write_save(self._place, self._key, save)
        return save.dataset(self._key, self._place.locate(self._key))

    def _publish(self, visible: Draft, manifest: Manifest | None, save: Save, before: Save | None) -> None:
        path = manifest_path(self._key)
        others: tuple[Save, ...] = () if before is None else (before,)
        if not self._place.exclusive and manifest is not None:  # other processes may be at it, too
            others = manifest.saves[:_REMEMBERED]
        self._place.write(path, Manifest(self._key, (save, *others)).encode())
        try:
            visible.publish()
        except BaseException:
            if manifest is None:
                self._place.remove(path)
            else:
                self._place.write(path, manifest.encode())
            if self._keep:
                self._place.remove(f"{versions_folder(self._key)}/{save.version}")
            raise
        if not self._place.exclusive:
            self._insist(save)

    def _insist(self, save: Save) -> None:
        """Write the manifest again if another process has written one meanwhile that does not have `save`."""
        for _ in range(_INSISTENCE):
            manifest = read_manifest(self._place, self._key)
            others = manifest.saves if manifest is not None else ()
            if any(other.version == save.version for other in others):
                return
            found = Manifest(self._key, (save, *others[:_REMEMBERED]))
            self._place.write(manifest_path(self._key), found.encode())


def tidy(place: Place, key: str) -> None:
    """Take away what a save of `key` left that was killed before it had replaced the file."""
    try:
        check_key(key)
    except DatasetKeyError:  # a version: the file under its key is noted as well
        return
    with place.lock(key):
        manifest = read_manifest(place, key)
        before = current(place, key, manifest)
        if manifest is not None and before is None:
            place.remove(manifest_path(key))
        place.remove(f"{manifest_path(key)}.tmp")
        _tidy_versions(place, key, before)


def _tidy_versions(place: Place, key: str, before: Save | None) -> None:
    folder = versions_folder(key)
    found = {path.rpartition("/")[2] for path in place.walk(folder)}
    for name in found:
        if name.endswith(".tmp"):
            place.remove(f"{folder}/{name}")
        elif not name.endswith(".json") and f"{name}.json" not in found:
            if before is not None and name == before.version:
                write_save(place, key, before)
            else:
                place.remove(f"{folder}/{name}")


def keep_version(place: Place, key: str, save: Save) -> None:
    """See to it that the file under `key`, which is `save`, is among the versions. With the lock of the key."""
    if read_save(place, key, save.version) is not None:
        return
    path = f"{versions_folder(key)}/{save.version}"
    if place.stamp(path) is None:  # it was saved by a store that keeps none
        draft = place.draft(path)
        try:
            file, _ = place.open(key)
            with file:
                shutil.copyfileobj(file, draft.file, 1 << 20)
            draft.finish()
            draft.publish(like=key)
        finally:
            draft.discard()
    write_save(place, key, save)


def open_known(place: Place, key: str) -> tuple[BinaryIO, Stamp, Manifest | None]:
    """The file under `key`, and a manifest that knows this very file, without a lock.

    Raises:
        FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
    """
    before = None
    for attempt in count(1):
        file, stamp = place.open(key)
        try:
            # Read after the file was opened: a manifest is written before its file is there.
            manifest = read_manifest(place, key)
            if manifest is None or manifest.is_certain(stamp) or stamp == before or attempt == _READS:
                return file, stamp, manifest
        except BaseException:
            file.close()
            raise
        before = stamp  # a save came between, or the file was altered: then it will be the same once more
        file.close()
    raise AssertionError("count() does not end")


def read_manifest(place: Place, key: str) -> Manifest | None:
    """None if there is none, or none that can be read."""
    manifest = _read(place, manifest_path(key))
    return manifest if manifest is not None and manifest.key == key else None


def read_save(place: Place, key: str, version: str) -> Save | None:
    """What is known of a version that was kept; None if there is no such version."""
    manifest = _read(place, f"{versions_folder(key)}/{version}.json")
    return manifest.saves[0] if manifest is not None else None


def write_save(place: Place, key: str, save: Save) -> None:
    place.write(f"{versions_folder(key)}/{save.version}.json", Manifest(key, (save,)).encode())


def current(place: Place, key: str, manifest: Manifest | None) -> Save | None:
    """The save that the file under `key` is; None without file or manifest."""
    if manifest is None:
        return None
    stamp = place.stamp(key)
    return None if stamp is None else manifest.describe(stamp)


def _read(place: Place, path: str) -> Manifest | None:
    data = place.read(path)
    return None if data is None else Manifest.decode(data)
