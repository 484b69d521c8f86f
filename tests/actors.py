"""Threads and asyncio tasks that do one thing at a time, on command, for test_state_machine.py.

Helpers only; nothing here knows what is right. An actor can be told to call a task, in whose body it then takes its
further commands until it is told to return or to fail: so a test can stop the world between any two steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from typing import Any

from eagerly import Retry, current_session, current_task, session, task
from kinds import TheirError

__all__ = ["PATIENCE", "Abort", "AsyncActor", "ThreadActor", "World", "fresh_context", "look"]

PATIENCE = 60
"""Seconds after which a test that waits for an actor gives up."""


class Abort(BaseException):
    """Ends a call without being a failure of it."""


def look() -> tuple[str | None, str | None]:
    """Where this code is: the names of the current task and of the current session."""
    call, here = current_task(), current_session()
    return (None if call is None else call.name), (None if here is None else here.name)


class World:
    """What the actors share: sessions that are open, streams that somebody may advance, and what these saw at last."""

    def __init__(self) -> None:
        self.sessions: dict[str, Any] = {}
        self.streams: dict[str, Any] = {}
        self.last_looks: dict[str, Any] = {}
        self.gates: dict[str, Any] = {}
        self.hanging = threading.Event()

    def perform(self, action: str, *arguments: Any) -> Any:
        """Do one of the things that need no nesting, in the context of the caller."""
        return getattr(self, action)(*arguments)

    def look(self) -> Any:
        return look()

    def open(self, name: str) -> Any:
        self.sessions[name] = opened = session(name=name)
        opened.__enter__()
        return look()

    def close(self, name: str) -> Any:
        self.sessions.pop(name).__exit__(None, None, None)
        return look()

    def make(self, name: str, kind: str) -> Any:
        self.streams[name] = (stream if kind == "stream" else async_stream)(name, self)
        return look()

    def advance(self, name: str, command: Any) -> Any:
        """The answer of the stream, or the type of what ended it."""
        running = self.streams[name]
        try:
            if command in (TheirError, Abort):
                return running.throw(command())
            return running.close() if command == "close" else running.send(command)
        except (StopIteration, TheirError, Abort) as error:
            return type(error)

    async def aadvance(self, name: str, command: Any) -> Any:
        running = self.streams[name]
        try:
            if command in (TheirError, Abort):
                return await running.athrow(command())
            return await (running.aclose() if command == "close" else running.asend(command))
        except (StopAsyncIteration, TheirError, Abort) as error:
            return type(error)

    def drop(self, name: str) -> Any:
        self.streams.pop(name)
        return look()


@task(name="{name}")
def stream(name: str, world: World) -> Any:
    """Says where it is, does as it is told, and says again where it is."""
    try:
        command = yield look()
        while command != "finish":
            if command == "raise":
                raise TheirError
            if command == "hang":
                world.hanging.set()
                assert world.gates[name].wait(PATIENCE)
            elif command == "leaf":
                assert leaf(f"leaf of {name}") == (f"leaf of {name}", look()[1])
            elif command is not None:
                world.perform(*command)
            command = yield look()
    finally:
        world.last_looks[name] = look()


@task(name="{name}")
async def async_stream(name: str, world: World) -> Any:
    try:
        command = yield look()
        while command != "finish":
            await asyncio.sleep(0)
            if command == "raise":
                raise TheirError
            if command == "hang":
                world.hanging.set()
                await world.gates[name].wait()
            elif command == "leaf":
                assert await async_leaf(f"leaf of {name}") == (f"leaf of {name}", look()[1])
            elif command is not None:
                await _aperform(world, *command)
            command = yield look()
    finally:
        world.last_looks[name] = look()


@task(name="{name}")
def leaf(name: str) -> Any:
    return look()


@task(name="{name}")
async def async_leaf(name: str) -> Any:
    await asyncio.sleep(0)
    return look()


async def _aperform(world: World, action: str, *arguments: Any) -> Any:
    if action == "advance" and hasattr(world.streams[arguments[0]], "asend"):
        action = "aadvance"
    answer = world.perform(action, *arguments)
    return await answer if action == "aadvance" else answer


class ThreadActor:
    """A real thread; `context` is what it starts with."""

    is_async = False

    def __init__(self, world: World, context: contextvars.Context) -> None:
        self.world = world
        self.commands: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        # A daemon, so that a failed test does not keep the interpreter from ending.
        self.thread = threading.Thread(target=context.run, args=(self._take_commands,), daemon=True)
        self.thread.start()

    def do(self, *command: Any) -> Any:
        self.start(*command)
        return self.answer()

    def start(self, *command: Any) -> None:
        self.commands.put(command)

    def answer(self) -> Any:
        answer = self.answers.get(timeout=PATIENCE)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def stop(self) -> None:
        self.commands.put(("return",))
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def _take_commands(self) -> None:
        while True:
            action, *arguments = self.commands.get()
            if action == "return":
                return
            if action == "raise":
                raise arguments[0]
            try:
                self.answers.put(self._call(*arguments) if action == "call" else self.world.perform(action, *arguments))
            except Exception as error:
                self.answers.put(error)

    def _call(self, name: str, retries: int, timeout: float | None) -> Any:
        called = _sync_call.options(retries=Retry(retries, delay=0), timeout=timeout)
        with contextlib.suppress(TheirError, Abort):
            called(name, self)
        return look()

    def body(self) -> None:
        self.answers.put(look())
        self._take_commands()


@task(name="{name}")
def _sync_call(name: str, actor: ThreadActor) -> None:
    actor.body()


class AsyncActor:
    """An asyncio task in a loop that runs only while an answer is waited for."""

    is_async = True

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.world = world
        self.loop = loop
        self.commands: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.task = loop.create_task(self._take_commands())

    def do(self, *command: Any) -> Any:
        self.start(*command)
        return self.answer()

    def start(self, *command: Any) -> None:
        self.commands.put_nowait(command)

    def answer(self) -> Any:
        answer = self.loop.run_until_complete(asyncio.wait_for(self.answers.get(), PATIENCE))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        self.start("return")
        self.loop.run_until_complete(asyncio.wait_for(self.task, PATIENCE))

    async def _take_commands(self) -> None:
        while True:
            action, *arguments = await self.commands.get()
            if action == "return":
                return
            if action == "raise":
                raise arguments[0]
            try:
                answer = await (
                    self._call(*arguments) if action == "call" else _aperform(self.world, action, *arguments)
                )
            except asyncio.CancelledError:
                answer = asyncio.CancelledError
            except Exception as error:
                answer = error
            self.answers.put_nowait(answer)

    async def _call(self, name: str, retries: int, timeout: float | None) -> Any:
        called = _async_call.options(retries=Retry(retries, delay=0), timeout=timeout)
        with contextlib.suppress(TheirError, Abort):
            await called(name, self)
        return look()

    async def body(self) -> None:
        self.answers.put_nowait(look())
        await self._take_commands()


@task(name="{name}")
async def _async_call(name: str, actor: AsyncActor) -> None:
    await actor.body()


def fresh_context(copied: bool) -> contextvars.Context:
    """What a thread starts with: a copy of the context here, or an empty one."""
    return contextvars.copy_context() if copied else contextvars.Context()
