"""How the result of a workflow is printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Set
from dataclasses import is_dataclass
from typing import Any

__all__ = ["write_result"]


def write_result(result: Any) -> None:
    """Print `result` on standard output: nothing for None, containers and dataclasses laid out, the rest as by `print`.

    A character that standard output cannot encode is escaped: the work is done, and must not be lost over that.
    """
    if result is None:
        return
    text = f"{_laid_out(result)}\n"
    if sys.stdout is None:  # closed by whoever started this process
        return
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()  # a full disk shows here, and not when the interpreter has gone


def _laid_out(result: object) -> str:
    kind = type(result)
    containers = (Mapping, Set, list, tuple)
    if not issubclass(kind, containers) and not (is_dataclass(kind) and kind.__str__ is object.__str__):
        return str(result)
    import pprint

    return pprint.pformat(result, sort_dicts=False)
