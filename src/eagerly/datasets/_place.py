"""Where a store keeps its files: what it needs of a folder or of an object store.

Paths here are those of keys, with ``/`` and relative to the base. What the files are is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

__all__ = ["Draft", "Place", "Stamp", "Written"]


class Stamp(NamedTuple):
    """By what the file under a path is told from the one that was there before.

    Attributes:
        size: In bytes.
        inode: Its number, or 0 where there is none.
        modified: When it was written last, in nanoseconds since 1970, or 0 where that is only known afterwards.
    """

    size: int
    inode: int = 0
    modified: int = 0


class Written(NamedTuple):
    """What a draft has become.

    Attributes:
        sha256: Of all of its bytes, in hex.
        stamp: As `Place.stamp` will give it once the draft is published.
    """

    sha256: str
    stamp: Stamp


class Draft(Protocol):
    """A file that is being written. Nobody sees it before `publish`.

    Ends with `discard`, also if it was published: until then `Place.sweep` tidies up after a dead process.
    """

    @property
    def file(self) -> BinaryIO: ...

    def finish(self) -> Written:
        """Bring everything to the disk."""
        ...

    def twin(self, path: str) -> Draft:
        """A finished draft with the same bytes for another path; published after this one."""
        ...

    def publish(self, name: str | None = None, *, like: str | None = None) -> None:
        """Take the place of what is under the path, at once. Who could not read that cannot read this.

        Args:
            name: Instead of the last part of the path.
            like: The path whose readers count; None: that of this draft.
        """
        ...

    def discard(self) -> None:
        """Let go of it, and leave nothing if it was not published. A second time it does nothing."""
        ...


class Place(Protocol):
    """A folder or something like it.

    Attributes:
        url: The base, as people write it: an absolute path or a URL.
        shared: Whether other processes see the same files.
        exclusive: Whether `lock` keeps other processes away, too.
    """

    url: str
    shared: bool
    exclusive: bool

    def locate(self, path: str) -> str:
        """The file under `path`, as people write it."""
        ...

    def draft(self, path: str) -> Draft: ...

    def open(self, path: str) -> tuple[BinaryIO, Stamp]:
        """Open for reading.

        Raises:
            FileNotFoundError: There is no such file.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """All of a small file; None if there is no such file."""
        ...

    def stamp(self, path: str) -> Stamp | None:
        """None if there is no such file."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Replace a small file at once. Only with the lock of what it is about."""
        ...

    def remove(self, path: str) -> bool:
        """Whether there was one. Folders stay, also empty ones."""
        ...

    def walk(self, folder: str, *, deep: bool = True) -> Iterator[str]:
        """The paths of all files in `folder`, and below if `deep`, in no order. Temporary ones are left out."""
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Keep others away who would change what belongs to `name`, as far as they can be."""
        ...

    def sweep(self, tidy: Callable[[str], None]) -> None:
        """Remove the drafts of dead processes, and call `tidy` with the path that each was for."""
        ...
