"""The shapes and ingredients that were tried and rejected, kept so that the reason can be measured again.

Each shape does what a task without options does: finds the session, is current while the function runs, tells
listeners, knows when to try again. Each ingredient stands beside what is used in its place. No product code is here.
"""

from __future__ import annotations

import contextlib
import inspect
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pluggy

from benchmarks.cases import Both, plain, plain_async
from benchmarks.contest import Contestant, awaits, calls
from eagerly import TaskContext, session, task
from eagerly._callables import compile_binder
from eagerly._scope import here
from eagerly.hooks._compile import compile_hooks


def contestants() -> Iterator[Contestant]:
    """All of them; the shapes take part in the cases of a plain call, the ingredients in one case each."""
    for shape in SHAPES.values():
        yield Contestant("call-sync", shape.title, calls(shape(task(plain)), 1))
        yield Contestant("call-async", shape.title, awaits(coloured(shape)(task(plain_async)), 1))
    yield from ingredients()


def coloured(shape: type[Any]) -> type[Any]:
    """`shape` with its async call for its call; like a task, it refuses wrong arguments before anything is awaited."""

    class Coloured(shape):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.task.check(*args, **kwargs)
            return self.run_async(args, kwargs)

    return Coloured


# Shapes


class Duplicated:
    """Everything written out, in each colour: the fastest there can be, and four copies to keep in step."""

    title = "fully duplicated code"

    def __init__(self, declared: Any) -> None:
        self.task = declared
        self.func = declared.func
        self.retry = declared.declaration.retry

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: C901  # what is wrong with this shape
        outer = here.get()
        session = outer._session
        while session.closed:
            session = session._session
        call = _Call(self.task, args, kwargs, outer, session)
        hooks = session.hooks
        call.started = session.now()
        if hooks.before_node_execute is not None:
            self.task.check(*args, **kwargs)
            hooks.before_node_execute(call)
        while True:
            token = here.set(call)
            try:
                result = self.func(*args, **kwargs)
            except Exception as error:
                here.reset(token)
                delay = None
                if self.retry is not None:
                    delay = self.retry.delay_after(call.attempt, error, elapsed=session.now() - call.started)
                if delay is None:
                    if hooks.on_node_error is not None:
                        hooks.on_node_error(call, error)
                    raise
                call.attempt += 1
                if hooks.before_node_retry is not None:
                    hooks.before_node_retry(call, call.attempt, error, delay)
            except BaseException:
                here.reset(token)
                if hooks.on_node_cancel is not None:
                    hooks.on_node_cancel(call, "interrupted")
                raise
            else:
                here.reset(token)
                if hooks.after_node_execute is not None:
                    hooks.after_node_execute(call, result)
                return result
            session.clock.sleep(delay)

    async def run_async(self, args: Any, kwargs: Any) -> Any:  # noqa: C901  # and here it is again
        outer = here.get()
        session = outer._session
        while session.closed:
            session = session._session
        call = _Call(self.task, args, kwargs, outer, session)
        hooks = session.hooks
        call.started = session.now()
        if hooks.before_node_execute is not None:
            self.task.check(*args, **kwargs)
            hooks.before_node_execute(call)
        while True:
            token = here.set(call)
            try:
                result = await self.func(*args, **kwargs)
            except Exception as error:
                here.reset(token)
                delay = None
                if self.retry is not None:
                    delay = self.retry.delay_after(call.attempt, error, elapsed=session.now() - call.started)
                if delay is None:
                    if hooks.on_node_error is not None:
                        hooks.on_node_error(call, error)
                    raise
                call.attempt += 1
                if hooks.before_node_retry is not None:
                    hooks.before_node_retry(call, call.attempt, error, delay)
            except BaseException:
                here.reset(token)
                if hooks.on_node_cancel is not None:
                    hooks.on_node_cancel(call, "cancelled")
                raise
            else:
                here.reset(token)
                if hooks.after_node_execute is not None:
                    hooks.after_node_execute(call, result)
                return result
            await session.clock.async_sleep(delay)


class _Call(TaskContext):
    """The facts of a call, for the shape that takes its decisions itself."""

    def __init__(self, task: Any, args: Any, kwargs: Any, outer: Any, session: Any) -> None:
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._outer = outer
        self._session = session
        self.attempt = 1
        self.ended = False


class Trampolined:
    """One generator lives the life of a call and yields what to do; each colour has a small machine that does it."""

    title = "generator and trampoline"

    def __init__(self, declared: Any) -> None:
        self.task = declared
        self.func = declared.func

    def life(self, args: Any, kwargs: Any) -> Generator[tuple[str, Any], Any, Any]:
        call = TaskContext(self.task, args, kwargs)
        call.start()
        while True:
            token = here.set(call)
            try:
                result = yield "call", (args, kwargs)
            except BaseException as error:
                here.reset(token)
                delay = call.fail(error)
                if delay is None:
                    raise
            else:
                here.reset(token)
                call.succeed(result)
                return result
            yield "sleep", (call.clock, delay)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        life = self.life(args, kwargs)
        answer, advance = None, life.send
        while True:
            try:
                what, given = advance(answer)
            except StopIteration as stop:
                return stop.value
            try:
                answer = self.func(*given[0], **given[1]) if what == "call" else given[0].sleep(given[1])
                advance = life.send
            except BaseException as error:
                answer, advance = error, life.throw

    async def run_async(self, args: Any, kwargs: Any) -> Any:
        life = self.life(args, kwargs)
        answer, advance = None, life.send
        while True:
            try:
                what, given = advance(answer)
            except StopIteration as stop:
                return stop.value
            try:
                if what == "call":
                    answer = await self.func(*given[0], **given[1])
                else:
                    answer = await given[0].async_sleep(given[1])
                advance = life.send
            except BaseException as error:
                answer, advance = error, life.throw


class ContextManaged:
    """Each concern a `@contextmanager`, nested: reads well, and both colours share them."""

    title = "nested @contextmanager"

    def __init__(self, declared: Any) -> None:
        self.task = declared
        self.func = declared.func

    @contextlib.contextmanager
    def living(self, call: TaskContext) -> Iterator[None]:
        call.start()
        try:
            yield
        except BaseException as error:
            call.interrupt(error)
            raise

    @contextlib.contextmanager
    def current(self, call: TaskContext) -> Iterator[None]:
        token = here.set(call)
        try:
            yield
        finally:
            here.reset(token)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = TaskContext(self.task, args, kwargs)
        with self.living(call):
            while True:
                try:
                    with self.current(call):
                        result = self.func(*args, **kwargs)
                except BaseException as error:
                    delay = call.fail(error)
                    if delay is None:
                        raise
                else:
                    call.succeed(result)
                    return result
                call.clock.sleep(delay)

    async def run_async(self, args: Any, kwargs: Any) -> Any:
        call = TaskContext(self.task, args, kwargs)
        with self.living(call):
            while True:
                try:
                    with self.current(call):
                        result = await self.func(*args, **kwargs)
                except BaseException as error:
                    delay = call.fail(error)
                    if delay is None:
                        raise
                else:
                    call.succeed(result)
                    return result
                await call.clock.async_sleep(delay)


SHAPES = {shape.title: shape for shape in (Duplicated, Trampolined, ContextManaged)}


# Ingredients


@dataclass(frozen=True, slots=True)
class FrozenCall:
    """What `TaskContext` holds, as a frozen dataclass: every field goes through ``object.__setattr__``."""

    task: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outer: Any
    session: Any
    attempt: int = 1
    ended: bool = False


INGREDIENTS: dict[str, tuple[str, str]] = {
    "facts": ("frozen dataclass per call", "`__slots__` object"),
    "arguments": ("`Signature.bind`", "binder compiled from the signature"),
    "identity": ("`uuid4()` per call", "an id when somebody asks"),
    "cleanup": ("`ExitStack`", "`try`/`finally`"),
    "manager": ("`@contextmanager`", "`try`/`finally`"),
    "hook": ("pluggy call", "compiled hook"),
}
"""Key of an ingredient's case -> the rejected way and the chosen one. What one of them costs, on its own."""


def ingredients() -> Iterator[Contestant]:
    for key, (rejected, chosen) in INGREDIENTS.items():
        for name, function, arguments in zip((rejected, chosen), *_ways(key), strict=True):
            yield Contestant(key, name, calls(function, *arguments))


def _ways(key: str) -> tuple[tuple[Callable[..., Any], Callable[..., Any]], tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The two functions, and their arguments."""
    declared: Any = task(plain)
    outer = here.get()
    if key == "facts":
        facts: tuple[Any, ...] = (declared, (1,), {}, outer, outer._session)
        return (FrozenCall, _Call), (facts, facts)
    if key == "arguments":
        signature = inspect.signature(plain)
        return (signature.bind, compile_binder(signature, "plain")[1]), ((1,), (1,))
    if key == "identity":
        return (uuid.uuid4, _nothing), ((), ())
    if key == "cleanup":
        return (_with_exit_stack, _with_finally), ((), ())
    if key == "manager":
        return (_with_manager, _with_finally), ((), ())
    manager = pluggy.PluginManager("benchmark")
    manager.add_hookspecs(_Spec)
    manager.register(_Listener())
    compiled = compile_hooks([Both()], strict=False).before_node_execute
    assert compiled is not None
    with session():
        call = TaskContext(declared, (1,), {})
    return (_keywords(manager.hook.before_node_execute), compiled), ((call,), (call,))


class _Spec:
    @pluggy.HookspecMarker("benchmark")
    def before_node_execute(self, metadata: Any, reporter: Any) -> None: ...


class _Listener:
    @pluggy.HookimplMarker("benchmark")
    def before_node_execute(self, metadata: Any) -> None: ...


def _keywords(hook: Any) -> Callable[[Any], None]:
    """pluggy takes keywords only."""
    return lambda call: hook(metadata=call, reporter=call)


def _nothing() -> None:
    pass


def _with_finally() -> None:
    try:
        pass
    finally:
        _nothing()


def _with_exit_stack() -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(_nothing)


@contextlib.contextmanager
def _managed() -> Iterator[None]:
    try:
        yield
    finally:
        _nothing()


def _with_manager() -> None:
    with _managed():
        pass
