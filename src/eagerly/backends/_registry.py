"""Which backends there are, and which one is meant: by a name, by itself, or by the executor or client that it runs on.

A backend is loaded when it is resolved. To find out whether a name is known loads nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from eagerly._options import nearest
from eagerly.backends._engine import is_dask_client
from eagerly.backends._protocol import Backend
from eagerly.errors import BackendError, OptionTypeError, OptionValueError

if TYPE_CHECKING:
    import importlib.metadata

__all__ = [
    "ENTRY_POINTS",
    "BackendFactory",
    "backend_names",
    "check_backend_name",
    "opened",
    "register_backend",
    "resolve_backend",
    "unregister_backend",
]

BackendFactory: TypeAlias = "Callable[[], Backend]"
"""What makes a backend: a class that takes no arguments, or a function."""

ENTRY_POINTS: Final = "eagerly.backends"

BUILT_IN: Final = {
    "inline": "eagerly.backends._inline:InlineBackend",
    "thread": "eagerly.backends._thread:ThreadBackend",
    "process": "eagerly.backends._process:ProcessBackend",
    "dask": "eagerly.backends._dask:DaskBackend",
    "ray": "eagerly.backends._ray:RayBackend",
}
"""By name, where each is."""

ALSO_CALLED: Final = {
    "sequential": "inline",
    "synchronous": "inline",
    "threads": "thread",
    "threading": "thread",
    "processes": "process",
    "multiprocessing": "process",
}

INSTEAD: Final = {
    "async": "async tasks are mapped by gather_tasks(), which needs no backend",
    "asyncio": "async tasks are mapped by gather_tasks(), which needs no backend",
    "loky": "give the executor: backend=loky.get_reusable_executor()",
}
"""What to write in the place of names that people may expect."""

MEMBERS: Final = ("capabilities", "open", "submit", "cancel", "recover", "share", "unshare", "close")
"""What a `Backend` has."""

_lock = threading.RLock()
_registered: dict[str, BackendFactory] = {}
_installed: dict[str, importlib.metadata.EntryPoint] | None = None


def register_backend(name: str, factory: BackendFactory) -> None:
    """Make ``backend=name`` mean what `factory` makes, in this process.

    Args:
        name: What people write.
        factory: Called without arguments when the backend is needed; a class will do.

    Raises:
        BackendError: There is a backend of this name.
        OptionTypeError: `name` is no string, or `factory` cannot be called.
        OptionValueError: `name` is empty, or has white space in it.
    """
    if not isinstance(name, str):
        raise OptionTypeError(f"register_backend(name, ...) takes a string, not {name!r}")
    if not name or any(character.isspace() for character in name):
        raise OptionValueError(f"the name of a backend is not empty and has no white space; {name!r} will not do")
    if not callable(factory):
        hint = f"; write register_backend({name!r}, lambda: backend)" if _is_backend(factory) else ""
        raise OptionTypeError(
            f"register_backend({name!r}, ...) takes a function or class that makes the backend, not {factory!r}{hint}"
        )
    with _lock:
        if name in BUILT_IN or name in ALSO_CALLED:
            raise BackendError(f"the name {name!r} is taken by a backend of eagerly; choose another one")
        if name in _registered:
            raise BackendError(
                f"a backend {name!r} is registered already ({_registered[name]!r}); "
                f"call unregister_backend({name!r}) first, or choose another name"
            )
        _registered[name] = factory


def unregister_backend(name: str) -> None:
    """Undo `register_backend`.

    Raises:
        BackendError: No backend of this name was registered.
    """
    with _lock:
        if name not in _registered:
            raise BackendError(f"no backend {name!r} was registered with register_backend()")
        del _registered[name]


def backend_names() -> list[str]:
    """The names that ``backend=`` takes, without the other names of our own."""
    with _lock:
        return sorted({*BUILT_IN, *_registered, *_entry_points()})


def check_backend_name(where: str, value: object) -> None:
    """Refuse, when it is written, what cannot be a backend. Loads none.

    Args:
        where: For messages: ``task(backend=...)``.
        value: What was given.

    Raises:
        BackendError: There is no backend of this name; the message lists those there are.
        OptionTypeError: It is neither a name nor something that can be one.
    """
    if isinstance(value, str):
        if not _is_name(value):
            raise BackendError(f"{where}: {_unknown(value)}")
    elif isinstance(value, type) or not (_is_backend(value) or _is_executor(value) or is_dask_client(value)):
        raise OptionTypeError(
            f"{where} takes the name of a backend, a backend, an executor or a Dask client, {_not(value)}"
        )


def resolve_backend(spec: object) -> Backend:
    """The backend that is meant. For a name, a new one each time; for a backend, itself.

    Args:
        spec: A name, a `Backend`, a `concurrent.futures.Executor` or a `distributed.Client`.

    Raises:
        BackendError: There is no backend of this name, or what it names gives none.
        OptionTypeError: `spec` is none of these.
    """
    check_backend_name("backend=...", spec)
    if isinstance(spec, str):
        return _named(spec)
    if is_dask_client(spec):
        return _load(BUILT_IN["dask"], spec)
    if _is_executor(spec):
        return _load("eagerly.backends._executor:ExecutorBackend", spec)
    return cast("Backend", spec)


@contextlib.contextmanager
def opened(spec: object) -> Generator[Backend]:
    """The backend that is meant, open; one that was made for a name is closed in the end.

    Raises:
        BackendError, OptionTypeError: As `resolve_backend`.
    """
    backend = resolve_backend(spec)
    backend.open()
    try:
        yield backend
    finally:
        if isinstance(spec, str):
            backend.close()


def _is_name(value: str) -> bool:
    if value in BUILT_IN or value in ALSO_CALLED:
        return True
    with _lock:
        return value in _registered or value in _entry_points()


def _named(name: str) -> Backend:
    name = ALSO_CALLED.get(name, name)
    if name in BUILT_IN:
        return _load(BUILT_IN[name])
    with _lock:
        factory: Any = _registered.get(name)
        source = f"register_backend({name!r}, {factory!r})"
        entry_point = None if factory is not None else _entry_points()[name]
    if entry_point is not None:
        source = f"the installed backend [{name} = {entry_point.value}]"
        try:
            factory = entry_point.load()
        except Exception as error:
            raise BackendError(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error
    backend: Any = factory() if callable(factory) else factory
    if not _is_backend(backend):
        raise BackendError(f"{source} gives no backend, but {backend!r}, which lacks {', '.join(_lacking(backend))}")
    return cast("Backend", backend)


def _load(home: str, *arguments: object) -> Backend:
    module, _, name = home.partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)(*arguments)
    return backend


def _is_backend(value: object) -> bool:
    return not isinstance(value, type) and not _lacking(value)


def _is_executor(value: object) -> bool:
    # If its module has not been loaded, nobody can have an executor.
    executor = getattr(sys.modules.get("concurrent.futures"), "Executor", None)
    return executor is not None and isinstance(value, executor)


def _lacking(value: object) -> list[str]:
    # Nothing is asked of the object itself: Python 3.11 would compute its capabilities, which need not be there yet.
    kind, own = type(value), getattr(value, "__dict__", {})
    return [name for name in MEMBERS if not hasattr(kind, name) and name not in own]


def _not(value: object) -> str:
    if isinstance(value, type):
        return f"not a class; write {value.__name__}(...) with parentheses"
    if hasattr(value, "scheduler_address"):
        return f"not {value!r}; write Client(cluster) from distributed, and give that"
    if hasattr(value, "submit"):
        return f"not {value!r}, which lacks {', '.join(_lacking(value))}"
    return f"not {value!r}"


def _unknown(name: str) -> str:
    names = backend_names()
    if name in INSTEAD:
        hint = f"{INSTEAD[name]}; "
    else:
        near = nearest(name.lower(), [*names, *ALSO_CALLED])
        hint = f"did you mean {near!r}? " if near else ""
    return f"there is no backend {name!r}; {hint}there are {', '.join(names)}"


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """What installed distributions declare; looked up once, when a name is not known otherwise."""
    global _installed
    if _installed is None:
        import importlib.metadata

        _installed = {each.name: each for each in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    return _installed
