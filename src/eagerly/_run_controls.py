"""`RunControls`: what a body can say about its own run. Part of `TaskContext`.

Outside of a run these methods check what they are given, and do nothing more. They never touch a store: what they note
is written by whoever executes the run.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from eagerly._clock import SYSTEM_CLOCK, Clock
from eagerly._numbers import seconds as checked_seconds
from eagerly._run_port import RunPort, run_around
from eagerly._scope import is_stopping
from eagerly._sentinel import UNSET
from eagerly._stores import output_summary, progress_values
from eagerly.errors import OptionValueError, StopRequested

if TYPE_CHECKING:
    from datetime import timedelta

    from eagerly._scope import Scope
    from eagerly._sentinel import UnsetType

__all__ = ["AsyncRunControls", "RunControls"]

SLICE: Final = 0.05
"""Seconds that a body sleeps at most before it looks whether it is asked to stop, where nobody can wake it."""

LOOK_AGAIN: Final = 1.0
"""The same, where somebody can."""


class RunControls:
    """The controls of a run, for its body."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def clock(self) -> Clock: ...
        @property
        def outer(self) -> Scope: ...

    def checkpoint(self) -> None:
        """End the body here if it is asked to stop; else do nothing.

        Raises:
            StopRequested: It is. A `BaseException`, so that ``except Exception`` does not keep the body alive.
        """
        if is_stopping(self):  # type: ignore[arg-type]  # a TaskContext
            raise StopRequested(f"{self!r} is asked to stop")

    def sleep(self, seconds: float | timedelta) -> None:
        """Let some time pass, and end the body as soon as it is asked to stop.

        Args:
            seconds: How long, or a `timedelta`.

        Raises:
            StopRequested: It is asked to stop.
        """
        rest = checked_seconds("sleep(seconds)", seconds)
        self.checkpoint()
        clock = self.clock
        if clock.sleep is not SYSTEM_CLOCK.sleep:
            clock.sleep(rest)
            self.checkpoint()
            return
        run = self._run
        end = time.monotonic() + rest
        while rest > 0:
            if run is None:
                time.sleep(min(rest, SLICE))
            else:
                run.wait(min(rest, SLICE))
            self.checkpoint()
            rest = end - time.monotonic()

    @property
    def aio(self) -> AsyncRunControls:
        """`checkpoint` and `sleep` for ``await``."""
        return AsyncRunControls(self)

    def set_progress(
        self,
        progress: float | UnsetType = UNSET,
        *,
        step: int | UnsetType | None = UNSET,
        steps: int | UnsetType | None = UNSET,
        message: str | UnsetType | None = UNSET,
        data: Any = UNSET,
    ) -> None:
        """Say how far the body is. Say it as often as you like: what was said last is kept, ten times a second.

        Args:
            progress: From 0 to 1. Default: what `step` of `steps` is.
            step: At which step it is.
            steps: Of how many.
            message: What it does at the moment.
            data: More, of what JSON has.

        Raises:
            OptionTypeError, OptionValueError: A value cannot be one, or there is none.
            OutputNotSerializable: JSON does not have something that is in `data`.

        Example:
            >>> from eagerly import current_task, task
            >>> @task
            ... def load(files):
            ...     for number, file in enumerate(files, 1):
            ...         current_task().set_progress(step=number, steps=len(files), message=file)
            >>> load(["a.csv", "b.csv"])
        """
        values = progress_values(progress, step, steps, message, data)
        if (run := self._run) is not None:
            run.progress(values)

    def set_output(self, value: Any, *, summary: str | None = None) -> None:
        """Keep an output before the body has ended; where it returns something, that takes its place.

        Args:
            value: What JSON has, or what pickle has if the task was told so.
            summary: What to show of it; 1000 characters at most.

        Raises:
            OutputNotSerializable: It cannot be kept; the message says what in it.
            OptionTypeError, OptionValueError: `summary` is no string, or too long.
        """
        if summary is not None:
            summary = output_summary(summary)
        if (run := self._run) is not None:
            run.give(value, summary)

    def set_status(self, status: str) -> None:
        """Say that the body waits for something, or goes on.

        Args:
            status: ``"paused"`` or ``"running"``.

        Raises:
            OptionValueError: It is neither.
        """
        if status not in ("paused", "running"):
            raise OptionValueError(
                f"set_status() takes 'paused' or 'running', not {status!r}; a run ends when its body does"
            )
        if (run := self._run) is not None:
            run.become(str(status))

    def give_notice(self) -> None:
        """Its body is to end; see `should_stop`."""
        vars(self)["_stopping"] = True

    def request_stop(self) -> None:
        """Ask the body to end; see `should_stop`. The body of a run asks for the end of the run, as `Run.stop` does."""
        self.give_notice()
        item = self.outer._item
        if item is not None and item.map.run is not None:
            item.map.run.ask_to_stop()

    @property
    def _pauses(self) -> Clock:
        """What waits between two attempts: the clock of the session; in a run, one that ends when that is to stop."""
        clock = self.clock
        if self._run is None or clock.sleep is not SYSTEM_CLOCK.sleep:
            return clock
        return Clock(now=clock.now, sleep=self.sleep, async_sleep=self.aio.sleep, time=clock.time)

    def _note_run(self, **values: Any) -> None:
        """Note something in the record of the run that this very call is, if it is one."""
        item = self.outer._item
        if item is not None and item.map.run is not None:
            item.map.run.progress(values)

    @property
    def _run(self) -> RunPort | None:
        return run_around(self)  # type: ignore[arg-type]  # a TaskContext


class AsyncRunControls:
    """The controls of a run that wait, for ``await``."""

    __slots__ = ("_call",)

    def __init__(self, call: RunControls) -> None:
        self._call = call

    async def checkpoint(self) -> None:
        """As `TaskContext.checkpoint`; other asyncio tasks get their turn."""
        import asyncio

        self._call.checkpoint()
        await asyncio.sleep(0)
        self._call.checkpoint()

    async def sleep(self, seconds: float | timedelta) -> None:
        """As `TaskContext.sleep`, without blocking the event loop."""
        import asyncio

        rest = checked_seconds("sleep(seconds)", seconds)
        call = self._call
        call.checkpoint()
        clock = call.clock
        if clock.async_sleep is not SYSTEM_CLOCK.async_sleep:
            await clock.async_sleep(rest)
            call.checkpoint()
            return
        loop = asyncio.get_running_loop()
        asked = loop.create_future()
        run = call._run
        end = None if run is None else run.when_asked(lambda: loop.call_soon_threadsafe(_settle, asked))
        patience = SLICE if end is None else LOOK_AGAIN
        until = time.monotonic() + rest
        try:
            while rest > 0:
                await asyncio.wait((asked,), timeout=min(rest, patience))
                call.checkpoint()
                rest = until - time.monotonic()
        finally:
            if end is not None:
                end()


def _settle(future: Any) -> None:
    if not future.done():
        future.set_result(None)
