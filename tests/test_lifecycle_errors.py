"""Rules 1 to 3 of the life of a call: what an exception in the body does, and in what state it reaches the caller."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

from eagerly import Settings, current_task, session, task
from eagerly.errors import TaskError
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, all_kinds, drive, frames_of_ours, make_function


def raiser(error: BaseException):
    """A body that raises `error` and counts its calls in ``raiser.calls``."""

    def body(*_args):
        body.calls += 1
        raise error

    body.calls = 0
    return body


def caught(kind: Kind, task, *args) -> BaseException:
    with pytest.raises(BaseException) as info:
        kind.run(task, *args)
    return info.value


# The user's exception is unchanged


@all_kinds
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("listening", [False, True])
def test_the_users_exception_is_the_same_object_without_a_chain(kind, retries, listening):
    error = TheirError("as raised")
    failing = kind.make(raiser(error), retries=retries)

    with session(plugins=[RecordingHooks()] if listening else [], clock=instant_clock()):
        assert caught(kind, failing) is error

    assert error.args == ("as raised",)
    assert error.__context__ is None
    assert error.__cause__ is None


@all_kinds
def test_earlier_attempts_are_not_chained_to_the_last_error(kind):
    errors = [TheirError(str(attempt)) for attempt in range(3)]
    left = iter(errors)

    def body():
        raise next(left)

    with session(clock=instant_clock()):
        assert caught(kind, kind.make(body, retries=2)) is errors[-1]

    assert [(error.__context__, error.__cause__) for error in errors] == [(None, None)] * 3


@all_kinds
def test_a_chain_made_by_the_user_stays(kind):
    def body():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise TheirError("second") from error

    error = caught(kind, kind.make(body, retries=1))

    assert isinstance(error.__cause__, KeyError)


@all_kinds
@pytest.mark.parametrize("timed", [False, True], ids=["untimed", "timed"])
@pytest.mark.parametrize("retries", [0, 2])
def test_at_most_two_frames_of_ours_in_the_traceback(kind, timed, retries):
    if timed and kind.is_stream:
        pytest.skip("streams take no timeout")

    def body():
        raise TheirError  # a new one each time: Python adds to the traceback of one that is raised again

    failing = kind.make(body, retries=retries, **({"timeout": 60} if timed else {}))

    with session(plugins=[RecordingHooks()], clock=instant_clock()):
        error = caught(kind, failing)

    assert 1 <= len(frames_of_ours(error)) <= 2, frames_of_ours(error)


@all_kinds
def test_at_most_two_frames_of_ours_for_a_bound_method(kind):
    class Shop:
        failing = kind.make(raiser(TheirError()))

    assert 1 <= len(frames_of_ours(caught(kind, Shop().failing))) <= 2


@all_kinds
def test_at_most_two_frames_of_ours_for_each_of_nested_tasks(kind):
    inner = task(raiser(TheirError()), name="inner")
    middle = task(lambda: inner(), name="middle")
    outer = kind.make(lambda: middle())

    assert 3 <= len(frames_of_ours(caught(kind, outer))) <= 6


@all_kinds
def test_at_most_two_frames_of_ours_in_a_wrapped_error(kind):
    error = caught(kind, kind.make(raiser(TheirError()), wrap_errors=True))

    assert 1 <= len(frames_of_ours(error)) <= 2, frames_of_ours(error)
    assert len(frames_of_ours(error.__cause__)) <= 2


@all_kinds
def test_one_note_tells_task_attempts_and_time(kind):
    clock = instant_clock()
    failing = kind.make(raiser(TheirError()), name="fetch", retries=2)

    with session(clock=clock):
        error = caught(kind, failing)

    (note,) = error.__notes__
    assert "'fetch'" in note
    assert "3 attempts" in note
    assert note.endswith(" s")


@all_kinds
def test_an_error_raised_a_thousand_times_does_not_collect_notes(kind):
    error = TheirError()
    error.add_note("the user's own")
    failing = kind.make(raiser(error), name="fetch")

    for _ in range(1_000):
        error.__traceback__ = None  # Python lets it grow with every raise
        with pytest.raises(TheirError):
            drive(kind.arun(failing)) if kind.is_async else kind.run(failing)

    own, note = error.__notes__
    assert own == "the user's own"
    assert "'fetch'" in note


@all_kinds
def test_nested_tasks_leave_one_note_each(kind):
    inner = task(raiser(TheirError()), name="inner")
    outer = kind.make(lambda: inner(), name="outer")

    notes = caught(kind, outer).__notes__

    assert [("'inner'" in note, "'outer'" in note) for note in notes] == [(True, False), (False, True)]


@all_kinds
def test_an_error_that_refuses_notes_is_raised_all_the_same(kind):
    class Sealed(TheirError):
        def add_note(self, note):
            raise RuntimeError("no notes")

    error = Sealed()
    assert caught(kind, kind.make(raiser(error))) is error


# What is retried, and what is not


@all_kinds
def test_a_type_error_from_inside_the_body_is_retried(kind):
    def body(rows):
        body.calls += 1
        if body.calls < 3:
            return len(rows) + None
        return body.calls

    body.calls = 0
    with session(clock=instant_clock()):
        assert kind.run(kind.make(body, retries=2), [1]) == 3


@all_kinds
def test_a_type_error_about_another_functions_arguments_is_retried(kind):
    def helper(needed):
        return needed

    def body():
        body.calls += 1
        return helper() if body.calls == 1 else "second"

    body.calls = 0
    with session(clock=instant_clock()):
        assert kind.run(kind.make(body, retries=1)) == "second"


class Abort(BaseException):
    """Somebody's own way to end a program."""


BASE_EXCEPTIONS = {
    KeyboardInterrupt: "interrupted",
    SystemExit: "interrupted",
    Abort: "interrupted",
    asyncio.CancelledError: "cancelled",
    GeneratorExit: "closed",
}


@all_kinds
@pytest.mark.parametrize("cls", BASE_EXCEPTIONS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "wrapped"])
def test_a_base_exception_is_neither_retried_nor_swallowed(kind, cls, wrap):
    error = cls("stop")
    body = raiser(error)
    hooks = RecordingHooks()
    stopping = kind.make(body, retries=5, wrap_errors=wrap)

    with session(plugins=[hooks], clock=instant_clock()), pytest.raises(cls) as info:
        # Without a loop: asyncio has ideas of its own about KeyboardInterrupt, SystemExit and GeneratorExit.
        drive(kind.arun(stopping)) if kind.is_async else kind.run(stopping)

    assert info.value is error
    assert body.calls == 1
    assert not hasattr(error, "__notes__")
    assert hooks.names()[1:-1] == ["before_node_execute", "on_node_cancel"]
    assert hooks.events[2].reason == BASE_EXCEPTIONS[cls]
    hooks.verify()
    assert current_task() is None


@all_kinds
def test_a_base_exception_in_a_retry_ends_the_call(kind):
    errors = iter([TheirError("first"), Abort("second")])

    def body():
        raise next(errors)

    hooks = RecordingHooks()
    stopping = kind.make(body, retries=5)
    with session(plugins=[hooks], clock=instant_clock()), pytest.raises(Abort) as info:
        kind.run(stopping)

    assert info.value.__context__ is None
    hooks.verify()
    assert hooks.events[-2].reason == "interrupted"


@pytest.mark.parametrize("kind", [Kind.ASYNC, Kind.ASYNC_STREAM], ids=["async", "async_stream"])
async def test_a_cancelled_await_is_neither_retried_nor_swallowed(kind):
    waiting = asyncio.Event()
    attempts = []

    if kind is Kind.ASYNC:

        @task(retries=5)
        async def patient():
            attempts.append(1)
            waiting.set()
            await asyncio.Event().wait()

    else:

        @task(retries=5)
        async def patient():
            attempts.append(1)
            waiting.set()
            yield await asyncio.Event().wait()

    hooks = RecordingHooks()
    with session(plugins=[hooks], clock=instant_clock()):
        running = asyncio.create_task(kind.arun(patient))
        await waiting.wait()
        running.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await running

    assert attempts == [1]
    assert hooks.of("patient")[-1].reason == "cancelled"
    hooks.verify()


# Wrapped on demand


@all_kinds
@pytest.mark.parametrize("where", ["task", "session", "environment"])
def test_wrapped_errors_carry_the_facts(kind, where, monkeypatch):
    if where == "environment":
        monkeypatch.setenv("EAGERLY_WRAP_ERRORS", "1")
    error = TheirError("the reason")
    failing = kind.make(raiser(error), name="fetch", retries=1, **({"wrap_errors": True} if where == "task" else {}))

    with session(clock=instant_clock(), settings=Settings(wrap_errors=True) if where == "session" else None):
        wrapped = caught(kind, failing, "Oslo")

    assert type(wrapped) is TaskError
    assert wrapped.__cause__ is error
    assert not hasattr(error, "__notes__")
    assert wrapped.attempts == 2
    assert wrapped.duration >= 0
    assert wrapped.metadata.name == "fetch"
    assert wrapped.metadata.inputs["args"] == ("Oslo",)
    assert "fetch" in str(wrapped)
    assert "the reason" in str(wrapped)


@all_kinds
def test_the_task_decides_against_its_session_about_wrapping(kind):
    with session(settings=Settings(wrap_errors=True)):
        assert type(caught(kind, kind.make(raiser(TheirError()), wrap_errors=False))) is TheirError


@all_kinds
def test_errors_are_wrapped_outside_a_session_too(kind):
    assert type(caught(kind, kind.make(raiser(TheirError()), wrap_errors=True))) is TaskError


@all_kinds
def test_hooks_get_the_error_itself_and_not_its_wrapping(kind):
    error = TheirError()
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        caught(kind, kind.make(raiser(error), name="fetch", wrap_errors=True))

    assert hooks.of("fetch")[-1].error is error


@all_kinds
@pytest.mark.parametrize("listening", [False, True])
def test_a_task_error_is_pickled_with_its_facts(kind, listening):
    with session(plugins=[RecordingHooks()] if listening else []):
        error = caught(kind, kind.make(raiser(TheirError()), name="fetch", wrap_errors=True), "Oslo")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is TaskError
    assert str(again) == str(error)
    assert (again.attempts, again.duration) == (error.attempts, error.duration)
    assert again.metadata.name == "fetch"
    assert again.metadata.id == error.metadata.id
    assert again.metadata.inputs == error.metadata.inputs


def test_a_task_error_is_pickled_even_when_an_argument_cannot_be():
    lock = threading.Lock()
    error = caught(Kind.SYNC, task(raiser(TheirError()), name="fetch", wrap_errors=True), lock)

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# StopIteration in the body


@all_kinds
def test_stop_iteration_in_a_body_is_what_it_is_in_the_undecorated_function(kind):
    body = raiser(StopIteration("seven"))

    plain, decorated = caught(kind, make_function(kind, body)), caught(kind, kind.make(body))

    assert type(decorated) is type(plain)
    assert str(decorated) == str(plain)
    assert type(decorated.__cause__) is type(plain.__cause__)
    assert type(decorated) is (StopIteration if kind is Kind.SYNC else RuntimeError)


@all_kinds
def test_stop_async_iteration_in_a_body_is_what_it_is_in_the_undecorated_function(kind):
    body = raiser(StopAsyncIteration("seven"))

    plain, decorated = caught(kind, make_function(kind, body)), caught(kind, kind.make(body))

    assert type(decorated) is type(plain)
    assert str(decorated) == str(plain)
