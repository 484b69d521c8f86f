"""Whether the files are what was saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple

from eagerly.datasets._hashing import digest_of
from eagerly.datasets._manifest import Manifest, Save, manifest_path, versions_folder
from eagerly.datasets._place import Place, Stamp
from eagerly.datasets._publication import open_known, read_manifest, read_save

__all__ = ["Problem", "identify", "unaltered", "verify"]


class Problem(NamedTuple):
    """Something about a dataset that is not as it was saved.

    Attributes:
        key: Of the dataset.
        kind: ``"missing"``: it was saved, and its file is gone; ``"altered"``: its file has other content;
            ``"foreign"``: there is a file, and no store has saved it; ``"unreadable"``: its manifest is damaged.
        detail: For people.
        version: Which of the kept versions; "": the file under the key.
    """

    key: str
    kind: Literal["missing", "altered", "foreign", "unreadable"]
    detail: str
    version: str = ""


def identify(file: BinaryIO, manifest: Manifest, stamp: Stamp) -> Save:
    """The save that `file` is. Where that makes a difference for loading and nothing else tells, its content does."""
    candidates = manifest.candidates(stamp)
    if len({(each.format, repr(sorted(each.options.items()))) for each in candidates}) > 1:
        digest = digest_of(file)
        file.seek(0)
        return next((each for each in candidates if each.sha256 == digest), candidates[0])
    return manifest.describe(stamp)


def unaltered(place: Place, key: str) -> Save | None:
    """The save that the file under `key` still is; None if it has been altered since, or is gone.

    Its content is only read if it has the size that was saved, and another inode or time, as copies have. Where files
    have neither, their size is all that is looked at.
    """
    manifest, stamp = read_manifest(place, key), place.stamp(key)
    if manifest is None or stamp is None:
        return None
    candidates = manifest.candidates(stamp)
    if not candidates or manifest.is_certain(stamp) or not stamp.inode:
        return next(iter(candidates), None)
    try:
        file, stamp, manifest = open_known(place, key)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    with file:
        candidates = [] if manifest is None else manifest.candidates(stamp)
        digest = digest_of(file) if candidates else ""
        return next((each for each in candidates if each.sha256 == digest), None)


def verify(place: Place, keys: Sequence[str], *, search: bool) -> list[Problem]:
    """What is wrong with `keys`; with `search`, also what else lies in their folders."""
    problems = [problem for key in keys for problem in _check(place, key)]
    if search:
        known = set(keys)
        folders = {key.rpartition("/")[0] for key in keys} - {""}
        problems += [
            Problem(path, "foreign", "no store has saved this file")
            for folder in sorted(folders)
            for path in place.walk(folder, deep=False)
            if path not in known
        ]
    return problems


def _check(place: Place, key: str) -> Iterator[Problem]:
    found = list(_check_file(place, key))
    if found:  # or there were so many saves at that moment that no manifest was caught with its file
        found = list(_check_file(place, key))
    yield from found
    for path in sorted(place.walk(versions_folder(key))):
        if path.endswith(".json"):
            yield from _check_version(place, key, path.rpartition("/")[2].removesuffix(".json"))


def _check_file(place: Place, key: str) -> Iterator[Problem]:
    try:
        file, stamp, manifest = open_known(place, key)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        known = place.stamp(manifest_path(key)) is not None
        yield Problem(key, "missing", f"{place.locate(key)} is gone" if known else "it never was there")
        return
    with file:
        if manifest is not None:
            yield from _compare(key, file, stamp, manifest.saves)
        elif place.stamp(manifest_path(key)) is not None:
            yield Problem(key, "unreadable", f"the manifest {place.locate(manifest_path(key))} is damaged")
        else:
            yield Problem(key, "foreign", "no store has saved this file")


def _check_version(place: Place, key: str, version: str) -> Iterator[Problem]:
    path = f"{versions_folder(key)}/{version}"
    save = read_save(place, key, version)
    if save is None:
        yield Problem(key, "unreadable", f"the manifest {place.locate(path)}.json is damaged", version)
        return
    try:
        file, stamp = place.open(path)
    except FileNotFoundError:
        yield Problem(key, "missing", f"{place.locate(path)} is gone", version)
        return
    with file:
        yield from _compare(key, file, stamp, [save], version)


def _compare(key: str, file: BinaryIO, stamp: Stamp, saves: Sequence[Save], version: str = "") -> Iterator[Problem]:
    if all(save.stamp.size != stamp.size for save in saves):
        yield Problem(key, "altered", f"it has {stamp.size} bytes, and {saves[0].stamp.size} were saved", version)
    elif digest_of(file) not in {save.sha256 for save in saves}:
        yield Problem(key, "altered", "its SHA-256 is not that of what was saved", version)
