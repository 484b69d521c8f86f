"""The options of a map, checked before anything is taken or run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from eagerly._options import nearest
from eagerly.errors import BackendError, OptionTypeError, OptionValueError

if TYPE_CHECKING:
    from eagerly._map_progress import MapProgress
    from eagerly.backends._protocol import Capabilities

__all__ = ["Errors", "MapOptions", "OnCrash", "map_options", "refuse_what_cannot_be"]

Errors: TypeAlias = Literal["raise", "return", "skip"]
OnCrash: TypeAlias = Literal["fail", "retry"]

ERRORS: Final = ("raise", "return", "skip")
ON_CRASH: Final = ("fail", "retry")


class MapOptions(NamedTuple):
    """What a map was told.

    Attributes:
        window: How many items may be taken that have not been consumed, or None.
        chunk: How many items a worker is given at a time; None: as their durations suggest.
        ordered: Whether results come in the order of the items.
        errors: What becomes of what items raise.
        on_crash: Whether an item whose worker dies has failed for good.
        progress: Who shows how far it is, or None.
    """

    window: int | None
    chunk: int | None
    ordered: bool
    errors: Errors
    on_crash: OnCrash
    progress: MapProgress | None = None


def map_options(where: str, window: Any, chunk: Any, ordered: Any, errors: Any, on_crash: Any) -> MapOptions:
    """The options, checked.

    Raises:
        OptionTypeError, OptionValueError: One of them has a value that cannot work.
    """
    if not isinstance(ordered, bool):
        raise OptionTypeError(f"{where}(ordered=...) takes True or False, not {ordered!r}")
    window = None if window is None else positive(f"{where}(window=...)", window)
    chunk = None if chunk == "auto" else positive(f"{where}(chunk=...)", chunk, or_else="'auto'")
    if window is not None and chunk is not None and chunk > window:
        raise OptionValueError(
            f"{where}(window={window}, chunk={chunk}): a chunk cannot have more items than the window"
        )
    return MapOptions(
        window=window,
        chunk=chunk,
        ordered=ordered,
        errors=one_of(f"{where}(errors=...)", errors, ERRORS),
        on_crash=one_of(f"{where}(on_crash=...)", on_crash, ON_CRASH),
    )


def refuse_what_cannot_be(where: str, options: MapOptions, can: Capabilities, *, timed: bool) -> None:
    """Refuse options that would have no effect on this backend.

    Raises:
        BackendError: It cannot do what an option asks for; the message says which backends can.
        OptionValueError: Two options contradict each other.
    """
    if timed and options.chunk is not None and options.chunk > 1:
        raise OptionValueError(
            f"{where}(chunk={options.chunk}) on a task with a timeout: each item is handed over alone then; leave "
            "chunk out"
        )
    if options.on_crash == "retry" and can.in_process:
        raise BackendError(
            f"{where}(on_crash='retry') has no effect on backend {can.name!r}, whose workers live and die with this "
            "process; use 'process', 'dask', 'ray' or an executor of processes"
        )


def positive(option: str, value: Any, *, or_else: str = "None") -> int:
    """`value` if it is a number of items.

    Raises:
        OptionTypeError, OptionValueError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionTypeError(f"{option} takes a number of items or {or_else}, not {value!r}")
    if value < 1:
        raise OptionValueError(f"{option} must be 1 or more, not {value!r}")
    return value


def one_of(option: str, value: Any, words: tuple[str, ...]) -> Any:
    """`value` if it is one of `words`.

    Raises:
        OptionValueError: It is not.
    """
    if value not in words:
        near = nearest(value, words) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise OptionValueError(f"{option} takes one of {', '.join(map(repr, words))}, not {value!r}{hint}")
    return value
