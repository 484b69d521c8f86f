"""What the engines of others have in common: how they are imported, and how they say that work was lost.

An engine is imported when it is opened, never to find out what an object is.
"""

from __future__ import annotations

import importlib
import operator
import sys
from typing import Any, Final

from eagerly.errors import MissingExtraError, OptionTypeError, OptionValueError

__all__ = ["LARGE", "check_workers", "is_dask_client", "load_engine", "words_of"]

LARGE: Final = 64 * 1024
"""Bytes above which a spec is handed to the engine once for all pieces of a map, rather than with each of them."""

MESSAGE_LIMIT: Final = 500


def load_engine(module: str, engine: str, *, extra: str) -> Any:
    """Import `module`, or say how to install it.

    Args:
        module: The package that is imported, and installed, by this name.
        engine: What needs it, as the subject of a sentence: "the Dask backend".
        extra: Ours that brings it.

    Raises:
        MissingExtraError: It is not installed, or its installation is broken.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == module
        trouble = "which is not installed" if absent else f"which cannot be imported ({error})"
        raise MissingExtraError(
            f"{engine} needs {module}, {trouble}; run: pip install 'eagerly[{extra}]'", name=module
        ) from error


def is_dask_client(value: object) -> bool:
    """Whether `value` is a `distributed.Client`. If that package is not loaded, it is not."""
    client = getattr(sys.modules.get("distributed"), "Client", None)
    return client is not None and isinstance(value, client)


def check_workers(where: str, workers: object) -> int | None:
    """How many workers were asked for; None: as many as there are CPUs.

    Args:
        where: For messages: ``DaskBackend(workers=...)``.
        workers: What was given.

    Raises:
        OptionTypeError: It is no integer.
        OptionValueError: It is less than 1.
    """
    if workers is None:
        return None
    try:
        number = operator.index(workers)  # type: ignore[arg-type]  # that it may be none is the question
    except TypeError:
        number = None
    if number is None or isinstance(workers, bool):
        raise OptionTypeError(f"{where} takes a number of workers or None, not {workers!r}")
    if number < 1:
        raise OptionValueError(f"{where} takes at least 1, not {number}")
    return number


def words_of(error: BaseException) -> str:
    """The name and the first lines of what an engine raised, for a `Crash`; engines may say it on many pages."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {said[:MESSAGE_LIMIT]}" if said else name
