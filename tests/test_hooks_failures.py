"""Hooks observe: what goes wrong in one is named and logged, and changes nothing for the call or for other plugins."""

from __future__ import annotations

import asyncio
import logging

import pytest

from eagerly import Retry, Settings, current_session, current_task, hook_impl, session, task
from eagerly.hooks import EagerlySpec
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, all_kinds
from stored_calls import DATASET_HOOKS, OF_THE_CACHE, everything_is_stored, stores_in, using

HOOKS = [name for name in vars(EagerlySpec) if not name.startswith("_")]
STRICT = Settings(strict_hooks=True)

each_hook_of_each_kind = pytest.mark.parametrize(
    ("kind", "hook"),
    [
        (kind, hook)
        for kind in Kind
        for hook in HOOKS
        if "session" not in hook
        and hook not in ("on_event", "on_run_status")
        and (kind.is_stream or hook != "node_iteration")
    ],
)


class HookError(Exception):
    """What the broken hooks raise."""


def broken(hook, error=None):
    """A plugin of class ``Broken`` whose only hook raises."""
    raised = HookError(hook) if error is None else error

    def implementation(self):
        raise raised

    return type("Broken", (), {hook: hook_impl(implementation)})()


def succeeds_at(attempt, reports=True):
    """A body that fails until its `attempt`-th run, then returns 42."""
    runs = []

    def work():
        runs.append(1)
        if reports:
            current_task().report("an event")
        if len(runs) < attempt:
            raise ConnectionError(len(runs))
        return 42

    return work


def interrupted():
    current_task().report("an event")
    raise KeyboardInterrupt


def call_with(kind, hook, folder):
    """One call in which `hook` fires, and what the session around it needs besides plugins."""
    if hook in (*OF_THE_CACHE, *DATASET_HOOKS):
        return using(kind, hook, folder)
    bodies = {"on_node_error": succeeds_at(9), "on_node_cancel": interrupted}
    made = kind.make(bodies.get(hook, succeeds_at(2)), retries=1)
    return lambda: kind.run(made), {}


class TestLogged:
    @pytest.mark.parametrize("hook", HOOKS)
    @all_kinds
    def test_neither_value_nor_error_changes_and_the_log_names_plugin_and_hook(self, kind, hook, caplog, tmp_path):
        hooks = RecordingHooks()
        with session(plugins=[hooks, broken(hook)], clock=instant_clock(), **stores_in(tmp_path)):
            assert kind.run(kind.make(succeeds_at(2), retries=Retry(1, delay=1))) == 42
            assert everything_is_stored(kind) == [42, 42]
            with pytest.raises(ConnectionError) as caught:
                kind.run(kind.make(succeeds_at(9), retries=1))
            with pytest.raises(KeyboardInterrupt):
                kind.run(kind.make(interrupted))
            kind.make(succeeds_at(1, reports=False)).submit().wait()
        assert caught.value.__context__ is None
        hooks.verify()
        records = [record for record in caplog.records if record.name == "eagerly.hooks"]
        fired = hooks.names().count(hook)
        assert len(records) == fired
        assert fired >= 1 or (hook == "node_iteration" and not kind.is_stream)
        for record in records:
            assert record.levelno == logging.ERROR
            assert record.getMessage().startswith(f"the hook {hook} of plugin Broken raised HookError")
            assert isinstance(record.exc_info[1], HookError)

    @pytest.mark.parametrize("hook", HOOKS)
    def test_other_plugins_are_called_whatever_their_place(self, hook, tmp_path):
        def everything_happens(folder, *plugins):
            earlier, later = RecordingHooks(), RecordingHooks()
            with session(plugins=[earlier, *plugins, later], clock=instant_clock(), **stores_in(folder)):
                everything_is_stored(Kind.SYNC)
                task(succeeds_at(2), retries=1)()
                with pytest.raises(ConnectionError):
                    task(succeeds_at(3), retries=1)()
                list(Kind.STREAM.make(succeeds_at(1))())
                with pytest.raises(KeyboardInterrupt):
                    task(interrupted)()
                task(succeeds_at(1, reports=False)).submit().wait()
            # What becomes of a run is told by another thread than what happens in its body.
            return [sorted(heard.names(), key=lambda name: name == "on_run_status") for heard in (earlier, later)]

        assert everything_happens(tmp_path / "broken", broken(hook)) == everything_happens(tmp_path / "whole")

    @all_kinds
    def test_a_failing_hook_is_no_failure_of_the_function(self, kind, caplog):
        body = succeeds_at(1)
        runs = []
        with session(plugins=[broken("after_node_execute"), broken("before_node_execute")]):
            kind.run(kind.make(lambda: runs.append(body()), retries=3))
        assert runs == [42]
        assert len(caplog.records) == 2


class TestStrict:
    """``Settings(strict_hooks=True)`` raises what a hook raises."""

    @each_hook_of_each_kind
    def test_it_is_raised_to_the_caller_and_the_call_has_one_ending(self, kind, hook, tmp_path):
        hooks = RecordingHooks()
        call, stores = call_with(kind, hook, tmp_path)
        with (
            session(plugins=[hooks, broken(hook)], settings=STRICT, clock=instant_clock(), **stores),
            pytest.raises(HookError, match=hook),
        ):
            call()
        hooks.verify()
        assert len(hooks.calls()) == 1

    def test_it_is_raised_although_others_come_after_and_those_are_called(self):
        earlier, later = RecordingHooks(), RecordingHooks()
        with (
            session(
                plugins=[earlier, broken("before_node_execute"), later],
                settings=Settings(strict_hooks=True),
                clock=instant_clock(),
            ),
            pytest.raises(HookError),
        ):
            task(succeeds_at(1))()
        assert earlier.names() == later.names()
        earlier.verify()

    def test_the_users_error_stays_in_sight(self):
        with session(plugins=[broken("on_node_error")], settings=Settings(strict_hooks=True)):
            with pytest.raises(HookError) as caught:
                task(succeeds_at(9))()
            assert isinstance(caught.value.__context__, ConnectionError)

    def test_inherited_by_inner_sessions_and_switched_off_there(self, caplog):
        strict, lenient = Settings(strict_hooks=True), Settings(strict_hooks=False)
        work = task(succeeds_at(1))
        with session(settings=strict):
            with session(plugins=[broken("before_node_execute")]), pytest.raises(HookError):
                work()
            with session(plugins=[broken("before_node_execute")], settings=lenient):
                assert work() == 42
        assert len(caplog.records) == 1


class TestBaseExceptions:
    """Ctrl-C in a hook is Ctrl-C: raised, whatever the settings, and every plugin still hears one ending."""

    @pytest.mark.parametrize("strict", [True, False])
    @each_hook_of_each_kind
    def test_it_is_raised_and_every_plugin_hears_one_ending(self, kind, hook, strict, tmp_path):
        earlier, later = RecordingHooks(), RecordingHooks()
        plugins = [earlier, broken(hook, KeyboardInterrupt()), later]
        call, stores = call_with(kind, hook, tmp_path)
        with session(plugins=plugins, settings=Settings(strict_hooks=strict), clock=instant_clock(), **stores):
            with pytest.raises(KeyboardInterrupt):
                call()
            assert current_task() is None
        for hooks in (earlier, later):
            hooks.verify()
            assert len(hooks.calls()) == 1

    @pytest.mark.parametrize("hook", ["before_session_start", "after_session_end"])
    def test_at_the_ends_of_a_session(self, hook):
        hooks = RecordingHooks()
        with (
            pytest.raises(KeyboardInterrupt),
            session(plugins=[hooks, broken(hook, KeyboardInterrupt())]),
        ):
            pass
        assert current_session() is None
        assert hooks.names() == ["before_session_start", "after_session_end"]


class TestHooksOfSessions:
    @pytest.mark.parametrize("colour", ["with", "async with"])
    @pytest.mark.parametrize("hook", ["before_session_start", "after_session_end"])
    def test_logged(self, hook, colour, caplog):
        run_session(colour, session(plugins=[broken(hook)]))
        (record,) = caplog.records
        assert record.getMessage().startswith(f"the hook {hook} of plugin Broken raised HookError")

    @pytest.mark.parametrize("colour", ["with", "async with"])
    @pytest.mark.parametrize("hook", ["before_session_start", "after_session_end"])
    def test_raised_when_strict_and_the_session_is_closed(self, hook, colour):
        hooks = RecordingHooks()
        with session(name="around") as around:
            with pytest.raises(HookError):
                run_session(colour, session(plugins=[hooks, broken(hook)], settings=Settings(strict_hooks=True)))
            assert current_session() is around
        assert hooks.names() == ["before_session_start", "after_session_end"]

    @pytest.mark.parametrize("strict", [True, False])
    def test_an_exception_in_the_body_is_not_masked(self, strict):
        problem = LookupError("of the body")
        with (
            pytest.raises((LookupError, HookError)) as caught,
            session(plugins=[broken("after_session_end")], settings=Settings(strict_hooks=strict)),
        ):
            raise problem
        if strict:
            assert isinstance(caught.value, HookError)
            assert caught.value.__context__ is problem
        else:
            assert caught.value is problem


def run_session(colour, opened):
    """Enter and leave a session in that colour."""

    async def main():
        async with opened:
            pass

    if colour == "async with":
        asyncio.run(main())
    else:
        with opened:
            pass


def test_a_failing_on_event_is_not_the_bodys_failure(caplog):
    work = succeeds_at(1)
    with session(plugins=[broken("on_event")]):
        assert task(work, retries=3)() == 42
    assert len(caplog.records) == 1


def test_hooks_may_call_tasks():
    """A hook that calls a task hears of that call too, and so has to see that it comes to an end."""
    helper = task(lambda: "help", name="helper")

    class Calls:
        @hook_impl
        def before_node_execute(self, metadata):
            if metadata.name != "helper":
                helper()

    hooks = RecordingHooks()
    with session(plugins=[hooks, Calls()]):
        task(succeeds_at(1))()
    hooks.verify()
    assert hooks.names("helper") == ["before_node_execute", "after_node_execute"]
    assert hooks.of("helper")[0].metadata.parent_id is None
