"""Kills processes that call cached tasks and dataset tasks at random moments, for test_cache_chaos.py.

``campaign FOLDER KILLS SEED`` forks workers that call tasks of all kinds in a loop on one store, and kills them. A
worker says on a pipe what it begins and, after the call has returned, what it has got. Then ``examine FOLDER`` looks in
a fresh process, which is told on its standard input what was said. ``births FOLDER KILLS SEED`` kills those who are
making a store, each time a new one. All write what they found as JSON.

Every result is a function of the arguments, so each can be checked by anybody at any time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from eagerly import hook_impl, load_dataset, session, task
from eagerly.cache import DiskStore, MemoryStore
from eagerly.datasets import DatasetStore

WORKERS = 3
SHARED = 6  # arguments that all workers use all the time
ITEMS = 4
NEVER = 10**15  # an argument that no worker comes to

runs: list[str] = []  # lower case: what the automatic version does not look at


def digest(n: int) -> str:
    return hashlib.sha256(b"%d" % n).hexdigest()


@task(cache=True)
def small(n: int) -> str:
    runs.append("small")
    return digest(n)


@task(cache=True)
def large(n: int) -> bytes:
    runs.append("large")
    return bytes.fromhex(digest(n)) * 3200


@task(cache=True)
async def coroutine(n: int) -> list[str]:
    runs.append("coroutine")
    return [digest(n)] * 3


@task(cache=True)
def items(n: int) -> Iterator[bytes]:
    runs.append("items")
    for each in range(ITEMS):
        yield bytes.fromhex(digest(n + each)) * 400


@task(cache=True)
async def aitems(n: int) -> AsyncIterator[str]:
    runs.append("aitems")
    for each in range(ITEMS):
        yield digest(n + each)


@task(cache=True, dataset="reports/{n}.json")
def report(n: int) -> dict[str, Any]:
    runs.append("report")
    return {"n": n, "digest": digest(n), "filling": digest(n) * 500}


@task(dataset="logs/{n}.jsonl")
def log(n: int) -> Iterator[dict[str, Any]]:
    runs.append("log")
    for each in range(ITEMS):
        yield {"n": n, "digest": digest(n + each)}


async def _alist(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


CALLS: dict[str, tuple[Callable[[int, asyncio.Runner], Any], Callable[[int], Any]]] = {
    "small": (lambda n, _: small(n), digest),
    "large": (lambda n, _: large(n), lambda n: bytes.fromhex(digest(n)) * 3200),
    "coroutine": (lambda n, loop: loop.run(coroutine(n)), lambda n: [digest(n)] * 3),
    "items": (
        lambda n, _: list(items(n)),
        lambda n: [bytes.fromhex(digest(n + each)) * 400 for each in range(ITEMS)],
    ),
    "aitems": (lambda n, loop: loop.run(_alist(aitems(n))), lambda n: [digest(n + each) for each in range(ITEMS)]),
    "report": (lambda n, _: report(n), lambda n: {"n": n, "digest": digest(n), "filling": digest(n) * 500}),
    "log": (lambda n, _: list(log(n)), lambda n: [{"n": n, "digest": digest(n + each)} for each in range(ITEMS)]),
}
"""By name of the task: how it is called, and what it has to give."""

KEYS = {"report": "reports/{}.json", "log": "logs/{}.jsonl"}
"""Where datasets are."""


class Troubles:
    """Tells of each trouble with the cache."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell

    @hook_impl
    def on_cache_error(self, error: Exception) -> None:
        self.tell(f"trouble {error!r}".replace("\n", " "))


def opened(folder: str, tell: Callable[[str], object]) -> Any:
    # With as many writers as here, one may wait for long on a machine with other things to do.
    store = DiskStore(Path(folder, "cache"), timeout=120)
    return session(cache_store=store, dataset_store=DatasetStore(Path(folder, "data")), plugins=[Troubles(tell)])


# Those who are killed


def work(folder: str, own: int, seed: int, pipe: int) -> None:
    """Call tasks until killed."""

    def tell(what: str) -> None:
        os.write(pipe, what.encode()[:2000] + b"\n")

    chance = random.Random(seed)
    names = [*CALLS]
    with opened(folder, tell), asyncio.Runner() as loop:
        while True:
            own += 1
            name = chance.choice(names)
            n = chance.choice((own, own, chance.randrange(SHARED)))
            call, expected = CALLS[name]
            if n < SHARED and name in ("small", "large") and chance.random() < 0.3:
                call = {"small": lambda n, _: small.refresh(n), "large": lambda n, _: large.refresh(n)}[name]
            tell(f"begin {name} {n}")
            if call(n, loop) != expected(n):
                tell(f"wrong {name} {n}")
            tell(f"done {name} {n}")
            if n == own and name in ("small", "large") and chance.random() < 0.2:
                tell(f"forget {name} {n}")
                {"small": small, "large": large}[name].invalidate(n)


def start(folder: str, own: int, seed: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.close(reading)
        work(folder, own, seed, writing)
    except BaseException:
        os.write(writing, f"error {traceback.format_exc()}".replace("\n", " | ").encode()[:4000] + b"\n")
    os._exit(1)


def warm_up(folder: str) -> None:
    """Load what workers need, so that they are killed while they work and not while they import."""
    with session(cache_store=MemoryStore(), dataset_store=Path(folder, "warm")), asyncio.Runner() as loop:
        for call, _ in CALLS.values():
            call(0, loop)
    DiskStore(Path(folder, "warm-cache")).put(b"x" * 20, [b"x"])


def campaign(folder: str, kills: int, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    warm_up(folder)
    live: dict[int, int] = {}
    said: dict[str, set[str]] = {kind: set() for kind in ("begin", "done", "wrong", "error", "trouble")}
    own = killed = cut_short = 0
    while killed < kills or live:
        while len(live) < WORKERS and killed + len(live) < kills:
            own += 1_000_000
            pid, reading = start(folder, own, chance.randrange(1 << 30))
            live[pid] = reading
        # Not a synchronisation: the kill is to hit any moment.
        select.select([], [], [], chance.uniform(0.0, 0.04))
        pid = chance.choice(sorted(live))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        with os.fdopen(live.pop(pid)) as pipe:
            last = ""
            for line in pipe.read().splitlines():
                last, _, what = line.partition(" ")
                if last == "forget":
                    said["done"].discard(what)
                else:
                    said[last].add(what)
            cut_short += last == "begin"
    left = len(orphans(folder))
    found = json.loads(
        subprocess.run(
            [sys.executable, __file__, "examine", folder],
            input=json.dumps([sorted(said["begin"]), sorted(said["done"])]),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
        ).stdout
    )
    found["wrong"] += len(said["wrong"])
    found["errors"] = [*said["error"], *said["trouble"], *found.pop("troubles")]
    return {"kills": killed, "cut_short": cut_short, "acknowledged": len(said["done"]), "left": left, **found}


def births(folder: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill processes while they make a store; then the next one uses it, and nothing else is left."""
    chance = random.Random(seed)
    warm_up(folder)
    troubles: list[str] = []
    unmade = 0
    left: list[str] = []
    for number in range(kills):
        place = str(Path(folder, str(number)))
        pid, reading = start(place, 1000, number)
        os.read(reading, 1)  # it begins
        select.select([], [], [], chance.uniform(0.0, 0.015))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        unmade += not Path(place, "cache", "cache.db").exists()
        with opened(place, troubles.append):
            list(log(NEVER)), small(NEVER)  # the first write takes away what the killed one left
            if small(1) != digest(1) or list(log(1)) != CALLS["log"][1](1):
                troubles.append("wrong")
        left += orphans(place)
        if not Path(place, "cache", ".gitignore").exists():
            left.append("no .gitignore")
    return {"kills": kills, "unmade": unmade, "orphans": left, "errors": troubles}


# Those who look afterwards


def examine(folder: str, begun: list[str], done: list[str]) -> dict[str, Any]:
    troubles: list[str] = []
    wrong = lost = 0
    data = DatasetStore(Path(folder, "data"))
    with opened(folder, troubles.append), asyncio.Runner() as loop:
        lost_datasets = 0
        for each in done:
            name, _, n = each.partition(" ")
            if name in KEYS:
                lost_datasets += load_dataset(KEYS[name].format(n)) != CALLS[name][1](int(n))
        for each in done:
            name, _, n = each.partition(" ")
            if name != "log":
                before = len(runs)
                wrong += CALLS[name][0](int(n), loop) != CALLS[name][1](int(n))
                lost += len(runs) != before
        list(log(NEVER)), small(NEVER)  # the first write takes away what the killed ones left
        # A lock that was left would keep this from ever getting anywhere.
        for each in begun:
            name, _, n = each.partition(" ")
            wrong += CALLS[name][0](int(n), loop) != CALLS[name][1](int(n))
        wrong += sum(
            data.load(each.key) != CALLS[{"reports": "report", "logs": "log"}[each.key.partition("/")[0]]][1](number)
            for each in data.list()
            for number in [int(Path(each.key).stem)]
        )
    return {
        "wrong": wrong,
        "lost": lost,
        "lost_datasets": lost_datasets,
        "damaged_datasets": [str(each) for each in data.verify()],
        "orphans": orphans(folder),
        "troubles": troubles,
    }


def orphans(folder: str) -> list[str]:
    """Files that belong to nothing, and entries without theirs."""
    cache, data = Path(folder, "cache"), Path(folder, "data")
    store, datasets = DiskStore(cache), DatasetStore(data)
    entries = {entry.key.hex(): entry for entry in store.entries()}
    unknown = [f"no file: {name}" for name in entries if store.get(bytes.fromhex(name)) is None]
    large_ones = {name for name, entry in entries.items() if entry.size > 32 * 1024}
    for path in cache.rglob("*"):
        name = path.relative_to(cache).as_posix()
        if path.parent != cache:
            name = name.replace("/", "").removesuffix(".value")
            if name not in large_ones:
                unknown.append(f"no entry: {name}")
            large_ones.discard(name)
        elif not path.is_dir() and name not in (
            *("cache.db", "cache.db-wal", "cache.db-shm"),
            *("locks", "generation", ".gitignore"),
        ):
            unknown.append(name)
    unknown += [f"no file: {name}" for name in large_ones]
    kept = {Path(each.path) for each in datasets.list()}
    for path in data.rglob("*"):
        inside = path.relative_to(data).parts
        if not path.is_file():
            continue
        is_left = path.suffix == ".tmp" or path.parent.name == "writing"
        if is_left if inside[0] == ".eagerly" else path not in kept:
            unknown.append(str(path))
    return unknown


if __name__ == "__main__":
    warnings.simplefilter("error")
    if sys.argv[1] in ("campaign", "births"):
        killing = {"campaign": campaign, "births": births}[sys.argv[1]]
        json.dump(killing(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), sys.stdout)
    else:
        json.dump(examine(sys.argv[2], *json.load(sys.stdin)), sys.stdout)
