"""What a cache promises besides speed, checked in processes of their own: ``python -m benchmarks.caching.checks``.

Each check prints one line of JSON. The harness starts them and never imports a library for them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.caching import values, work
from benchmarks.caching.libraries import Library, load

__all__ = ["CHECKS", "run_check"]

THREADS, PROCESSES, COROUTINES = 8, 4, 50
BODY_SECONDS = 0.3
"""How long the function takes that should run once: longer than it takes all callers to come."""

PER_CHILD = 1_000_000
"""Apart by so much are the numbers that two killed processes store results for."""

CHILDREN = 2
KILLED_WITHIN = 0.03
"""Seconds after its first result within which a process is killed."""

TIMEOUT = 600


def run_check(check: str, library: str, folder: Path, *arguments: str, seed: int = 0) -> Any:
    """What `check` finds about `library`, from a fresh process.

    Raises:
        subprocess.SubprocessError: It failed, or took too long.
    """
    command = [sys.executable, "-m", "benchmarks.caching.checks", check, library, str(folder), *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    return json.loads(result.stdout.splitlines()[-1])


# Who runs the function?


def _threads(library: Library, _: list[str]) -> int:
    cached = library.cached(work.gate)
    path = _marks(library)
    together = threading.Barrier(THREADS)

    def call() -> None:
        with library.around():
            together.wait()
            cached(path, BODY_SECONDS)

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _ran(path)


def _processes(library: Library, _: list[str]) -> int:
    path = _marks(library)
    command = [sys.executable, "-m", "benchmarks.caching.checks", "participant", sys.argv[2], str(library.folder), path]
    people = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for each in people:
        assert each.stdout is not None
        each.stdout.readline()  # it is ready
    for each in people:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    outcomes = [each.wait() for each in people]
    if any(outcomes):
        raise RuntimeError(f"the processes ended with {outcomes}")
    return _ran(path)


def _participant(library: Library, arguments: list[str]) -> int:
    cached = library.cached(work.gate)
    with library.around():
        print("ready", flush=True)
        sys.stdin.readline()
        return int(cached(arguments[0], BODY_SECONDS))


def _coroutines(library: Library, _: list[str]) -> int:
    cached = library.cached(work.gate_async)
    path = _marks(library)

    async def call() -> None:
        await cached(path, BODY_SECONDS)

    async def all_of_them() -> None:
        with library.around():
            await asyncio.gather(*(call() for _ in range(COROUTINES)))

    asyncio.run(all_of_them())
    return _ran(path)


def _marks(library: Library) -> str:
    return str(library.folder.with_name("ran"))


def _ran(path: str) -> int:
    return Path(path).stat().st_size


# Which values have which key?


def _keys(library: Library, _: list[str]) -> dict[str, Any]:
    texts: dict[str, str | None] = {}
    for kind in values.KINDS:
        texts[kind.name] = _or_none(lambda: library.key_text(kind.make()))  # noqa: B023  # called at once
    found: dict[str, Any] = {"kinds": texts}
    for name, pairs in (("equal", values.EQUAL), ("different", values.DIFFERENT)):
        same: dict[str, bool | None] = {}
        for pair in pairs:
            first, second = pair.make()
            same[pair.name] = _or_none(lambda: library.key(second) in {library.key(first): 0})  # noqa: B023
        found[name] = same
    return found


def _or_none(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception:  # it refuses
        return None


# What is left of what was stored, when processes are killed?


def _kills(library: Library, arguments: list[str]) -> dict[str, int]:
    wanted, seed = int(arguments[0]), int(arguments[1])
    chance = random.Random(seed)
    stored: list[tuple[int, int]] = []  # the first number of a process, and how many it has told of
    while len(stored) < wanted:
        first = len(stored) * PER_CHILD
        children = [_start_storing(library, first + number * PER_CHILD) for number in range(CHILDREN)]
        for child, pipe in children:
            os.read(pipe, 8)  # it has begun
            time.sleep(chance.uniform(0, KILLED_WITHIN))
            os.kill(child, signal.SIGKILL)
        for number, (child, pipe) in enumerate(children):
            os.waitpid(child, 0)
            with os.fdopen(pipe, "rb") as told:
                stored.append((first + number * PER_CHILD, 1 + len(told.read()) // 8))
    path = library.folder.with_name("stored.json")
    path.write_text(json.dumps(stored), encoding="utf-8")
    found = run_check("after", sys.argv[2], library.folder, str(path))
    assert isinstance(found, dict)
    return {"killed": len(stored), **found}


def _start_storing(library: Library, first: int) -> tuple[int, int]:
    """A forked process that stores one result after the other, and tells of each through the pipe."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    try:
        opened = type(library)(library.folder)
        cached = opened.cached(work.blob)
        with opened.around():
            number = first
            while True:
                cached(number)
                os.write(writer, number.to_bytes(8, "big"))
                number += 1
    finally:
        os._exit(1)


def _after(library: Library, arguments: list[str]) -> dict[str, int]:
    """What a process finds that comes afterwards."""
    cached = library.cached(work.blob)
    corrupt = lost = results = 0
    with library.around():
        cached(PER_CHILD - 1)  # a store may clean up at the first write
        left = library.leftovers()
        for first, count in json.loads(Path(arguments[0]).read_text(encoding="utf-8")):
            results += count
            for number in range(first, first + count + 1):  # the last one may have been stored or not
                work.runs.clear()
                try:
                    right = cached(number) == work.content(number)
                except Exception:
                    right = False
                corrupt += not right
                lost += bool(work.runs) and number < first + count
    return {"results": results, "corrupt": corrupt, "orphans": left, "lost": lost}


CHECKS: dict[str, Callable[[Library, list[str]], Any]] = {
    "threads": _threads,
    "processes": _processes,
    "coroutines": _coroutines,
    "keys": _keys,
    "kills": _kills,
}
"""What can be asked of a library; it may leave some out."""


def main(check: str, name: str, folder: str, *arguments: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    library = load(name)(Path(folder))
    steps = {**CHECKS, "participant": _participant, "after": _after}
    warnings.simplefilter("ignore")
    print(json.dumps(steps[check](library, list(arguments))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
