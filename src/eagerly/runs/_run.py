"""`Run`: a handle on one run of a store. It shows what the run was when it was looked at last."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from eagerly._steps import Access, Until
from eagerly.errors import OptionTypeError, RunTimeout
from eagerly.runs._actions import cancel_run, items_of, must_get, output_of, result_of, stop_run
from eagerly.runs._facts import RunFacts
from eagerly.runs._limits import text, waiting_time
from eagerly.runs._live import LIVE, Live
from eagerly.runs._protocol import RunStore
from eagerly.runs._record import RunRecord
from eagerly.runs._status import RunStatus
from eagerly.runs._waiting import too_late, wait_for, wait_for_async

__all__ = ["Run", "RunTwins", "id_of"]

R = TypeVar("R", covariant=True)


class Run(RunFacts, Generic[R]):
    """One run: what it was when it was looked at last, and what can be done to it.

    Get one from `eagerly.runs`. Its attributes do not change by themselves; `refresh` looks again, and so do the
    methods that wait for it or change it. ``await run`` gives its `result`. Two are equal if they are of the same run.
    """

    __slots__ = ("__weakref__", "_live", "_store")

    def __init__(self, store: RunStore, record: RunRecord, live: Live | None = None) -> None:
        super().__init__(record)
        self._store = store
        self._live = live  # which `LIVE` has for as long as somebody else has it

    def _here(self, timeout: float | None = None) -> Live | None:
        """The run itself, where it is executed by this process, with its record written.

        Raises:
            RunTimeout: That has not happened by then.
        """
        live = LIVE.get(self.id)
        if live is not None and not live.ready(timeout):
            raise too_late(self.id, str(self.status), timeout)
        return live

    @property
    def settled(self) -> bool:
        """Whether its code has really ended. One that was cancelled may go on for a moment, or until it looks.

        Of a run that another process executes, only its record is known: whether it has ended.
        """
        live = LIVE.get(self.id)
        return self.done if live is None else live.settled

    def refresh(self) -> Run[R]:
        """Look at it again; returns itself.

        Raises:
            RunNotFound: It has been removed.
        """
        if not self.done:
            self._here()
            self._record = must_get(self._store, self.id)
        return self

    def wait(self, timeout: float | None = None) -> Run[R]:
        """Wait until it has ended, however it does; returns itself.

        Args:
            timeout: Seconds to wait at most; None: without end.

        Raises:
            RunTimeout: It has not ended by then. It goes on.
            RunNotFound: It has been removed.
        """
        asked = limit = waiting_time("wait(timeout=...)", timeout)
        if self.done:
            return self
        begun = time.monotonic()
        live = self._here(limit)
        if limit is not None:
            limit = max(limit - (time.monotonic() - begun), 0.001)
        if live is not None:
            live.help(waits=limit is None)
            rest = live.wait_briefly(limit)
            if rest is None:
                self._record = live.record
                return self
            limit = rest if limit is not None else None
        try:
            self._record = wait_for(self._store, self.id, limit)
        except RunTimeout as late:
            raise too_late(self.id, late.status, asked) from None
        return self

    def result(self, timeout: float | None = None) -> R:
        """Wait until it has ended, and return what it has given; None if it has completed without an output.

        Args:
            timeout: Seconds to wait at most; None: without end.

        Raises:
            RunFailed: It has failed; where the exception itself was kept, that is the cause.
            RunLost: The process that ran it has ended.
            RunCancelled: It was cancelled.
            RunTimeout: It has not ended by then. It goes on.
            OutputMissing, OutputCorrupt: Its output cannot be had any more.
        """
        self.wait(timeout)
        return result_of(self._store, self._record, LIVE.get(self.id))  # type: ignore[no-any-return]  # an R

    def items(self) -> Iterator[Any]:
        """The items of a stream task, as they come; for who comes late, all of them. They end when the run does.

        Only the process that executes the run has them while it runs; then they are its output.

        Raises:
            RunFailed: It has failed, after its last item.
            RunsError: Another process executes it, or it is of a task that gives no items.
        """
        live = self._here()
        if live is None:
            yield from items_of(self._store, self.refresh()._record)
            return
        yield from live.items()
        if self.wait().status is RunStatus.FAILED:
            result_of(self._store, self._record, live)

    def output(self) -> Any:
        """What it has given so far.

        Raises:
            OutputMissing: Nothing; see `has_output`. Or the file that it is in has gone.
            OutputCorrupt: It is not what was written.
        """
        return output_of(self._store, self.refresh()._record)

    def stop(self) -> Run[R]:
        """Ask it, and all runs that it has made, to stop; returns itself.

        One that is pending is cancelled. One that runs sees that it is asked to. One that has ended stays as it is.
        """
        self._here()
        self._record = stop_run(self._store, self.id).after
        return self

    def cancel(self, reason: str | None = None) -> Run[R]:
        """Make it cancelled, and all runs that it has made; returns itself.

        Args:
            reason: Why; 500 characters at most.

        Raises:
            InvalidTransition: It has ended.
        """
        self._here()
        self._record = cancel_run(self._store, self.id, reason).after
        return self

    @property
    def aio(self) -> RunTwins[R]:
        """The methods that may block, under the same names, for ``await``."""
        return RunTwins(self)

    def __await__(self) -> Generator[Any, Any, R]:
        return self.aio.result().__await__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.id, self._store.place) == (other.id, other._store.place)

    def __hash__(self) -> int:
        return hash(self.id)


class RunTwins(Generic[R]):
    """The methods of a `Run` that may block, for ``await``: they never block the event loop."""

    __slots__ = ("_run",)

    def __init__(self, run: Run[R]) -> None:
        self._run = run

    def _access(self, method: Any) -> Access:
        return Access(method, self._run._store.blocking)

    async def refresh(self) -> Run[R]:
        """As `Run.refresh`."""
        return await self._access(self._run.refresh).do_async()  # type: ignore[no-any-return]  # the run

    async def wait(self, timeout: float | None = None) -> Run[R]:
        """As `Run.wait`."""
        asked = limit = waiting_time("wait(timeout=...)", timeout)
        run = self._run
        if run.done:
            return run
        begun = time.monotonic()
        live = await self._here(limit)
        if limit is not None:
            limit = max(limit - (time.monotonic() - begun), 0.001)
        if live is not None:
            live.help(waits=False)
        try:
            run._record = await wait_for_async(run._store, run.id, limit)
        except RunTimeout as late:
            raise too_late(run.id, late.status, asked) from None
        return run

    async def _here(self, timeout: float | None = None) -> Live | None:
        import asyncio

        live = LIVE.get(self._run.id)
        if live is not None:
            try:
                async with asyncio.timeout(timeout):
                    await Until(live.when_ready).do_async()
            except TimeoutError:
                raise too_late(self._run.id, str(self._run.status), timeout) from None
            live.ready()
        return live

    async def items(self) -> AsyncIterator[Any]:
        """As `Run.items`, for ``async for``."""
        run = self._run
        live = await self._here()
        if live is None:
            for item in await self._access(lambda: list(run.items())).do_async():
                yield item
            return
        async for item in live.items_async():
            yield item
        if (await self.wait()).status is RunStatus.FAILED:
            await self.result()

    async def result(self, timeout: float | None = None) -> R:
        """As `Run.result`."""
        run = await self.wait(timeout)
        return await self._access(run.result).do_async()  # type: ignore[no-any-return]  # an R

    async def output(self) -> Any:
        """As `Run.output`."""
        return await self._access(self._run.output).do_async()

    async def stop(self) -> Run[R]:
        """As `Run.stop`."""
        return await self._access(self._run.stop).do_async()  # type: ignore[no-any-return]  # the run

    async def cancel(self, reason: str | None = None) -> Run[R]:
        """As `Run.cancel`."""
        return await self._access(partial(self._run.cancel, reason)).do_async()  # type: ignore[no-any-return]  # the run


def id_of(what: str, run: object) -> str:
    """The id that is meant by an id or a `Run`.

    Raises:
        OptionTypeError, OptionValueError: It is neither, or empty.
    """
    if isinstance(run, Run):
        return run.id
    if not isinstance(run, str):
        raise OptionTypeError(f"{what} takes the id of a run, or a Run, not {run!r}")
    return text(what, run, empty=False)
