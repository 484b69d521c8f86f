"""Rule 11: no reference to arguments or results is kept after the call returns.

Each test looks at a weak reference with the garbage collector switched off, so that a mere cycle fails too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from eagerly import hook_impl, session, task
from eagerly.errors import TaskError
from kinds import NO_SLEEP, Kind, TheirError, all_kinds, drive


class Thing:
    """Something that weak references can watch."""


class Listener:
    """Hooks that ask for everything and keep nothing."""

    @hook_impl
    def before_node_execute(self, metadata):
        metadata.inputs
        metadata.id

    @hook_impl
    def node_iteration(self, metadata, index, item, reporter):
        pass

    @hook_impl
    def before_node_retry(self, metadata, attempt, error, delay):
        pass

    @hook_impl
    def after_node_execute(self, metadata, result, duration):
        pass

    @hook_impl
    def on_node_error(self, metadata, error, duration):
        pass

    @hook_impl
    def on_node_cancel(self, metadata, reason, duration):
        pass


@pytest.fixture(autouse=True)
def _without_garbage_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["outside", "session", "listener"])
def place(request):
    """Run the test outside a session, in one without listeners, and in one where everything is listened to."""
    if request.param == "outside":
        yield
    else:
        with session(plugins=[Listener()] if request.param == "listener" else [], clock=NO_SLEEP):
            yield


def run(kind: Kind, task, *args, **kwargs):
    """As `Kind.run`, without an event loop, whose own cycles would be in the way."""
    return drive(kind.arun(task, *args, **kwargs)) if kind.is_async else kind.run(task, *args, **kwargs)


@all_kinds
@pytest.mark.usefixtures("place")
def test_arguments_and_result_are_let_go_after_success(kind):
    argument, keyword, result = Thing(), Thing(), Thing()
    watched = [weakref.ref(thing) for thing in (argument, keyword, result)]
    results = [result]
    working = kind.make(lambda first, *, other: results.pop())

    del result
    assert type(run(kind, working, argument, other=keyword)) is Thing
    del argument, keyword

    assert [reference() for reference in watched] == [None] * 3


@all_kinds
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "wrapped"])
@pytest.mark.usefixtures("place")
def test_arguments_and_errors_are_let_go_with_the_error(kind, retries, wrap):
    watched = []

    def body(_):
        error = TheirError()
        watched.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    failing = kind.make(body, retries=retries, wrap_errors=wrap)
    argument = Thing()
    watched.append(weakref.ref(argument))

    with session(clock=NO_SLEEP), contextlib.suppress(TheirError, TaskError):
        run(kind, failing, argument)
    del argument

    assert len(watched) == 2 + retries
    assert [reference() for reference in watched] == [None] * len(watched)


@all_kinds
@pytest.mark.usefixtures("place")
def test_arguments_are_let_go_when_a_base_exception_ends_the_call(kind):
    def body(_):
        raise KeyboardInterrupt

    stopping = kind.make(body)
    argument = Thing()
    watched = weakref.ref(argument)

    with contextlib.suppress(KeyboardInterrupt):
        run(kind, stopping, argument)
    del argument

    assert watched() is None


@all_kinds
@pytest.mark.usefixtures("place")
def test_arguments_are_let_go_when_they_were_wrong(kind):
    async def async_(one): ...

    def sync(one): ...

    def stream(one):
        yield

    async def async_stream(one):
        yield

    function = {Kind.SYNC: sync, Kind.ASYNC: async_, Kind.STREAM: stream, Kind.ASYNC_STREAM: async_stream}[kind]
    argument = Thing()
    watched = weakref.ref(argument)

    with contextlib.suppress(TypeError):
        task(function, retries=1)(argument, argument)
    del argument

    assert watched() is None


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_a_timed_sync_call_lets_go(outcome):
    """The helper thread lets go a moment after it has released the caller, hence the wait."""
    gone = threading.Event()

    def body(_):
        if outcome == "failure":
            raise TheirError

    timed = task(body, timeout=60)
    argument = Thing()
    weakref.finalize(argument, gone.set)

    with contextlib.suppress(TheirError):
        timed(argument)
    del argument

    assert gone.wait(30)


@pytest.mark.parametrize("outcome", ["success", "failure"])
async def test_a_timed_async_call_lets_go(outcome):
    async def body(_):
        await asyncio.sleep(0)
        if outcome == "failure":
            raise TheirError

    timed = task(body, timeout=60)
    argument = Thing()
    watched = weakref.ref(argument)

    with contextlib.suppress(TheirError):
        await timed(argument)
    del argument
    for _ in range(3):  # asyncio's own callbacks of a finished task
        await asyncio.sleep(0)

    assert watched() is None


# Streams that end otherwise than by exhaustion


def endless(_):
    while True:
        with contextlib.suppress(TheirError):
            yield


async def endless_async(_):
    while True:
        with contextlib.suppress(TheirError):
            yield


def _close(stream):
    next(stream)
    stream.close()


def _throw(stream):
    next(stream)
    with contextlib.suppress(KeyError):
        stream.throw(KeyError("thrown"))


def _throw_what_is_caught(stream):
    next(stream)
    stream.throw(TheirError())
    stream.close()


def _drop(stream):
    next(stream)


def _never_start(stream):
    pass


@pytest.mark.parametrize("end", [_close, _throw, _throw_what_is_caught, _drop, _never_start])
@pytest.mark.usefixtures("place")
def test_a_stream_lets_go_of_its_arguments_however_it_ends(end):
    argument = Thing()
    watched = weakref.ref(argument)

    end(task(endless)(argument))
    del argument

    assert watched() is None


async def _aclose(stream):
    await anext(stream)
    await stream.aclose()


async def _athrow(stream):
    await anext(stream)
    with contextlib.suppress(KeyError):
        await stream.athrow(KeyError("thrown"))


async def _athrow_what_is_caught(stream):
    await anext(stream)
    await stream.athrow(TheirError())
    await stream.aclose()


async def _adrop(stream):
    await anext(stream)


@pytest.mark.parametrize("end", [_aclose, _athrow, _athrow_what_is_caught, _adrop])
@pytest.mark.usefixtures("place")
def test_an_async_stream_lets_go_of_its_arguments_however_it_ends(end):
    argument = Thing()
    watched = weakref.ref(argument)

    drive(end(task(endless_async)(argument)))
    del argument

    assert watched() is None


# While a stream goes on


def _things():
    while True:
        yield Thing()


async def _async_things():
    while True:
        yield Thing()


@pytest.mark.usefixtures("place")
def test_a_stream_does_not_keep_the_item_that_its_consumer_has():
    stream = task(_things)()
    for _ in range(3):
        item = next(stream)
        watched = weakref.ref(item)
        del item
        assert watched() is None


@pytest.mark.usefixtures("place")
def test_an_async_stream_does_not_keep_the_item_that_its_consumer_has():
    async def consume():
        stream = task(_async_things)()
        for _ in range(3):
            item = await anext(stream)
            watched = weakref.ref(item)
            del item
            assert watched() is None

    drive(consume())


@pytest.mark.usefixtures("place")
def test_a_stream_keeps_nothing_that_was_sent_or_thrown_into_it():
    stream = task(endless)(None)
    next(stream)

    sent, thrown = Thing(), TheirError()
    watched = [weakref.ref(sent), weakref.ref(thrown)]
    stream.send(sent)
    stream.throw(thrown)
    del sent, thrown

    assert [reference() for reference in watched] == [None, None]


@pytest.mark.usefixtures("place")
def test_an_async_stream_keeps_nothing_that_was_sent_or_thrown_into_it():
    async def consume():
        stream = task(endless_async)(None)
        await anext(stream)

        sent, thrown = Thing(), TheirError()
        watched = [weakref.ref(sent), weakref.ref(thrown)]
        await stream.asend(sent)
        await stream.athrow(thrown)
        del sent, thrown

        assert [reference() for reference in watched] == [None, None]

    drive(consume())


def test_an_exhausted_stream_lets_go_while_somebody_still_holds_it():
    def once(_):
        yield

    argument = Thing()
    watched = weakref.ref(argument)
    stream = task(once)(argument)
    del argument
    list(stream)

    assert watched() is None
