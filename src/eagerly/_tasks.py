"""The four kinds of task. Each has a driver that calls, sleeps and iterates on the answers of a `TaskContext`, and
decides nothing itself; what a task was told stands in its `Declaration`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, overload

from eagerly._async_streams import EndingOf, first_step
from eagerly._callables import AdvisingName, Kind, renamed
from eagerly._context import TaskContext
from eagerly._deadline import run_async, run_sync
from eagerly._declaration import Declaration
from eagerly._escape import ASYNC_GENERATOR, COROUTINE, GENERATOR, warn_escaped
from eagerly._scope import here
from eagerly._task import P, R, Task

if TYPE_CHECKING:
    from eagerly._stored import StoredCall
    from eagerly.runs._run import Run

__all__ = ["AsyncTask", "AsyncTaskStream", "SyncTask", "SyncTaskStream", "make_task"]

Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

_look = here.get
_enter = here.set
_leave = here.reset


class SyncTask(Task[P, R]):
    """A task made of a plain function."""

    __slots__ = ()
    kind = Kind.SYNC

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: C901 - one loop, read from top to bottom
        call = TaskContext(self, args, kwargs)
        func, declaration = self.func, self.declaration
        timeout = declaration.timeout
        if (storing := declaration.storing) is not None:
            found: Any = storing.recall(call)
            if found is None:
                found = storing.carry_out(storing.look_up(call))
            if found:
                return found[0]  # type: ignore[no-any-return]  # it gives Any
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
                    cls: type[Any] = type(result)  # pyright: ignore[reportUnknownVariableType]  # of any type
                    if cls is COROUTINE or cls is GENERATOR or cls is ASYNC_GENERATOR:
                        warn_escaped(declaration, "task", result)
                    if storing is not None:
                        storing.keep_here(call, result)
                    call.succeed(result)
                    return result  # type: ignore[no-any-return]  # it gives Any
                call._pauses.sleep(delay)
        except BaseException as error:
            _end_interrupted(call, error)
            raise

    if TYPE_CHECKING:

        def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
        def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...

        # Class methods, functions looked up on the class, methods, static methods. `self` is a Callable because mypy
        # cannot tell S from a `SyncTask[Concatenate[S, Q], T]`.
        @overload
        def __get__(  # type: ignore[misc]  # is a task
            self: Callable[Concatenate[type[S], Q], T], instance: object, owner: type[S]
        ) -> SyncTask[Q, T]: ...
        @overload
        def __get__(self, instance: None, owner: object) -> Self: ...
        @overload
        def __get__(self: Callable[Concatenate[S, Q], T], instance: S, owner: object = ...) -> SyncTask[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


class AsyncTask(Task[P, R]):
    """A task made of an ``async def`` function, or of one that is marked as such."""

    __slots__ = ()
    kind = Kind.ASYNC

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        declaration.driver = renamed(_run_async_task, declaration.plain, AdvisingName(declaration.qualname))

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        self.check(*args, **kwargs) if kwargs else self.check(*args)  # an empty ** is not free
        return self.declaration.driver(TaskContext(self, args, kwargs), self.func, args, kwargs)  # type: ignore[no-any-return]  # it gives Any

    if TYPE_CHECKING:

        def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
        def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[R]: ...

        @overload
        def __get__(  # type: ignore[misc]  # is a task
            self: Callable[Concatenate[type[S], Q], Coroutine[Any, Any, T]], instance: object, owner: type[S]
        ) -> AsyncTask[Q, T]: ...
        @overload
        def __get__(self, instance: None, owner: object) -> Self: ...
        @overload
        def __get__(
            self: Callable[Concatenate[S, Q], Coroutine[Any, Any, T]], instance: S, owner: object = ...
        ) -> AsyncTask[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


class SyncTaskStream(Task[P, R]):
    """A task made of a generator function. Calling it gives a generator."""

    __slots__ = ()
    kind = Kind.STREAM

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        declaration.driver = renamed(_run_stream, declaration.plain, declaration.qualname)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, Any, Any]:
        self.check(*args, **kwargs)
        return self.declaration.driver(TaskContext(self, args, kwargs), self.func, args, kwargs)  # type: ignore[no-any-return]  # it gives Any

    if TYPE_CHECKING:

        def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Generator[R, Any, Any]: ...
        def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[list[R]]: ...

        @overload
        def __get__(  # type: ignore[misc]  # is a task
            self: Callable[Concatenate[type[S], Q], Generator[T, Any, Any]], instance: object, owner: type[S]
        ) -> SyncTaskStream[Q, T]: ...
        @overload
        def __get__(self, instance: None, owner: object) -> Self: ...
        @overload
        def __get__(
            self: Callable[Concatenate[S, Q], Generator[T, Any, Any]], instance: S, owner: object = ...
        ) -> SyncTaskStream[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


class AsyncTaskStream(Task[P, R]):
    """A task made of an async generator function. Calling it gives an async generator."""

    __slots__ = ()
    kind = Kind.ASYNC_STREAM

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        declaration.driver = renamed(_run_async_stream, declaration.plain, declaration.qualname)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, Any]:
        self.check(*args, **kwargs)
        return self.declaration.driver(TaskContext(self, args, kwargs), self.func, args, kwargs)  # type: ignore[no-any-return]  # it gives Any

    if TYPE_CHECKING:

        def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, Any]: ...
        def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[list[R]]: ...

        @overload
        def __get__(  # type: ignore[misc]  # is a task
            self: Callable[Concatenate[type[S], Q], AsyncGenerator[T, Any]], instance: object, owner: type[S]
        ) -> AsyncTaskStream[Q, T]: ...
        @overload
        def __get__(self, instance: None, owner: object) -> Self: ...
        @overload
        def __get__(
            self: Callable[Concatenate[S, Q], AsyncGenerator[T, Any]], instance: S, owner: object = ...
        ) -> AsyncTaskStream[Q, T]: ...
        @overload
        def __get__(self, instance: object, owner: object = ...) -> Self: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...


async def _run_async_task(  # noqa: C901 - as above
    call: TaskContext, func: Any, args: Any, kwargs: Any
) -> Any:
    declaration = call._task.declaration
    timeout = declaration.timeout
    if (storing := declaration.storing) is not None:
        found: Any = storing.recall(call)
        if found is None:
            found = await storing.carry_out_async(storing.look_up(call))
        if found is not None:
            return found[0]
    call.start()
    try:
        while True:
            token = _enter(call)
            try:
                if timeout is None:
                    result = await (func(*args, **kwargs) if kwargs else func(*args))
                else:
                    result = await run_async(call.timed_attempt())
            except BaseException as error:
                _leave_anywhere(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                try:  # as _leave_anywhere does; here the price of calling it would show
                    _leave(token)
                except ValueError:
                    pass
                if storing is not None:
                    await storing.carry_out_async(storing.keep(call, result))
                call.succeed(result)
                return result
            await call._pauses.async_sleep(delay)
    except BaseException as error:
        _end_interrupted(call, error)
        raise


def _run_stream(  # noqa: C901 - one loop, read from top to bottom
    call: TaskContext, func: Any, args: Any, kwargs: Any
) -> Generator[Any, Any, Any]:
    scope: Any = call
    advance: Any = None
    value: Any = None
    watched, closing = True, False
    stored: StoredCall | None = None
    storing = call._task.declaration.storing
    if storing and (found := storing.carry_out(storing.look_up(call))) is not None:
        return (yield from storing.replayed(call, found[0]))  # pyright: ignore[reportUnknownVariableType]  # of Any
    call.start()
    try:
        if call._stored is not None:
            stored = storing.stream_keeper(call)
        while True:
            token = _enter(scope)
            try:
                if advance is None:
                    source = func(*args, **kwargs)
                    advance = send = source.send
                # What was sent or thrown is not kept either: a thrown error would keep this frame in turn.
                item = advance(None) if value is None else advance((value, value := None)[0])
            except StopIteration as stop:
                _leave(token)
                if stored is not None and not closing:
                    storing.carry_out(storing.exhausted(call, stored, stop.value))
                call.exhaust(closing)
                return stop.value
            except BaseException as error:
                _leave(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                scope = _look()  # the call, or a session that the body holds open from this item to the next
                _leave(token)
                closing = False
                if stored is not None:
                    storing.carry_out(storing.passing(call, stored, item))
                if watched:
                    watched = call.deliver(item)
                try:
                    # Nothing here keeps the item while the consumer has it: the name is cleared in the same expression.
                    value = yield (item, item := None)[0]
                    advance = send  # pyright: ignore[reportPossiblyUnboundVariable]  # set by the first step
                except BaseException as error:
                    advance, value = source.throw, error  # pyright: ignore[reportPossiblyUnboundVariable]  # set by the first step
                    closing = isinstance(error, GeneratorExit)
                if stored is not None and value is not None:
                    storing.steered(stored)
                continue
            call._pauses.sleep(delay)
            advance, value, scope = None, None, call
    except BaseException as error:
        call.interrupt(error)
        raise


async def _run_async_stream(  # noqa: C901 - one loop, read from top to bottom
    call: TaskContext, func: Any, args: Any, kwargs: Any
) -> AsyncGenerator[Any, Any]:
    scope: Any = call
    advance: Any = None
    value: Any = None
    watched, closing = True, False
    stored: StoredCall | None = None
    storing = call._task.declaration.storing
    if storing and (found := await storing.carry_out_async(storing.look_up(call))) is not None:
        replay = storing.replayed_async(call, found[0])
        advance = replay.asend
        try:
            while True:
                try:
                    item = await advance(value)
                except StopAsyncIteration:
                    return
                try:
                    value = yield item
                    advance = replay.asend
                except Exception as error:
                    advance, value = replay.athrow, error
        finally:
            await replay.aclose()  # and with it the function, if the replay has turned into a run of it
    call.start()
    _ending = EndingOf(call)  # lives as long as this frame does
    try:
        if call._stored is not None:
            stored = storing.stream_keeper(call)
        while True:
            token = _enter(scope)
            try:
                if advance is None:
                    source = func(*args, **kwargs)
                    send = source.asend
                    item = await first_step(source)
                else:
                    item = await (advance(None) if value is None else advance((value, value := None)[0]))
            except StopAsyncIteration:
                _leave_anywhere(token)
                if stored is not None and not closing:
                    await storing.carry_out_async(storing.exhausted(call, stored, None))
                call.exhaust(closing)
                return
            except BaseException as error:
                _leave_anywhere(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                scope = _look()  # as in _run_stream
                try:  # as _leave_anywhere does; here the price of calling it would show
                    _leave(token)
                except ValueError:
                    pass
                closing = False
                if stored is not None:
                    await storing.carry_out_async(storing.passing(call, stored, item))
                if watched:
                    watched = call.deliver(item)
                try:
                    value = yield (item, item := None)[0]  # as in _run_stream
                    advance = send  # pyright: ignore[reportPossiblyUnboundVariable]  # set by the first step
                except BaseException as error:
                    advance, value = source.athrow, error  # pyright: ignore[reportPossiblyUnboundVariable]  # set by the first step
                    closing = isinstance(error, GeneratorExit)
                if stored is not None and value is not None:
                    storing.steered(stored)
                continue
            await call._pauses.async_sleep(delay)
            advance, value, scope = None, None, call
    except BaseException as error:
        call.interrupt(error)
        raise


def _end_interrupted(call: TaskContext, error: BaseException) -> None:
    """End a call that has not ended, and step out of it: a signal may come between any two bytecodes of its driver."""
    if _look() is call:
        _enter(call._outer)
    call.interrupt(error)


def _leave_anywhere(token: Any) -> None:
    """Step out of a call, also where the garbage collector or another context closes what it had suspended."""
    try:
        _leave(token)
    except ValueError:
        pass


_CLASSES: dict[Kind, type[Task[..., Any]]] = {
    cls.kind: cls for cls in (SyncTask, AsyncTask, SyncTaskStream, AsyncTaskStream)
}


def make_task(func: Any, options: dict[str, Any]) -> Task[..., Any]:
    """The task of the kind that `func` is."""
    declaration = Declaration(func, options)
    return _CLASSES[declaration.kind](declaration)
