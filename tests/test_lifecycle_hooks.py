"""Rule 7: hooks observe. What they raise is logged, and the task goes on with its value or error."""

from __future__ import annotations

import contextlib
import logging

import pytest

from eagerly import Clock, Settings, current_task, hook_impl, session, task
from eagerly.hooks._spec import HOOKS
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, all_kinds
from stored_calls import (
    DATASET_HOOKS,
    OF_THE_CACHE,
    dataset_of,
    everything_is_stored,
    stores_in,
    using,
)

OF_A_CALL = [name for name in HOOKS if "session" not in name and name != "on_run_status"]
AFTER_THE_BODY = ("after_dataset_save", "after_node_execute")


class HookError(Exception):
    """What the hooks raise here."""


def broken(*names, error=HookError):
    """A plugin whose hooks `names` raise."""

    def hook():
        raise error

    implementations = {name: staticmethod(hook_impl(_copy(hook))) for name in names}
    return type("Broken", (), implementations)()


def _copy(function):
    return type(function)(function.__code__, function.__globals__, function.__name__, None, function.__closure__)


def succeed_at_last():
    """A body that fails once, so that every hook of success and retry fires."""
    attempts = iter([TheirError("once")])

    def body():
        current_task().report("event")
        for error in attempts:
            raise error
        return "value"

    return body


def fail():
    current_task().report("event")
    raise TheirError("always")


@all_kinds
def test_every_hook_may_fail_and_the_value_is_unchanged(kind, caplog, tmp_path):
    hooks = RecordingHooks()
    with session(plugins=[hooks, broken(*HOOKS)], clock=instant_clock(), **stores_in(tmp_path)):
        assert kind.run(kind.make(succeed_at_last(), retries=1)) == "value"
        assert everything_is_stored(kind) == [42, 42]
        task(lambda: 42).submit().wait()

    hooks.verify()
    of_failures = {"on_node_error", "on_node_cancel"} | ({"node_iteration"} if not kind.is_stream else set())
    assert set(hooks.names()) == set(HOOKS) - of_failures
    failed = {record.getMessage().split()[2] for record in caplog.records if record.name == "eagerly.hooks"}
    assert failed == set(hooks.names())
    assert all("Broken" in record.getMessage() for record in caplog.records)
    assert all(record.exc_info[0] is HookError for record in caplog.records)


@all_kinds
def test_every_hook_may_fail_and_the_error_is_unchanged(kind, caplog):
    hooks = RecordingHooks()
    with session(plugins=[hooks, broken(*HOOKS)], clock=instant_clock()), pytest.raises(TheirError) as info:
        kind.run(kind.make(fail, retries=1))

    hooks.verify()
    assert info.value.__context__ is None
    assert len(info.value.__notes__) == 1
    assert "on_node_error" in caplog.text


@all_kinds
def test_a_failing_hook_does_not_keep_others_from_running(kind, caplog, tmp_path):
    caplog.set_level(logging.CRITICAL)
    before, after = RecordingHooks(), RecordingHooks()
    with session(plugins=[before, broken(*HOOKS), after], clock=instant_clock(), **stores_in(tmp_path)):
        kind.run(kind.make(succeed_at_last(), retries=1))
        everything_is_stored(kind)

    assert before.names() == after.names()


@all_kinds
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
def test_a_failing_hook_causes_no_retry(kind, strict, caplog, tmp_path):
    caplog.set_level(logging.CRITICAL)
    calls = []
    outcome = pytest.raises(HookError) if strict else contextlib.nullcontext()
    for number, hooks in enumerate([[hook] for hook in AFTER_THE_BODY] if strict else [HOOKS]):
        made = kind.make(lambda: calls.append(1), retries=5, cache=True, cache_version="1", dataset=dataset_of(kind))
        settings = Settings(strict_hooks=strict)
        stores = stores_in(tmp_path / str(number))
        with session(plugins=[broken(*hooks)], settings=settings, clock=instant_clock(), **stores), outcome:
            kind.run(made)

        assert calls == [1] * (number + 1)


@all_kinds
@pytest.mark.parametrize("hook", OF_A_CALL)
@pytest.mark.parametrize("error", [HookError, KeyboardInterrupt, SystemExit], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("body", ["succeeding", "failing", "stored"])
def test_a_strict_or_interrupted_hook_raises_and_the_call_still_ends_once(kind, hook, error, body, tmp_path):
    hooks = RecordingHooks()
    calls = []
    stores = {}

    def counted():
        calls.append(1)
        return work()

    work = succeed_at_last() if body == "succeeding" else fail
    running = kind.make(counted, retries=1)
    fires = hook in _hooks_of(kind, body)

    def call():
        kind.run(running)

    if body == "stored":
        stored = hook in (*OF_THE_CACHE, *DATASET_HOOKS)
        call, stores = using(kind, hook if stored else "on_cache_miss", tmp_path)

    expected = error if fires else (TheirError if body == "failing" else None)
    # on_event fires inside the body, where a strict hook's exception is like one of the body's own.
    with session(
        plugins=[broken(hook, error=error), hooks],
        clock=instant_clock(),
        settings=Settings(strict_hooks=True),
        **stores,
    ):
        if expected is None:
            call()
        else:
            with pytest.raises(expected):
                call()

    hooks.verify()
    assert len(hooks.calls()) == 1
    assert len(calls) <= 2
    assert current_task() is None


def _hooks_of(kind, body):
    items = {"node_iteration"} if kind.is_stream else set()
    if body == "stored":
        return {*OF_THE_CACHE, *DATASET_HOOKS, "before_node_execute", "after_node_execute"} | items
    common = {"before_node_execute", "before_node_retry", "after_node_retry", "on_event"}
    if body == "failing":
        return common | {"on_node_error"}
    return common | {"after_node_execute"} | items


@all_kinds
def test_strict_hooks_leave_no_exception_in_the_bodys_way(kind):
    """A strict on_node_error hook: what is raised is the hook's exception, with the user's as its context."""
    with (
        session(plugins=[broken("on_node_error")], settings=Settings(strict_hooks=True)),
        pytest.raises(HookError) as info,
    ):
        kind.run(kind.make(fail))

    assert isinstance(info.value.__context__, TheirError)


def test_hooks_do_not_run_on_behalf_of_the_call():
    """The call is current while its body runs, and hooks are no part of that."""
    seen = []

    class Curious:
        @hook_impl
        def before_node_execute(self):
            seen.append(current_task())

        @hook_impl
        def after_node_execute(self):
            seen.append(current_task())

    with session(plugins=[Curious()]):
        Kind.SYNC.run(task(lambda: None))

    assert seen == [None, None]


@all_kinds
@pytest.mark.parametrize("timed", [False, True], ids=["untimed", "timed"])
def test_what_a_strict_hook_raises_inside_a_body_is_no_failure_of_that_body(kind, timed):
    if timed and kind.is_stream:
        pytest.skip("streams take no timeout")
    calls = []

    def body():
        calls.append(1)
        current_task().report("event")

    options = {"timeout": 60} if timed else {}
    with session(plugins=[broken("on_event")], settings=Settings(strict_hooks=True)), pytest.raises(HookError):
        kind.run(kind.make(body, retries=3, **options))

    assert calls == [1]


@all_kinds
def test_what_a_strict_hook_raises_around_an_inner_task_makes_the_outer_one_not_try_again(kind):
    class RefusesInner:
        @hook_impl
        def before_node_execute(self, metadata):
            if metadata.name == "inner":
                raise HookError

    inner = task(lambda: None, name="inner")
    calls = []

    def body():
        calls.append(1)
        inner()

    with session(plugins=[RefusesInner()], settings=Settings(strict_hooks=True)), pytest.raises(HookError):
        kind.run(kind.make(body, retries=3))

    assert calls == [1]


@all_kinds
def test_an_interruption_just_before_the_ending_is_told_leaves_an_ending(kind):
    """Ctrl-C in the clock that measures the duration, after the body and before the first plugin hears of its end."""
    hooks = RecordingHooks()
    body_ended = []

    def now():
        if body_ended and body_ended.pop():
            raise KeyboardInterrupt
        return 0.0

    def body():
        body_ended.append(True)

    with session(plugins=[hooks], clock=Clock(now=now)), pytest.raises(KeyboardInterrupt):
        kind.run(kind.make(body))

    hooks.verify()
    assert hooks.names()[-2:] == ["on_node_cancel", "after_session_end"]
