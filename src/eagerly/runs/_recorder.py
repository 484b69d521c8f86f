"""`Recorder`: takes what was noted of calls to a store, in batches, in the thread that writes there anyway.

Whoever makes a call only appends to a queue. A call that ends soon is written once. One that goes on is written as
running after a moment, and once more at its end. A store in trouble never reaches the caller of a task: what could not
be written is kept and tried again, up to a limit, and what is lost is told when the session is left.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from eagerly._clerk import clerk_of
from eagerly._clock import SLICE
from eagerly._once import Once
from eagerly.runs._entry import attempt_of, begun, ended
from eagerly.runs._passing import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly.runs._entry import Entry
    from eagerly.runs._protocol import RunStore, Write

__all__ = ["Recorder", "flush_all", "lost_message", "recorder_of"]

INTERVAL: Final = 0.05
"""Seconds between two batches, while there is something to write."""

YOUNG: Final = 0.03
"""Seconds for which a call that goes on is not written yet: it may end before the next batch."""

AGAIN: Final = 1.0
"""Seconds between two attempts at a store that is in trouble."""

MOST: Final = 500
"""Rows that are written in one transaction, so that others can write in between."""

ROOM: Final = 20_000
"""Calls that may wait to be written. Whoever ends one more waits until there is room."""

LOOP_WAITS: Final = 0.005
"""Seconds that an event loop waits for room, at most, for each call: as long as for another thread to get its turn."""


class Recorder:
    """Writes the calls that are recorded in one store.

    Args:
        store: Where to.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.recording: Any = None  # the plugin that notes calls for it
        self.forget()

    def forget(self) -> None:
        """There is nothing to write."""
        self._clerk = clerk_of(self.store)
        self._open: dict[Entry, None] = {}
        self._ended: deque[Entry] = deque()
        self._due = False
        self._in_hand = False
        self._writing = threading.RLock()
        self._room = threading.Condition()
        self._trouble: Exception | None = None
        self._lost = 0
        self._why: Exception | None = None  # that was

    # What is noted. Called for each call, in its thread.

    def begin(self, entry: Entry) -> None:
        """A call begins."""
        self._open[entry] = None
        if not self._due:
            self._arrange(INTERVAL)

    def retry(self, entry: Entry) -> None:
        """Another attempt of a call is made, as its entry says."""
        if entry.written and not self._due:
            self._arrange(INTERVAL)

    def end(self, entry: Entry) -> None:
        """A call has ended, as its entry says. It has begun here, not in a process that this one was forked from."""
        if self._open.pop(entry, entry) is None:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """A call has begun and ended."""
        waiting = self._ended
        waiting.append(entry)
        if not self._due:
            self._arrange(INTERVAL)
        if len(waiting) > ROOM:
            self._make_room()

    def _arrange(self, seconds: float) -> None:
        self._due = True
        self._clerk.do_later(seconds, self._tick)

    def _make_room(self) -> None:
        """Wait until others can be taken. Where the store takes nothing, what has waited longest is lost instead."""
        if self._clerk.here:
            return
        if self._trouble is not None:
            self._lose(1)
        elif not self.store.blocking:
            self._write_all()
        else:
            end = time.monotonic() + LOOP_WAITS if _on_loop() else None
            self._clerk.do(self._write_some)
            with self._room:
                while len(self._ended) > ROOM and self._trouble is None:
                    self._room.wait(SLICE if end is None else LOOP_WAITS)
                    if end is not None and time.monotonic() >= end:
                        return

    def _lose(self, count: int) -> None:
        for _ in range(count):
            try:
                self._ended.popleft()
            except IndexError:
                return
            self._lost, self._why = self._lost + 1, self._trouble

    # What is written. In the clerk's thread, or where nothing blocks in that of who wants to look.

    def _tick(self) -> None:
        self._due = False
        with self._writing:
            wrote = self._write(time.time_ns() // 1000 - int(YOUNG * 1e6))
        if not wrote:
            self._arrange(AGAIN)
        elif self._ended:
            self._due = True
            self._clerk.do(self._tick)  # behind what others have handed in
        elif any(not entry.written for entry in list(self._open)):
            self._arrange(INTERVAL)

    def _write_some(self) -> None:
        with self._writing:
            self._write(None)

    def _write_all(self) -> bool:
        """Write what there is now, the calls that go on included; False if the store is in trouble."""
        now = time.time_ns() // 1000
        with self._writing:
            left = len(self._ended)
            while self._write(now):
                left -= MOST
                if left <= 0 and not any(not each.written and each.started <= now for each in list(self._open)):
                    return True
        return False

    def _write(self, before: int | None) -> bool:
        """Write a batch: calls that have ended, and those that go on and began before that moment.

        Returns:
            False if the store is in trouble. Then all of it waits on.
        """
        self._in_hand = True
        try:
            return self._write_batch(before)
        finally:
            self._in_hand = False

    def _write_batch(self, before: int | None) -> bool:
        taken: list[Entry] = []  # first: what has ended by now is not among the others
        while len(taken) < MOST:
            try:
                taken.append(self._ended.popleft())
            except IndexError:
                break
        going_on = [] if before is None else list(self._open)
        fresh = [each for each in going_on if not each.written and each.started <= (before or 0)][:MOST]
        later = [each for each in going_on if each.written and each.attempt != each.noted]
        if not (taken or fresh or later):
            return True
        try:
            self._put(taken, fresh, later)
        except Exception as error:
            if is_passing(error) or not self._put_singly(taken, fresh, later):
                self._ended.extendleft(reversed(taken))
                self._note_trouble(error)
                return False
        finally:
            with self._room:
                self._room.notify_all()
        self._trouble = None
        return True

    def _put(self, taken: list[Entry], fresh: list[Entry], later: list[Entry]) -> None:
        doubtful = [each for each in taken if each.tried and not each.written]
        try:
            self.store.write(self._batch(taken, fresh, later))  # what is refused was ended or removed by others
        except Exception:
            for entry in (*fresh, *doubtful):
                entry.written = False
            raise

    def _put_singly(self, taken: list[Entry], fresh: list[Entry], later: list[Entry]) -> bool:
        """Write one by one what the store did not take together, so that what it cannot take is lost alone.

        Returns:
            Whether nothing is left in the lists. It is if the store takes nothing at all, and is at fault itself.
        """
        before = len(taken) + len(fresh) + len(later)
        self._put_each(taken, fresh, later)
        if len(taken) + len(fresh) + len(later) == before:
            return False
        for entry, error in self._put_each(taken, fresh, later).items():  # once more: it may be well only since then
            if entry in taken:
                taken.remove(entry)
            elif entry in fresh:
                fresh.remove(entry)
                if self._open.pop(entry, entry) is entry:  # it has ended meanwhile, and is taken next time
                    continue
            else:
                later.remove(entry)  # it is there, but for the number of the attempt
                continue
            self._lost, self._why = self._lost + 1, error
        return not (taken or fresh or later)

    def _put_each(self, *lists: list[Entry]) -> dict[Entry, Exception]:
        """Write each by itself, and take it out of its list; what was refused for good, and why."""
        refused: dict[Entry, Exception] = {}
        for entries in lists:
            for entry in list(entries):
                try:
                    self._put(*([entry] if each is entries else [] for each in lists))
                except Exception as error:
                    if not is_passing(error):
                        refused[entry] = error
                else:
                    entries.remove(entry)
        return refused

    def _batch(self, taken: list[Entry], fresh: list[Entry], later: list[Entry]) -> list[Write]:
        owner = self.store.owner()
        batch: list[Write] = [ended(entry, owner) for entry in taken if not entry.written and not entry.tried]
        for entry in taken:
            if entry.tried and not entry.written:  # it may be there as running, if only the answer was lost
                batch.append(begun(entry, owner))
                entry.written = True
            if entry.written:
                batch.append(ended(entry, owner))
        for entry in fresh:  # one that ends now finds that it is written, and becomes a change of that
            entry.written = entry.tried = True
            entry.noted = entry.attempt
            batch.append(begun(entry, owner))
        for entry in later:
            entry.noted = entry.attempt
            batch.append(attempt_of(entry, owner))
        return batch

    def _note_trouble(self, error: Exception) -> None:
        if self._trouble is None:
            logging.getLogger("eagerly.runs").warning(
                "calls cannot be recorded in %s at the moment, which is tried again: %s", self.store.place, error
            )
        self._trouble = error

    # Waiting for it

    @property
    def pending(self) -> bool:
        """Whether there is something that the store does not have."""
        noted = bool(self._ended) or any(not entry.written for entry in list(self._open))
        return noted or self._in_hand  # which is looked at last, as what is taken is in hand first

    @property
    def in_trouble(self) -> bool:
        """Whether the store could not be written to when that was tried last."""
        return self._trouble is not None

    def flush(self) -> None:
        """Wait until the store has what was noted so far, unless it is in trouble."""
        if self._trouble is not None or not self.pending:
            return
        if self._clerk.here or not self.store.blocking:
            self._write_all()
            return
        done = Once()
        self.when_flushed(done.happen)
        while not done.wait(SLICE):
            pass

    def when_flushed(self, tell: Callable[[], object]) -> None:
        """Call `tell`, from whatever thread, when the store has what was noted so far or is in trouble."""
        if not self.pending:
            tell()
            return

        def work() -> None:
            try:
                self._write_all()
            finally:
                tell()

        self._clerk.do(work)

    def finish(self) -> tuple[int, str] | None:
        """Wait as in `flush`, and try once more in trouble. What cannot be written then is lost.

        Returns:
            How many calls were lost since this was asked last, and why; None if none was.
        """
        before, self._trouble = self._trouble, None
        self.flush()
        if self.in_trouble:
            before = self._trouble
            with self._writing:
                self._lose(len(self._ended))
        if not self._lost:
            return None
        lost, self._lost = self._lost, 0
        return lost, str(before or self._why)


def recorder_of(store: RunStore, *, make: bool = True) -> Recorder | None:
    """What records calls in `store`; None if nothing does, and none is to be made."""
    with _lock:
        recorder = _recorders.get(id(store))
        if recorder is None and make:
            recorder = _recorders[id(store)] = Recorder(store)
        return recorder


_recorders: weakref.WeakValueDictionary[int, Recorder] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _on_loop() -> bool:
    """Whether an event loop runs in this thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    return asyncio._get_running_loop() is not None


def flush_all() -> None:
    """The interpreter is left: write what is noted. Calls that still go on are found to be lost by who looks next."""
    for recorder in list(_recorders.values()):
        lost = recorder.finish()
        if lost is not None:
            logging.getLogger("eagerly.runs").error(lost_message(*lost, recorder.store))


def lost_message(count: int, why: str, store: RunStore) -> str:
    """What to say of calls that could not be recorded."""
    calls = "1 call was" if count == 1 else f"{count:,} calls were"
    return f"{calls} made and could not be recorded in {store.place}: {why}"


def _after_fork() -> None:
    """What the parent has noted, the parent writes."""
    global _lock
    _lock = threading.Lock()
    for recorder in list(_recorders.values()):
        recorder.forget()


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
