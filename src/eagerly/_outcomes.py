"""`Outcomes`: reads what workers in other processes have sent, tells the hooks, and decides what a dead worker means.

It hands out no work itself: it says how items have ended, and which are to be done again. Whether and when a failed
attempt is followed by another is asked of `TaskContext`, as everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eagerly._chunk import PENDING, Again, Chunk, Failure
from eagerly._item import ItemScope
from eagerly._records import BROKEN, ERROR, EVENTS, MANY, MOVED, ONE, PACKED, UNSENT
from eagerly._replay import ItemCall, Replay
from eagerly._wire import frames, load, reason, unpack_error
from eagerly.errors import BackendError, TaskError, TaskTimeoutError, WorkerCrashed

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._task import Task
    from eagerly.backends._protocol import Crash
    from eagerly.hooks._compile import CompiledHooks

__all__ = ["Outcomes"]


class Outcomes:
    """How the items of one map end, as far as other processes tell.

    Args:
        task: The task.
        unary: Whether each item is one argument.
        scope: The map.
        hooks: Who is told.
        retry_crashes: Whether the retries of the task cover a worker that dies.
        settle: Takes a chunk, a place in it, and how that item has ended.
        settle_all: Takes a chunk, a place in it, and the results of the items from there on.
        learn: Takes a number of items and the seconds that a worker has needed for them.
    """

    def __init__(
        self,
        task: Task[..., Any],
        unary: bool,
        scope: MapScope,
        hooks: CompiledHooks,
        *,
        retry_crashes: bool,
        settle: Callable[[Chunk, int, Any], None],
        settle_all: Callable[[Chunk, int, list[Any]], None],
        learn: Callable[[int, float], None],
    ) -> None:
        self._task = task
        self._unary = unary
        self._scope = scope
        self._hooks = hooks
        self._retry_crashes = retry_crashes
        self._settle = settle
        self._settle_all = settle_all
        self._learn = learn

    def read(self, chunk: Chunk, data: bytes) -> list[Again]:
        """Read a part of the output for `chunk`; the items that are to be done again."""
        again: list[Again] = []
        for part in frames(data):
            busy, records = load(part)
            items = 0
            for record in records:
                items += len(record[2]) if record[0] == MANY else 1
                self._read(chunk, record, again)
            self._learn(items, busy)
        return again

    def _read(self, chunk: Chunk, record: tuple[Any, ...], again: list[Again]) -> None:
        sort, index, *rest = record
        place = index - chunk.first
        if sort not in (MANY, BROKEN) and chunk.outcomes[place] is not PENDING:
            return  # the engine has run it again, and it has been told how it ended
        if sort <= PACKED:
            self._read_result(chunk, sort, place, rest)
        elif sort == EVENTS:
            self._replay(chunk, place).tell(rest[0])
        elif sort == MOVED:
            attempt, delay, elapsed, events = rest
            self._replay(chunk, place).tell(events)
            again.append(Again(place, (attempt, elapsed + delay), delay))
        elif sort == BROKEN:
            raise self._broken(unpack_error(rest[0]))
        else:
            self._read_failure(chunk, sort, place, rest)

    def _read_result(self, chunk: Chunk, sort: int, place: int, rest: list[Any]) -> None:
        if sort == MANY:
            self._settle_all(chunk, place, rest[0])
        elif sort == ONE:
            value, events = rest
            (chunk.replays.get(place) or self._new_replay(chunk, place)).tell(events, value)
            self._settle(chunk, place, value)
        else:
            self._read_packed(chunk, place, *rest)

    def _read_failure(self, chunk: Chunk, sort: int, place: int, rest: list[Any]) -> None:
        if sort == ERROR:
            packed, at, events = rest
            error = unpack_error(packed)
            if events:
                self._replay(chunk, place).tell(events, _as_raised(error))
            self._settle(chunk, place, Failure(error, at, packed.text))
        elif sort == UNSENT:
            self._fail(chunk, place, BackendError(f"{self._item(chunk, place)}: {rest[0]}"), rest[1])
        else:
            why = unpack_error(rest[0])
            error = BackendError(f"{self._item(chunk, place)}: its arguments cannot be read there: {reason(why)}")
            error.__cause__ = why
            self._settle(chunk, place, Failure(error, time.time()))

    def _read_packed(self, chunk: Chunk, place: int, data: bytes, events: list[Any]) -> None:
        try:
            value = load(data)
        except Exception as why:
            error = BackendError(f"{self._item(chunk, place)}: its result cannot be read here: {reason(why)}")
            error.__cause__ = why
            self._fail(chunk, place, error, events)
            return
        if events:
            self._replay(chunk, place).tell(events, value)
        self._settle(chunk, place, value)

    def _fail(self, chunk: Chunk, place: int, error: BackendError, events: list[Any]) -> None:
        """An item has ended well in its worker, but its result is lost on the way: that is how it has ended here."""
        replay = self._replay(chunk, place)
        replay.tell(events, lost=True)
        self._settle(chunk, place, Failure(replay.call.fail_like(error), time.time()))

    def _item(self, chunk: Chunk, place: int) -> str:
        return f"item {chunk.first + place} of the map of task {self._task.name!r} on backend {self._scope.backend!r}"

    def _broken(self, why: BaseException) -> BackendError:
        error = BackendError(
            f"the workers of backend {self._scope.backend!r} cannot load task {self._task.name!r}: {reason(why)}; see "
            "to it that what it needs can be imported there, in the same version"
        )
        error.__cause__ = why
        return error

    def _replay(self, chunk: Chunk, place: int) -> Replay:
        replay = chunk.replays.get(place)
        if replay is None:
            replay = chunk.replays[place] = self._new_replay(chunk, place)
        return replay

    def _new_replay(self, chunk: Chunk, place: int) -> Replay:
        row = chunk.rows[place]
        item = ItemScope(self._scope, chunk.first + place)
        replay = Replay(ItemCall(self._task, (row,) if self._unary else row, item), self._hooks)
        if chunk.resume is not None:
            replay.go_on(*chunk.resume)
        return replay

    # Workers that die

    def crashed(self, chunk: Chunk, crash: Crash, *, certain: bool) -> list[Again]:
        """The worker has died that had `chunk`; the items that are to be done again.

        Args:
            chunk: What it was doing.
            crash: How it died.
            certain: Whether nobody else can be at fault but an item of this chunk.
        """
        unfinished = chunk.unfinished()
        if crash.asked or not unfinished:
            return []
        culprit = crash.item if crash.item in unfinished else None
        if culprit is None and certain and len(unfinished) == 1:
            culprit = unfinished[0]
        again: list[Again] = []
        for place in unfinished:
            if place == culprit:
                again += self._killed(chunk, place, crash)
            else:
                again.append(Again(place, self._progress(chunk, place), suspect=culprit is None))
        return again

    def _progress(self, chunk: Chunk, place: int) -> tuple[int, float] | None:
        """What has been told of an item already that is done again, so that it is not told twice."""
        replay = chunk.replays.get(place)
        return (replay.call.attempt, replay.call.elapsed) if replay is not None and replay.begun else chunk.resume

    def _killed(self, chunk: Chunk, place: int, crash: Crash) -> list[Again]:
        """An item has killed its worker, or its worker had to be killed: its attempt has failed with that."""
        replay = self._replay(chunk, place)
        call = replay.call
        if not replay.begun:
            call.start()
            replay.begun = True
        call._told = None
        if crash.attempt is not None:
            call.attempt = max(call.attempt, crash.attempt)
        error = self._error(chunk.first + place, crash)
        try:
            if not crash.overdue and not self._retry_crashes:
                raise call.fail_like(error)
            delay = call.fail(error)
            if delay is None:
                raise error
        except (TaskError, WorkerCrashed, TaskTimeoutError) as final:
            self._settle(chunk, place, Failure(final.with_traceback(None), time.time()))
            return []
        return [Again(place, (call.attempt, call.elapsed + delay), delay)]

    def _error(self, index: int, crash: Crash) -> WorkerCrashed | TaskTimeoutError:
        timeout = self._task.declaration.timeout
        if crash.overdue and timeout is not None:
            return TaskTimeoutError(
                f"task {self._task.name!r} took longer than its timeout of {timeout:g} s, and {crash}, as nothing else "
                "could end its body",
                timeout=timeout,
                abandoned=False,
            )
        return WorkerCrashed(
            f"item {index} of the map of task {self._task.name!r}: {crash}",
            index=index,
            pid=crash.pid,
            exitcode=crash.exitcode,
            signal=crash.signal,
        )


def _as_raised(error: BaseException) -> BaseException:
    """What the function has raised: hooks hear of that, though the caller may get a `TaskError` made from it."""
    cause = error.__cause__
    return cause if isinstance(error, TaskError) and cause is not None else error
