"""What is counted rather than timed in turns: items read ahead, and how soon the next item runs when one has to go."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.fanout.work import double, spin_in_c, suicide
from benchmarks.finding import Finding
from eagerly import iter_tasks, map_tasks, session, task
from eagerly.backends import ProcessBackend

__all__ = ["FINDINGS"]

TAKEN, WINDOW = 10, 8
TIMEOUT = 0.2


def items_read() -> float:
    """Of an infinite iterable, when some results have been taken."""
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield number

    with session():
        results = iter_tasks(double, numbers(), backend="process", chunk=1, window=WINDOW)
        taken = list(itertools.islice(results, TAKEN))
        time.sleep(0.05)  # nothing is read while nobody asks
        found = read
        results.close()  # type: ignore[attr-defined]  # it is a generator
    assert taken == [2 * number for number in range(TAKEN)]
    return found


def after_kill() -> float:
    """Milliseconds from the death of the only worker to the start of the next item, in another."""
    return _until_next(map_of=suicide, timeout=None)


def after_timeout() -> float:
    """Milliseconds from the end of its time to the start of the next item, if the first is stuck in C."""
    return _until_next(map_of=spin_in_c, timeout=TIMEOUT) - 1000 * TIMEOUT


def _until_next(map_of: Callable[[int], float], timeout: float | None) -> float:
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "note")
        os.environ["BENCHMARK_NOTE"] = str(note)
        backend = ProcessBackend(workers=1)
        try:
            map_tasks(double, [1], backend=backend)
            _, began = map_tasks(task(map_of, timeout=timeout), [0, 1], backend=backend, errors="return")
        finally:
            backend.close()
            del os.environ["BENCHMARK_NOTE"]
        return 1000 * (began - float(note.read_text(encoding="utf-8")))


FINDINGS = (
    Finding("read", f"items read of an infinite iterable, {TAKEN} taken", "", TAKEN + WINDOW, items_read),
    Finding("kill", "from the death of a worker to the next item in its place", " ms", 150, after_kill),
    Finding("timeout", "from the timeout of an item stuck in C to the next one", " ms", 150, after_timeout),
)
