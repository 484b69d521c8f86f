"""What comes out of a store when something goes wrong: a `DatasetError` that has the key, and what was to be saved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from eagerly.errors import DatasetError, MissingExtraError

__all__ = ["loading", "saving"]


@contextmanager
def saving(key: str, result: Any) -> Generator[None]:
    """Attach `result` to whatever fails inside."""
    try:
        yield
    except DatasetError as error:
        error.key, error.result = error.key or str(key), result
        raise
    except Exception as error:
        raise DatasetError(
            f"dataset {key!r} could not be saved: {_describe(error)}", key=str(key), result=result
        ) from error


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
