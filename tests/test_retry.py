"""`Retry`: when to try again and after how long, as arithmetic and in the life of calls; the session's clock does all
the sleeping.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eagerly import Clock, Retry, current_task, session, task
from eagerly.errors import EagerlyError
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, all_kinds, async_kinds, stream_kinds

ERROR = TheirError()


def failing(times: int, error: Exception = ERROR) -> Any:
    """A function that raises `error` that often, then tells the number of the attempt."""
    left = iter(range(times))

    def body() -> int:
        for _ in left:
            raise error
        return current_task().attempt  # type: ignore[union-attr]

    return body


# Arithmetic


@given(
    retries=st.integers(1, 10**6),
    delay=st.floats(0, 1e6),
    backoff=st.floats(1, 1e3),
    max_delay=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    data=st.data(),
)
def test_a_delay_is_what_the_formula_says(
    retries: int, delay: float, backoff: float, max_delay: float, jitter: float, data: Any
) -> None:
    attempt = data.draw(st.integers(1, min(retries, 3_000)), label="attempt")
    retry = Retry(retries, delay=delay, backoff=backoff, max_delay=max_delay, jitter=jitter)
    # The oracle computes with fractions, which do not overflow, and by multiplying, not by a power.
    longest = Fraction(delay)
    for _ in range(attempt - 1):
        if not longest or longest >= Fraction(max_delay):
            break
        longest *= Fraction(backoff)
    longest = min(longest, Fraction(max_delay))
    wait = retry.delay_after(attempt, ERROR, elapsed=0.0)
    assert wait is not None
    rounding = Fraction(1, 10**9)
    assert longest * (1 - Fraction(jitter)) * (1 - rounding) - rounding <= Fraction(wait)
    assert Fraction(wait) <= longest * (1 + rounding)
    if jitter == 0:
        assert wait == pytest.approx(float(longest))


@given(retries=st.integers(0, 50), attempt=st.integers(1, 100), elapsed=st.floats(0, 100), limit=st.floats(0.001, 100))
def test_whether_there_is_another_attempt(retries: int, attempt: int, elapsed: float, limit: float) -> None:
    retry = Retry(retries, delay=3, backoff=1, jitter=0, max_elapsed=limit)
    expected = 3.0 if attempt <= retries and elapsed + 3 <= limit else None
    assert retry.delay_after(attempt, ERROR, elapsed=elapsed) == expected


def test_jitter_draws_from_all_of_its_range_and_from_nowhere_else() -> None:
    for jitter, low in ((1.0, 0.0), (0.5, 5.0), (0.25, 7.5)):
        retry = Retry(1, delay=10, jitter=jitter)
        draws = [retry.delay_after(1, ERROR, elapsed=0.0) or 0.0 for _ in range(500)]
        width = 10 - low
        assert low <= min(draws) < low + width / 10  # missed by chance once in 10**22
        assert 10 - width / 10 < max(draws) <= 10


def test_growth_without_bound_ends_at_max_delay_and_nothing_stays_nothing() -> None:
    growing = Retry(10**6, delay=1e-300, backoff=1e300, jitter=0, max_delay=7)
    assert [growing.delay_after(attempt, ERROR, elapsed=0.0) for attempt in (1, 3, 10**6)] == [1e-300, 7, 7]
    assert Retry(10**6).delay_after(10**6, ERROR, elapsed=0.0) == 0.0
    assert Retry(10**6, max_delay=0, delay=5).delay_after(10**6, ERROR, elapsed=0.0) == 0.0


def test_durations_may_be_timedeltas() -> None:
    second = timedelta(seconds=1)
    assert Retry(3, delay=second, max_delay=2 * second, max_elapsed=9 * second) == Retry(
        3, delay=1, max_delay=2, max_elapsed=9
    )


def test_a_retry_is_a_value() -> None:
    assert Retry(2, delay=1) == Retry(2, delay=1.0)
    assert len({Retry(2), Retry(2), Retry(3)}) == 2
    with pytest.raises(AttributeError):
        Retry(2).retries = 3  # type: ignore[misc]


NAN, INF = math.nan, math.inf
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({"retries": value}, TypeError, "takes an int") for value in (True, 1.0, "3", None)),
    ({"retries": -1}, ValueError, "0 or more, not -1"),
    *(
        ({name: value}, ValueError, r"must be finite and")
        for name in ("delay", "backoff", "max_delay", "jitter", "max_elapsed")
        for value in (-1, NAN, INF, -INF, 10**400)
    ),
    *(
        ({name: value}, TypeError, f"not {value!r}")
        for name in ("delay", "backoff", "max_delay", "jitter", "max_elapsed")
        for value in (True, "1", 1j)
    ),
    ({"delay": timedelta(-1)}, ValueError, "0 or more"),
    ({"delay": None}, TypeError, "not None"),
    ({"backoff": 0.5}, ValueError, "at least 1, not 0.5"),
    ({"jitter": 1.5}, ValueError, "from 0 to 1, not 1.5"),
    ({"max_elapsed": 0}, ValueError, "greater than 0"),
    ({"on": ()}, ValueError, "would never retry"),
    ({"on": [ValueError]}, TypeError, "takes an exception type, a tuple"),
    ({"on": 5}, TypeError, "not 5"),
    ({"on": int}, TypeError, "is not one"),
    ({"on": (ValueError, "x")}, TypeError, "'x' is not one"),
    ({"on": KeyboardInterrupt}, TypeError, "never retried"),
    ({"on": (ValueError, asyncio.CancelledError)}, TypeError, "never retried"),
    ({"on": BaseException}, TypeError, "use Exception"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD, ids=repr)
def test_what_means_nothing_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Retry(**arguments)
    assert isinstance(caught.value, EagerlyError)
    assert f"Retry({next(iter(arguments))}" in str(caught.value)


@pytest.mark.parametrize(
    ("retries", "error", "message"),
    [
        (-1, ValueError, "0 or more"),
        (True, TypeError, "an int or a Retry, not True"),
        (1.5, TypeError, "an int or a Retry"),
        (None, TypeError, "an int or a Retry"),
        (Retry, TypeError, r"write retries=Retry\(3, delay=1.0\)"),
    ],
)
@all_kinds
def test_numbers_of_retries_that_mean_nothing_are_refused(
    kind: Kind, retries: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        kind.make(lambda: 1, retries=retries)
    assert isinstance(caught.value, EagerlyError)
    assert "task(retries=...)" in str(caught.value)


# In the life of a call


@all_kinds
@pytest.mark.parametrize("retries", [3, Retry(3)], ids=["int", "Retry"])
def test_so_many_retries_follow_at_once(kind: Kind, retries: Any) -> None:
    clock = instant_clock()
    with session(clock=clock):
        assert kind.run(kind.make(failing(3), retries=retries)) == 4
        with pytest.raises(TheirError) as caught:
            kind.run(kind.make(failing(4), retries=retries))
    assert caught.value is ERROR
    assert not any(clock.sleeps)
    assert kind.make(failing(0), retries=retries).retries == retries


@all_kinds
@pytest.mark.parametrize("retries", [0, Retry(0)], ids=["int", "Retry"])
def test_no_retries_are_none(kind: Kind, retries: Any) -> None:
    with pytest.raises(TheirError):
        kind.run(kind.make(failing(1), retries=retries))


@all_kinds
def test_a_thousand_retries_at_once_wait_for_nothing(kind: Kind) -> None:
    clock = instant_clock()
    with session(clock=clock):
        assert kind.run(kind.make(failing(1_100), retries=1_100)) == 1_101
    assert not any(clock.sleeps)


@all_kinds
def test_the_clock_of_the_session_does_all_the_sleeping(kind: Kind) -> None:
    clock = instant_clock()
    hooks = RecordingHooks()
    made = kind.make(failing(4), retries=Retry(4, delay=1, backoff=3, max_delay=20, jitter=0), name="body")
    with session(clock=clock, plugins=[hooks]):
        assert kind.run(made) == 5
    assert clock.sleeps == [1, 3, 9, 20]
    told = [event for event in hooks.of("body") if event.hook == "before_node_retry"]
    assert [(event.attempt, event.delay, event.error) for event in told] == [
        (2, 1, ERROR),
        (3, 3, ERROR),
        (4, 9, ERROR),
        (5, 20, ERROR),
    ]
    assert hooks.of("body")[-2].duration == 33
    hooks.verify()


@all_kinds
def test_of_a_clock_the_sleep_of_the_right_colour_is_used(kind: Kind) -> None:
    naps: list[tuple[str, float]] = []

    async def async_sleep(seconds: float) -> None:
        naps.append(("async", seconds))

    clock = Clock(sleep=lambda seconds: naps.append(("sync", seconds)), async_sleep=async_sleep)
    told = f"now={clock.now!r}, sleep={clock.sleep!r}, async_sleep={async_sleep!r}, time={clock.time!r}"
    assert repr(clock) == f"Clock({told})"
    with session(clock=clock):
        kind.run(kind.make(failing(1), retries=Retry(1, delay=60, jitter=0)))
    assert naps == [("async" if kind.is_async else "sync", 60)]


@all_kinds
def test_max_elapsed_counts_everything_since_the_first_attempt(kind: Kind) -> None:
    clock = instant_clock()
    attempts: list[int] = []

    def slow() -> None:
        attempts.append(current_task().attempt)  # type: ignore[union-attr]
        clock.advance(4)
        raise ERROR

    retry = Retry(100, delay=1, backoff=1, jitter=0, max_elapsed=15)
    with session(clock=clock), pytest.raises(TheirError):
        kind.run(kind.make(slow, retries=retry))
    assert attempts == [1, 2, 3, 4]  # the fourth starts at second 15, as late as may be; the fifth would at 20


SELECTIONS: dict[str, tuple[Any, bool]] = {
    "type": (TheirError, True),
    "base type": (Exception, True),
    "other type": (KeyError, False),
    "tuple": ((KeyError, TheirError), True),
    "tuple of others": ((KeyError, OSError), False),
    "yes": (lambda error: error is ERROR, True),
    "no": (lambda error: error is not ERROR, False),
}


@all_kinds
@pytest.mark.parametrize("selection", SELECTIONS)
def test_which_errors_are_worth_another_attempt(kind: Kind, selection: str) -> None:
    on, retried = SELECTIONS[selection]
    made = kind.make(failing(1), retries=Retry(2, on=on))
    if retried:
        assert kind.run(made) == 2
    else:
        with pytest.raises(TheirError) as caught:
            kind.run(made)
        assert caught.value is ERROR


@all_kinds
@pytest.mark.parametrize(
    ("answer", "delay"),
    [(True, 9.0), (0, 0.0), (0.0, 0.0), (120, 120.0), (0.5, 0.5), (timedelta(minutes=5), 300.0)],
    ids=repr,
)
def test_a_function_may_answer_with_the_delay(kind: Kind, answer: Any, delay: float) -> None:
    clock = instant_clock()
    retry = Retry(1, delay=9, jitter=0, max_delay=60, on=lambda _error: answer)
    with session(clock=clock):
        assert kind.run(kind.make(failing(1), retries=retry)) == 2
    assert clock.sleeps == [delay]


def raising(error: BaseException) -> Any:
    raise error


@all_kinds
@pytest.mark.parametrize(
    ("on", "told"),
    [
        (lambda _error: None, "must return a bool or a delay"),
        (lambda _error: "5", "must return a bool or a delay"),
        (lambda _error: -1, "must be finite and 0 or more"),
        (lambda _error: NAN, "must be finite"),
        (lambda _error: timedelta(seconds=-1), "must be finite and 0 or more"),
        (lambda _error: raising(KeyError("my own bug")), "KeyError: 'my own bug'"),
        (lambda: True, "takes 0 positional arguments"),
    ],
    ids=range(7),
)
def test_a_function_that_fails_ends_the_call_with_the_error_and_a_note(kind: Kind, on: Any, told: str) -> None:
    error = TheirError()
    hooks = RecordingHooks()
    with session(plugins=[hooks]), pytest.raises(TheirError) as caught:
        kind.run(kind.make(failing(1, error), retries=Retry(2, on=on)))
    assert caught.value is error
    assert error.__context__ is error.__cause__ is None
    assert "not retried: Retry(on=...) failed" in error.__notes__[0]
    assert told in error.__notes__[0]
    hooks.verify()


@all_kinds
def test_ctrl_c_in_such_a_function_is_one(kind: Kind) -> None:
    hooks = RecordingHooks()
    made = kind.make(failing(1), retries=Retry(2, on=lambda _error: raising(KeyboardInterrupt())), name="body")
    with session(plugins=[hooks]), pytest.raises(KeyboardInterrupt):
        kind.run(made)
    assert hooks.names("body") == ["before_node_execute", "on_node_cancel"]
    assert hooks.of("body")[-1].reason == "interrupted"


@stream_kinds
def test_streams_start_over_only_before_their_first_item(kind: Kind) -> None:
    attempts: list[int] = []

    def items() -> Any:
        attempts.append(current_task().attempt)  # type: ignore[union-attr]
        if len(attempts) < 3:
            raise ERROR
        yield "first"
        raise ERROR

    if kind is Kind.STREAM:
        made = task(items, retries=5)
    else:

        @task(retries=5)
        async def made() -> Any:
            for item in items():
                yield item

    got: list[str] = []

    async def consume() -> None:
        if kind is Kind.STREAM:
            got.extend(made())
        else:
            async for item in made():
                got.append(item)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(TheirError):
        asyncio.run(consume())
    assert attempts == [1, 2, 3]
    assert got == ["first"]


@async_kinds
async def test_an_async_back_off_leaves_the_event_loop_alone(kind: Kind) -> None:
    waiting = asyncio.Event()
    ticks = 0

    async def async_sleep(_seconds: float) -> None:
        waiting.set()
        while ticks < 50:
            await asyncio.sleep(0)

    async def tick() -> None:
        nonlocal ticks
        await waiting.wait()
        for _ in range(50):
            ticks += 1
            await asyncio.sleep(0)

    with session(clock=Clock(sleep=raising, async_sleep=async_sleep)):
        made = kind.make(failing(1), retries=Retry(1, delay=60))
        assert (await asyncio.gather(kind.arun(made), tick()))[0] == 2


@async_kinds
async def test_a_cancellation_in_a_back_off_is_immediate(kind: Kind) -> None:
    hooks = RecordingHooks()
    waiting = asyncio.Event()

    async def async_sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.sleep(seconds)

    made = kind.make(failing(9), retries=Retry(9, delay=60, max_delay=60), name="body")
    with session(clock=Clock(async_sleep=async_sleep), plugins=[hooks]):
        work = asyncio.create_task(kind.arun(made))
        await waiting.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    names = ["before_node_execute", "before_node_retry", "after_node_retry", "on_node_cancel"]
    assert hooks.names("body") == names
    assert hooks.of("body")[-1].reason == "cancelled"
    hooks.verify()


def test_ctrl_c_in_a_back_off_is_immediate() -> None:
    hooks = RecordingHooks()
    for kind in (Kind.SYNC, Kind.STREAM):
        made = kind.make(failing(9), retries=Retry(9, delay=60))
        interrupted = Clock(sleep=lambda _seconds: raising(KeyboardInterrupt()))
        with session(clock=interrupted, plugins=[hooks]), pytest.raises(KeyboardInterrupt):
            kind.run(made)
    assert hooks.names().count("on_node_cancel") == 2
    hooks.verify()


@all_kinds
def test_the_number_of_the_attempt_is_that_of_the_call(kind: Kind) -> None:
    seen: list[tuple[int, Any]] = []

    def body() -> None:
        call = current_task()
        assert call is not None
        seen.append((call.attempt, call.id))
        if call.attempt < 3:
            raise ERROR

    made = kind.make(body, retries=2)
    kind.run(made)
    kind.run(made)
    assert [attempt for attempt, _ in seen] == [1, 2, 3, 1, 2, 3]
    assert len({identity for _, identity in seen}) == 2


def test_calls_in_many_threads_have_attempts_of_their_own() -> None:
    local = threading.local()

    @task(retries=3)
    def body(number: int) -> tuple[int, int]:
        local.tries = getattr(local, "tries", 0) + 1
        if local.tries < 1 + number % 4:
            raise ERROR
        return number, current_task().attempt  # type: ignore[union-attr]

    results: dict[int, tuple[int, int]] = {}
    threads = [threading.Thread(target=lambda n=n: results.__setitem__(n, body(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: (number, 1 + number % 4) for number in range(20)}


def test_without_a_session_time_itself_passes() -> None:
    made = task(failing(2), retries=Retry(2, delay=0.01, backoff=1, jitter=0))
    started = time.monotonic()
    assert made() == 3
    assert time.monotonic() - started >= 0.02
