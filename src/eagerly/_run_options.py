"""Where runs are recorded, as people say it: checked when it is said. Nothing here opens a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from eagerly._paths import path_text
from eagerly.errors import OptionTypeError, OptionValueError

if TYPE_CHECKING:
    from eagerly.runs._protocol import RunStore

__all__ = ["MAX_WORD", "RunOutputForm", "RunStoreSpec", "run_output_form", "run_store_spec", "short_word"]

MAX_WORD: Final = 500
"""Characters of what stores keep an index of: an index of PostgreSQL takes 2,700 bytes, and a character has up to 4."""

RunOutputForm: TypeAlias = Literal["json", "pickle"]
RunStoreSpec: TypeAlias = "str | os.PathLike[str] | RunStore"


def run_store_spec(option: str, value: object) -> Any:
    """A path or URL as a string, or the store itself.

    Raises:
        OptionTypeError, OptionValueError: It is neither, or empty.
    """
    if (path := path_text(option, value, "write a path such as 'runs.db'")) is not None:
        return path
    if not callable(getattr(value, "write", None)) or not callable(getattr(value, "find", None)):
        raise OptionTypeError(f"{option} takes a path, a postgresql:// URL or a RunStore, not {value!r}")
    return value


def run_output_form(option: str, value: object) -> RunOutputForm | None:
    """How the output of a run is kept.

    Raises:
        OptionValueError: Neither of the ways that there are.
    """
    if value is not None and value not in ("json", "pickle"):
        raise OptionValueError(f"{option} takes 'json' or 'pickle', not {value!r}")
    return value


def short_word(option: str, value: str) -> str:
    """A name or tag that every store has room for in its indexes.

    Raises:
        OptionValueError: It is too long.
    """
    length = len(value.encode(errors="backslashreplace").decode())  # what is no text is kept as such escapes
    if length > MAX_WORD:
        raise OptionValueError(f"{option} takes {MAX_WORD} characters at most, and {value[:20]!r}... has {length}")
    return value
