"""Running one item, in whatever process or thread: the same for every backend."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from eagerly._callables import Kind
from eagerly._scope import here
from eagerly.errors import BackendError

if TYPE_CHECKING:
    import asyncio

    from eagerly._item import ItemScope
    from eagerly._task import Task

__all__ = ["Loops", "collected", "giver", "item_runner", "without_frames"]

_OWN: Final = (__name__, "eagerly._chunk", "eagerly._one_by_one", "eagerly._remote")


class Loops:
    """One event loop for each thread that runs async items, kept from one item to the next."""

    def __init__(self) -> None:
        self._runners: dict[int, asyncio.Runner] = {}  # those that nobody uses now
        self._running: dict[int, asyncio.AbstractEventLoop] = {}
        self._cancelled = self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it on the loop of this thread."""
        import asyncio

        if _in_loop():
            coroutine.close()
            raise BackendError(
                "the map of an async task was begun outside of the event loop that runs here, and cannot be read "
                "within it; write async for ... in aiter_tasks(...)"
            )
        thread = threading.get_ident()
        runner = self._runners.pop(thread, None) or asyncio.Runner()
        self._running[thread] = loop = runner.get_loop()
        if self._cancelled:  # since somebody has looked whether this is to begin
            loop.call_soon(self._cancel_all, thread, loop)
        try:
            return runner.run(coroutine, context=contextvars.copy_context())
        finally:
            del self._running[thread]
            self._runners[thread] = runner
            if self._closed:
                self.close()

    def cancel(self) -> None:
        """Cancel the items that run, as an await asks nobody whether to stop."""
        self._cancelled = True
        for thread, loop in list(self._running.items()):
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(self._cancel_all, thread, loop)

    def _cancel_all(self, thread: int, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        if self._running.get(thread) is loop:  # else its item has ended meanwhile, and it is being closed
            for each in asyncio.all_tasks(loop):
                each.cancel()

    def close(self) -> None:
        """Close the loops: those that run, when they have come to the end of what they run."""
        self._closed = True
        while self._runners:
            with contextlib.suppress(KeyError):  # another thread closes the last one
                _close(self._runners.popitem()[1])


def _in_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close(runner: asyncio.Runner) -> None:
    """Close it, which runs its loop; that cannot be done in a thread where another loop runs."""
    if not _in_loop():
        runner.close()
        return
    thread = threading.Thread(target=runner.close)
    thread.start()
    thread.join()


def giver(task: Task[..., Any], loops: Loops) -> Callable[..., Any]:
    """What takes the arguments of an item and gives its result: what the task returns, for a stream a list of items."""
    if task.kind is Kind.SYNC:
        return task
    if task.kind is Kind.STREAM:
        return lambda *args: list(task(*args))
    if task.kind is Kind.ASYNC:
        return lambda *args: loops.run(task(*args))
    return lambda *args: loops.run(collected(task(*args)))


def item_runner(task: Task[..., Any], loops: Loops) -> Callable[[ItemScope, tuple[Any, ...]], Any]:
    """What gives the result of an item, in the item's place.

    It steps into that, and never out of it: the context in which it is called is the item's own.
    """
    give, enter = giver(task, loops), here.set

    def run(item: ItemScope, args: tuple[Any, ...]) -> Any:
        enter(item)
        return give(*args)

    return run


def without_frames(error: BaseException) -> BaseException:
    """What an item has raised, with a traceback that begins at its task."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_globals.get("__name__") in _OWN:
        step = step.tb_next
    return error.with_traceback(step)


async def collected(stream: Any) -> list[Any]:
    """All items of an async stream."""
    return [each async for each in stream]
