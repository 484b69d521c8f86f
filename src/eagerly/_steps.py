"""Plans: what sync and async callers have to do alike, told once.

A plan is a generator that yields steps (use a store, wait for somebody, pause) and returns what came of it. What a step
means stands here twice, once for threads and once for event loops; what the steps are, and when, stands in the plan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

from eagerly._clock import SLICE
from eagerly._crew import hand_in

__all__ = ["Access", "Pause", "Plan", "Step", "Until", "carry_out", "carry_out_async"]

T = TypeVar("T")


class Step(Protocol):
    """One thing to do, in either colour."""

    def do(self) -> Any:
        """Do it in this thread, which may block."""
        ...

    async def do_async(self) -> Any:
        """Do it without blocking the event loop."""
        ...


Plan: TypeAlias = Generator[Step, Any, T]


class Access:
    """Use a store.

    Args:
        run: What to do.
        blocking: Whether it may take long; then an event loop has it done by a helper thread.
    """

    __slots__ = ("blocking", "run")

    def __init__(self, run: Callable[[], Any], blocking: bool = True) -> None:
        self.run = run
        self.blocking = blocking

    def do(self) -> Any:
        return self.run()

    async def do_async(self) -> Any:
        return await _in_helper(self.run) if self.blocking else self.run()


class Until:
    """Wait until something has happened.

    Args:
        when: Takes a function that is to be called when it has, from whatever thread.
    """

    __slots__ = ("when",)

    def __init__(self, when: Callable[[Callable[[], object]], object]) -> None:
        self.when = when

    def do(self) -> None:
        happened = threading.Lock()
        happened.acquire()
        self.when(happened.release)
        while not happened.acquire(timeout=SLICE):
            pass

    async def do_async(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        happened = loop.create_future()
        self.when(lambda: _tell(loop, happened))
        await happened


class Pause:
    """Let some time pass before asking again."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def do(self) -> None:
        time.sleep(self.seconds)

    async def do_async(self) -> None:
        import asyncio

        await asyncio.sleep(self.seconds)


def carry_out(plan: Plan[T]) -> T:
    """Do what the plan says, in this thread."""
    try:
        step = next(plan)
        while True:
            try:
                result = step.do()
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # a T


async def carry_out_async(plan: Plan[T]) -> T:
    """Do what the plan says without blocking the event loop."""
    try:
        step = next(plan)
        while True:
            try:
                result = await step.do_async()
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # a T


def _tell(loop: Any, future: Any, outcome: Any = None) -> None:
    """Settle a future of a loop from any thread; nobody listens any more where the loop has gone."""

    def settle() -> None:
        if not future.done():
            future.set_result(outcome)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        if not loop.is_closed():
            raise


async def _in_helper(run: Callable[[], T]) -> T:
    """Run something that blocks on a thread of ours: those of asyncio may all be busy with the user's work."""
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def work() -> None:
        try:
            outcome: tuple[Any, BaseException | None] = run(), None
        except BaseException as error:
            outcome = None, error
        _tell(loop, future, outcome)

    hand_in(work)
    result, error = await future
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame
    return result  # type: ignore[no-any-return]  # a T
