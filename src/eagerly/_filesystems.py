"""What differs from one fsspec file system to another: what it needs, how a file appears, and how it is moved.

fsspec itself is imported by those who use it; nothing here opens or writes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from eagerly._lazy import demand_package
from eagerly.errors import OptionValueError

__all__ = ["S3", "WHOLE", "demand_filesystem", "move"]

S3: Final = frozenset({"s3", "s3a"})
"""Protocols of the package s3fs, which is in an extra of ours."""

WHOLE: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "tos", "r2"})
"""Protocols without folders, whose objects appear when they are complete: no temporary name is needed."""


def demand_filesystem(url: str, what: str) -> None:
    """Refuse early a URL whose file system cannot be had, importing no more than fsspec.

    Args:
        url: What fsspec takes, also several in a chain.
        what: Needs it; for messages.

    Raises:
        MissingExtraError: With the command that installs what is missing.
        OptionValueError: fsspec knows no such protocol.
    """
    protocols = [part.partition("://")[0].lower() for part in url.split("::")]
    demand_package("fsspec", f"pip install 'eagerly[{'fsspec' if S3.isdisjoint(protocols) else 's3'}]'", what)
    registry = import_module("fsspec.registry")
    known: Mapping[str, Mapping[str, str]] = registry.known_implementations
    for protocol in protocols:
        if protocol in known:
            package = known[protocol]["class"].partition(".")[0]
            name = "'eagerly[s3]'" if package == "s3fs" else package
            demand_package(package, f"pip install {name}", what)
        elif protocol not in registry.registry:
            raise OptionValueError(
                f"{what}: fsspec knows no {protocol}://; write s3://, gs://, abfs://, file:// or another of its"
                f" {len(known)} protocols"
            )


def move(filesystem: Any, source: str, target: str) -> None:
    """Give a file another name, taking signs such as ``*`` in it as they are."""
    general: Any = import_module("fsspec").AbstractFileSystem.mv  # it would take them for a pattern
    if type(filesystem).mv is general:  # pyright: ignore[reportUnknownMemberType]  # of any class
        filesystem.cp_file(source, target)
        filesystem.rm_file(source)
    else:
        filesystem.mv(source, target)
