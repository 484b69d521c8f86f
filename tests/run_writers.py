"""Kills processes that write to a run store at random moments, for test_runs_sqlite.py and test_runs_postgres.py.

Called with a place, the least number of kills, a seed, and how many write at a time. Each writer opens the store, makes
runs of its own, moves them forward and says, after the store has, which of them have ended and how. Writes what was
found afterwards as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import warnings
from typing import Any

from eagerly.errors import EagerlyError
from eagerly.runs import Change, Payload, Query, RunRecord, RunStatus, RunStore, open_run_store
from eagerly.runs._payload import encode
from eagerly.runs._record import new_id, now

ENOUGH = 10
"""So many runs are to be through before the killing ends, however busy the machine is."""

LARGE = "x" * 80_000


def opened(place: str) -> RunStore:
    url, _, schema = place.partition("#")
    if not schema:
        return open_run_store(place)
    from eagerly.runs import PostgresRunStore

    return PostgresRunStore(url, schema=schema, lease=1.0)


def done(store: RunStore, *batch: Any) -> None:
    for outcome in store.write(batch):
        if isinstance(outcome, EagerlyError):
            raise outcome


def write(place: str, pipe: int) -> None:
    store = opened(place)
    own = store.owner()
    for number in itertools.count():
        run_id, at = new_id(), now()
        record = RunRecord(0, run_id, "task", RunStatus.PENDING, at, at, run_id, tags=("a", "b"))
        done(store, record, Change(run_id, now(), RunStatus.RUNNING, {"owner": own}))
        done(store, Change(run_id, now(), values={"progress": 0.5}, owner=own))
        if number % 3 == 0:
            continue  # left running, to be found lost
        output: Payload = encode([number, LARGE] if number % 5 == 0 else number)
        done(store, Change(run_id, now(), RunStatus.COMPLETED, output=output, owner=own))
        os.write(pipe, f"{run_id}\n".encode())


def main(place: str, kills: int, seed: int, writers: int) -> dict[str, Any]:
    rng = random.Random(seed)
    acknowledged: set[str] = set()
    live: dict[int, int] = {}
    killed = 0
    while killed < kills or live:
        while len(live) < writers and (killed + len(live) < kills or len(acknowledged) < ENOUGH):
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                os.close(reading)
                write(place, writing)
            os.close(writing)
            live[pid] = reading
        # Not a synchronisation: the kill is to hit any moment, that of opening the store included.
        select.select([], [], [], rng.choice((rng.uniform(0.0, 0.02), rng.uniform(0.0, 1.5 if "#" in place else 0.2))))
        pid = rng.choice(sorted(live))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        with os.fdopen(live.pop(pid), "rb") as said:
            acknowledged |= {line.decode() for line in said.read().split(b"\n")[:-1]}
    store = opened(place)
    reported = [record.id for record in store.recover()]  # and those that the opening has found
    while "#" in place and store.count(Query(statuses=(RunStatus.RUNNING,))):
        reported += [record.id for record in store.recover()]  # leases run out
    found: list[RunRecord] = []
    query = Query(limit=1000)
    while page := store.find(query):
        found += page
        query = query._replace(after=(page[-1].created_at, page[-1].seq))
    by_id = {record.id: record for record in found}
    ended = [record for record in found if record.id in acknowledged]
    for record in ended:
        payload = store.output(record.id)
        assert payload is not None
        json.loads(payload.data)
    return {
        "kills": killed,
        "acknowledged": len(acknowledged),
        "missing": len(acknowledged - by_id.keys()),
        "not completed": sum(record.status is not RunStatus.COMPLETED for record in ended),
        "still live": sum(not record.status.final and record.owner is not None for record in found),
        "two endings": sum(bool(record.completed_at) + bool(record.failed_at) > 1 for record in found),
        "lost": sum(record.error is not None and record.error.kind == "lost" for record in found),
        "reported twice": len(reported) - len(set(reported)),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: fork with threads
    json.dump(main(sys.argv[1], *map(int, sys.argv[2:])), sys.stdout)
