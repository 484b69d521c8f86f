"""Which place the base of a store means: a folder of this machine, or something with a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from eagerly._paths import absolute
from eagerly.datasets._local import LocalPlace
from eagerly.datasets._place import Place
from eagerly.datasets._remote import RemotePlace
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["open_place"]

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]+(://|::)")
_LOCAL = ("file://", "local://")


def open_place(base: str | os.PathLike[str], storage_options: Mapping[str, Any] | None) -> Place:
    """The place that `base` means. Touches nothing, and connects to nothing.

    Raises:
        OptionTypeError, OptionValueError: `base` is no path and no URL, or a path that is given `storage_options`.
        MissingExtraError: It is a URL, and fsspec or what it needs for this protocol is not installed.
    """
    given: object = base
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str):
        raise OptionTypeError(f"DatasetStore(base) takes a path or a URL, not {base!r}")
    if not text:
        raise OptionValueError("DatasetStore(base) must not be empty; write '.' for the working directory")
    if text.startswith(_LOCAL):
        text = text.partition("://")[2]
    elif _URL.match(text):
        return RemotePlace(text, storage_options or {})
    if storage_options:
        raise OptionValueError(f"DatasetStore({text!r}, storage_options=...): options are for URLs, and this is a path")
    return LocalPlace(absolute(text))
