"""Large outputs as files: gzip, named by the SHA-256 of what is in them, whole or not there.

A file is made ready under another name before the transaction that refers to it, and gets its name inside of it, as
whoever removes files holds the same lock: what a row refers to is never removed.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from eagerly.errors import OutputCorrupt, OutputMissing
from eagerly.runs._payload import Payload

__all__ = ["Blobs", "Staged", "pack", "unpack"]

_NAME: Final = re.compile(r"[0-9a-f]{64}\.gz")
_UNFINISHED: Final = re.compile(r"[0-9a-f]{16}\.new")
_ABANDONED: Final = 3600.0  # seconds after which nobody is still writing a file


class Staged(NamedTuple):
    """A file that is complete, and has not got its name yet."""

    blob: str
    path: str


class Blobs:
    """The files in one directory.

    Args:
        folder: Where; made when it is needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def stage(self, payload: Payload) -> Staged:
        """Write a file, and make sure that it is on the disk."""
        assert payload.blob is not None
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        path = os.path.join(self._folder, f"{secrets.token_hex(8)}.new")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(pack(payload.data))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(path)
            raise
        return Staged(payload.blob, path)

    def keep(self, staged: Staged) -> None:
        """Give it its name, in the place of whatever has it."""
        os.replace(staged.path, self._path(staged.blob))

    def unstage(self, staged: Staged) -> None:
        """Remove it if it has got no name."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged.path)

    def load(self, blob: str, run_id: str) -> bytes:
        """What is in the file.

        Raises:
            OutputMissing: There is no file.
            OutputCorrupt: Something else is in it.
        """
        path = self._path(blob)
        try:
            with open(path, "rb") as file:
                packed = file.read()
        except FileNotFoundError:
            raise OutputMissing(f"the output of run {run_id} is gone: there is no file {path}", run_id=run_id) from None
        return unpack(packed, blob, run_id, path)

    def sweep(self, is_kept: Callable[[str], bool], now: float) -> None:
        """Remove the files that nobody keeps, and what a killed process has left. Files that are none of ours stay."""
        for name, path in self._files():
            with contextlib.suppress(FileNotFoundError):
                if _NAME.fullmatch(name):
                    doomed = not is_kept(name.partition(".")[0])
                else:
                    doomed = bool(_UNFINISHED.fullmatch(name)) and now - os.stat(path).st_mtime > _ABANDONED
                if doomed:
                    os.unlink(path)

    def _files(self) -> Iterator[tuple[str, str]]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return
        for name in names:
            yield name, os.path.join(self._folder, name)

    def _path(self, blob: str) -> str:
        return os.path.join(self._folder, f"{blob}.gz")


def pack(data: bytes) -> bytes:
    """The bytes of a file: the same for the same data, whenever it is made."""
    return gzip.compress(data, compresslevel=6, mtime=0)


def unpack(packed: bytes, blob: str, run_id: str, where: str) -> bytes:
    """The data whose SHA-256 is `blob`.

    Raises:
        OutputCorrupt: It is other data, or none.
    """
    try:
        data = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise OutputCorrupt(
            f"the output of run {run_id} is damaged: {where} is no whole gzip file ({error})", run_id=run_id
        ) from error
    if hashlib.sha256(data).hexdigest() != blob:
        raise OutputCorrupt(f"the output of run {run_id} was altered: {where} has other content", run_id=run_id)
    return data
