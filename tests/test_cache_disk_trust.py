"""Attacks on the disk store: whatever somebody plants, no code runs and nothing outside is read, written or deleted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sqlite3
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diskcache
import pytest

from eagerly.cache._disk import DiskStore
from eagerly.errors import CacheError, CorruptEntryError, EagerlyWarning, UntrustedEntryError

LARGE = 100_000
STRANGER = 12345
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give files away")


def key(name: object) -> bytes:
    return hashlib.sha1(repr(name).encode()).digest()


@pytest.fixture(params=[None, b"k" * 16], ids=["unsigned", "signed"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DiskStore:
    """A store with a small and a large entry, of which the attacker may write everything."""
    store = DiskStore(tmp_path / "cache", signing_key=request.param)
    store.put(key("small"), [b"small"], tag="m.f")
    store.put(key("large"), [b"L" * LARGE], tag="m.f")
    store.close()
    return store


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file that is nobody's business; at the end it must be as it was."""
    path = tmp_path / "outside" / "precious.value"
    path.parent.mkdir()
    path.write_bytes(b"precious" * 10_000)
    before = path.stat()
    yield path
    assert path.read_bytes() == b"precious" * 10_000
    assert path.stat().st_ino == before.st_ino
    assert sorted(each.name for each in path.parent.iterdir()) == ["precious.value"]


def directory_of(store: DiskStore) -> Path:
    return Path(store.path)


def plant(store: DiskStore, statement: str, *arguments: object) -> None:
    with contextlib.closing(sqlite3.connect(directory_of(store) / "cache.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(statement, arguments)


def plant_row(store: DiskStore, **columns: object) -> None:
    row: dict[str, object] = {
        "key": key("planted"),
        "raw": 1,
        "store_time": time.time(),
        "expire_time": None,
        "access_time": 0.0,
        "access_count": 0,
        "tag": "m.f",
        "size": 10,
        "mode": 1,
        "filename": None,
        "value": b"x",
    }
    row.update(columns)
    plant(store, f"INSERT INTO Cache ({','.join(row)}) VALUES ({','.join('?' * len(row))})", *row.values())


def use(store: DiskStore) -> None:
    """Everything that a store does, on every key; trouble is fine, as long as it is a `CacheError`."""
    for name in ("planted", "small", "large", "new"):
        for action in (
            lambda name=name: store.get(key(name)),
            lambda name=name: store.put(key(name), [b"n"]),
            lambda name=name: store.put(key(name), [b"n" * LARGE]),
            lambda name=name: store.get(key(name)),
            lambda: list(store.entries()),
            store.stats,
            lambda name=name: store.delete(key(name)),
        ):
            with contextlib.suppress(CacheError, EagerlyWarning):
                action()
    for number in range(20):
        with contextlib.suppress(CacheError, EagerlyWarning):
            store.put(key(number), [b"n" * 10])
    with contextlib.suppress(CacheError, EagerlyWarning):
        store.clear()
    store.close()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_diskcache_as_shipped_runs_the_payload(tmp_path: Path) -> None:
    """If this fails, diskcache has been mended, and the tests below show less than they seem to."""
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        cache.set("k", "v")
        payload = pickle.dumps(Payload(tmp_path / "executed"))
        with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "cache.db", isolation_level=None)) as connection:
            connection.execute("UPDATE Cache SET mode = 4, value = ?", (payload,))
        cache.get("k")
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("mode", [1, 4, "4", None])
@pytest.mark.parametrize("raw", [0, 1])
def test_a_planted_pickle_is_not_run(store: DiskStore, tmp_path: Path, mode: object, raw: int) -> None:
    payload = pickle.dumps(Payload(tmp_path / "executed"))
    plant_row(store, mode=mode, raw=raw, value=payload)
    plant_row(store, key=payload, raw=0)
    plant(store, "UPDATE Cache SET mode = ? WHERE key = ?", mode, key("small"))
    assert store.get(key("planted")) == (payload if raw else None)
    assert store.get(key("small")) == b"small"
    use(store)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("value", ["text", 5, 1.5, memoryview(b"").cast("B")], ids=["text", "int", "float", "empty"])
def test_a_planted_value_of_another_type_is_corrupt(store: DiskStore, value: object) -> None:
    plant_row(store, value=value)
    if isinstance(value, memoryview):
        assert store.get(key("planted")) == b""
    else:
        with pytest.raises(CorruptEntryError, match="instead of bytes"):
            store.get(key("planted"))
    use(store)


def planted_names(outside: Path) -> list[object]:
    return [
        str(outside),
        f"../outside/{outside.name}",
        f"ab/../../outside/{outside.name}",
        "",
        ".",
        "/",
        "ab/",
        b"ab",
        5,
    ]


@pytest.mark.parametrize("number", range(9))
def test_a_planted_file_name_is_not_believed(store: DiskStore, outside: Path, number: int) -> None:
    name = planted_names(outside)[number]
    plant_row(store, filename=name, value=None, mode=2 + number % 3)  # binary, text, pickle
    plant(store, "UPDATE Cache SET filename = ? WHERE key IN (?, ?)", name, key("small"), key("large"))
    assert store.get(key("planted")) is None
    assert bytes(store.get(key("large")) or b"") == b"L" * LARGE
    use(store)


def test_the_file_of_another_key_is_not_removed(store: DiskStore) -> None:
    large = next(directory_of(store).glob("??/*.value"))
    plant_row(store, filename=str(large.relative_to(directory_of(store))), value=None)
    assert store.delete(key("planted"))
    assert bytes(store.get(key("large")) or b"") == b"L" * LARGE


def test_what_expires_or_is_evicted_takes_no_foreign_file_along(tmp_path: Path, outside: Path) -> None:
    store = DiskStore(tmp_path / "cache", size_limit=4 * LARGE)
    store.put(key("small"), [b"small"])
    names = planted_names(outside)
    for number, name in enumerate(names):
        plant_row(store, key=key((1, number)), filename=name, expire_time=1.0, value=None)
        plant_row(store, key=key((2, number)), filename=name, size=LARGE, value=None)
    store.close()
    store = DiskStore(tmp_path / "cache", size_limit=4 * LARGE)
    store._swept = True  # so that the rows reach the culling
    store.put(key("large"), [b"x" * LARGE])
    assert 2 <= store.stats().entries <= 5


SETTINGS: list[tuple[object, object]] = [
    ("sqlite_journal_mode", "delete"),
    ("sqlite_writable_schema", "1"),
    ("sqlite_user_version; DROP TABLE Cache", "1"),
    ("sqlite_temp_store_directory", "'/tmp/x'"),
    ("disk__directory", "/"),
    ("disk_pickle_protocol", pickle.dumps(1)),
    ("_directory", "/"),
    ("_disk", 5),
    ("get", 5),
    ("close", b"x"),
    ("size_limit", 0),
    ("cull_limit", "1; DROP TABLE Cache"),
    ("eviction_policy", "none"),
    ("statistics", 1),
    (b"bytes", None),
]


def test_planted_settings_change_nothing(store: DiskStore) -> None:
    for name, value in SETTINGS:
        plant(store, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", name, value)
    assert store.get(key("small")) == b"small"
    for number in range(40):
        store.put(key(number), [b"x"])
    assert store.stats().entries == 42
    assert store.delete(key("small"))
    assert store.clear() == 41


@pytest.mark.parametrize("value", ["text", b"x", None, 2**62, -(2**62), 1.5])
def test_a_planted_size_does_no_harm_outside(store: DiskStore, outside: Path, value: object) -> None:
    plant(store, "UPDATE Settings SET value = ? WHERE key = 'size'", value)
    plant_row(store, size="many", filename=str(outside), value=None)
    use(store)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE VIEW evil AS SELECT 1",
        "CREATE TABLE evil (a)",
        "DROP TRIGGER Settings_size_insert",
        "ALTER TABLE Cache ADD COLUMN evil",
    ],
)
def test_a_planted_schema_is_set_aside(store: DiskStore, statement: str) -> None:
    plant(store, statement)
    with pytest.warns(EagerlyWarning, match="corrupt"):
        assert store.get(key("small")) is None
    store.put(key("new"), [b"x"])
    assert [each.key for each in store.entries()] == [key("new")]


def test_a_planted_journal_deletes_nothing(store: DiskStore, outside: Path) -> None:
    """SQLite deletes the file that the end of a rollback journal names, once nothing refers to it."""
    database = directory_of(store) / "cache.db"
    content = bytearray(database.read_bytes())
    content[18:20] = b"\x01\x01"  # no write-ahead log, so that the journal would be looked at
    database.write_bytes(content)
    name = str(outside).encode()
    magic = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    header = magic + struct.pack(">IIIII", 0, 0, len(content) // 2048, 512, 2048)
    trailer = struct.pack(">I", len(content) // 2048 + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    (directory_of(store) / "cache.db-journal").write_bytes(header.ljust(512, b"\0") + trailer)
    with pytest.warns(EagerlyWarning, match="rollback journal"):
        assert store.get(key("small")) is None
    use(store)


class TestLinks:
    def test_a_link_in_the_place_of_a_file(self, store: DiskStore, outside: Path) -> None:
        file = next(directory_of(store).glob("??/*.value"))
        file.unlink()
        file.symlink_to(outside)
        with pytest.raises(UntrustedEntryError, match="link"):
            store.get(key("large"))
        use(store)

    def test_a_link_in_the_place_of_a_shard(self, store: DiskStore, outside: Path) -> None:
        file = next(directory_of(store).glob("??/*.value"))
        file.rename(directory_of(store) / "kept")
        file.parent.rmdir()
        file.parent.symlink_to(outside.parent)
        with pytest.raises(UntrustedEntryError, match="link"):
            store.get(key("large"))
        with pytest.raises(UntrustedEntryError, match="link"):
            store.put(key("large"), [b"x" * LARGE])
        use(store)

    def test_a_link_to_a_shard_with_our_names(self, store: DiskStore, outside: Path) -> None:
        (directory_of(store) / "00").symlink_to(outside.parent)
        store.put(key(1), [b"x"])
        use(store)

    @pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "cache.db-shm", "locks", "generation"])
    def test_a_link_in_the_place_of_ours(self, store: DiskStore, outside: Path, name: str) -> None:
        (directory_of(store) / name).unlink(missing_ok=True)
        (directory_of(store) / name).symlink_to(outside)
        with pytest.raises(UntrustedEntryError, match="link"):
            (store.try_lock if name == "locks" else store.get)(key("small"))
        use(store)
        if name == "locks":
            with pytest.raises(UntrustedEntryError):
                store.try_lock(key("small"))

    @pytest.mark.parametrize("name", [".gitignore", "cache.db.new", "cache.db-wal", "cache.db-shm"])
    def test_links_that_wait_for_the_first_write(self, tmp_path: Path, outside: Path, name: str) -> None:
        (tmp_path / "cache").mkdir(mode=0o700)
        (tmp_path / "cache" / name).symlink_to(outside)
        use(DiskStore(tmp_path / "cache"))

    def test_a_hard_link_is_replaced_and_not_written_through(self, store: DiskStore, outside: Path) -> None:
        file = next(directory_of(store).glob("??/*.value"))
        file.unlink()
        file.hardlink_to(outside)
        view = store.get(key("large"))
        assert isinstance(view, memoryview)
        view[:4] = b"evil"
        store.put(key("large"), [b"x" * LARGE])
        use(store)

    def test_a_named_pipe_does_not_hold_up_the_call(self, store: DiskStore) -> None:
        file = next(directory_of(store).glob("??/*.value"))
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(UntrustedEntryError, match="named pipe"):
            store.get(key("large"))
        use(store)


@pytest.fixture
def plain(tmp_path: Path) -> DiskStore:
    store = DiskStore(tmp_path / "cache")
    store.put(key("small"), [b"small"])
    store.put(key("large"), [b"L" * LARGE])
    return store


def places(store: DiskStore) -> dict[str, Path]:
    directory = directory_of(store)
    file = next(directory.glob("??/*.value"))
    return {"directory": directory, "shard": file.parent, "file": file, "index": directory / "cache.db"}


class TestOwners:
    @pytest.mark.parametrize("where", ["directory", "shard", "file"])
    @pytest.mark.parametrize("mode", [0o020, 0o002])
    def test_what_others_can_write_is_refused(self, plain: DiskStore, where: str, mode: int) -> None:
        place = places(plain)[where]
        place.chmod(place.stat().st_mode | mode)
        with pytest.raises(UntrustedEntryError) as caught:
            plain.get(key("large"))
        assert str(place) in str(caught.value)
        assert f"chmod go-w {place}" in str(caught.value)
        place.chmod(place.stat().st_mode & ~0o022)
        assert plain.get(key("large")) is not None
        assert plain.stats()[:3] == (1, 0, 1)

    @pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
    @pytest.mark.parametrize("is_open", [True, False])
    def test_so_is_an_index_in_a_directory_that_others_can_enter(
        self, plain: DiskStore, suffix: str, is_open: bool
    ) -> None:
        directory_of(plain).chmod(0o755)
        assert plain.get(key("small")) == b"small"
        index = directory_of(plain) / f"cache.db{suffix}"
        index.chmod(0o666)
        with pytest.raises(UntrustedEntryError, match="0666"):
            (plain if is_open else DiskStore(plain.path)).get(key("small"))

    def test_writing_is_refused_too(self, plain: DiskStore) -> None:
        directory_of(plain).chmod(0o777)
        for action in (
            lambda: plain.put(key(1), [b"x"]),
            lambda: plain.delete(key("small")),
            plain.clear,
            plain.stats,
            lambda: list(plain.entries()),
            lambda: plain.try_lock(key(1)),
        ):
            with pytest.raises(UntrustedEntryError, match="0777"):
                action()

    def test_a_parent_that_others_can_write_to_is_fine(self, plain: DiskStore) -> None:
        directory_of(plain).parent.chmod(0o1777)
        assert plain.get(key("small")) == b"small"

    @needs_root
    @pytest.mark.parametrize("where", ["directory", "shard", "file"])
    def test_what_belongs_to_another_user_is_refused(self, plain: DiskStore, where: str) -> None:
        os.chown(places(plain)[where], STRANGER, STRANGER)
        with pytest.raises(UntrustedEntryError, match=f"belongs to user {STRANGER}.*signing_key"):
            plain.get(key("large"))

    @needs_root
    def test_with_a_signing_key_it_is_not(self, plain: DiskStore) -> None:
        for place in places(plain).values():
            os.chown(place, STRANGER, STRANGER)
            place.chmod(0o777)
        signed = DiskStore(plain.path, signing_key=b"secret" * 3)
        assert signed.get(key("small")) == b"small"
        assert bytes(signed.get(key("large")) or b"") == b"L" * LARGE
        signed.put(key("new"), [b"x"])
