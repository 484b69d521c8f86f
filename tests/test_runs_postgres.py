"""The PostgreSQL run store: what is refused, several processes, killed writers, connections that break."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import runs, session
from eagerly.errors import (
    MissingExtraError,
    OptionTypeError,
    OptionValueError,
    OutputCorrupt,
    OutputMissing,
    RunsError,
)
from eagerly.runs import Change, PostgresRunStore, Query, RunRecord, RunStatus, open_run_store
from eagerly.runs._passing import is_passing, write_patiently
from eagerly.runs._payload import encode
from eagerly.runs._record import now
from postgres_server import fresh_schema

LARGE = "x" * 100_000
TESTS = Path(__file__).parent


@pytest.fixture
def place() -> Iterator[tuple[str, str]]:
    """URL and schema."""
    with fresh_schema() as found:
        yield found


@pytest.fixture
def store(place: tuple[str, str]) -> Iterator[PostgresRunStore]:
    made = PostgresRunStore(place[0], schema=place[1], lease=1.0)
    with session(run_store=made):
        yield made
    made.close()


def execute(store: PostgresRunStore, statement: str, *values: Any) -> list[Any]:
    import psycopg

    with psycopg.connect(store._url, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {store.schema}")
        cursor = connection.execute(statement, values or None)  # type: ignore[arg-type, unused-ignore]
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PostgresRunStore(3), OptionTypeError, "takes a str such as 'postgresql://host/db', not 3"),  # type: ignore[arg-type]
        (lambda: PostgresRunStore("mysql://me:pw@h/db"), OptionValueError, r"me:\*\*\*@h/db'\) is no address"),
        (lambda: PostgresRunStore("postgresql://h/db", schema="Runs; --"), OptionValueError, "small letters, digits"),
        (lambda: PostgresRunStore("postgresql://h/db", lease=0), OptionValueError, "greater than 0"),
        (lambda: PostgresRunStore("postgresql://h/db", trusted=1), OptionTypeError, "True or False"),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"not installed: pip install 'eagerly\[postgres\]'"):
        session(run_store="postgresql://host/db").__enter__()


def test_no_password_is_shown() -> None:
    store = PostgresRunStore("postgresql://me:secret@127.0.0.1:1/db", timeout=2)
    with pytest.raises(RunsError, match="cannot be used") as caught:
        store.get("run_x")
    for shown in (repr(store), store.place, str(caught.value)):
        assert "secret" not in shown
        assert "***" in shown


def test_a_url_opens_it(place: tuple[str, str]) -> None:
    store = open_run_store(place[0])
    assert isinstance(store, PostgresRunStore)
    assert store.schema == "eagerly"
    copy = pickle.loads(pickle.dumps(PostgresRunStore(place[0], schema=place[1], lease=2.0, trusted=True)))
    assert (copy.schema, copy.lease, copy.trusted) == (place[1], 2.0, True)


def test_a_newer_version_is_left_alone(store: PostgresRunStore) -> None:
    runs.create("import")
    execute(store, "UPDATE run_meta SET version = 99")
    other = PostgresRunStore(store._url, schema=store.schema)
    with pytest.raises(RunsError, match=r"newer eagerly \(its version is 99, and this one knows 2\).*pip install"):
        other.find(Query())
    other.close()
    assert execute(store, "SELECT version FROM run_meta") == [(99,)]


def test_connections_that_the_server_has_closed(store: PostgresRunStore) -> None:
    """As after a restart: the next use opens new ones."""
    run = runs.create("import")
    for status in ("running", "completed"):
        ended = execute(
            store,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY(%s)",
            [each.info.backend_pid for each in store._connections._idle],
        )
        assert ended
        assert runs.get(run.id) == run
        run = runs.update(run, status=status)


def test_a_server_that_can_only_be_read(store: PostgresRunStore) -> None:
    run = runs.update(runs.create("import"), status="completed", output=LARGE)
    reader = PostgresRunStore(f"{store._url}?options=-c%20default_transaction_read_only%3Don", schema=store.schema)
    with session(run_store=reader):
        assert runs.get(run.id).result() == LARGE
        for write in (lambda: runs.create("import"), lambda: runs.prune(keep=0), reader.owner):
            with pytest.raises(RunsError, match="can only be read"):
                write()
    reader.close()
    assert [*runs.list()] == [run]


def test_outputs_that_are_gone_or_altered(store: PostgresRunStore) -> None:
    run = runs.update(runs.create("import"), status="completed", output=LARGE)
    assert run.result() == LARGE
    execute(store, "UPDATE run_blobs SET data = substr(data, 1, 50)")
    with pytest.raises(OutputCorrupt, match="of run_blobs is no whole gzip file"):
        run.result()
    execute(store, "DELETE FROM run_blobs")
    with pytest.raises(OutputMissing, match="run_blobs has no row"):
        run.result()


def test_pickles_are_only_read_by_who_trusts_the_server(store: PostgresRunStore) -> None:
    run = runs.create("import")
    store.write([Change(run.id, now(), output=encode((1, {2}), pickled=True))])
    with pytest.raises(RunsError, match="open the store with trusted=True"):
        run.output()
    trusting = PostgresRunStore(store._url, schema=store.schema, trusted=True)
    with session(run_store=trusting):
        assert runs.output(run.id) == (1, {2})
    trusting.close()


def test_prune_while_the_same_output_is_written(store: PostgresRunStore) -> None:
    first = runs.update(runs.create("import"), status="completed", output=LARGE)
    second = runs.update(runs.create("import"), status="completed", output=LARGE)
    assert execute(store, "SELECT count(*) FROM run_blobs") == [(1,)]
    assert runs.prune(keep=1) == 1
    assert second.output() == LARGE
    assert runs.prune(keep=0) == 1
    assert execute(store, "SELECT count(*) FROM run_blobs") == [(0,)]
    assert first != second


def test_who_removes_outputs_and_who_writes_them_exclude_each_other(store: PostgresRunStore) -> None:
    import psycopg

    run = runs.update(runs.create("import"), status="running", output=LARGE)
    impatient = PostgresRunStore(store._url, schema=store.schema, timeout=0.2)
    channel = f"eagerly_runs_{store.schema}"
    with psycopg.connect(store._url) as other, session(run_store=impatient):
        for lock, use in (
            ("pg_advisory_xact_lock", lambda: runs.update(run.id, output=LARGE)),
            ("pg_advisory_xact_lock_shared", lambda: runs.prune(keep=0)),
        ):
            other.execute(f"SELECT {lock}(hashtext(%s))", (channel,))  # type: ignore[arg-type, unused-ignore]
            with pytest.raises(RunsError, match="lock timeout"):
                use()
            other.rollback()
            use()
    impatient.close()


def test_an_owner_that_was_slow_is_an_owner_again(store: PostgresRunStore) -> None:
    """Its lease has run out, so its runs are lost; what it runs from then on has a new owner."""
    old = store.owner()
    run = runs.create("import")
    store.write([Change(run.id, now(), RunStatus.RUNNING, {"owner": old})])
    execute(store, "UPDATE run_owners SET expires_at = now() - interval '1 minute'")
    while not (lost := store.recover()):
        execute(store, "UPDATE run_owners SET expires_at = now() - interval '1 minute'")
    assert [each.id for each in lost] == [run.id]
    while store.owner() == old:
        store.count(Query())
    assert store.recover() == []


def test_what_is_too_large_for_the_server_is_not_tried_again(store: PostgresRunStore) -> None:
    record = runs.create("import")._record._replace(id="run_x", root_id="run_x", tags=(secrets.token_hex(8000),))
    with pytest.raises(RunsError, match="ProgramLimitExceeded") as caught:
        write_patiently(store, [record])
    assert not is_passing(caught.value)
    assert store.get("run_x") is None


def test_the_longest_words_have_room_in_the_indexes(store: PostgresRunStore) -> None:
    word = "".join(chr(0x20000 + secrets.randbelow(0xA000)) for _ in range(500))
    run = runs.create(word, tags=[word], idempotency_key=word)
    assert [*runs.list(task=word, tags=[word])] == [run]


def test_a_server_that_does_not_answer_holds_up_no_other_store(store: PostgresRunStore) -> None:
    """Who could not renew its lease meanwhile would lose its runs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = PostgresRunStore(f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/db", timeout=60)
        over = threading.Event()

        def use() -> None:
            with contextlib.suppress(RunsError):
                other.owner()
            over.set()

        threading.Thread(target=use, daemon=True).start()
        asked, _ = silent.accept()
        with asked:
            assert store.owner().startswith("own_")
            assert not over.is_set()
        assert over.wait(60)


def test_a_lease_that_no_thread_could_renew_is_none(store: PostgresRunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        started.append(thread.name)
        if started == ["eagerly-runs-lease"]:
            raise RuntimeError("can't start new thread")
        start(thread)

    store.get("run_x")
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        store.owner()
    assert store.owner().startswith("own_")
    assert started == ["eagerly-runs-lease"] * 2


def test_who_only_can_read_waits_although_an_owner_has_ended(
    store: PostgresRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eagerly.runs._waiters.RECOVERY", 0.0)
    run = runs.create("import")
    dead = runs.create("import")
    store.write([Change(dead.id, now(), RunStatus.RUNNING, {"owner": "own_" + "0" * 24})])
    tried = threading.Event()

    class Reader(PostgresRunStore):
        def recover(self) -> list[RunRecord]:
            try:
                return super().recover()
            finally:
                if threading.current_thread().name == "eagerly-runs-watcher":
                    tried.set()

    def end() -> None:
        tried.wait(60)
        store.write([Change(run.id, now(), RunStatus.COMPLETED)])

    reader = Reader(f"{store._url}?options=-c%20default_transaction_read_only%3Don", schema=store.schema)
    thread = threading.Thread(target=end)
    thread.start()
    with session(run_store=reader):
        assert runs.wait(run.id, timeout=60).status == "completed"
    thread.join()
    reader.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("kills", "seed"), [(12, 1), pytest.param(100, 2, marks=pytest.mark.slow)])
def test_writers_that_are_killed(kills: int, seed: int, store: PostgresRunStore) -> None:
    words = [sys.executable, str(TESTS / "run_writers.py"), f"{store._url}#{store.schema}", *map(str, (kills, seed, 4))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.pop("kills") >= kills
    assert found.pop("acknowledged") > 5
    assert found.pop("lost") > 0
    assert found == dict.fromkeys(("missing", "not completed", "still live", "two endings", "reported twice"), 0)
