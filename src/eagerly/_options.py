"""Names that do not exist: refused, with the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

from eagerly.errors import OptionTypeError

__all__ = ["nearest", "refuse_unknown"]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was most probably meant by `name`."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def refuse_unknown(what: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise for the first of the `unknown` options of `what`, with the nearest that exists.

    Raises:
        OptionTypeError: There is an unknown one.
    """
    name = next(iter(unknown), None)
    if name is None:
        return
    known = tuple(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"the options are {', '.join(known)}"
    raise OptionTypeError(f"{what}() has no option {name!r}; {hint}")
