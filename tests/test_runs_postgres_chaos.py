"""PostgreSQL run stores in trouble: a server that crashes under load, processes that are killed and restarted.

The long variants, with other seeds and more crashes, run with `-m slow`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import run_tasks as tasks
from eagerly import Run, runs, session
from eagerly.errors import RunLost
from eagerly.runs import PostgresRunStore, Query, RunRecord, RunStatus
from postgres_server import Server, fresh_schema, own_server
from run_tasks import PATIENCE, until, until_status

TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with own_server() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """It runs before a test, and again after one, however that left it."""
    yield running
    running.restart()


def all_runs(store: PostgresRunStore) -> list[RunRecord]:
    found: list[RunRecord] = []
    query = Query(limit=1000)
    while page := store.find(query):
        found += page
        query = query._replace(after=(page[-1].created_at, page[-1].seq))
    return found


# The server crashes


WRITER = """
import itertools, logging, select, sys
logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what it ignores when a connection is gone
sys.path.insert(0, sys.argv[1])
from eagerly.errors import EagerlyError, RunsError
from eagerly.runs import Change, PostgresRunStore, RunRecord, RunStatus
from eagerly.runs._payload import encode
from eagerly.runs._record import new_id, now

def done(*batch):
    for outcome in store.write(batch):
        if isinstance(outcome, EagerlyError):
            raise outcome

store = PostgresRunStore(sys.argv[2], schema=sys.argv[3], lease=60.0)
for number in itertools.count():
    if select.select([0], [], [], 0)[0]:
        break
    run_id, at = new_id(), now()
    try:
        own = store.owner()
        done(RunRecord(0, run_id, "task", RunStatus.PENDING, at, at, run_id, tags=("a",)),
             Change(run_id, now(), RunStatus.RUNNING, {"owner": own}))
        output = encode(["x" * 80_000 if number % 5 == 0 else "x", number])
        done(Change(run_id, now(), RunStatus.COMPLETED, output=output, owner=own))
    except RunsError as error:  # anything else ends this process
        assert "cannot be used" in str(error), error
        print("error", type(error.__cause__).__name__, flush=True)
    else:
        print(run_id, flush=True)
store.close()
"""


def ended(writer: subprocess.Popen[str]) -> tuple[str, str]:
    """What it has still said, and its complaints, once it has ended as asked."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stderr is not None
    with writer.stdin, writer.stdout, writer.stderr:
        writer.stdin.write("stop\n")
        writer.stdin.flush()
        said = writer.stdout.read(), writer.stderr.read()  # communicate() would lose what readline() has read ahead
        writer.wait(PATIENCE)
    return said


@pytest.mark.parametrize(
    ("seed", "crashes"), [(1, 3), *(pytest.param(seed, 12, marks=pytest.mark.slow) for seed in (2, 3, 4))]
)
def test_a_server_that_crashes_while_two_processes_write(seed: int, crashes: int, server: Server) -> None:
    """They go on by themselves, and nothing that was acknowledged is lost."""
    chance = random.Random(seed)
    schema = f"writers_{seed}"
    command = [sys.executable, "-c", WRITER, str(TESTS), server.url, schema]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    said: list[list[str]] = [[], []]

    def hear(number: int, words: int) -> None:
        """Read until the writer has got so many runs through."""
        stdout = writers[number].stdout
        assert stdout is not None
        while words:
            line = stdout.readline()
            assert line, writers[number].communicate()[1]
            said[number].append(line.strip())
            words -= not line.startswith("error")

    try:
        for _ in range(crashes):
            for number in range(2):
                hear(number, 20)
            # Not a synchronisation: the crash is to hit any moment, and to last for any time.
            select.select([], [], [], chance.uniform(0.0, 0.05))
            server.crash()
            select.select([], [], [], chance.uniform(0.0, 0.2))
            server.start()
        for number in range(2):
            hear(number, 20)
    finally:
        rest = [ended(writer) for writer in writers]
    assert [(writer.returncode, errors) for writer, (_, errors) in zip(writers, rest, strict=True)] == [(0, "")] * 2
    lines = [line for own, (more, _) in zip(said, rest, strict=True) for line in (*own, *more.split("\n")) if line]
    acknowledged = {line for line in lines if not line.startswith("error")}
    assert sum(line.startswith("error") for line in lines) >= crashes
    store = PostgresRunStore(server.url, schema=schema)
    found = {record.id: record for record in all_runs(store)}
    assert acknowledged <= found.keys()
    assert {found[run_id].status for run_id in acknowledged} == {RunStatus.COMPLETED}
    for run_id in acknowledged:
        payload = store.output(run_id)
        assert payload is not None
        json.loads(payload.data)
    assert not [each for each in found.values() if bool(each.completed_at) + bool(each.failed_at) > 1]
    store.close()


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_runs_that_begin_and_end_while_the_server_is_away(backend: str, server: Server, tmp_path: Path) -> None:
    """They are carried out once, what they return is written when it is back, and who waits for them wakes."""
    store = PostgresRunStore(server.url, schema="submitted")
    woken: list[RunRecord | str] = []

    async def wait_async(run: Run[Any]) -> None:
        woken.append(await run)

    with session(run_store=store, backend=backend):
        run = tasks.leaves_a_mark.submit(str(tmp_path))
        until((tmp_path / "begun").exists)
        other = runs.update(runs.create("elsewhere"), status="running")
        handle: Run[Any] = Run(store, run.refresh()._record)
        waiters = [
            threading.Thread(target=lambda: woken.append(handle.result(PATIENCE))),
            threading.Thread(target=lambda: asyncio.run(wait_async(handle))),
            threading.Thread(target=lambda: woken.append(other.wait(PATIENCE).status)),
        ]
        for waiter in waiters:
            waiter.start()
        until(lambda: len(store._waiters._tells) == 2)
        server.crash()
        (tmp_path / "go").touch()
        until((tmp_path / "ended").exists)
        server.start()
        run.wait(PATIENCE)
        runs.update(other, status="cancelled")
        for waiter in waiters:
            waiter.join(PATIENCE)
        assert sorted(woken) == ["cancelled", "done", "done"]
        assert runs.get(run.id).status == "completed"
        assert (tmp_path / "ended").read_text() == "."
        assert tasks.double.submit(2).result(PATIENCE) == 4
    store.close()


def test_a_waiter_is_told_when_the_server_stays_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from eagerly.errors import RunsError

    monkeypatch.setattr("eagerly.runs._waiters.PATIENCE", 0.0)
    store = PostgresRunStore(server.url, schema="away")
    told: list[str] = []

    def wait(run: Run[Any]) -> None:
        try:
            run.wait(PATIENCE)
        except RunsError as error:
            told.append(str(error))

    with session(run_store=store):
        waiter = threading.Thread(target=wait, args=(runs.create("elsewhere"),))
        waiter.start()
        until(lambda: store._waiters._tells)
        server.crash()
        waiter.join(PATIENCE)
        assert len(told) == 1
        assert re.search(r"the run store postgresql://.* cannot be used: OperationalError", told[0], re.DOTALL)
        server.start()
    store.close()


# Processes are killed, and restarted


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import run_tasks as tasks
from eagerly import runs, session
from eagerly.runs import PostgresRunStore
with session(run_store=PostgresRunStore(sys.argv[2], schema=sys.argv[3], lease=1.0)):
    left = [tasks.ignores.submit(sys.argv[4]).id for _ in range(3)]
    ended = tasks.double.submit(2)
    assert ended.result() == 4
    print(*left, ended.id, flush=True)
    if sys.stdin.readline() == "cancel\\n":
        runs.cancel(sys.argv[5], "from the other")
    tasks.time.sleep(tasks.ENDLESS)
"""


@pytest.mark.parametrize("rounds", [3, pytest.param(15, marks=pytest.mark.slow)])
def test_two_processes_of_which_one_is_killed_and_restarted(
    rounds: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each run of a killed one is lost, and reported once; those of the other go on."""
    with fresh_schema() as (url, schema):
        store = PostgresRunStore(url, schema=schema, lease=1.0)
        lost: list[str] = []
        ended: list[str] = []
        reports = ""
        with session(run_store=store):
            own = tasks.loops.submit(str(tmp_path))
            until_status(own, "running")
            words = [sys.executable, "-c", PROGRAM, str(TESTS), url, schema, str(tmp_path), own.id]
            for number in range(rounds):
                # The next one is there before the lease of the one before has run out, and may be who finds its runs.
                child = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                assert child.stdout is not None
                *left, last = child.stdout.readline().split()
                lost += left
                ended.append(last)
                if number == rounds - 1:
                    assert child.stdin is not None
                    child.stdin.write("cancel\n")
                    child.stdin.flush()
                    assert own.wait(PATIENCE).cancel_reason == "from the other"
                else:
                    assert own.refresh().status == "running"
                os.kill(child.pid, signal.SIGKILL)
                reports += child.communicate(timeout=PATIENCE)[1]
            for run_id in lost:
                with pytest.raises(RunLost):
                    runs.get(run_id).result(PATIENCE)
            assert {runs.get(run_id).status for run_id in ended} == {"completed"}
            assert store.recover() == []

            def reported() -> Counter[str]:
                here = [record.getMessage() for record in caplog.records if record.name == "eagerly.runs"]
                return Counter(re.findall(r"run (run_\w+) of task .* is lost", "\n".join([reports, *here])))

            until(lambda: len(reported()) >= len(lost))  # that is said after it has been written
            assert reported() == Counter(lost)
        store.close()
