"""What a store knows of a dataset: `Dataset` for people, and the manifest beside it on the disk.

A manifest has the save that was published last, and the one before, because it is written just before the file itself
is replaced. Which of the two is there, the file says: by its size, inode and time. So neither a reader without a lock
nor a crash between the two sees a manifest that is not the file's.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from eagerly.datasets._key import OWN
from eagerly.datasets._place import Stamp

__all__ = [
    "Dataset",
    "Manifest",
    "Save",
    "is_version",
    "key_of_manifest",
    "manifest_path",
    "manifests_folder",
    "next_version",
    "now",
    "software",
    "versions_folder",
]

_MANIFESTS = f"{OWN}/manifests"
_VERSIONS = f"{OWN}/versions"
_FORM = 1
_STAMP = "%Y%m%dT%H%M%S%fZ"
_STAMP_LENGTH = len("20261121T005828123456Z")
_VERSION = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A saved dataset.

    Attributes:
        key: Under which it was saved.
        path: The file, or its URL.
        format: The name of its format.
        size: In bytes.
        sha256: Of the file, in hex.
        version: What `load` takes to get this very save, if the store keeps versions. Later ones sort behind.
        python_type: Of the value that was saved.
        saved_at: When, in UTC.
        software: What it was written with: the versions of eagerly, Python and the libraries of the format.
        provenance: Where it comes from, as told by whoever saved it: task, code version, inputs, session, sources.
    """

    key: str
    path: str
    format: str
    size: int
    sha256: str
    version: str
    python_type: str
    saved_at: datetime
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_source(self) -> dict[str, str]:
        """What another dataset notes in its provenance, under ``sources``, if it was made of this one."""
        return {"key": self.key, "path": self.path, "version": self.version, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """One save, as manifests have it.

    Attributes:
        options: Those of saving that loading needs again.
        stamp: Of the file under the key.
    """

    format: str
    sha256: str
    version: str
    python_type: str
    saved_at: datetime
    software: Mapping[str, str]
    provenance: Mapping[str, Any]
    options: Mapping[str, Any]
    stamp: Stamp

    def dataset(self, key: str, path: str) -> Dataset:
        return Dataset(
            key=key,
            path=path,
            format=self.format,
            size=self.stamp.size,
            sha256=self.sha256,
            version=self.version,
            python_type=self.python_type,
            saved_at=self.saved_at,
            software=self.software,
            provenance=self.provenance,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "saved_at": self.saved_at.isoformat(),
            "format": self.format,
            "options": dict(self.options),
            "python_type": self.python_type,
            "size": self.stamp.size,
            "sha256": self.sha256,
            "inode": self.stamp.inode,
            "modified": self.stamp.modified,
            "software": dict(self.software),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Save:
        """Raises KeyError, TypeError or ValueError if it is not what `to_json` made."""
        if not is_version(data["version"]):
            raise ValueError(data["version"])
        return cls(
            format=str(data["format"]),
            sha256=str(data["sha256"]),
            version=data["version"],
            python_type=str(data["python_type"]),
            saved_at=datetime.fromisoformat(data["saved_at"]),
            software=dict(data["software"]),
            provenance=dict(data["provenance"]),
            options=dict(data["options"]),
            stamp=Stamp(int(data["size"]), int(data["inode"]), int(data["modified"])),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The saves of one key that its file may be, the one that was to be published last at the front."""

    key: str
    saves: tuple[Save, ...]

    def candidates(self, stamp: Stamp) -> list[Save]:
        """Those that a file with `stamp` may be, the likeliest first. Only one, if it is that very file."""
        for save in self.saves:
            if save.stamp == stamp and stamp.inode:
                return [save]
        alike = [save for save in self.saves if save.stamp.size == stamp.size]
        return sorted(alike, key=lambda save: save.stamp.modified != stamp.modified)

    def is_certain(self, stamp: Stamp) -> bool:
        """Whether one of them is surely the file with `stamp`."""
        return bool(stamp.inode) and any(save.stamp == stamp for save in self.saves)

    def describe(self, stamp: Stamp) -> Save:
        """The one that a file with `stamp` most probably is, also if it was altered since."""
        return next(iter(self.candidates(stamp)), self.saves[0])

    def encode(self) -> bytes:
        import json

        data = {"manifest": _FORM, "key": self.key, "saves": [save.to_json() for save in self.saves]}
        return json.dumps(data, ensure_ascii=False, default=repr).encode(errors="backslashreplace")

    @classmethod
    def decode(cls, data: bytes) -> Manifest | None:
        """None if it is no manifest, or one of a later form that this version cannot read."""
        import json

        try:
            found = json.loads(data)
            if found["manifest"] != _FORM:
                return None
            saves = tuple(Save.from_json(save) for save in found["saves"])
            return cls(str(found["key"]), saves) if saves else None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def manifest_path(key: str) -> str:
    """Where the manifest of `key` is. Folders have an ending too, so that ``a`` and ``a.json/b`` have room."""
    return f"{_MANIFESTS}/{_folders(key)}.json"


def key_of_manifest(path: str) -> str | None:
    """The key whose manifest has this path; None if it is no such path."""
    *folders, name = path.removeprefix(f"{_MANIFESTS}/").split("/")
    if not name.endswith(".json") or not all(folder.endswith(".d") for folder in folders):
        return None
    return "/".join([*(folder[: -len(".d")] for folder in folders), name[: -len(".json")]])


def manifests_folder(prefix: str) -> str:
    """The folder that has the manifests of all keys that begin with `prefix`, and maybe others."""
    return "/".join([_MANIFESTS, *(f"{folder}.d" for folder in prefix.split("/")[:-1])])


def versions_folder(key: str) -> str:
    """Where the versions of `key` are, each a file with a manifest."""
    return f"{_VERSIONS}/{_folders(key)}.v"


def _folders(key: str) -> str:
    *folders, name = key.split("/")
    return "/".join([*(f"{folder}.d" for folder in folders), name])


def next_version(now: datetime, before: Iterable[str]) -> str:
    """A name for a version that sorts after those `before`, also if the clock was set back."""
    latest = max(before, default="")[:_STAMP_LENGTH]
    stamp = now.strftime(_STAMP)
    if stamp <= latest:
        with suppress(ValueError, OverflowError):  # nobody's clock has ever shown that
            stamp = (datetime.strptime(latest, _STAMP) + timedelta(microseconds=1)).strftime(_STAMP)
    return f"{stamp}-{secrets.token_hex(4)}"


def is_version(text: object) -> bool:
    """Whether it can be the name of a version, and so is safe in a path."""
    return isinstance(text, str) and _VERSION.fullmatch(text) is not None


def now() -> datetime:
    return datetime.now(UTC)


def software(libraries: Mapping[str, str]) -> dict[str, str]:
    """The versions of what is writing."""
    return {"eagerly": sys.modules["eagerly"].__version__, "python": sys.version.split()[0], **libraries}
