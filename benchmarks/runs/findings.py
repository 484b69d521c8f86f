"""What is found out several times: what waiting costs, and how soon who waits, stops or cancels has what they want."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.finding import Finding
from benchmarks.runs.pages import ROWS, deepest, first, ratio
from benchmarks.runs.work import until_asked
from eagerly import Run, runs, session
from eagerly.runs import RunStatus

__all__ = ["FINDINGS"]

WAITERS = 1_000
IDLE_SECONDS = 2.0

Measure = Callable[[Path], float]


def somewhere(measure: Measure) -> Callable[[], float]:
    """`measure` with a new store, in a session of that store."""

    def find() -> float:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "runs.db"
            with session(run_store=path, backend="thread") as here:
                try:
                    return measure(path)
                finally:
                    assert here.run_store is not None
                    here.run_store.close()

    return find


def idle(_: Path) -> float:
    """Percent of a core, with coroutines that wait for a run of which nothing is heard."""

    async def main() -> float:
        run, waiting = await _waiting()
        before, begin = time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        used = (time.process_time() - before) / (time.perf_counter() - begin)
        await runs.aio.update(run.id, status="completed")
        await asyncio.gather(*waiting)
        return 100 * used

    return asyncio.run(main())


def awake(_: Path) -> float:
    """Milliseconds from its end, in this process, until the last of them goes on."""

    async def main() -> float:
        run, waiting = await _waiting()
        begin = time.perf_counter()
        await runs.aio.update(run.id, status="completed")
        await asyncio.gather(*waiting)
        return 1000 * (time.perf_counter() - begin)

    return asyncio.run(main())


ENDS = """
import sys, time
from eagerly import runs, session
with session(run_store=sys.argv[1]):
    print("here", flush=True)
    sys.stdin.readline()
    runs.update(sys.argv[2], status="completed")
    print(time.time(), flush=True)
"""


def awake_elsewhere(path: Path) -> float:
    """The same, when another process ends the run."""

    async def main() -> float:
        run, waiting = await _waiting()
        other = _python(ENDS, str(path), run.id)
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()  # it is there
        other.stdin.write("go\n")
        other.stdin.flush()
        await asyncio.gather(*waiting)
        end = time.time()
        return 1000 * (end - float(other.communicate()[0]))

    return asyncio.run(main())


async def _waiting() -> tuple[Run[object], list[asyncio.Future[object]]]:
    run = await runs.aio.create("benchmark")
    await runs.aio.update(run.id, status="running")
    waiting = [asyncio.ensure_future(runs.aio.wait(run.id)) for _ in range(WAITERS)]
    await asyncio.sleep(0.3)  # all of them wait, and the watching thread has looked
    return run, waiting  # type: ignore[return-value]


def stop(_: Path) -> float:
    """Milliseconds from the request until the record is final, when the body sleeps in this process."""
    run = _running()
    begin = time.perf_counter()
    run.stop()
    assert run.wait().status is RunStatus.CANCELLED
    return 1000 * (time.perf_counter() - begin)


def cancel(_: Path) -> float:
    """The same of cancelling."""
    run = _running()
    begin = time.perf_counter()
    run.cancel()
    assert run.status is RunStatus.CANCELLED
    return 1000 * (time.perf_counter() - begin)


RUNS = """
import sys
from benchmarks.runs.work import until_asked
from eagerly import session
with session(run_store=sys.argv[1], backend="thread"):
    run = until_asked.submit()
    while run.refresh().status != "running":
        pass
    print(run.id, flush=True)
    import time
    while not run.settled:
        time.sleep(0.0005)
    print(time.time(), flush=True)
"""


def stop_elsewhere(path: Path) -> float:
    """Milliseconds from the request until the record is final, when the body sleeps in another process."""
    other, run_id = _running_elsewhere(path)
    begin = time.perf_counter()
    runs.stop(run_id)
    runs.wait(run_id)
    taken = 1000 * (time.perf_counter() - begin)
    other.communicate()
    return taken


def cancel_elsewhere(path: Path) -> float:
    """Milliseconds from cancelling, which makes the record final, until the body in the other process has ended."""
    other, run_id = _running_elsewhere(path)
    begin = time.time()
    runs.cancel(run_id)
    return 1000 * (float(other.communicate()[0]) - begin)


def _running() -> Run[None]:
    run = until_asked.submit()
    while run.refresh().status is not RunStatus.RUNNING:
        time.sleep(0.001)
    time.sleep(0.1)  # it sleeps, and is watched
    return run


def _running_elsewhere(path: Path) -> tuple[subprocess.Popen[str], str]:
    other = _python(RUNS, str(path))
    assert other.stdout is not None
    run_id = other.stdout.readline().strip()
    time.sleep(0.1)
    return other, run_id


def _python(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


FINDINGS = (
    Finding("idle", f"{WAITERS:,} coroutines that wait for one run: of one core", " %", 2, somewhere(idle)),
    Finding("awake", "from its end to the last of them", " ms", 200, somewhere(awake)),
    Finding("awake-elsewhere", "the same, ended by another process", " ms", 200, somewhere(awake_elsewhere)),
    Finding("cancel", "from cancel() to the final record, same process", " ms", 10, somewhere(cancel)),
    Finding("stop", "from stop() to the final record, same process", " ms", 10, somewhere(stop)),
    Finding("stop-elsewhere", "the same, where another process runs it", " ms", 150, somewhere(stop_elsewhere)),
    Finding("cancel-elsewhere", "from cancel() to the end of its body there", " ms", 150, somewhere(cancel_elsewhere)),
    Finding("page", f"first page of 100 among {ROWS:,} runs, the slowest of five listings", " ms", 20, first),
    Finding("deep-page", "the last page of 100 of them", " ms", 20, deepest),
    Finding("page-ratio", "the last page against the first in the same turns, the worst listing", "x", 2, ratio),
)
