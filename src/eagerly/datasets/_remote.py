"""A place with a URL, by way of fsspec.

A draft is a file of this machine until it is complete. Object stores take it in one request, which is seen at once or
not at all; elsewhere it goes under a hidden name and is then moved. Only the threads of one process can be kept apart:
of several processes that save one key at the same time the last one wins, and `verify` tells if its manifest is not the
last.
"""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, BinaryIO, cast

from eagerly._filesystems import WHOLE, demand_filesystem, move
from eagerly._paths import masked
from eagerly.datasets._hashing import HashedFile
from eagerly.datasets._key import HIDDEN
from eagerly.datasets._place import Stamp, Written
from eagerly.errors import MissingExtraError, OptionValueError

__all__ = ["RemotePlace"]

_SMALL = 16 << 20  # bytes that are held in memory on the way

_locks: dict[tuple[int, str, int], threading.Lock] = {}


class RemotePlace:
    """See `Place`."""

    exclusive = False

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        self._url = url.rstrip("/") if not url.endswith("://") else url
        self.url = "::".join(map(masked, self._url.split("::")))  # shown in messages and manifests
        self._options = dict(storage_options)
        self._protocol = url.partition(":")[0].lower()
        self._connected: tuple[int, Any, str] | None = None
        self.shared = self._protocol != "memory"
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_connected": None}

    def locate(self, path: str) -> str:
        head, chain, tail = self.url.partition("::")
        return f"{head.rstrip('/')}/{path}{chain}{tail}"

    def draft(self, path: str) -> RemoteDraft:
        return RemoteDraft(self, path)

    def open(self, path: str) -> tuple[BinaryIO, Stamp]:
        # In one request: what is read piece by piece may be replaced between two of them.
        fs, full = self._at(path)
        stamp = self.stamp(path)
        if stamp is None:
            raise FileNotFoundError(self.locate(path))
        if stamp.size <= _SMALL:
            data = fs.cat_file(full)
            return io.BytesIO(data), Stamp(len(data))
        import tempfile

        local: Any = tempfile.NamedTemporaryFile(prefix=f"{HIDDEN}-")  # noqa: SIM115 - closed by the caller
        try:
            fs.get_file(full, local.name)
        except BaseException:
            local.close()
            raise
        return local, Stamp(os.fstat(local.fileno()).st_size)

    def read(self, path: str) -> bytes | None:
        fs, full = self._at(path)
        try:
            return bytes(fs.cat_file(full))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def stamp(self, path: str) -> Stamp | None:
        fs, full = self._at(path)
        fs.invalidate_cache(full.rpartition("/")[0])  # others may have written there
        try:
            found = fs.info(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stamp(int(found["size"])) if found.get("type") == "file" else None

    def write(self, path: str, data: bytes) -> None:
        self.put(path, lambda fs, full: fs.pipe_file(full, data))

    def remove(self, path: str) -> bool:
        if self.stamp(path) is None:
            return False
        fs, full = self._at(path)
        with suppress(FileNotFoundError):
            fs.rm_file(full)
        return True

    def walk(self, folder: str, *, deep: bool = True) -> Iterator[str]:
        fs, full = self._at(folder)
        fs.invalidate_cache(full)
        _, root = self._at("")
        try:
            found = fs.find(full, maxdepth=None if deep else 1)
        except (FileNotFoundError, NotADirectoryError):
            return
        for each in found:
            path = str(each)[len(root) :].lstrip("/")
            if path and not path.rpartition("/")[2].startswith(f"{HIDDEN}-"):
                yield path

    @contextmanager
    def lock(self, name: str) -> Generator[None]:
        # By process, as a child that was forked meanwhile has locks that nobody will release.
        stripe = sha256(name.encode()).digest()[0]
        with _locks.setdefault((os.getpid(), self._url, stripe), threading.Lock()):
            yield

    def sweep(self, tidy: Callable[[str], None]) -> None:
        """There is no telling whether somebody on another machine lives."""

    def put(self, path: str, send: Callable[[Any, str], None]) -> None:
        """Have `send` write a file, so that it is seen at once or not at all."""
        fs, full = self._at(path)
        if self._protocol in WHOLE:
            send(fs, full)
            return
        parent, _, _ = full.rpartition("/")
        fs.makedirs(parent, exist_ok=True)
        temporary = f"{parent}/{HIDDEN}-{secrets.token_hex(8)}.tmp"
        try:
            send(fs, temporary)
            move(fs, temporary, full)
        except BaseException:
            with suppress(Exception):
                fs.rm_file(temporary)
            raise

    def copy(self, source: str, target: str) -> None:
        _, full = self._at(source)
        self.put(target, lambda fs, to: fs.cp_file(full, to))

    def _at(self, path: str) -> tuple[Any, str]:
        fs, root = self._connect()
        return fs, f"{root}/{path}" if root and path else root or path

    def _connect(self) -> tuple[Any, str]:
        """The file system and the base in it, anew in a child process: connections do not survive a fork."""
        if self._connected is None or self._connected[0] != os.getpid():
            demand_filesystem(self._url, f"DatasetStore({self.url!r})")
            import fsspec.core

            try:
                fs, root = cast("Any", fsspec.core).url_to_fs(self._url, **self._options)
            except ImportError as error:
                raise MissingExtraError(f"DatasetStore({self.url!r}): {error}") from error
            except ValueError as error:
                raise OptionValueError(f"DatasetStore({self.url!r}): {error}") from error
            self._connected = os.getpid(), fs, str(root).rstrip("/")
        return self._connected[1], self._connected[2]


class RemoteDraft:
    """See `Draft`."""

    def __init__(self, place: RemotePlace, path: str, copied: RemoteDraft | None = None) -> None:
        self.path = path
        self._place = place
        self._copied = copied
        self._local: Any = None
        if copied is None:
            import tempfile

            self._local = tempfile.NamedTemporaryFile(prefix=f"{HIDDEN}-")  # noqa: SIM115 - closed in discard()
            self.file = HashedFile(self._local.fileno())

    def finish(self) -> Written:
        if self._copied is not None:
            return self._copied.finish()
        digest = self.file.digest()
        return Written(digest, Stamp(os.fstat(self._local.fileno()).st_size))

    def twin(self, path: str) -> RemoteDraft:
        return RemoteDraft(self._place, path, self)

    def publish(self, name: str | None = None, *, like: str | None = None) -> None:  # noqa: ARG002 - it has no modes
        if name is not None:
            self.path = f"{self.path.rpartition('/')[0]}/{name}"
        if self._copied is not None:
            self._place.copy(self._copied.path, self.path)
        elif os.fstat(self._local.fileno()).st_size <= _SMALL:
            self._local.seek(0)
            self._place.write(self.path, self._local.read())
        else:
            self._place.put(self.path, lambda fs, full: fs.put_file(self._local.name, full))

    def discard(self) -> None:
        local, self._local = self._local, None
        if local is not None:
            self.file.drop()
            local.close()
