"""`AsyncFanout`: the driver of maps on an event loop that runs already.

One asyncio task for each item that runs, one that takes items, and nothing else: no thread, no queue, no lock. All that
happens here happens on the loop; what an item's failure means, `TaskContext` decides. Nothing here runs on once the map
has ended, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import secrets
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from eagerly._callables import Kind
from eagerly._chunk import Failure
from eagerly._engines import under_way
from eagerly._item import ItemScope, MapScope
from eagerly._item_run import collected
from eagerly._scope import here, is_stopping, open_session
from eagerly._share import unwrapped
from eagerly.errors import SessionError, StopRequested

if TYPE_CHECKING:
    from eagerly._map_options import Errors
    from eagerly._map_progress import MapProgress
    from eagerly._task import Task

__all__ = ["AsyncFanout"]

PATIENCE: Final = 0.005
"""Seconds for which items are taken at most before the loop has a turn, however many may run."""

UNBOUNDED: Final = sys.maxsize


class AsyncFanout:
    """A map that is under way on the running loop.

    Args:
        task: The task, an async one.
        rows: The arguments of each item: one argument each if `unary`, else tuples.
        limit: How many items may run at a time; None: any number.
        window: How many items may be taken that have not been given out; None: any number.
        ordered: Whether results come in the order of the items.
        errors: What becomes of what items raise.
        progress: Who shows how far it is, or None.
    """

    def __init__(
        self,
        task: Task[..., Any],
        rows: Iterable[Any] | AsyncIterable[Any],
        *,
        unary: bool,
        limit: int | None,
        window: int | None,
        ordered: bool,
        errors: Errors,
        progress: MapProgress | None,
    ) -> None:
        around = here.get()
        self.scope = MapScope(
            open_session(around), around._call, base=secrets.randbits(128), backend="inline", around=around
        )
        self._task = task
        self._rows = rows
        self._unary = unary
        self._limit = UNBOUNDED if limit is None else limit
        self._window = UNBOUNDED if window is None else window
        self._ordered = ordered
        self._errors = errors
        self._progress = progress
        self._begin = _begin if task.kind is Kind.ASYNC else _begin_stream
        self._label = task.__name__
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._known = contextlib.ExitStack()
        self._running: dict[asyncio.Task[Any], tuple[int, Any]] = {}
        self._feeder: asyncio.Task[None] | None = None
        self._taken = self._given = 0
        self._held: dict[int, Any] = {}
        self._ready: deque[Any] = deque()
        self._reader_waits: asyncio.Future[None] | None = None
        self._feeder_waits: asyncio.Future[None] | None = None
        self._broken: Exception | None = None
        self._fatal: BaseException | None = None
        self._exhausted = self._stopping = self._given_up = False

    # What the consumer sees

    async def __aenter__(self) -> Self:
        self._known.enter_context(under_way(self))
        self._feeder = self._loop.create_task(self._feed(), name=f"items of {self._label}")
        self._feeder.add_done_callback(self._fed, context=self._context)
        return self

    async def more(self) -> bool:
        """Wait until there is something to give out; False: there is nothing more to come.

        Raises:
            BaseException: What an item has raised, if errors are to be raised; what the iterable has raised.
        """
        while True:
            if self._given_up:
                raise SessionError(
                    f"the session was left before the map of task {self._task.name!r} had been read to its end"
                )
            if self._fatal is not None:
                raise self._fatal
            if self._ready or self._given in self._held:
                return True
            if self._exhausted and self._given == self._taken:
                break
            self._reader_waits = self._loop.create_future()
            await self._reader_waits
        if self._broken is not None:
            raise self._broken
        return False

    def results(self) -> Iterator[Any]:
        """What is there to be given out. It is given out as it is taken."""
        ready, held = self._ready, self._held
        while not self._stopping:
            if self._ordered:
                if self._given not in held:
                    return
                outcome = held.pop(self._given)
            elif ready:
                outcome = ready.popleft()
            else:
                return
            self._given += 1
            if self._feeder_waits is not None:
                self._make_room()
            if type(outcome) is Failure:
                if self._errors == "skip":
                    continue
                outcome = outcome.error
            # Nothing here keeps a result while the consumer has it: the name is cleared in the same expression.
            yield (outcome, outcome := None)[0]

    def _wake(self) -> None:
        waits, self._reader_waits = self._reader_waits, None
        if waits is not None and not waits.done():
            waits.set_result(None)

    # Beginning items, in an asyncio task of its own

    async def _feed(self) -> None:
        now, running, limit, window = time.monotonic, self._running, self._limit, self._window
        late = now() + PATIENCE
        if isinstance(self._rows, AsyncIterable):
            async for row in self._rows:
                self._start(row)
                if now() > late:
                    await asyncio.sleep(0)
                    late = now() + PATIENCE
                if not await self._room():
                    return
            return
        for row in self._rows:
            self._start(row)
            # As in _is_full; here the price of asking it would show.
            if len(running) >= limit or self._taken - self._given >= window or self._stopping or now() > late:
                await asyncio.sleep(0)
                if not await self._room():
                    return
                late = now() + PATIENCE

    async def _room(self) -> bool:
        """Wait until an item may be taken; False: no more are to be."""
        if is_stopping(self.scope.around):
            raise StopRequested(f"the map of task {self._task.name!r} was asked to stop")
        while not self._stopping and self._is_full():
            self._feeder_waits = self._loop.create_future()
            await self._feeder_waits
        return not self._stopping

    def _is_full(self) -> bool:
        return len(self._running) >= self._limit or self._taken - self._given >= self._window

    def _make_room(self) -> None:
        waits = self._feeder_waits
        if waits is not None and not self._is_full():
            self._feeder_waits = None
            if not waits.done():
                waits.set_result(None)

    def _start(self, row: Any) -> None:
        index, self._taken = self._taken, self._taken + 1
        context = self._context.copy()
        args = unwrapped((row,) if self._unary else row)
        try:
            coroutine = context.run(self._begin, self._task, ItemScope(self.scope, index), args)
        except Exception as error:  # the arguments are wrong
            self._fail(index, row, error)
            return
        item = self._loop.create_task(coroutine, name=self._label, context=context)
        self._running[item] = index, row
        item.add_done_callback(self._ended, context=self._context)

    def _fed(self, feeder: asyncio.Task[None]) -> None:
        self._exhausted = True
        error = _error_of(feeder)
        if isinstance(error, Exception):
            self._broken = error  # raised when what was taken before has been done
        elif error is not None and not self._stopping:
            self._end_with(error)
        if self._progress is not None and not self._stopping:
            self._progress.known(self._taken)
        self._wake()

    # Ending items, in the callback of each

    def _ended(self, item: asyncio.Task[Any]) -> None:
        index, row = self._running.pop(item)
        if item.cancelled() or item.exception() is not None:
            if not self._stopping:
                self._fail(index, row, _error_of(item))
        elif not self._stopping:
            if self._progress is not None:
                self._progress.ended(failed=False)
            self._keep(index, item.result())
        if self._feeder_waits is not None:
            self._make_room()

    def _fail(self, index: int, row: Any, error: Any) -> None:
        failure = Failure(error, time.time())
        failure.note(index, row)
        if self._progress is not None:
            self._progress.ended(failed=True)
        if self._is_to_raise(error):
            self._end_with(error)
        else:
            self._keep(index, failure)

    def _keep(self, index: int, outcome: Any) -> None:
        if self._ordered:
            self._held[index] = outcome
        else:
            self._ready.append(outcome)
        if self._reader_waits is not None and (not self._ordered or index == self._given):
            self._wake()

    def _is_to_raise(self, error: BaseException) -> bool:
        """Whether the map ends with this error of an item: what ends programs is never kept back.

        An item that is cancelled by itself, or by somebody who does not mean the map, is one that fails.
        """
        return self._errors == "raise" or not isinstance(error, Exception | asyncio.CancelledError)

    # The end

    def _end_with(self, error: BaseException) -> None:
        self._fatal = error  # the first: once stopped, no other is looked at
        self._stop()
        self._wake()

    def _stop(self, *, again: bool = False) -> None:
        """Begin nothing more, and cancel what runs: once, as it may have to wait for something in order to end well."""
        if self._stopping and not again:
            return
        self._stopping = True
        self.scope.stop()
        for each in self._pending():
            each.cancel()

    def _pending(self) -> list[asyncio.Task[Any]]:
        feeder = self._feeder
        return [*self._running] if feeder is None or feeder.done() else [*self._running, feeder]

    async def __aexit__(self, *_: object) -> None:
        """The consumer has had all, has had enough, or gets an error. Nothing runs on when this returns."""
        with self._known:
            if self._pending():
                await self._end()
        self._held.clear()
        self._ready.clear()
        self._fatal = self._broken = None  # whose tracebacks lead back here

    async def _end(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        self._stop()
        while pending := self._pending():
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as error:  # passed on, to what takes its time to end
                cancelled = error
                self._stop(again=True)
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled

    def give_up(self, *, at_once: bool) -> Awaitable[object] | None:  # noqa: ARG002 - what is cancelled may take its time
        """The session of the map is left, and nobody has read it to its end: cancel what runs.

        Returns:
            What can be awaited until that has ended, by who is on the same loop.
        """
        self._given_up = True
        try:
            here_too = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here_too = False
        if not here_too:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                self._loop.call_soon_threadsafe(self._end_now)
            return None
        self._end_now()
        others = [each for each in self._pending() if each is not asyncio.current_task()]
        return asyncio.gather(*others, return_exceptions=True) if others else None

    def _end_now(self) -> None:
        self._stop()
        self._wake()


def _begin(task: Task[..., Any], item: ItemScope, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    here.set(item)
    return task(*args)  # type: ignore[no-any-return]  # of an AsyncTask


def _begin_stream(task: Task[..., Any], item: ItemScope, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    here.set(item)
    return collected(task(*args))


def _error_of(ended: asyncio.Task[Any]) -> BaseException | None:
    if not ended.cancelled():
        return ended.exception()
    try:
        ended.result()
    except asyncio.CancelledError as error:  # with the message that it was cancelled with
        return error
    return None  # pragma: no cover
