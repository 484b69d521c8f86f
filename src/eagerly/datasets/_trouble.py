"""What comes out of a store when something goes wrong: a `DatasetError` that has the key, and what was to be saved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from eagerly.errors import DatasetError, MissingExtraError

__all__ = ["loading", "not_saved", "saving"]


@contextmanager
def saving(key: str, result: Any) -> Generator[None]:
    """Attach `result` to whatever fails inside."""
    try:
        yield
    except DatasetError as error:
        not_saved(error, key, result)
        raise
    except Exception as error:
        raise not_saved(error, key, result) from error


def not_saved(error: Exception, key: str, result: Any) -> DatasetError:
    """`error` itself if it tells of a dataset, else one that does; with `key` and `result`."""
    if not isinstance(error, DatasetError):
        return DatasetError(f"dataset {key!r} could not be saved: {_describe(error)}", key=str(key), result=result)
    error.key, error.result = error.key or str(key), result
    return error


@contextmanager
def loading(key: str) -> Generator[None]:
    """Attach `key` to whatever fails inside."""
    try:
        yield
    except DatasetError as error:
        error.key = error.key or key
        raise
    except (MissingExtraError, MemoryError):
        raise
    except Exception as error:
        about = f"dataset {key!r}" if key else "the datasets"
        raise DatasetError(f"{about} could not be read or changed: {_describe(error)}", key=key) from error


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, MissingExtraError) else f"{type(error).__name__}: {error}"
