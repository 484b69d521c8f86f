"""Objects below one root of an fsspec file system: read whole, written at once or not at all, created by one process.

Everything that differs from one file system to another is here. Whose objects they are and what they mean is not.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timezone
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from eagerly._filesystems import S3, WHOLE, demand_filesystem, move
from eagerly._lazy import demand_package
from eagerly._paths import masked, path_text
from eagerly.cache._protocol import Buffer
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["TEMPORARY", "Listed", "Objects", "Root", "open_root"]

_LOCAL: Final = frozenset({"file", "local"})
_EXCLUSIVE: Final = _LOCAL | {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
"""Protocols where ``mode="create"`` is known to fail if the object exists."""

_S3_TIMEOUTS: Final = {"connect_timeout": 3, "read_timeout": 15, "retries": {"max_attempts": 1}}
"""S3's own would have a task wait for minutes before it takes a miss."""

TEMPORARY: Final = ".eagerly-tmp"
"""How the names of objects end that are being written."""


class Listed(NamedTuple):
    """An object that was listed.

    Attributes:
        name: Below the directory that was listed.
        path: Below the root.
        size: In bytes.
    """

    name: str
    path: str
    size: int


class Root(NamedTuple):
    """Where a store is, and how to get there from any process.

    Attributes:
        place: The URL without passwords and options.
        url: The URL, or None.
        filesystem: The file system that was given, or None.
        root: The directory in it.
        options: For fsspec.
        local: Whether it is on this machine.
    """

    place: str
    url: str | None
    filesystem: Any
    root: str
    options: Mapping[str, Any]
    local: bool

    def open(self) -> Objects:
        """The objects, for this process."""
        if self.filesystem is not None:
            given = self.filesystem
            made = type(given)(*given.storage_args, **given.storage_options, skip_instance_cache=True)
            return Objects(made, self.root)
        filesystem, root = import_module("fsspec").url_to_fs(self.url, skip_instance_cache=True, **self.options)
        return Objects(filesystem, root)


def open_root(url: Any, root: str | None, options: Mapping[str, Any]) -> Root:
    """Check what a `RemoteStore` was given, without connecting or importing more than fsspec.

    Raises:
        MissingExtraError: A package is not installed.
        OptionTypeError, OptionValueError: There is no such file system, or no directory in it.
    """
    if (text := path_text("RemoteStore(url)", url, "write a URL such as 's3://bucket/cache', or a path")) is not None:
        if root is not None:
            raise OptionTypeError(
                f"RemoteStore(url, root) takes a root only with a file system; append {root!r} to the URL"
            )
        return _root_of_url(text, options)
    demand_package("fsspec", "pip install 'eagerly[fsspec]'", "RemoteStore")
    if not isinstance(url, import_module("fsspec").AbstractFileSystem):
        raise OptionTypeError(f"RemoteStore(url) takes a URL, a path or an fsspec file system, not {url!r}")
    if not root or options:
        raise OptionTypeError("RemoteStore(filesystem, root) takes a directory in it, and no storage_options")
    if getattr(url, "asynchronous", False):
        raise OptionValueError(
            f"RemoteStore({url!r}) cannot use a file system made with asynchronous=True; leave that out"
        )
    filesystem: Any = url
    path: str = filesystem._strip_protocol(root)
    protocols = _protocols(url)
    return Root(f"{protocols[0]}://{path.lstrip('/')}", None, url, path, {}, bool(_LOCAL & {*protocols}))


def _root_of_url(url: str, options: Mapping[str, Any]) -> Root:
    if "::" in url:
        shown = masked(url)
        raise OptionValueError(f"RemoteStore({shown!r}) would go through another file system; write the last URL alone")
    if "://" not in url:
        url = f"file://{Path(url).expanduser().absolute()}"
    protocol = url.partition("://")[0]
    demand_filesystem(url, f"RemoteStore({masked(url)!r})")
    if protocol in S3 and "config_kwargs" not in options:
        options = {**options, "config_kwargs": _S3_TIMEOUTS}
    return Root(masked(url), url, None, "", dict(options), protocol in _LOCAL)


class Objects:
    """The objects of one file system below `root`. Paths are relative to it."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs = filesystem
        self._root = root.rstrip("/")
        protocols = frozenset(_protocols(filesystem))
        self._whole = bool(protocols & WHOLE)
        self._local = bool(protocols & _LOCAL)
        self.exclusive = bool(protocols & _EXCLUSIVE)

    def read(self, path: str) -> bytes | None:
        """The whole object, or None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            # With a start, S3 gives it in one answer. Without, it is asked for the size and then for several ranges,
            # between which another process may replace it.
            return bytes(self._fs.cat_file(self._at(path), start=0))
        return None

    def read_beginnings(self, paths: Sequence[str], size: int) -> list[bytes]:
        """The first `size` bytes of each object; none of one that has gone."""
        if not paths:
            return []
        names = [self._at(path) for path in paths]
        found = self._fs.cat_ranges(names, [0] * len(names), [size] * len(names), on_error="return")
        return [each if isinstance(each, bytes) else b"" for each in found]

    def write(self, path: str, parts: Sequence[Buffer]) -> None:
        """Replace the object, at once or not at all."""
        target = self._at(path)
        if self._whole:
            self._fs.pipe_file(target, b"".join(parts))
            return
        directory, _, name = target.rpartition("/")
        temporary = f"{directory}/.{name}-{secrets.token_hex(8)}{TEMPORARY}"
        try:
            self._in_directory(directory, lambda: self._write_parts(temporary, parts))
            if self._local:
                os.replace(temporary, target)  # noqa: PTH105 - paths are strings to fsspec
            else:
                move(self._fs, temporary, target)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def remove(self, path: str) -> bool:
        """Remove the object; whether there was one."""
        if not self._local:  # S3 does not say, after removing it, whether there was anything
            self._fs.invalidate_cache()
            if not self._fs.exists(self._at(path)):
                return False
        return self.drop(path)

    def drop(self, path: str) -> bool:
        """Remove the object; False if the file system says that there was none."""
        try:
            self._fs.rm_file(self._at(path))
        except FileNotFoundError:
            return False
        return True

    def remove_all(self, paths: Iterable[str]) -> None:
        """Remove many, in as few requests as the file system takes."""
        if self._local or any(sign in self._root for sign in "*?["):  # rm() would take these for patterns
            for path in paths:
                self.drop(path)
        elif targets := [self._at(path) for path in paths]:
            self._fs.rm(targets)

    def remove_older(self, directory: str, age: float, suffix: str = "") -> None:
        """Remove what is below `directory`, ends with `suffix`, and has not been touched for `age` seconds."""
        found = [each.path for each in self.list(directory) if each.name.endswith(suffix)]
        self.remove_all([path for path in found if self.age(path) > age])

    def list(self, directory: str) -> Iterator[Listed]:
        """All objects below `directory`."""
        self._fs.invalidate_cache()
        above = self._at(directory) + "/"
        try:
            found: Mapping[str, Mapping[str, Any]] = self._fs.find(above[:-1], detail=True)
        except FileNotFoundError:
            return
        for path, info in found.items():
            name = path.removeprefix(above)
            yield Listed(name, f"{directory}/{name}", int(info.get("size") or 0))

    def age(self, path: str) -> float:
        """Seconds since the object was written; 0 if it has gone."""
        self._fs.invalidate_cache()
        try:
            written = self._fs.modified(self._at(path))
        except FileNotFoundError:
            return 0.0
        if written.tzinfo is None:
            written = written.replace(tzinfo=timezone.utc)  # noqa: UP017 - as fsspec itself writes it
        return time.time() - float(written.timestamp())

    def claim(self, path: str, token: bytes, lease: float) -> bool:
        """Create the object with `token`, or take it over from a process that has not renewed it for `lease` seconds.

        Raises:
            OSError: The file system cannot be reached.
        """
        if self._create(path, token):
            return True
        if self.age(path) <= lease:
            return False
        # Of those that see the dead token, the one that creates this claim replaces it. It looks again, as another one
        # may have come and gone in between.
        dead = self.read(path)
        if dead is None:
            return self._create(path, token)
        claim = f"{path}.after-{dead.hex()[:64]}"
        if not self._create(claim, token):
            if self.age(claim) > lease:  # who made it was killed as well
                self.drop(claim)
            return False
        try:
            if self.read(path) != dead or self.age(path) <= lease:
                return False
            self.write(path, (token,))
            return True
        finally:
            self.drop(claim)

    def _create(self, path: str, content: bytes) -> bool:
        target = self._at(path)

        def create() -> None:
            if self._local:  # for which fsspec looks whether it exists, and then writes
                with open(target, "xb") as file:  # noqa: PTH123 - paths are strings to fsspec
                    file.write(content)
            else:
                self._fs.pipe_file(target, content, mode="create")

        try:
            self._in_directory(target.rpartition("/")[0], create)
        except FileExistsError:
            return False
        return True

    def _in_directory(self, directory: str, write: Any) -> None:
        try:
            write()
        except FileNotFoundError:
            if self._whole:
                raise
            self._fs.makedirs(directory, exist_ok=True)
            write()

    def _write_parts(self, path: str, parts: Sequence[Buffer]) -> None:
        with self._fs.open(path, "wb") as file:
            for part in parts:
                file.write(part)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
