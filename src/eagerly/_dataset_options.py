"""The ``dataset*`` options of `task`: checked once, when a task is declared. Nothing here opens a store."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from eagerly._paths import absolute, path_text
from eagerly.datasets._key import KeyTemplate
from eagerly.errors import OptionTypeError, OptionValueError

if TYPE_CHECKING:
    from eagerly.datasets._store import DatasetStore

__all__ = ["DATASET_OPTIONS", "DatasetOptions", "DatasetSpec", "dataset_options", "dataset_spec"]

DatasetSpec: TypeAlias = "str | os.PathLike[str] | DatasetStore"

DATASET_OPTIONS: Final[dict[str, Any]] = {"dataset": None, "dataset_store": None, "dataset_format": None}
"""The options that concern datasets, with their defaults."""


class DatasetOptions(NamedTuple):
    """What a task was told about saving its result.

    Attributes:
        key: Under which key.
        store: Where: a path, a URL or a store; None: where the session says.
        format: By the name of a format; None: as extension and value suggest.
    """

    key: KeyTemplate
    store: str | DatasetStore | None
    format: str | None


def dataset_options(options: Mapping[str, Any], signature: inspect.Signature) -> DatasetOptions | None:
    """What `options` say about saving the result, or None when it is not saved.

    Raises:
        OptionTypeError, OptionValueError: One has the wrong type, a value that cannot work, or no effect.
    """
    given = {**DATASET_OPTIONS, **{name: options[name] for name in DATASET_OPTIONS if name in options}}
    store, form = given["dataset_store"], given["dataset_format"]
    if form is not None and not isinstance(form, str):
        raise OptionTypeError(f"task(dataset_format=...) takes the name of a format, not {form!r}")
    spec = None if store is None else dataset_spec("task(dataset_store=...)", store)
    if isinstance(spec, str):
        spec = absolute(spec)
    if given["dataset"] is not None:
        return DatasetOptions(KeyTemplate(given["dataset"], tuple(signature.parameters)), spec, form)
    for name in ("dataset_store", "dataset_format"):
        if given[name] is not None and "dataset" not in options:
            raise OptionValueError(
                f"task({name}={given[name]!r}) has no effect without a key; write @task(dataset=..., {name}=...)"
            )
    return None


def dataset_spec(option: str, value: object) -> Any:
    """A path or URL as a string, or the store itself.

    Raises:
        OptionTypeError, OptionValueError: It is neither, or empty.
    """
    if (path := path_text(option, value, "write '.' for the working directory")) is not None:
        return path
    if not callable(getattr(value, "save", None)) or not callable(getattr(value, "load", None)):
        raise OptionTypeError(f"{option} takes a path, a URL or a DatasetStore, not {value!r}")
    return value
