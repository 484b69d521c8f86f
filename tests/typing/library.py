"""What type checkers see of the rest of the library. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, assert_type
from uuid import UUID

import eagerly
from eagerly import (
    AsyncWorkflow,
    Clock,
    ContextExecutor,
    Retry,
    SessionContext,
    Settings,
    SyncWorkflow,
    TaskContext,
    TaskMetadata,
    Workflow,
    async_session,
    current_session,
    current_task,
    hook_impl,
    register_plugins,
    session,
    task,
    workflow,
)
from eagerly.errors import OptionValueError, TaskError, TaskTimeoutError
from eagerly.hooks import unregister_plugins
from eagerly.testing import InstantClock, RecordingHooks, instant_clock
from eagerly.typing import Reporter

# Where am I? Perhaps nowhere


assert_type(current_task(), TaskContext | None)
assert_type(current_session(), SessionContext | None)


@task
def body() -> None:
    call = current_task()
    assert call is not None
    assert_type(call.metadata, TaskMetadata)
    assert_type(call.attempt, int)
    assert_type(call.elapsed, float)
    assert_type(call.timestamp, datetime)
    assert_type(call.session, SessionContext | None)
    assert_type(call.parent, TaskContext | None)
    assert_type(call.should_stop(), bool)
    call.reporter.report("half way", rows=2)


body()


def facts(metadata: TaskMetadata) -> None:
    assert_type(metadata.id, UUID)
    assert_type(metadata.name, str)
    assert_type(metadata.qualified_name, str)
    assert_type(metadata.description, str)
    assert_type(metadata.backend, str)
    assert_type(metadata.inputs, dict[str, Any])
    assert_type(metadata.tags, frozenset[str])
    assert_type(metadata.map_index, int | None)
    assert_type(metadata.parent_id, UUID | None)
    assert_type(metadata.session_id, UUID | None)
    assert_type(metadata.is_async, bool)
    assert_type(metadata.is_generator, bool)


# Sessions


async def sessions() -> None:
    with session() as context:
        assert_type(context, SessionContext)
        assert_type(context.session_id, UUID)
        assert_type(context.name, str | None)
        assert_type(context.settings, Settings)
        assert_type(context.clock, Clock)
        assert_type(context.elapsed, float)
    async with session(plugins=[Printer()], settings=Settings(strict_hooks=True), name="nightly") as context:
        assert_type(context, SessionContext)
    async with async_session(clock=instant_clock()) as context:
        assert_type(context, SessionContext)
    with session(), session():  # swallows nothing: code after it is reached only if the body ended
        value = len("x")
    assert_type(value, int)


def returns_from_a_session() -> int:
    with session():
        return 1


def sleep_with(sleep: Callable[[float], None]) -> Clock:
    async def sleep_async(seconds: float) -> None:
        sleep(seconds)

    return Clock(now=lambda: 0.0, sleep=sleep, async_sleep=sleep_async)


assert_type(Settings(wrap_errors=True).wrap_errors, bool)
Clock(sleep=list[float]().append)


# Retries


def worth_it(error: Exception) -> bool:
    return "try again" in str(error)


def retry_after(error: Exception) -> float:
    return 2.0


def wait_or_give_up(error: Exception) -> bool | timedelta:
    return timedelta(seconds=1) if worth_it(error) else False


Retry(3, on=OSError)
Retry(3, on=(OSError, ValueError))
Retry(3, on=worth_it)
Retry(3, on=retry_after)
Retry(3, on=wait_or_give_up)
Retry(3, on=lambda error: isinstance(error, OSError))
assert_type(Retry(3, delay=timedelta(seconds=1)).delay_after(1, OSError(), elapsed=0.0), float | None)


# Workflows


@workflow
def report(city: str, *, days: int = 7) -> list[str]:
    return [city] * days


@workflow(name="nightly", description="Runs at night.")
async def nightly(city: str, /) -> int:
    return len(city)


@workflow()
def called(city: str, /) -> str:
    return city


def plain(city: str, /) -> str:
    return city


assert_type(report("Oslo", days=2), list[str])
assert_type(nightly, AsyncWorkflow[[str], int])
assert_type(called("Oslo"), str)
assert_type(workflow(plain), SyncWorkflow[[str], str])
assert_type(workflow(plain, name="other"), SyncWorkflow[[str], str])


async def awaits_a_workflow() -> None:
    assert_type(await nightly("Oslo"), int)


def any_workflow(entry: Workflow[[str], object]) -> None:
    assert_type(entry.name, str)
    assert_type(entry.description, str)
    assert_type(entry.is_async, bool)
    entry("Oslo")


any_workflow(called)


# Hooks: any object may be a plugin, and a mark leaves the type of its method alone


class Printer:
    runs = 0

    @hook_impl
    def before_node_execute(self, metadata: TaskMetadata, reporter: Reporter) -> None:
        self.runs += 1
        reporter.report("started", name=metadata.name)

    @hook_impl(tryfirst=True)
    def on_node_error(self, metadata: TaskMetadata, error: Exception) -> int:
        return len(str(error)) + len(metadata.name)

    def use(self, metadata: TaskMetadata) -> None:
        assert_type(self.on_node_error(metadata, OSError()), int)


printer, recording = Printer(), RecordingHooks()
register_plugins(printer, recording)
unregister_plugins(printer, recording)


def a_module_is_a_plugin_too(module: ModuleType) -> None:
    register_plugins(module)


# Threads


def square(x: int, *, scale: float = 1.0) -> float:
    return x * x * scale


with ContextExecutor(ThreadPoolExecutor(1)) as pool:
    assert_type(pool, ContextExecutor)
    assert_type(pool.submit(square, 2, scale=2.0), Future[float])
    assert_type(pool.submit(task(square), 2), Future[float])
    assert_type(pool.map(square, [1, 2]), Iterator[float])


# Errors carry facts


def failing() -> None:
    try:
        body()
    except TaskTimeoutError as timeout:
        assert_type(timeout.timeout, float)
        assert_type(timeout.abandoned, bool)
    except TaskError as failure:
        assert_type(failure.metadata, TaskMetadata)
        assert_type(failure.attempts, int)
        assert_type(failure.duration, float)


try:
    task(plain, timeout=-1)
except OptionValueError as refused:
    assert_type(refused, OptionValueError)


# Testing

hooks = RecordingHooks()
clock = instant_clock()
assert_type(clock, InstantClock)
with session(plugins=[hooks], clock=clock):
    body()
assert_type(hooks.names("body"), list[str])
assert_type(hooks.events[0].hook, str)
assert_type(clock.sleeps, list[float])
hooks.verify()

assert_type(eagerly.__version__, str)
