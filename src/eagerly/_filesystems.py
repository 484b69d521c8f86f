"""What differs from one fsspec file system to another: how a file appears, and how it is moved.

fsspec itself is imported by those who use it; nothing here opens or writes anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

__all__ = ["WHOLE", "move"]

WHOLE: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "r2"})
"""Protocols without folders, whose objects appear when they are complete: no temporary name is needed."""


def move(filesystem: Any, source: str, target: str) -> None:
    """Give a file another name, taking signs such as ``*`` in it as they are."""
    general: Any = import_module("fsspec").AbstractFileSystem.mv  # it would take them for a pattern
    if type(filesystem).mv is general:  # pyright: ignore[reportUnknownMemberType]  # of any class
        filesystem.cp_file(source, target)
        filesystem.rm_file(source)
    else:
        filesystem.mv(source, target)
