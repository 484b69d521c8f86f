"""What a `DiskStore` is told besides numbers and its key, checked when it is made."""

from __future__ import annotations

from eagerly._paths import absolute, masked, path_text
from eagerly.errors import OptionTypeError, OptionValueError

__all__ = ["checked_directory"]


def checked_directory(path: object, *, safe: object, verify: object, namespace: object) -> str:
    """The directory that is meant by `path`, whatever the working directory will be; the others are only checked.

    Raises:
        OptionTypeError, OptionValueError: One of them cannot be what it is to be.
    """
    text = path_text("DiskStore(path)", path, "write the name of a directory, such as '.eagerly/cache'")
    if text is None:
        raise OptionTypeError(f"DiskStore(path) takes a path, not {path!r}")
    if "://" in text:
        shown = masked(text)
        raise OptionValueError(f"DiskStore({shown!r}) takes a path, not a URL; write open_store({shown!r})")
    for name, value in (("safe", safe), ("verify", verify)):
        if not isinstance(value, bool):
            raise OptionTypeError(f"DiskStore({name}=...) takes True or False, not {value!r}")
    if namespace is not None and not isinstance(namespace, str):
        raise OptionTypeError(f"DiskStore(namespace=...) takes a string, not {namespace!r}")
    return absolute(text)
