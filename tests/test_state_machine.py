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


def one_of(candidates, pick):
    return candidates[pick % len(candidates)]


picks = st.integers(0, 11)


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

    def idle(self):
        return [one for one in self.people if one.hangs_in is None]

    def callers(self):
        """Who can call a task and go on in its body."""
        return [one for one in self.idle() if one is not self.main and len(one.calls) < 5]

    def called(self):
        return [one for one in self.idle() if one.calls]

    def hanging(self):
        return [one for one in self.people if one.hangs_in is not None]

    def cancellable(self):
        return [one for one in self.hanging() if one.is_async]

    def steps(self, *, started=True, hang=False):
        """Each stream that can be advanced, with each of those who can advance it."""
        return [
            (one, stream)
            for stream in self.streams
            if not stream.busy and (stream.started or not started)
            for one in self.idle()
            if one.is_async == stream.is_async or (one.is_async and not hang)
            if not (hang and one is self.main)
        ]

    def steps_with_another(self):
        """As `steps`, with each stream that the advanced one can advance in turn."""
        return [
            (one, stream, inner)
            for one, stream in self.steps()
            for inner in self.streams
            if inner is not stream and not inner.busy and not inner.is_async
        ]

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
        someone = one_of(self.idle(), pick)
        name = next(self.names)
        someone.scope = self.open_sessions[name] = Scope(name, someone.scope, is_call=False)
        assert self.do(someone, "open", name) == expected(someone.scope)

    @precondition(lambda self: self.open_sessions)
    @rule(pick=picks, which=picks)
    def close_a_session(self, pick, which):
        """Whoever opened it, and whatever has been opened in it since."""
        someone = one_of(self.idle(), pick)
        name = one_of(list(self.open_sessions), which)
        self.open_sessions.pop(name).open = False
        assert self.do(someone, "close", name) == expected(someone.scope)

    # Calls

    @precondition(callers)
    @rule(pick=picks, retries=st.integers(0, 1), timed=st.booleans())
    def call_a_task(self, pick, retries, timed):
        someone = one_of(self.callers(), pick)
        call = Scope(next(self.names), someone.scope, is_call=True, retries=retries)
        someone.calls.append((call, someone.scope))
        someone.scope = call
        timeout = 10 * PATIENCE if timed else None
        assert someone.actor.do("call", call.name, retries, timeout) == expected(call)

    @precondition(called)
    @rule(pick=picks)
    def return_from_a_task(self, pick):
        self.return_from(one_of(self.called(), pick))

    def return_from(self, someone):
        _, someone.scope = someone.calls.pop()
        assert someone.actor.do("return") == expected(someone.scope)

    @precondition(called)
    @rule(pick=picks, cls=st.sampled_from([TheirError, Abort]))
    def fail_in_a_task(self, pick, cls):
        someone = one_of(self.called(), pick)
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
        someone = one_of(self.idle(), pick)
        stream = Stream(next(self.names), someone.scope, is_async=kind != "stream")
        assert self.do(someone, "make", stream.name, kind) == expected(someone.scope)
        self.streams.append(stream)

    @precondition(lambda self: self.steps(started=False))
    @rule(pick=picks, command=st.sampled_from([None, None, None, "leaf"]))
    def take_an_item(self, pick, command):
        someone, stream = one_of(self.steps(started=False), pick)
        answer = self.advance(someone, stream, command if stream.started else None)
        stream.started = True
        assert answer == expected(stream.scope)

    @precondition(steps)
    @rule(pick=picks)
    def open_a_session_in_a_stream(self, pick):
        someone, stream = one_of(self.steps(), pick)
        name = next(self.names)
        stream.scope = self.open_sessions[name] = Scope(name, stream.scope, is_call=False)
        assert self.advance(someone, stream, ("open", name)) == expected(stream.scope)

    @precondition(lambda self: self.open_sessions and self.steps())
    @rule(pick=picks, which=picks)
    def close_a_session_in_a_stream(self, pick, which):
        someone, stream = one_of(self.steps(), pick)
        name = one_of(list(self.open_sessions), which)
        self.open_sessions.pop(name).open = False
        assert self.advance(someone, stream, ("close", name)) == expected(stream.scope)

    @precondition(steps_with_another)
    @rule(pick=picks)
    def advance_a_stream_in_a_stream(self, pick):
        someone, stream, inner = one_of(self.steps_with_another(), pick)
        inner.started = True
        assert self.advance(someone, stream, ("advance", inner.name, None)) == expected(stream.scope)

    @precondition(steps)
    @rule(pick=picks, how=st.sampled_from(["finish", "raise", TheirError, Abort, "close"]))
    def end_a_stream(self, pick, how):
        someone, stream = one_of(self.steps(), pick)
        answer = self.advance(someone, stream, how)
        end = StopAsyncIteration if stream.is_async else StopIteration
        assert answer is {"finish": end, "raise": TheirError, "close": None}.get(how, how)
        self.gone(stream)

    @precondition(lambda self: self.steps(started=False))
    @rule(pick=picks)
    def drop_a_stream(self, pick):
        """Started or not; an async one is closed by the loop."""
        someone, stream = one_of(self.steps(started=False), pick)
        assert self.do(someone, "drop", stream.name) == expected(someone.scope)
        if stream.is_async:
            for _ in range(4):
                self.loop.run_until_complete(asyncio.sleep(0))
        if stream.started:
            self.gone(stream)
        else:
            self.streams.remove(stream)

    @precondition(lambda self: self.steps(hang=True))
    @rule(pick=picks)
    def hang_in_a_stream(self, pick):
        """Somebody asks for an item that does not come; everybody else goes on."""
        someone, stream = one_of(self.steps(hang=True), pick)
        self.world.gates[stream.name] = asyncio.Event() if stream.is_async else threading.Event()
        self.world.hanging.clear()
        someone.actor.start("advance", stream.name, "hang")
        if stream.is_async:
            while not self.world.hanging.is_set():
                self.loop.run_until_complete(asyncio.sleep(0))
        assert self.world.hanging.wait(PATIENCE)
        stream.busy = True
        someone.hangs_in = stream

    @precondition(hanging)
    @rule(pick=picks)
    def go_on_in_a_stream(self, pick):
        someone = one_of(self.hanging(), pick)
        stream, someone.hangs_in = someone.hangs_in, None
        stream.busy = False
        self.world.gates.pop(stream.name).set()
        assert someone.actor.answer() == expected(stream.scope)

    @precondition(cancellable)
    @rule(pick=picks)
    def cancel_in_an_async_stream(self, pick):
        someone = one_of(self.cancellable(), pick)
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
            while self.hanging():
                self.go_on_in_a_stream(0)
            for name, opened in self.open_sessions.items():
                opened.open = False
                self.world.close(name)
            self.streams.clear()
            self.world.streams.clear()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            for someone in self.people[1:]:
                while someone.calls:
                    self.return_from(someone)
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
            max_examples=150,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
def test_interleavings_at_length():
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            deadline=None, max_examples=600, stateful_step_count=100, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
