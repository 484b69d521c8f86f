"""The four kinds of task. Each has a driver that calls, sleeps and iterates on the answers of a `TaskContext`, and
decides nothing itself; what a task was told stands in its `Declaration`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from eagerly._callables import Kind, renamed
from eagerly._context import TaskContext, here, warn_escaped
from eagerly._deadline import run_async, run_sync
from eagerly._declaration import DEFAULTS, Declaration, only_given, refuse_unknown
from eagerly._pickling import find_importable, reduce_decorated
from eagerly._resemblance import LooksLikeFunction
from eagerly._sentinel import UNSET

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterable
    from datetime import timedelta

    from eagerly._retry import Retry
    from eagerly._sentinel import UnsetType

__all__ = ["AsyncTask", "AsyncTaskStream", "SyncTask", "SyncTaskStream", "Task", "make_task"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
S = TypeVar("S", contravariant=True)

_look = here.get
_enter = here.set
_leave = here.reset
_put = object.__setattr__
_ESCAPING = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


class Task(LooksLikeFunction, Generic[P, R]):
    """A function and what `task` was told about it. Called like the function; immutable.

    Made by `task`, never directly. To everything that inspects it, a task looks like its function.
    """

    __slots__ = ("__dict__", "__weakref__", "bind", "check", "declaration", "func")

    if TYPE_CHECKING:
        kind: ClassVar[Kind]
        func: Callable[..., Any]
        """The user's function; for a method that was looked up on an instance: the bound method."""
        declaration: Declaration
        check: Callable[..., None]
        bind: Callable[..., dict[str, Any]]

    def __init__(self, declaration: Declaration) -> None:
        _put(self, "declaration", declaration)
        _put(self, "func", declaration.func)
        _put(self, "check", declaration.check)
        _put(self, "bind", declaration.bind)
        self._resemble(declaration.func)

    # What it was told

    @property
    def name(self) -> str:
        """The task's name, with the placeholders of its template as they were written."""
        return self.declaration.name

    @property
    def description(self) -> str:
        """The description given, or the docstring of the function."""
        return self.declaration.description

    @property
    def retries(self) -> int | Retry:
        """As given: a number of retries, or a `Retry`."""
        return self.declaration.retries

    @property
    def timeout(self) -> float | None:
        """Seconds that one attempt may take, or None."""
        return self.declaration.timeout

    @property
    def tags(self) -> frozenset[str]:
        """The tags given."""
        return self.declaration.tags

    @property
    def wrap_errors(self) -> bool | None:
        """Whether errors are wrapped in `TaskError`; None: as the session says."""
        return self.declaration.wrap_errors

    @property
    def signature(self) -> inspect.Signature:
        """The parameters that a call of this task takes; on a bound method, without ``self``."""
        signature = self.declaration.signature
        if self.func is self.declaration.func:
            return signature
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @property
    def is_async(self) -> bool:
        """Whether the function is async (also for async streams)."""
        return self.declaration.is_async

    @property
    def is_generator(self) -> bool:
        """Whether the function is a generator function, sync or async."""
        return self.declaration.is_generator

    def options(
        self,
        *,
        name: str | UnsetType | None = UNSET,
        description: str | UnsetType | None = UNSET,
        retries: int | Retry | UnsetType = UNSET,
        timeout: float | timedelta | UnsetType | None = UNSET,
        tags: Iterable[str] | UnsetType = UNSET,
        wrap_errors: bool | UnsetType | None = UNSET,
        **unknown: Any,
    ) -> Self:
        """A copy of this task with other options; those not given stay as they are.

        Args and errors: as in `task`.

        Example:
            >>> from eagerly import task
            >>> @task(retries=1)
            ... def fetch(city):
            ...     return city
            >>> fetch.options(timeout=5).retries
            1
        """
        refuse_unknown("task.options", unknown, DEFAULTS)
        given = only_given(
            name=name, description=description, retries=retries, timeout=timeout, tags=tags, wrap_errors=wrap_errors
        )
        copy = self._with({**self.declaration.options, **given})
        if self.func is not self.declaration.func and isinstance(self.func, MethodType):
            return copy.__get__(self.func.__self__)  # type: ignore[no-any-return]
        return copy

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        wrapper = self.declaration.wrapper
        if wrapper is staticmethod:
            return self
        if wrapper is classmethod:
            instance = type(instance) if owner is None else owner
        elif instance is None:
            return self
        get = getattr(type(self.func), "__get__", None)
        if get is None or (func := get(self.func, instance, type(instance))) is self.func:
            return self  # like a partial or an already bound method in a class: not a method
        bound = object.__new__(type(self))
        _put(bound, "__dict__", vars(self))
        _put(bound, "declaration", self.declaration)
        _put(bound, "func", func)
        _put(bound, "check", MethodType(self.check, instance))
        _put(bound, "bind", MethodType(self.bind, instance))
        return bound

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            hint = f"; write task.options({name}={value!r}) for a changed copy" if name in DEFAULTS else ""
            raise AttributeError(f"a task is immutable, so {name!r} cannot be set{hint}")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        return self.declaration is other.declaration and self.func == other.func

    def __hash__(self) -> int:
        return hash(id(self.declaration))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> str | tuple[Any, ...]:
        func, declaration = self.func, self.declaration
        if isinstance(func, MethodType) and func is not declaration.func:
            return getattr, (func.__self__, declaration.plain)
        named = find_importable(declaration.func)
        if named is not self and isinstance(named, Task) and named.declaration.func is declaration.func:
            return named._with, (declaration.options,)
        return reduce_decorated(self, declaration.func, (declaration.undecorated, declaration.options))

    def _with(self, options: dict[str, Any]) -> Self:
        return type(self)(Declaration(self.declaration.undecorated, options))

    def _restore(self, undecorated: Any, options: dict[str, Any]) -> None:
        type(self).__init__(self, Declaration(undecorated, options))

    def __repr__(self) -> str:
        told = "".join(f", {name}={value!r}" for name, value in self.declaration.options.items())
        return f"<{type(self).__name__} {self.declaration.qualified_name}{told}>"


class SyncTask(Task[P, R]):
    """A task made of a plain function."""

    __slots__ = ()
    kind = Kind.SYNC

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        call = TaskContext(self, args, kwargs)
        func, timeout = self.func, self.declaration.timeout
        call.start()
        try:
            while True:
                token = _enter(call)
                try:
                    result = func(*args, **kwargs) if timeout is None else run_sync(call.timed_attempt())
                except BaseException as error:
                    _leave(token)
                    delay = call.fail(error)
                    if delay is None:
                        raise
                else:
                    _leave(token)
                    if type(result) in _ESCAPING:
                        warn_escaped(self, result)
                    call.succeed(result)
                    return result  # type: ignore[no-any-return]
                call.clock.sleep(delay)
        except BaseException as error:
            call.interrupt(error)
            raise

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any = ...) -> Self: ...
        @overload
        def __get__(self: SyncTask[Concatenate[S, P], R], instance: S, owner: Any = ...) -> SyncTask[P, R]: ...  # type: ignore[misc]
        def __get__(self, instance: Any, owner: Any = ...) -> Any: ...


class AsyncTask(Task[P, R]):
    """A task made of an ``async def`` function, or of one that is marked as such."""

    __slots__ = ()
    kind = Kind.ASYNC

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        plain, qualname = declaration.plain, declaration.qualname
        declaration.driver = renamed(_run_async_task, plain, qualname)
        # Where no event loop runs, Python's "coroutine ... was never awaited" can say how to do it right.
        fix = f"{qualname} (an async task, called in sync code: write asyncio.run({plain}(...)), or await it)"
        declaration.driver_in_sync_code = renamed(_run_async_task, plain, fix)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        self.check(*args, **kwargs)
        call = TaskContext(self, args, kwargs)
        declaration = self.declaration
        drive = declaration.driver if _running_loop() is not None else declaration.driver_in_sync_code
        return drive(call, self.func, args, kwargs)  # type: ignore[no-any-return]

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any = ...) -> Self: ...
        @overload
        def __get__(self: AsyncTask[Concatenate[S, P], R], instance: S, owner: Any = ...) -> AsyncTask[P, R]: ...  # type: ignore[misc]
        def __get__(self, instance: Any, owner: Any = ...) -> Any: ...


class SyncTaskStream(Task[P, R]):
    """A task made of a generator function. Calling it gives a generator."""

    __slots__ = ()
    kind = Kind.STREAM

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        declaration.driver = renamed(_run_stream, declaration.plain, declaration.qualname)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, Any, Any]:
        self.check(*args, **kwargs)
        return self.declaration.driver(TaskContext(self, args, kwargs), self.func, args, kwargs)  # type: ignore[no-any-return]

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any = ...) -> Self: ...
        @overload
        def __get__(
            self: SyncTaskStream[Concatenate[S, P], R], instance: S, owner: Any = ...
        ) -> SyncTaskStream[P, R]: ...  # type: ignore[misc]
        def __get__(self, instance: Any, owner: Any = ...) -> Any: ...


class AsyncTaskStream(Task[P, R]):
    """A task made of an async generator function. Calling it gives an async generator."""

    __slots__ = ()
    kind = Kind.ASYNC_STREAM

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        declaration.driver = renamed(_run_async_stream, declaration.plain, declaration.qualname)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, Any]:
        self.check(*args, **kwargs)
        return self.declaration.driver(TaskContext(self, args, kwargs), self.func, args, kwargs)  # type: ignore[no-any-return]

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any = ...) -> Self: ...
        @overload
        def __get__(
            self: AsyncTaskStream[Concatenate[S, P], R], instance: S, owner: Any = ...
        ) -> AsyncTaskStream[P, R]: ...  # type: ignore[misc]
        def __get__(self, instance: Any, owner: Any = ...) -> Any: ...


async def _run_async_task(call: TaskContext, func: Any, args: Any, kwargs: Any) -> Any:
    timeout = call._task.declaration.timeout
    call.start()
    try:
        while True:
            token = _enter(call)
            try:
                if timeout is None:
                    result = await func(*args, **kwargs)
                else:
                    result = await run_async(call.timed_attempt())
            except BaseException as error:
                _leave_anywhere(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                _leave_anywhere(token)
                call.succeed(result)
                return result
            await call.clock.async_sleep(delay)
    except BaseException as error:
        call.interrupt(error)
        raise


def _run_stream(call: TaskContext, func: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    scope: Any = call
    advance: Any = None
    value: Any = None
    watched = True
    call.start()
    try:
        while True:
            token = _enter(scope)
            try:
                if advance is None:
                    source = func(*args, **kwargs)
                    advance = send = source.send
                item = advance(value)
            except StopIteration as stop:
                _leave(token)
                call.succeed(None)
                return stop.value
            except BaseException as error:
                _leave(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                scope = _look()  # the call, or a session that the body holds open from this item to the next
                _leave(token)
                if watched:
                    watched = call.deliver(item)
                try:
                    # Nothing here keeps the item while the consumer has it: the name is cleared in the same expression.
                    value = yield (item, item := None)[0]
                    advance = send
                except BaseException as error:
                    advance, value = source.throw, error
                continue
            call.clock.sleep(delay)
            advance, value, scope = None, None, call
    except BaseException as error:
        call.interrupt(error)
        raise


async def _run_async_stream(call: TaskContext, func: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
    scope: Any = call
    advance: Any = None
    value: Any = None
    watched = True
    call.start()
    ending = _EndingOf(call)  # noqa: F841 - lives as long as this frame does
    try:
        while True:
            token = _enter(scope)
            try:
                if advance is None:
                    source = func(*args, **kwargs)
                    advance = send = source.asend
                item = await advance(value)
            except StopAsyncIteration:
                _leave_anywhere(token)
                call.succeed(None)
                return
            except BaseException as error:
                _leave_anywhere(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                scope = _look()  # as in _run_stream
                _leave_anywhere(token)
                if watched:
                    watched = call.deliver(item)
                try:
                    value = yield (item, item := None)[0]  # as in _run_stream
                    advance = send
                except BaseException as error:
                    advance, value = source.athrow, error
                continue
            await call.clock.async_sleep(delay)
            advance, value, scope = None, None, call
    except BaseException as error:
        call.interrupt(error)
        raise


class _EndingOf:
    """Ends the call when the frame that holds this goes away.

    An async generator that is dropped when no event loop can close it is cleared away without being resumed.
    """

    __slots__ = ("_call",)

    def __init__(self, call: TaskContext) -> None:
        self._call = call

    def __del__(self) -> None:
        self._call.cancel("closed")


def _leave_anywhere(token: Any) -> None:
    """Step out of a call, also where the garbage collector or another context closes what it had suspended."""
    try:
        _leave(token)
    except ValueError:
        pass


def _running_loop() -> Any:
    """The asyncio event loop that runs here, or None. Once asyncio is imported, its own function takes over."""
    global _running_loop
    events = sys.modules.get("asyncio.events")
    if events is None:
        return None
    _running_loop = events._get_running_loop
    return _running_loop()


_CLASSES = {cls.kind: cls for cls in (SyncTask, AsyncTask, SyncTaskStream, AsyncTaskStream)}


def make_task(func: Any, options: dict[str, Any]) -> Task[..., Any]:
    """The task of the kind that `func` is."""
    declaration = Declaration(func, options)
    return _CLASSES[declaration.kind](declaration)
