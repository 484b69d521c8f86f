"""`share`: a large argument that all items of a map use, handed over once instead of with each of them."""

from __future__ import annotations

import contextlib
import mmap
import operator
import pickle
import struct
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from eagerly._wire import dump, reason
from eagerly.errors import BackendError

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["Shared", "packing", "parts_of", "reading", "share", "unwrapped"]

T = TypeVar("T")

KEPT: Final = 8
"""How many shared objects a worker keeps at hand."""

ALIGNMENT: Final = 64
_HEAD: Final = struct.Struct("<QQ")  # bytes of the pickle, number of buffers


_alive: Final[set[weakref.ref[Any]]] = set()
"""One for each shared object in this process."""


class Shared(Generic[T]):
    """An object that `share` was given. Where it is an argument of an item, the function gets the object itself."""

    __slots__ = ("__weakref__", "token", "value")

    def __init__(self, value: T) -> None:
        import uuid

        self.value = value
        self.token = uuid.uuid4().hex
        _alive.add(weakref.ref(self, _alive.discard))

    def __reduce__(self) -> tuple[Any, ...]:
        handed = getattr(_here, "handed", None)
        if handed is None:
            raise BackendError(
                "what share() gave travels as an argument of map_tasks() and iter_tasks() only; pass it in one of the "
                "iterables, as in map_tasks(task, items, itertools.repeat(share(model))), or bind it with "
                "functools.partial"
            )
        return _find, (self.token, handed(self))

    def _misused(self, *_: Any) -> NoReturn:
        raise TypeError(
            f"what share() gave is not the {type(self.value).__name__} itself, which a function gets in the place of "
            "an argument: pass it in one of the iterables, as in map_tasks(task, items, "
            "itertools.repeat(share(model))), or bind it with functools.partial; here, write .value"
        )

    __call__ = __getitem__ = __len__ = __iter__ = __contains__ = _misused

    def __repr__(self) -> str:
        return f"share({type(self.value).__name__})"


def share(value: T) -> T:
    """Hand `value` to each worker once, however many items use it.

    Pass what this returns among the arguments of a map, also within tuples, lists and dicts of theirs, or bind it with
    `functools.partial`; the function gets the object itself, to read and not to change.
    Threads get the very object. Processes on this machine map one file into their memory, so that large arrays take
    their place once. Dask scatters it, and Ray puts it into its object store.

    Args:
        value: Anything that pickle or cloudpickle takes.

    Returns:
        What stands for the object. For type checkers it has the type of the object.

    Example:
        >>> import itertools
        >>> from eagerly import map_tasks, share
        >>> weights = share([1, 2, 3])
        >>> map_tasks(lambda x, weights: x * sum(weights), [1, 2], itertools.repeat(weights))
        [6, 12]
    """
    return Shared(value)  # type: ignore[return-value]  # stands for it until a worker has the object


_here = threading.local()


def unwrapped(args: Any) -> Any:
    """`args` with the shared objects themselves, for items that run in this process.

    They are looked for in plain containers too, and only while there are any: that is what a small map costs least.
    """
    return _value_of(args) if _alive else args


def _value_of(value: Any) -> Any:
    """The same object if nothing in it is shared, else a copy."""
    if isinstance(value, Shared):
        return value.value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of anything
    kind = _kind_of(value)
    if kind is tuple or kind is list:
        values: list[Any] = [_value_of(each) for each in value]
        copy: Any = kind(values)  # pyright: ignore[reportUnknownVariableType]  # of anything
        return value if all(map(operator.is_, values, value)) else copy
    if kind is dict:
        values = [_value_of(each) for each in value.values()]
        return value if all(map(operator.is_, values, value.values())) else dict(zip(value, values, strict=True))
    return value


def _kind_of(value: object) -> Any:
    return type(value)


@contextlib.contextmanager
def packing(handed: Callable[[Shared[Any]], int]) -> Generator[None]:
    """While this lasts, shared objects may be pickled in this thread.

    Args:
        handed: Sees to it that a shared object is handed over, and says as which one.
    """
    _here.handed = handed
    try:
        yield
    finally:
        _here.handed = None


@contextlib.contextmanager
def reading(handles: Sequence[Any]) -> Generator[None]:
    """While this lasts, what refers to shared objects may be unpickled in this thread.

    Args:
        handles: For each shared object its bytes, or the path of a file that has them.
    """
    before = getattr(_here, "handles", ())
    _here.handles = handles
    try:
        yield
    finally:
        _here.handles = before


def parts_of(shared: Shared[Any]) -> list[Buffer]:
    """The object as bytes, in parts; the large ones are the memory of the object itself.

    Raises:
        BackendError: It cannot be pickled.
    """
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        buffers.append(buffer.raw())
        return False

    try:
        body = dump(shared.value, buffer_callback=keep_in_band, again=buffers.clear)
    except Exception as error:
        raise BackendError(
            f"share() was given a {type(shared.value).__name__} that cannot leave this process ({reason(error)}); "
            "share what it is made from, or use the backend 'thread'"
        ) from error
    parts: list[Buffer] = [_HEAD.pack(len(body), len(buffers))]
    parts += [struct.pack(f"<{len(buffers)}Q", *(each.nbytes for each in buffers)), body]
    at = _HEAD.size + 8 * len(buffers) + len(body)
    for each in buffers:
        gap = -at % ALIGNMENT
        parts += [bytes(gap), each]
        at += gap + each.nbytes
    return parts


def _object_in(data: Buffer) -> Any:
    """What `parts_of` gave as parts, made again; its memory is that of `data`."""
    view = memoryview(data).cast("B")
    size, count = _HEAD.unpack_from(view)
    lengths = struct.unpack_from(f"<{count}Q", view, _HEAD.size)
    at = _HEAD.size + 8 * count
    body, at = view[at : at + size], at + size
    buffers: list[memoryview] = []
    for length in lengths:
        at += -at % ALIGNMENT
        buffers.append(view[at : at + length])
        at += length
    return pickle.loads(body, buffers=buffers)


_known: OrderedDict[str, Any] = OrderedDict()
_knowing = threading.Lock()


def _find(token: str, number: int) -> Any:
    """The shared object, in a worker."""
    with _knowing:
        if token in _known:
            _known.move_to_end(token)
            return _known[token]
    value = _object_in(_bytes_of(_here.handles[number]))
    with _knowing:
        value = _known.setdefault(token, value)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    return value


def _bytes_of(handle: Any) -> Any:
    if not isinstance(handle, str):
        return handle
    with open(handle, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
