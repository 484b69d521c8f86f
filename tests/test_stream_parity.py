"""A stream task behaves like the generator it decorates: both are put through the same random scripts.

A *program* says what the generator does at each of its yields, a *script* what the consumer does to the generator.
What the consumer observes (items, exceptions with their causes and contexts, return values) must be equal.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly import current_task, session, task
from eagerly.testing import RecordingHooks
from kinds import TheirError

# A generator that ignores being closed may leave one it delegates to behind, decorated or not.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ERRORS = (TheirError, ValueError, StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt, RuntimeError)

small = st.integers(0, 3)
errors = st.sampled_from(ERRORS)
reactions = st.sampled_from(["raise", "swallow", "replace", "chain", "return"])


def programs(steps):
    return st.lists(steps, max_size=5)


steps = st.one_of(
    st.tuples(st.just("yield"), small, reactions, reactions),
    st.tuples(st.just("raise"), errors),
    st.tuples(st.just("return"), small),
    st.tuples(st.just("finally"), small),
)
nested = st.one_of(steps, st.tuples(st.just("delegate"), programs(steps)))
scripts = st.lists(
    st.one_of(
        st.just(("next",)),
        st.just(("next",)),
        st.tuples(st.just("send"), small),
        st.tuples(st.just("throw"), errors),
        st.just(("close",)),
    ),
    max_size=7,
)


def react(reaction: str, error: BaseException) -> bool:
    """Whether the generator shall return; it goes on otherwise."""
    if reaction == "raise":
        raise error
    if reaction == "replace":
        raise TheirError("replaced")
    if reaction == "chain":
        raise TheirError("chained") from error
    return reaction == "return"


def generator(program: list[Any]) -> Any:
    received: list[Any] = []
    for number, step in enumerate(program):
        if step[0] == "yield":
            try:
                received.append((yield step[1], tuple(received)))
            except GeneratorExit as error:
                if react(step[2], error):
                    return ("returned when closed", step[1])
            except BaseException as error:
                if react(step[3], error):
                    return ("returned when thrown into", step[1])
        elif step[0] == "raise":
            raise step[1]("from the body")
        elif step[0] == "return":
            return step[1]
        elif step[0] == "delegate":
            received.append((yield from generator(step[1])))
        else:
            try:
                return (yield from generator(program[number + 1 :]))
            finally:
                yield "finally", step[1]
    return None


async def async_generator(program: list[Any]) -> Any:
    received: list[Any] = []
    for step in program:
        await asyncio.sleep(0)
        if step[0] == "yield":
            try:
                received.append((yield step[1], tuple(received)))
            except GeneratorExit as error:
                if react(step[2], error):
                    return
            except BaseException as error:
                if react(step[3], error):
                    return
        elif step[0] == "raise":
            raise step[1]("from the body")
        elif step[0] == "return":
            return
        else:
            try:
                yield "try", step[1]
            finally:
                await asyncio.sleep(0)
                yield "finally", step[1]


def described(error: BaseException | None, depth: int = 3) -> Any:
    """What a consumer can tell about an error, without our note and frames."""
    if error is None or depth == 0:
        return None
    args = tuple(arg if not isinstance(arg, BaseException) else type(arg) for arg in error.args)
    return type(error), args, described(error.__cause__, depth - 1), described(error.__context__, depth - 1)


CLOSING = [("close",)] * 40
"""Often enough for a generator that ignores it wherever it can."""


def observe(stream: Any, script: list[Any]) -> list[Any]:
    """Do to the generator what the script says, then close it; what came of it."""
    seen: list[Any] = []
    for action, *values in [*script, *CLOSING]:
        try:
            if action == "next":
                seen.append(("item", next(stream)))
            elif action == "send":
                seen.append(("item", stream.send(*values)))
            elif action == "throw":
                seen.append(("item", stream.throw(values[0]("from the consumer"))))
            else:
                seen.append(("closed", stream.close()))
        except BaseException as error:
            seen.append(("error", described(error), getattr(error, "value", None)))
        assert current_task() is None
    return seen


async def aobserve(stream: Any, script: list[Any]) -> list[Any]:
    """As `observe`, for an async generator."""
    seen: list[Any] = []
    for action, *values in [*script, *CLOSING]:
        try:
            if action == "next":
                seen.append(("item", await anext(stream)))
            elif action == "send":
                seen.append(("item", await stream.asend(*values)))
            elif action == "throw":
                seen.append(("item", await stream.athrow(values[0]("from the consumer"))))
            else:
                seen.append(("closed", await stream.aclose()))
        except BaseException as error:
            seen.append(("error", described(error)))
        assert current_task() is None
    return seen


def check_generator(program, script, listening):
    hooks = RecordingHooks()
    expected = observe(generator(program), script)
    with session(plugins=[hooks] if listening else []):
        assert observe(task(generator)(program), script) == expected
    hooks.verify()


def check_async_generator(program, script, listening):
    hooks = RecordingHooks()

    async def main():
        expected = await aobserve(async_generator(program), script)
        with session(plugins=[hooks] if listening else []):
            assert await aobserve(task(async_generator)(program), script) == expected

    asyncio.run(main())
    gc.collect()  # an async generator that ignored aclose() is out of everybody's reach, and ends when it is collected
    hooks.verify()


@settings(derandomize=True, deadline=None, max_examples=400)
@given(programs(nested), scripts, st.booleans())
def test_a_stream_behaves_like_its_generator(program, script, listening):
    check_generator(program, script, listening)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(programs(steps), scripts, st.booleans())
def test_an_async_stream_behaves_like_its_async_generator(program, script, listening):
    check_async_generator(program, script, listening)


@pytest.mark.slow
@settings(deadline=None, max_examples=5_000)
@given(programs(nested), scripts, st.booleans())
def test_a_stream_behaves_like_its_generator_at_length(program, script, listening):
    check_generator(program, script, listening)


@pytest.mark.slow
@settings(deadline=None, max_examples=2_000)
@given(programs(steps), scripts, st.booleans())
def test_an_async_stream_behaves_like_its_async_generator_at_length(program, script, listening):
    check_async_generator(program, script, listening)


# Single facts that a reader should not have to find in a random script


def test_the_return_value_of_a_stream():
    @task
    def stream():
        yield 1
        return "returned"

    def consume():
        return (yield from stream())

    outer = consume()
    next(outer)
    with pytest.raises(StopIteration) as info:
        next(outer)
    assert info.value.value == "returned"


@pytest.mark.parametrize("value", [(), (1, 2), StopIteration(3), TheirError("a value, not raised")])
def test_odd_return_values_arrive_as_they_are(value):
    @task
    def stream():
        yield 1
        return value

    running = stream()
    next(running)
    with pytest.raises(StopIteration) as info:
        next(running)
    assert info.value.value is value


@pytest.mark.skipif(sys.version_info < (3, 13), reason="close() returns a value since Python 3.13")
def test_the_return_value_of_close():
    @task
    def stream():
        try:
            yield 1
        except GeneratorExit:
            return "returned"

    running = stream()
    next(running)
    assert running.close() == "returned"
    assert running.close() is None


def test_sending_into_a_stream_that_has_not_started():
    @task
    def stream():
        yield 1

    with pytest.raises(TypeError, match="can't send non-None value to a just-started generator"):
        stream().send("too early")


def test_throwing_into_a_stream_that_has_not_started_fires_nothing():
    hooks = RecordingHooks()

    @task
    def stream():
        yield 1

    with session(plugins=[hooks]):
        with pytest.raises(TheirError) as info:
            stream().throw(TheirError())
        assert info.value.__context__ is None

    assert hooks.names("stream") == []


def test_an_exception_thrown_in_while_another_is_handled_keeps_its_context():
    def body():
        try:
            yield 1
        except TheirError:
            raise KeyError("from the body")  # noqa: B904 - the implicit context is what is looked at

    def contexts(function):
        stream = function()
        next(stream)
        try:
            raise ValueError("handled by the consumer")
        except ValueError:
            try:
                stream.throw(TheirError("thrown"))
            except KeyError as error:
                return described(error)

    assert contexts(task(body)) == contexts(body)
