"""Between two processes: what of the user's becomes bytes, how, and what happens to what cannot.

Whatever a value does when it is pickled or unpickled concerns its own item and no other. Nothing here knows of tasks.
"""

from __future__ import annotations

import contextlib
import copyreg
import itertools
import pickle
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from eagerly._pickling import dump_by_value
from eagerly.errors import EagerlyError, RemoteError

__all__ = [
    "PLAIN",
    "PackedError",
    "all_plain",
    "dump",
    "frame",
    "frames",
    "in_words",
    "is_urgent",
    "load",
    "pack_error",
    "reason",
    "shown",
    "shown_shortly",
    "unpack_error",
]

PLAIN: Final = frozenset({int, float, bool, complex, str, bytes, type(None)})
"""Types whose values pickle takes and gives back whatever they are, so that many can travel in one piece."""

SHORT: Final = 100
_MOST: Final = 100
"""How many errors travel with one: what it was raised from, or in the course of, and those of a group."""

_ENDING: Final[tuple[type[BaseException], ...]] = (SystemExit, KeyboardInterrupt, GeneratorExit, BaseException)
"""As what an error arrives that cannot be made again and is no failure: the first that it is."""

_HEAD: Final = struct.Struct("<?Q")
"""Of a frame: whether it is urgent, and how long."""


def all_plain(values: Iterable[object]) -> bool:
    """Whether each of `values` is of one of the types in `PLAIN`."""
    return PLAIN.issuperset(map(type, values))


def dump(
    value: object,
    *,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
    again: Callable[[], object] = bool,
) -> bytes:
    """`value` as bytes: by reference where another process finds what it refers to under its name, else by value.

    Args:
        value: What to pickle.
        buffer_callback: As for `pickle.dumps`.
        again: Called before it is pickled a second time, in another way.

    Raises:
        Exception: Neither pickle nor cloudpickle takes it.
    """
    try:
        data = pickle.dumps(value, 5, buffer_callback=buffer_callback)
        if b"__main__" not in data:
            return data
    except Exception:  # a lambda, a local class, a lock: cloudpickle takes some of them, and tells about the others
        pass
    again()
    return dump_by_value(value, buffer_callback=buffer_callback)


load = pickle.loads
"""What `dump` gave, made again. Only for what this library's own processes say to one another."""


def frame(data: bytes, *, urgent: bool) -> bytes:
    """`data` with its length, so that several can follow one another; and whether somebody may wait for it."""
    return _HEAD.pack(urgent, len(data)) + data


def is_urgent(data: bytes) -> bool:
    """Whether somebody may wait for what is in the frame."""
    return data[:1] == b"\1"


def frames(data: bytes) -> Iterator[memoryview]:
    """The frames in `data`."""
    view, start = memoryview(data), 0
    while start < len(view):
        _, length = _HEAD.unpack_from(view, start)
        start += _HEAD.size
        yield view[start : start + length]
        start += length


class PackedError(NamedTuple):
    """An exception as it travels.

    Attributes:
        data: The exception itself, pickled; None if that is not possible, or would make another one of it.
        type_name: Module and qualified name of its class.
        message: What it says.
        text: Its traceback, as text.
        cause: What it was raised from, or None.
        context: What it was raised in the course of, if that is not the cause.
        suppressed: Whether the cause hides that.
        members: The errors of a group that is made anew of them.
        ending: Which of `_ENDING` it is; None for failures.
    """

    data: bytes | None
    type_name: str
    message: str
    text: str
    cause: PackedError | None
    context: PackedError | None
    suppressed: bool
    members: tuple[PackedError, ...]
    ending: int | None


def pack_error(error: BaseException) -> PackedError:
    """`error` so that it can travel; never fails."""
    return _packed(error, [])


def _packed(error: BaseException, packed: list[BaseException]) -> PackedError:
    """As `pack_error`, beside those that have been packed already, which a chain may lead back to."""
    packed.append(error)

    def other(error: BaseException | None) -> PackedError | None:
        new = error is not None and len(packed) < _MOST and not any(each is error for each in packed)
        return _packed(error, packed) if error is not None and new else None

    text = "" if len(packed) > 1 else _traceback_of(error)
    group = _as_group(error)
    data = None if type(error) in (ExceptionGroup, BaseExceptionGroup) else _faithful(error)
    members: tuple[PackedError, ...] = ()
    if data is None and group is not None:
        members = tuple(_packed(each, packed) for each in group.exceptions)
        data = _notes_of(group)
    return PackedError(
        data,
        f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."),
        _says(error) if group is None else group.message,
        text,
        other(error.__cause__),
        other(error.__context__),
        error.__suppress_context__,
        members,
        None if isinstance(error, Exception) else next(n for n, cls in enumerate(_ENDING) if isinstance(error, cls)),
    )


def _as_group(error: Any) -> BaseExceptionGroup[BaseException] | None:
    return error if isinstance(error, BaseExceptionGroup) else None  # pyright: ignore[reportUnknownVariableType]  # of whatever


def _notes_of(group: BaseException) -> bytes | None:
    try:
        return dump(vars(group))
    except Exception:  # whatever the user has put there
        return None


def _traceback_of(error: BaseException) -> str:
    """The user's traceback as text: without the frames of this library, in causes, contexts and groups as well."""
    try:
        report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        waiting: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(report, error)]
        while waiting:
            part, about = waiting.pop()
            if part is not None and about is not None:
                part.stack = _users(part.stack, about)
                waiting += [(part.__cause__, about.__cause__), (part.__context__, about.__context__)]
                group = _as_group(about)
                waiting += [] if group is None else zip(part.exceptions or (), group.exceptions, strict=False)
        return "".join(report.format())
    except Exception:  # its own methods are called for the text
        return "".join(_users(traceback.extract_tb(error.__traceback__), error).format())


def _users(stack: traceback.StackSummary, error: BaseException) -> traceback.StackSummary:
    """What is the user's of the frames of `error`. If none is: all, or none if it is ours and so says all by itself."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [(module, frame) for module, frame in zip(modules, stack, strict=False) if not _is_ours(module)]
    # asyncio stays where the user's code leads to it, and goes where it leads to that.
    users = [*itertools.dropwhile(lambda each: each[0].startswith("asyncio."), found)]
    if not users and not isinstance(error, EagerlyError):
        return stack
    return traceback.StackSummary.from_list([frame for _, frame in users])


def _is_ours(module: str) -> bool:
    package, _, name = module.partition(".")
    return package == "eagerly" and not f"{name}.".startswith("demo.")  # which is written as users write theirs


def unpack_error(packed: PackedError) -> BaseException:
    """The exception, or a `RemoteError` in its place."""
    error: BaseException | None = None
    loaded: Any = None
    if packed.data is not None:
        with contextlib.suppress(Exception):  # its class cannot be imported here, or fails when it is made
            loaded = load(packed.data)
    if packed.members:
        error = BaseExceptionGroup(packed.message, [unpack_error(each) for each in packed.members])
        vars(error).update(loaded or {})
    elif isinstance(loaded, BaseException):
        error = loaded
    else:
        error = RemoteError(packed.message, type_name=packed.type_name, traceback=packed.text)
        if packed.ending is not None:  # it must not be taken for a failure
            error, instead = _ENDING[packed.ending](packed.message), error
            error.__cause__ = instead
    if packed.cause is not None:
        error.__cause__ = unpack_error(packed.cause)
    if packed.context is not None:
        error.__context__ = unpack_error(packed.context)
    error.__suppress_context__ = packed.suppressed or error.__cause__ is not None
    return error


class _Reduced:
    """Pickles as an error does by itself."""

    def __init__(self, error: BaseException) -> None:
        self._reduced = error.__reduce_ex__(5)

    def __reduce__(self) -> Any:
        return self._reduced


def _faithful(error: BaseException) -> bytes | None:
    """`error` pickled, if what comes out of that is the same error."""
    try:
        # tblib, which Dask brings along, has errors take their traceback and cause with them, which may not travel.
        theirs = getattr(copyreg.dispatch_table.get(type(error)), "__module__", "")
        data = dump(_Reduced(error) if theirs.startswith("tblib.") else error)
        again = load(data)
        same = type(again).__qualname__ == type(error).__qualname__ and _says(again) == _says(error)
        return data if same and len(again.args) == len(error.args) else None
    except Exception:  # whatever its class does
        return None


def _says(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__qualname__} whose text cannot be had>"


def in_words(error: BaseException) -> tuple[str, str]:
    """What an error says, and its traceback from the user's code on; never fails."""
    return _says(error), _traceback_of(error)


def shown(value: object) -> str:
    """What stands for a value that cannot travel."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__} whose repr cannot be had>"


def shown_shortly(value: object) -> object:
    """What is shown of an argument: small values as they are, of others the type."""
    if type(value) in PLAIN and (not isinstance(value, str | bytes) or len(value) <= SHORT):
        return value
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def reason(error: BaseException) -> str:
    """Why something could not be pickled, in one line."""
    return f"{type(error).__name__}: {_says(error)}".splitlines()[0]
