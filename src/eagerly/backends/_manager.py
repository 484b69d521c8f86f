"""The thread that looks after the worker processes: who does what, what has come back, who has died or is overdue.

Other threads only add to `_queue` and `_commands`, in one step each, and wake this one. So there is no lock that an
interrupted thread could leave behind, and nobody but this thread touches a worker.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import threading
import time
from collections import OrderedDict, deque
from typing import Final

from eagerly.backends._protocol import Crash, Work
from eagerly.backends._wire import AWAKE, LAST, PART, READ_SIZE, RETIRED
from eagerly.backends._worker_process import Piece, WorkerProcess

__all__ = ["Manager"]

STILLBORN_MAX: Final = 3
"""How many workers in a row may die in their start before the work that waits for one is given up."""

LOST_MAX: Final = 2
"""How many workers may die while they receive a piece of work before it is taken for the reason."""

LEAVE_WITHIN: Final = 1.0
"""Seconds that a worker has to end by itself when it is told to."""

LOOK_AGAIN: Final = 0.025
"""Seconds after which a worker is looked at again whose work has a timeout and has not noted when it is up."""

_numbers = itertools.count(1)


class _Bell:
    """Wakes the thread that polls it. Closed when nobody refers to it, so that nobody can ring what is closed."""

    read = _write = -1  # in case that an interruption comes before there is more

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self._write, False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._write, b"!")

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.read, 4096)

    def __del__(self) -> None:
        for descriptor in {self.read, self._write} - {-1}:
            os.close(descriptor)


class Manager:
    """The thread and its workers. Starts them when the first work comes, and keeps their number from then on.

    Where work has timeouts there is one worker more than may work at a time. It takes the place of one that is killed,
    as a new one would be ready only after 60 ms, or some 200 on a busy machine.

    Args:
        size: How many may work at a time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._wanted = False
        self._spare = 0
        self._stillborn = 0
        self._workers: list[WorkerProcess] = []
        self._idle: list[WorkerProcess] = []
        self._leaving: list[WorkerProcess] = []
        self._by_descriptor: dict[int, WorkerProcess] = {}
        self._queue: OrderedDict[int, Piece] = OrderedDict()
        self._commands: deque[tuple[Work, bool]] = deque()
        self._scratch = memoryview(bytearray(READ_SIZE))
        self._poll = select.poll()
        self._bell = _Bell()
        self._poll.register(self._bell.read, select.POLLIN)
        self._once = threading.Lock()
        self._starting = threading.RLock()  # re-entrant: the garbage collector may run a task in the middle of it
        self._thread = threading.Thread(target=self._run, name="eagerly-process", daemon=True)
        self.closed = False
        """Whether it takes no work any more."""

    def start(self) -> None:
        """Start the thread. May be cut short by an interruption, and called again."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()

    def submit(self, work: Work) -> bool:
        """Have `work` done; False if it is too late for that."""
        piece = Piece(work, next(_numbers))
        self._queue[id(work)] = piece
        # Whoever closes says so first and empties the queue then.
        if self.closed and self._queue.pop(id(work), None) is not None:
            return False
        self._bell.ring()
        return True

    def take_back(self, work: Work) -> bool:
        """Whether `work` has not been begun, and now will not be."""
        return self._queue.pop(id(work), None) is not None

    def stop(self, work: Work, *, force: bool) -> None:
        """Have the worker that does `work` asked to stop, or killed."""
        self._commands.append((work, force))
        self._bell.ring()

    def close(self) -> None:
        """End all workers. Does not wait for that."""
        self.closed = True
        self._bell.ring()

    def join(self) -> bool:
        """Wait until all workers of one that is closed have ended; False in its own thread, which cannot."""
        self._bell.ring()  # `close` may have been interrupted before it did
        if self._thread is threading.current_thread():
            return False
        if self._thread.ident is not None:
            self._thread.join()
        return True

    def forget(self) -> None:
        """In a forked child: the workers are those of another process."""
        self.closed = True
        self._queue.clear()
        for worker in [*self._workers, *self._leaving]:
            worker.forget()
        self._workers.clear()
        self._leaving.clear()

    def _run(self) -> None:
        if not self._once.acquire(blocking=False):
            return
        # Workers begin with the mask of the thread that starts them: a Ctrl-C must not hit one that has just begun to
        # import things, and can do no better than print a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while not self.closed:
                self._step()
        finally:
            self.closed = True
            self._end()

    def _step(self) -> None:
        while self._queue and self._may_give():
            self._give()
        if self._queue:
            self._wanted = True
        if self._wanted and self._missing():
            self._hire()
        self._listen(0.0 if self._wanted and self._missing() else self._patience())
        while self._commands:
            self._obey(*self._commands.popleft())
        if self._leaving or any(worker.piece is not None and worker.piece.timed for worker in self._workers):
            self._look_at_the_clock()

    # -- work --------------------------------------------------------------------------------------------------------

    def _may_give(self) -> bool:
        return bool(self._idle) and sum(worker.piece is not None for worker in self._workers) < self._size

    def _give(self) -> None:
        try:
            _, piece = self._queue.popitem(last=False)
        except KeyError:  # taken back at this moment
            return
        worker = self._idle.pop()
        if piece.timed:
            self._spare = 1
        worker.give(piece)
        self._expect(worker)

    def _obey(self, work: Work, force: bool) -> None:
        for worker in self._workers:
            piece = worker.piece
            if piece is not None and piece.work is work:
                if not force:
                    worker.marker.ask_to_stop(piece.number)
                elif not worker.overdue:
                    worker.asked = True
                    worker.kill()

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        for worker in self._leaving:
            if worker.leaving <= now:
                worker.kill()
                worker.leaving = now + LEAVE_WITHIN
        for worker in self._workers:
            deadline = self._deadline(worker)
            if deadline is not None and 0.0 < deadline <= now and not (worker.asked or worker.overdue):
                worker.overdue = True
                worker.kill()

    def _deadline(self, worker: WorkerProcess) -> float | None:
        """When `worker` may be killed: 0.0 if that is not known yet, None if never."""
        piece = worker.piece
        if piece is None or not piece.timed:
            return None
        mark = worker.marker.read()
        return mark.deadline if mark.number == piece.number else 0.0

    def _patience(self) -> float | None:
        """For how many seconds nothing has to be done unless something happens."""
        ends = [worker.leaving for worker in self._leaving]
        now = time.monotonic()
        for worker in self._workers:
            deadline = self._deadline(worker)
            if deadline is not None and not (worker.asked or worker.overdue):
                ends.append(deadline or now + LOOK_AGAIN)
        return max(0.001, min(ends) - now) if ends else None

    # -- workers -----------------------------------------------------------------------------------------------------

    def _missing(self) -> bool:
        """Whether a worker is to be started: one that works, or the spare one, after those that are to begin now."""
        there = len(self._workers)
        return there < self._size or (there < self._size + self._spare and all(each.awake for each in self._workers))

    def _hire(self) -> None:
        try:
            worker = WorkerProcess(self._scratch)
        except OSError as error:
            self._count_stillborn(Crash(message=f"it could not be started: {error}"))
            return
        self._workers.append(worker)
        for descriptor in worker.descriptors:
            self._by_descriptor[descriptor] = worker
            self._poll.register(descriptor, select.POLLIN)

    def _listen(self, patience: float | None) -> None:
        for descriptor, _ in self._poll.poll(None if patience is None else patience * 1000):
            if descriptor == self._bell.read:
                self._bell.silence()
                continue
            worker = self._by_descriptor.get(descriptor)
            if worker is None:  # buried because of what its other descriptor said
                continue
            self._hear(worker)
            if descriptor != worker.descriptors[0]:
                while self._hear(worker):
                    pass
                self._bury(worker)
            elif worker.silent:
                self._bury(worker)
            elif worker.outlet.full:
                worker.outlet.flush()
                self._expect(worker)

    def _expect(self, worker: WorkerProcess) -> None:
        events = select.POLLIN | select.POLLOUT if worker.outlet.full else select.POLLIN
        self._poll.modify(worker.descriptors[0], events)

    def _hear(self, worker: WorkerProcess) -> bool:
        """Act on what `worker` says now; False if it says nothing."""
        frames = worker.read()
        if frames is None:
            return False
        for kind, number, data in frames:
            piece = worker.piece
            if kind == AWAKE:
                worker.awake = True
                self._stillborn = 0
                self._idle.append(worker)
            elif piece is None or number != piece.number:
                continue  # from a body that was given up
            elif kind == PART:
                piece.work.output(data)
            elif kind in (LAST, RETIRED):
                worker.piece = None
                self._free(worker, retired=kind == RETIRED)  # first, so that it works on while this thread delivers
                try:
                    piece.work.output(data)
                finally:
                    piece.work.end()
        return True

    def _free(self, worker: WorkerProcess, *, retired: bool) -> None:
        """`worker` is done with its work."""
        if worker.leaving:
            return
        if retired or worker.asked or worker.overdue:
            self._let_go(worker)
            return
        self._idle.append(worker)
        if self._queue and self._may_give():
            self._give()

    def _let_go(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        self._leaving.append(worker)
        worker.leaving = time.monotonic() + LEAVE_WITHIN

    def _bury(self, worker: WorkerProcess) -> None:
        for descriptor in worker.descriptors:
            del self._by_descriptor[descriptor]
            self._poll.unregister(descriptor)
        for group in (self._workers, self._idle, self._leaving):
            if worker in group:
                group.remove(worker)
        piece = worker.piece
        began = piece is not None and worker.began(piece)
        crash = worker.bury()
        if piece is not None:
            if began or worker.asked or piece.lost >= LOST_MAX:
                piece.work.end(crash)
            else:
                piece.lost += 1
                self._queue[id(piece.work)] = piece
                self._queue.move_to_end(id(piece.work), last=False)
        elif not worker.awake and not self.closed:
            self._count_stillborn(crash)

    def _count_stillborn(self, crash: Crash) -> None:
        self._stillborn += 1
        if self._stillborn < STILLBORN_MAX:
            return
        self._stillborn = 0
        self._wanted = False  # until somebody asks again
        if not any(worker.awake for worker in self._workers):
            how = crash.message or str(crash)
            message = f"no worker process can be started: {how}; what it says is on standard error"
            self._give_up(Crash(message=message, pid=crash.pid, exitcode=crash.exitcode, signal=crash.signal))

    def _give_up(self, crash: Crash) -> None:
        """End all work that waits."""
        while self._queue:
            with contextlib.suppress(KeyError):
                self._queue.popitem(last=False)[1].work.end(crash)

    def _end(self) -> None:
        for worker in self._workers[:]:
            if worker in self._idle:
                worker.dismiss()
            else:
                worker.asked = worker.piece is not None
                worker.kill()
            self._let_go(worker)
        self._idle.clear()
        while self._leaving:
            self._listen(self._patience())
            self._look_at_the_clock()
        self._give_up(Crash(message="the backend was closed", asked=True))
