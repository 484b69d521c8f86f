"""Rule 1: calling with wrong arguments is a `TypeError` for the caller and no call at all."""

from __future__ import annotations

import functools
import re

import pytest

from eagerly import current_task, session, task
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, all_kinds


def sync(a, b=1, *, c=2):
    raise AssertionError("the body ran")


async def async_(a, b=1, *, c=2):
    raise AssertionError("the body ran")


def stream(a, b=1, *, c=2):
    yield
    raise AssertionError("the body ran")


async def async_stream(a, b=1, *, c=2):
    yield
    raise AssertionError("the body ran")


FUNCTIONS = {Kind.SYNC: sync, Kind.ASYNC: async_, Kind.STREAM: stream, Kind.ASYNC_STREAM: async_stream}

WRONG = {
    "missing": ((), {}),
    "too many": ((1, 2, 3), {}),
    "unknown keyword": ((1,), {"d": 4}),
    "twice": ((1,), {"a": 1}),
}
wrong_arguments = pytest.mark.parametrize(("args", "kwargs"), WRONG.values(), ids=WRONG)


class Method:
    """The same functions as methods."""

    sync = task(sync, retries=2)
    async_ = task(async_, retries=2)
    stream = task(stream, retries=2)
    async_stream = task(async_stream, retries=2)


@all_kinds
@wrong_arguments
@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "wrapped"])
def test_wrong_arguments_are_the_callers_error(kind, args, kwargs, listening, wrap):
    function = FUNCTIONS[kind]
    with pytest.raises(TypeError) as undecorated:
        function(*args, **kwargs)
    hooks = RecordingHooks()
    clock = instant_clock()

    with session(plugins=[hooks] if listening else [], clock=clock), pytest.raises(TypeError) as decorated:
        task(function, retries=3, wrap_errors=wrap)(*args, **kwargs)  # raised here, not at the first await or item

    assert type(decorated.value) is TypeError
    assert str(decorated.value) == str(undecorated.value)
    assert not hasattr(decorated.value, "__notes__")
    assert decorated.value.__context__ is None
    assert [name for name in hooks.names() if "session" not in name] == []
    assert clock.sleeps == []
    assert current_task() is None


@all_kinds
@wrong_arguments
@pytest.mark.parametrize("listening", [False, True])
def test_wrong_arguments_of_a_method_are_the_callers_error(kind, args, kwargs, listening):
    function = FUNCTIONS[kind]
    undecorated = type("Method", (), {function.__name__: function})()
    with pytest.raises(TypeError) as expected:
        getattr(undecorated, function.__name__)(1, 2, *args, **kwargs)
    hooks = RecordingHooks()

    with (
        session(plugins=[hooks] if listening else []),
        pytest.raises(TypeError, match=re.escape(str(expected.value))),
    ):
        getattr(Method(), function.__name__)(1, 2, *args, **kwargs)

    assert [name for name in hooks.names() if "session" not in name] == []


@pytest.mark.parametrize("listening", [False, True])
def test_wrong_arguments_of_a_timed_task_are_the_callers_error(listening):
    hooks = RecordingHooks()
    with (
        session(plugins=[hooks] if listening else []),
        pytest.raises(TypeError, match=re.escape("sync() missing 1 required positional argument: 'a'")),
    ):
        task(sync, retries=3, timeout=60)()

    assert [name for name in hooks.names() if "session" not in name] == []


def injecting(function):
    """As `unittest.mock.patch` does: the caller gives one argument less than the signature has."""

    @functools.wraps(function)
    def sync(*args):
        return function("injected", *args)

    @functools.wraps(function)
    async def async_(*args):
        return await function("injected", *args)

    @functools.wraps(function)
    def stream(*args):
        yield from function("injected", *args)

    @functools.wraps(function)
    async def async_stream(*args):
        async for item in function("injected", *args):
            yield item

    for kind, original in PAIRS.items():
        if function is original:
            return {"sync": sync, "async": async_, "stream": stream, "async_stream": async_stream}[kind.value]
    raise AssertionError(function)


def sync_pair(first, second):
    return first, second


async def async_pair(first, second):
    return first, second


def stream_pair(first, second):
    yield first, second


async def async_stream_pair(first, second):
    yield first, second


PAIRS = {
    Kind.SYNC: sync_pair,
    Kind.ASYNC: async_pair,
    Kind.STREAM: stream_pair,
    Kind.ASYNC_STREAM: async_stream_pair,
}


@all_kinds
@pytest.mark.parametrize("listening", [False, True])
def test_arguments_that_a_decorator_injects_are_not_missing(kind, listening):
    with session(plugins=[RecordingHooks()] if listening else []):
        assert kind.run(task(injecting(PAIRS[kind])), "given") == ("injected", "given")
