"""What is left of runs whose processes are killed: ``python -m benchmarks.runs.kills PATH KILLS SEED``."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from eagerly.runs import Change, Query, RunRecord, RunStatus, SqliteRunStore
from eagerly.runs._payload import encode
from eagerly.runs._record import new_id, now

__all__ = ["TITLES", "look_into"]

WRITERS = 4
SEED = 17
TIMEOUT = 300

TITLES = {
    "lost": "acknowledged runs that are gone or have not completed",
    "damaged": "complaints of the integrity check",
    "twice": "runs with two endings",
    "live": "runs that go on though their process is dead, after the next open",
}


def look_into(kills: int) -> dict[str, int]:
    """What was found after so many kills, from a fresh process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "benchmarks.runs.kills", str(Path(folder) / "runs.db"), str(kills), str(SEED)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
        found: dict[str, int] = json.loads(done.stdout)
        return found


def write(path: str, pipe: int) -> None:
    """Run after run, telling of each that has completed."""
    store = SqliteRunStore(path)
    own = store.owner()
    for number in itertools.count():
        run_id, at = new_id(), now()
        record = RunRecord(0, run_id, "task", RunStatus.PENDING, at, at, run_id)
        store.write([record, Change(run_id, now(), RunStatus.RUNNING, {"owner": own})])
        if number % 4:  # the others are left running
            output = encode("x" * 80_000 if number % 5 == 0 else number)
            store.write([Change(run_id, now(), RunStatus.COMPLETED, output=output, owner=own)])
            os.write(pipe, f"{run_id}\n".encode())


def main(path: str, kills: int, seed: int) -> dict[str, int]:
    """Kill so many writers, at random moments after the first thing that each has told of."""
    chance = random.Random(seed)
    told: set[str] = set()
    live: dict[int, int] = {}
    killed = 0
    while killed < kills:
        while len(live) < WRITERS:
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                write(path, writing)
            os.close(writing)
            live[pid] = reading
        pid = chance.choice(sorted(live))
        told.update(os.read(live[pid], 64 * 1024).decode().split())
        time.sleep(chance.uniform(0.0, 0.05))
        told |= _kill(pid, live.pop(pid))
        killed += 1
    for pid, reading in live.items():
        told |= _kill(pid, reading)
    store = SqliteRunStore(path)
    found = {record.id: record for record in _all(store)}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        complaints = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return {
        "acknowledged": len(told),
        "lost": sum(run_id not in found or found[run_id].status is not RunStatus.COMPLETED for run_id in told),
        "damaged": sum(complaint != "ok" for complaint in complaints),
        "twice": sum(bool(each.completed_at) + bool(each.failed_at) > 1 for each in found.values()),
        "live": sum(not each.status.final and each.owner is not None for each in found.values()),
    }


def _kill(pid: int, reading: int) -> set[str]:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as said:
        return {line.decode() for line in said.read().split(b"\n")[:-1]}


def _all(store: SqliteRunStore) -> Iterator[RunRecord]:
    query = Query(limit=1000)
    while page := store.find(query):
        yield from page
        query = query._replace(after=(page[-1].created_at, page[-1].seq))


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: fork with threads
    logging.disable()
    json.dump(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
