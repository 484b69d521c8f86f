"""Random interleavings of tasks, streams, sessions, threads and asyncio tasks, checked against a model at every step.

The model is a tree of scopes. A scope is a session or a call, and knows what it was opened in. Everybody (the main
thread, each actor, each stream) is in one scope; from there, *the current task is the nearest call outwards, and the
current session the nearest session outwards that is open*. Nothing else may ever be seen.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from actors import PATIENCE, Abort, AsyncActor, ThreadActor, World, fresh_context, look
from eagerly import session
from eagerly.testing import RecordingHooks
from kinds import TheirError


class Scope:
    """A session or a call in the model."""

    def __init__(self, name, outer, *, is_call, retries=0):
        self.name = name
        self.outer = outer
        self.is_call = is_call
        self.retries = retries
        self.open = True


def expected(scope):
    """What `look` should say in this scope."""
    call = here = scope
    while call is not None and not call.is_call:
        call = call.outer
    while here is not None and (here.is_call or not here.open):
        here = here.outer
    return (None if call is None else call.name), (None if here is None else here.name)


class Someone:
    """In the model, whoever is in a scope: the main thread, an actor or a stream."""

    def __init__(self, scope, actor=None):
        self.scope = scope
        self.actor = actor
        self.calls = []  # of an actor: the calls it is in, each with the scope that it was made in
        self.hangs_in = None  # the stream in a step of which it is waiting
        self.is_async = actor is not None and actor.is_async


class Stream(Someone):
    def __init__(self, name, outer, *, is_async):
        super().__init__(Scope(name, outer, is_call=True))
        self.name = name
        self.is_async = is_async
        self.started = False
        self.busy = False


picks = st.integers(0, 1_000)


class Interleavings(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.names = (f"n{number}" for number in itertools.count())
        self.hooks = RecordingHooks()
        self.world = World()
        self.loop = asyncio.new_event_loop()
        self.outermost = session(name="outermost", plugins=[self.hooks])
        self.outermost.__enter__()
        root = Scope("outermost", None, is_call=False)
        self.open_sessions = {}
        self.main = Someone(root)
        self.people = [self.main]
        self.streams = []

    # Who and what a rule is about

    def idle(self, pick, **wanted):
        people = [
            one for one in self.people if one.hangs_in is None and all(vars(one)[k] == v for k, v in wanted.items())
        ]
        return people[pick % len(people)] if people else None

    def do(self, someone, *command):
        """Let somebody do something that needs no nesting."""
        return self.world.perform(*command) if someone is self.main else someone.actor.do(*command)

    def advance(self, someone, stream, command):
        """What the stream answers when somebody advances it, however that has to be done."""
        return self.do(someone, "advance", stream.name, command)

    def gone(self, stream):
        """The stream has ended: what it saw at last must have been its own."""
        assert self.world.last_looks.pop(stream.name) == expected(stream.scope)
        self.streams.remove(stream)
        self.world.streams.pop(stream.name, None)

    # Actors

    @precondition(lambda self: len(self.people) < 6)
    @rule(copied=st.booleans())
    def start_a_thread(self, copied):
        actor = ThreadActor(self.world, fresh_context(copied))
        self.people.append(Someone(self.main.scope if copied else None, actor))

    @precondition(lambda self: len(self.people) < 6)
    @rule()
    def start_an_asyncio_task(self):
        self.people.append(Someone(self.main.scope, AsyncActor(self.world, self.loop)))

    # Sessions

    @precondition(lambda self: len(self.open_sessions) < 6)
    @rule(pick=picks)
    def open_a_session(self, pick):
        someone = self.idle(pick)
        name = next(self.names)
        someone.scope = self.open_sessions[name] = Scope(name, someone.scope, is_call=False)
        assert self.do(someone, "open", name) == expected(someone.scope)

    @precondition(lambda self: self.open_sessions)
    @rule(pick=picks, which=picks)
    def close_a_session(self, pick, which):
        """Whoever opened it, and whatever has been opened in it since."""
        someone = self.idle(pick)
        name = sorted(self.open_sessions)[which % len(self.open_sessions)]
        self.open_sessions.pop(name).open = False
        assert self.do(someone, "close", name) == expected(someone.scope)

    # Calls

    @rule(pick=picks, retries=st.integers(0, 1), timed=st.booleans())
    def call_a_task(self, pick, retries, timed):
        someone = self.idle(pick)
        if someone is self.main or len(someone.calls) > 4:
            return
        call = Scope(next(self.names), someone.scope, is_call=True, retries=retries)
        someone.calls.append((call, someone.scope))
        someone.scope = call
        timeout = 10 * PATIENCE if timed else None
        assert someone.actor.do("call", call.name, retries, timeout) == expected(call)

    @rule(pick=picks)
    def return_from_a_task(self, pick):
        someone = self.idle(pick)
        if not someone.calls:
            return
        _, someone.scope = someone.calls.pop()
        assert someone.actor.do("return") == expected(someone.scope)

    @rule(pick=picks, cls=st.sampled_from([TheirError, Abort]))
    def fail_in_a_task(self, pick, cls):
        someone = self.idle(pick)
        if not someone.calls:
            return
        call, around = someone.calls[-1]
        if call.retries and cls is TheirError:
            call.retries -= 1
            someone.scope = call
        else:
            someone.calls.pop()
            someone.scope = around
        assert someone.actor.do("raise", cls()) == expected(someone.scope)

    # Streams

    @precondition(lambda self: len(self.streams) < 6)
    @rule(pick=picks, kind=st.sampled_from(["stream", "async stream"]))
    def call_a_stream(self, pick, kind):
        someone = self.idle(pick)
        stream = Stream(next(self.names), someone.scope, is_async=kind != "stream")
        assert self.do(someone, "make", stream.name, kind) == expected(someone.scope)
        self.streams.append(stream)

    def choose(self, pick, which):
        """A stream that can be advanced, and somebody who can advance it."""
        free = [stream for stream in self.streams if not stream.busy]
        if not free:
            return None, None
        stream = free[which % len(free)]
        return (self.idle(pick, is_async=True) if stream.is_async else self.idle(pick)), stream

    @rule(pick=picks, which=picks, command=st.sampled_from([None, None, None, "leaf"]))
    def take_an_item(self, pick, which, command):
        someone, stream = self.choose(pick, which)
        if someone is None:
            return
        answer = self.advance(someone, stream, command if stream.started else None)
        stream.started = True
        assert answer == expected(stream.scope)

    @rule(pick=picks, which=picks)
    def open_a_session_in_a_stream(self, pick, which):
        someone, stream = self.choose(pick, which)
        if someone is None or not stream.started:
            return
        name = next(self.names)
        stream.scope = self.open_sessions[name] = Scope(name, stream.scope, is_call=False)
        assert self.advance(someone, stream, ("open", name)) == expected(stream.scope)

    @precondition(lambda self: self.open_sessions)
    @rule(pick=picks, which=picks, session_pick=picks)
    def close_a_session_in_a_stream(self, pick, which, session_pick):
        someone, stream = self.choose(pick, which)
        if someone is None or not stream.started:
            return
        name = sorted(self.open_sessions)[session_pick % len(self.open_sessions)]
        self.open_sessions.pop(name).open = False
        assert self.advance(someone, stream, ("close", name)) == expected(stream.scope)

    @rule(pick=picks, which=picks, other=picks)
    def advance_a_stream_in_a_stream(self, pick, which, other):
        someone, stream = self.choose(pick, which)
        inner = [one for one in self.streams if one is not stream and not one.busy and not one.is_async]
        if someone is None or not stream.started or not inner:
            return
        advanced = inner[other % len(inner)]
        advanced.started = True
        assert self.advance(someone, stream, ("advance", advanced.name, None)) == expected(stream.scope)

    @rule(pick=picks, which=picks, how=st.sampled_from(["finish", "raise", TheirError, Abort, "close"]))
    def end_a_stream(self, pick, which, how):
        someone, stream = self.choose(pick, which)
        if someone is None or not stream.started:
            return
        answer = self.advance(someone, stream, how)
        end = StopAsyncIteration if stream.is_async else StopIteration
        assert answer is {"finish": end, "raise": TheirError, "close": None}.get(how, how)
        self.gone(stream)

    @rule(pick=picks, which=picks)
    def drop_a_stream(self, pick, which):
        """Started or not; an async one is closed by the loop."""
        someone, stream = self.choose(pick, which)
        if someone is None:
            return
        assert self.do(someone, "drop", stream.name) == expected(someone.scope)
        if stream.is_async:
            for _ in range(4):
                self.loop.run_until_complete(asyncio.sleep(0))
        if stream.started:
            self.gone(stream)
        else:
            self.streams.remove(stream)

    @rule(pick=picks, which=picks)
    def hang_in_a_stream(self, pick, which):
        """Somebody asks for an item that does not come; everybody else goes on."""
        someone, stream = self.choose(pick, which)
        if someone is None or someone is self.main or not stream.started or (someone.is_async and not stream.is_async):
            return
        self.world.gates[stream.name] = asyncio.Event() if stream.is_async else threading.Event()
        self.world.hanging.clear()
        someone.actor.start("advance", stream.name, "hang")
        if stream.is_async:
            while not self.world.hanging.is_set():
                self.loop.run_until_complete(asyncio.sleep(0))
        assert self.world.hanging.wait(PATIENCE)
        stream.busy = True
        someone.hangs_in = stream

    @rule(pick=picks)
    def go_on_in_a_stream(self, pick):
        hanging = [one for one in self.people if one.hangs_in is not None]
        if not hanging:
            return
        someone = hanging[pick % len(hanging)]
        stream, someone.hangs_in = someone.hangs_in, None
        stream.busy = False
        self.world.gates.pop(stream.name).set()
        assert someone.actor.answer() == expected(stream.scope)

    @rule(pick=picks)
    def cancel_in_an_async_stream(self, pick):
        hanging = [one for one in self.people if one.hangs_in is not None and one.is_async]
        if not hanging:
            return
        someone = hanging[pick % len(hanging)]
        stream, someone.hangs_in = someone.hangs_in, None
        someone.actor.task.cancel()
        assert someone.actor.answer() is asyncio.CancelledError
        self.gone(stream)

    # What holds after every step

    @invariant()
    def everybody_is_where_the_model_says(self):
        assert look() == expected(self.main.scope)
        for someone in self.people[1:]:
            if someone.hangs_in is None:
                assert someone.actor.do("look") == expected(someone.scope)

    @invariant()
    def no_call_has_lived_two_lives(self):
        self.hooks.verify(allow_running=True)

    def teardown(self):
        try:
            while any(one.hangs_in for one in self.people):
                self.go_on_in_a_stream(0)
            for name in list(self.open_sessions):
                self.open_sessions.pop(name).open = False
                self.world.close(name)
            for stream in list(self.streams):
                if not stream.is_async:
                    self.world.drop(stream.name)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.streams.clear()
            self.world.streams.clear()
            for someone in self.people[1:]:
                while someone.calls:
                    _, someone.scope = someone.calls.pop()
                    assert someone.actor.do("return") == expected(someone.scope)
                someone.actor.stop()
        finally:
            self.loop.close()
            self.outermost.__exit__(None, None, None)
        gc.collect()
        assert look() == (None, None)
        self.hooks.verify()


def test_interleavings():
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            derandomize=True,
            deadline=None,
            max_examples=60,
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
def test_interleavings_at_length():
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            deadline=None, max_examples=1_500, stateful_step_count=100, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
