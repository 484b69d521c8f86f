"""Options that do not exist: refused with the nearest one that does."""

from __future__ import annotations

from collections.abc import Iterable

from eagerly.errors import OptionTypeError

__all__ = ["refuse_unknown"]


def refuse_unknown(decorator: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise for the first option that does not exist, with the nearest one that does."""
    known, unknown = tuple(known), tuple(unknown)
    if not unknown:
        return
    import difflib

    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
        raise OptionTypeError(f"{decorator}() has no option {name!r}; {hint}")
