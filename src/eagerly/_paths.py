"""Paths of stores, as strings: what people write, made independent of the working directory."""

from __future__ import annotations

import os

__all__ = ["absolute"]


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
