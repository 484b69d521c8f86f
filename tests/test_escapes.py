"""A plain function that hands back what has not run yet escapes everything a task does: it is told so, once, with the
fix, at the line of the call.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from eagerly import SyncTask, session, task, workflow
from eagerly.errors import EagerlyWarning
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds, make_function

ESCAPING = {
    Kind.ASYNC: ("a coroutine", "Declare it with `async def`"),
    Kind.STREAM: ("a generator", "Write the `yield` in the task itself"),
    Kind.ASYNC_STREAM: ("an async generator", "Write the `yield` in the task itself"),
}
escaping = pytest.mark.parametrize("kind", ESCAPING, ids=[kind.value for kind in ESCAPING])


def hiding(kind: Kind) -> Callable[..., Any]:
    """A function of that kind under a decorator that hides what it is."""
    function = make_function(kind, lambda: 1)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def dispose(result: Any) -> None:
    if inspect.iscoroutine(result) or inspect.isgenerator(result):
        result.close()


@escaping
def test_it_is_warned_about_with_the_fix_at_the_line_of_the_call(kind: Kind) -> None:
    made = task(hiding(kind), name="hidden")
    assert type(made) is SyncTask
    with pytest.warns(EagerlyWarning) as caught:
        result = made()
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    dispose(result)
    what, fix = ESCAPING[kind]
    message = str(caught[0].message)
    assert f"task 'hidden' is a plain function that returned {what}" in message
    assert "out of reach of retries, timeouts and hooks" in message
    assert fix in message
    assert "put @task directly on it" in message
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


@escaping
@pytest.mark.parametrize("options", [{"timeout": 60}, {"retries": 3}], ids=str)
def test_it_is_warned_about_whatever_the_options(kind: Kind, options: dict[str, Any]) -> None:
    made = task(hiding(kind), **options)
    with pytest.warns(EagerlyWarning, match="plain function"):
        dispose(made())


@escaping
def test_every_task_is_warned_about_once(kind: Kind) -> None:
    first, second = task(hiding(kind)), task(hiding(kind))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for made in (first, first, second, first, second):
            dispose(made())
    assert [warning.category for warning in caught] == [EagerlyWarning] * 2


@escaping
def test_the_methods_of_one_class_are_one_task(kind: Kind) -> None:
    function = make_function(kind, lambda: 1)

    class Service:
        @task
        def get(self) -> Any:
            return function()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            dispose(Service().get())
    assert len(caught) == 1


@escaping
def test_where_warnings_are_errors_the_call_ends_like_any_other(kind: Kind) -> None:
    made = task(hiding(kind), retries=3, name="hidden")
    hooks = RecordingHooks()
    with session(plugins=[hooks]), warnings.catch_warnings():
        warnings.simplefilter("error")
        # The coroutine that was handed back is dropped with the frames of the error, and Python reports that.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        with pytest.raises(EagerlyWarning, match="plain function"):
            made()
        dispose(made())  # told once
    hooks.verify()
    assert "before_node_retry" not in hooks.names("hidden")


def test_a_task_of_another_kind_called_without_being_run_escapes_too() -> None:
    @task
    async def work() -> int:
        return 1

    @task
    def forgetful() -> Any:
        return work()

    with pytest.warns(EagerlyWarning, match="'forgetful' is a plain function that returned a coroutine"):
        forgetful().close()


@pytest.mark.parametrize(
    "harmless",
    [iter([1]), [1], range(3), map(str, [1]), threading.Event(), None, int, object()],
    ids=lambda value: type(value).__name__,
)
def test_nothing_else_is_warned_about(harmless: object) -> None:
    assert task(lambda: harmless)() is harmless


@escaping
def test_functions_of_that_kind_are_recognised_and_not_warned_about(kind: Kind) -> None:
    assert kind.run(kind.make(lambda: 1)) == 1
    assert kind.run(task(functools.partial(make_function(kind, lambda x: x), 2))) == 2


class HostileMeta(type):
    def __hash__(cls) -> int:
        raise RuntimeError("this class has no hash")

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("nor can it be compared")


class Hostile(metaclass=HostileMeta):
    pass


@all_kinds
@pytest.mark.parametrize("options", [{}, {"timeout": 60}, {"retries": 1}], ids=str)
def test_the_class_of_a_result_is_asked_for_nothing(kind: Kind, options: dict[str, Any]) -> None:
    if kind.is_stream and "timeout" in options:
        pytest.skip("streams take no timeout")
    result = Hostile()
    calls: list[int] = []

    def body() -> Hostile:
        calls.append(1)
        return result

    assert kind.run(kind.make(body, **options)) is result
    assert calls == [1]


def test_nor_is_that_of_a_workflow() -> None:
    result = Hostile()
    assert workflow(lambda: result)() is result
