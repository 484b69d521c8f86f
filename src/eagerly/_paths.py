"""Paths and URLs of stores: what people write, made independent of the working directory, and what messages show."""

from __future__ import annotations

import os
import re

from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["absolute", "masked", "path_text"]


def path_text(option: str, value: object, otherwise: str) -> str | None:
    """A path or URL as a string; None if `value` is neither, but perhaps a store.

    Args:
        option: Names the argument in messages, e.g. ``session(cache_store=...)``.
        value: What the caller gave.
        otherwise: What to write instead of an empty one.

    Raises:
        OptionTypeError, OptionValueError: It is a path of bytes, empty, one that no file system takes, or a class in
            the place of its instance.
    """
    if isinstance(value, type):
        raise OptionTypeError(f"{option} takes a store, and {value.__name__} is a class; write {value.__name__}(...)")
    if not isinstance(value, str | os.PathLike):
        return None
    path: object = os.fspath(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # of what?
    if not isinstance(path, str):
        raise OptionTypeError(f"{option} takes a str path, not {value!r}")
    if not path.strip():
        raise OptionValueError(f"{option} must not be empty; {otherwise}")
    if "\0" in path:
        raise OptionValueError(f"{option} has a NUL character in {path!r}, which no path can have; leave it out")
    return path


def absolute(place: str) -> str:
    """A path as it is meant here and now, whatever the working directory will be; URLs as they are.

    Where the working directory has been deleted, a relative path stays one: that matters to nobody before something is
    to be stored, and then it is an error of the file system.
    """
    if "://" in place:
        return place
    path = os.path.expanduser(place)
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path


def masked(url: str) -> str:
    """`url` without its passwords."""
    scheme, separator, rest = url.partition("://")
    account, at, address = rest.rpartition("@")
    if separator and at and ":" in account:
        rest = f"{account.partition(':')[0]}:***{at}{address}"
    return re.sub(r"(?i)([?&](?:\w*password|secret|token|key)=)[^&#]+", r"\1***", scheme + separator + rest)
