"""Attacks on tasks that cache and save: nothing planted runs, and callers get the right value and hear why.

What stores, envelopes and formats refuse by themselves is tested beside them. Here the attacker has written into the
place that a task uses, or is an argument or a result of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import functools
import io
import json
import logging
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import Settings, load_dataset, session, task
from eagerly.cache import DiskStore
from eagerly.cache._codec import pack_item
from eagerly.cache._envelope import Envelopes
from eagerly.errors import (
    CorruptEntryError,
    DatasetError,
    DatasetKeyError,
    EagerlyWarning,
    UnkeyableArgument,
    UntrustedEntryError,
)
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds
from watched_calls import LARGE, Calls, Entries, both_sizes

STRANGER = 12345
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give files away")


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, place: Path, size: int = 0) -> None:
        self.place, self.filling = place, "x" * size

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


class Attacked(Calls):
    """Calls of a task for whose first argument somebody has planted an entry."""

    trace: Path

    def plant(self, content: bytes) -> None:
        self.store.close()
        assert Entries(self.path).change(lambda _: content) == 1
        self.reopen()

    def forged(self, envelopes: Envelopes, **options: Any) -> bytes:
        """A valid entry whose value is a bomb."""
        key = bytes.fromhex(self.task.cache_key(1))
        bomb = Bomb(self.trace, self.size)
        if self.kind.is_stream:
            return b"".join(envelopes.pack_frames(key, [pack_item(bomb, safe=False)], **options))
        return b"".join(envelopes.pack(key, bomb, **options))

    def is_safe(self, kind: type[Exception], *reasons: str) -> None:
        """The next call computes, says why, once, and what was planted does not run."""
        assert self(1) == "miss"
        assert {type(error) for error in self.errors} == {kind}
        assert len(self.warned) == 1
        assert all(reason in self.warned[0] for reason in reasons), self.warned
        self.said()
        assert not self.trace.exists()


@pytest.fixture
def attacked(tmp_path: Path) -> Callable[..., Attacked]:
    def make(kind: Kind, **options: Any) -> Attacked:
        calls = Attacked(kind, tmp_path / "cache", **options)
        calls.trace = tmp_path / "executed"
        calls(1)
        return calls

    return make


Make = Callable[..., Attacked]


class TestPlanted:
    @both_sizes
    @all_kinds
    def test_forging_works(self, attacked: Make, kind: Kind, size: int, tmp_path: Path) -> None:
        """Who may write as this user runs code as this user: if this fails, the tests below show nothing."""
        calls = attacked(kind, size=size)
        calls.plant(calls.forged(Envelopes()))
        with contextlib.suppress(AssertionError):
            calls(1)
        assert calls.trace.exists()

    @both_sizes
    @all_kinds
    def test_a_bare_pickle(self, attacked: Make, kind: Kind, size: int) -> None:
        calls = attacked(kind, size=size)
        calls.plant(pickle.dumps(Bomb(calls.trace, size)))
        calls.is_safe(CorruptEntryError)
        assert calls(1) == "hit"

    def test_an_entry_of_another_key(self, attacked: Make) -> None:
        calls = attacked(Kind.SYNC)
        calls.plant(b"".join(Envelopes().pack(b"x" * 20, Bomb(calls.trace))))
        calls.is_safe(CorruptEntryError)

    def test_settings_rows_and_files(self, attacked: Make) -> None:
        """What diskcache as shipped would believe (CVE-2025-69872)."""
        calls = attacked(Kind.SYNC)
        calls.store.close()
        precious = calls.path.parent / "precious"
        precious.write_text("precious")
        with Entries(calls.path).index() as index:
            index.execute("INSERT INTO Settings VALUES ('disk_pickle_protocol', 5), ('eviction_policy', 'none')")
            index.execute("INSERT INTO Settings VALUES ('disk', ?)", (pickle.dumps(Bomb(calls.trace)),))
            index.execute("UPDATE Cache SET mode = 4, filename = ?", (f"../../{precious.name}",))
            index.execute(
                "INSERT INTO Cache (key, raw, store_time, access_time, tag, size, mode, filename, value)"
                " SELECT ?, 0, store_time, access_time, tag, 10, 4, ?, ? FROM Cache",
                (pickle.dumps(Bomb(calls.trace)), str(precious), pickle.dumps(Bomb(calls.trace))),
            )
        calls.reopen()
        for n in (1, 2, 3, 1):
            calls(n)
        calls.task.explain(1)
        calls.store.clear()
        calls(1)
        assert calls.errors == []
        assert not calls.trace.exists()
        assert precious.read_text() == "precious"


class TestOwners:
    """An entry that somebody else may have written is not looked at, and the warning says what to do."""

    @pytest.mark.parametrize("where", ["the folder", "the index", "the file"])
    @all_kinds
    def test_others_may_write(self, attacked: Make, kind: Kind, where: str) -> None:
        calls = attacked(kind, size=LARGE)
        calls.plant(calls.forged(Envelopes()))
        place = {
            "the folder": calls.path,
            "the index": calls.path / "cache.db",
            "the file": Entries(calls.path).files()[0],
        }[where]
        if where == "the index":  # in a folder that others may enter, it counts
            calls.path.chmod(0o755)
        place.chmod(0o777)
        calls.is_safe(UntrustedEntryError, str(place), "mode 0777", f"`chmod go-w {place}`", "signing_key")
        assert calls(1) == ("hit" if where == "the file" else "miss")  # a file is replaced, a folder is not

    def test_what_the_warning_says_helps(self, attacked: Make) -> None:
        calls = attacked(Kind.SYNC)
        calls.path.chmod(0o777)
        assert calls(1) == "miss"
        os.system(calls.warned[0].partition("`")[2].partition("`")[0])  # what people are told to type
        assert calls(1) == "hit"

    @needs_root
    @both_sizes
    def test_it_belongs_to_another(self, attacked: Make, size: int) -> None:
        calls = attacked(Kind.SYNC, size=size)
        calls.plant(calls.forged(Envelopes()))
        for place in (calls.path, *calls.path.rglob("*")):
            os.chown(place, STRANGER, STRANGER)
        calls.is_safe(UntrustedEntryError, f"belongs to user {STRANGER}", "directory of your own", "signing_key")

    def test_the_default_place_is_private(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("EAGERLY_CACHE_STORE", raising=False)
        before = os.umask(0)
        try:
            with session():
                assert kept(1) == [1, "x" * LARGE]
        finally:
            os.umask(before)
        place = tmp_path / ".eagerly" / "cache"
        modes = {path.relative_to(place).as_posix(): path.stat().st_mode & 0o777 for path in place.rglob("*")}
        assert place.stat().st_mode & 0o777 == 0o700
        assert {mode for name, mode in modes.items() if "." in name or name in ("locks", "generation")} == {0o600}
        assert (place / ".gitignore").read_text() == "*\n"


@task(cache=True, cache_version="1")
def kept(n: int) -> list[Any]:
    return [n, "x" * LARGE]


def altered_expiry(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[28:36] = bytes(6) + b"\xf0\x7f"  # never
    return bytes(changed)


class TestSigned:
    @both_sizes
    @all_kinds
    def test_what_was_not_signed_with_the_key_is_replaced(self, attacked: Make, kind: Kind, size: int) -> None:
        calls = attacked(kind, size=size, signing_key=KEY, namespace="ours")
        bombs = {
            "unsigned": calls.forged(Envelopes()),
            "another key": calls.forged(Envelopes(signing_key=OTHER_KEY, namespace="ours")),
            "another namespace": calls.forged(Envelopes(signing_key=KEY, namespace="theirs")),
        }
        for name, bomb in bombs.items():
            calls.plant(bomb)
            calls.is_safe(UntrustedEntryError)
            assert calls(1) == "hit", name

    def test_altered_moved_and_expired(self, attacked: Make) -> None:
        calls = attacked(Kind.SYNC, signing_key=KEY)
        calls.task = calls.task.options(cache_ttl=1_000_000)
        calls.store.clear()
        calls(1)
        contents: list[bytes] = []
        Entries(calls.path).change(lambda content: contents.append(content) or content)
        calls.plant(altered_expiry(contents[0]))
        calls.is_safe(UntrustedEntryError)
        calls.store.clear()
        calls(2)
        calls.plant(contents[0])
        assert calls(2) == "miss"
        assert type(calls.errors[0]) in (UntrustedEntryError, CorruptEntryError)

    @needs_root
    def test_entries_of_other_people_are_believed_if_signed(self, attacked: Make) -> None:
        calls = attacked(Kind.SYNC, signing_key=KEY, size=LARGE)
        for place in (calls.path, *calls.path.rglob("*")):
            os.chown(place, STRANGER, STRANGER)
        calls.path.chmod(0o777)
        assert calls(1) == "hit"
        calls.plant(calls.forged(Envelopes()))
        calls.is_safe(UntrustedEntryError)

    @both_sizes
    @all_kinds
    def test_safe(self, attacked: Make, kind: Kind, size: int) -> None:
        calls = attacked(kind, size=size, safe=True)
        assert calls(1) == "hit"
        calls.plant(calls.forged(Envelopes()))
        calls.is_safe(UntrustedEntryError)
        assert calls(1) == "hit"


class TestSecret:
    """`cache_signing_key` is shown to nobody. It travels in pickles of stores, as workers need it."""

    SECRET = "s3cret-of-at-least-16-bytes"

    def test_it_is_not_shown(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.chdir(tmp_path)
        shown: list[object] = []
        hooks = RecordingHooks()
        settings = Settings(cache_signing_key=self.SECRET, cache_store=str(tmp_path / "cache"))
        with warnings.catch_warnings(record=True) as caught, session(settings=settings, plugins=[hooks]) as opened:
            warnings.simplefilter("always")
            kept(1)
            Entries(tmp_path / "cache").change(lambda content: content[:50])
            kept(1)
            kept.refresh(1)
            kept.invalidate(1)
            shown += [kept.explain(1), kept.explain(2), opened, opened.settings, settings, hooks.events]
        stored = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert len(stored) >= 3
        assert caught
        text = "\n".join([*map(repr, shown), *map(str, shown), caplog.text, *(str(each.message) for each in caught)])
        assert self.SECRET not in text
        assert not any(self.SECRET.encode() in content for content in stored)

    def test_nor_in_pickles_of_tasks(self, tmp_path: Path) -> None:
        with session(settings=Settings(cache_signing_key=self.SECRET, cache_store=str(tmp_path / "cache"))):
            kept(1)
            assert self.SECRET.encode() not in pickle.dumps(kept)
        store = DiskStore(tmp_path / "cache", signing_key=self.SECRET.encode())
        assert self.SECRET not in repr(store) + str(kept.options(cache_store=store))
        assert self.SECRET.encode() in pickle.dumps(store)  # a worker that is sent the store has to sign too

    def test_nor_by_the_command_line(self, tmp_path: Path) -> None:
        import subprocess

        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EAGERLY_CACHE_SIGNING_KEY": self.SECRET}
        for arguments in (["config"], ["config", "--help"], ["cache", "stats"], ["cache", "list"]):
            done = subprocess.run(
                [sys.executable, "-m", "eagerly", *arguments],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert self.SECRET not in done.stdout + done.stderr, arguments


# Datasets


HOSTILE_KEYS = [
    *("..", "../x", "a/../../x", "/etc/passwd", "a\\..\\..\\x", "C:x", "C:\\x", "\\\\host\\share", "x\0y"),
    *(".eagerly/manifests/x", "", ".", "a//b", "./a", "a/", "~/x", "con/../../x", "..%2fx/../..", "\ud800"),
]


@task(dataset="out/{name}.txt")
def named(name: object) -> str:
    ran.append(name)
    return "text"


@task(dataset="out/{name:path}")
def placed(name: object) -> str:
    ran.append(name)
    return "text"


ran: list[object] = []


class TestDatasets:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Iterator[Path]:
        """Beside what must stay as it is."""
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "x").write_text("precious")
        (tmp_path / "base").mkdir()
        with session(dataset_store=tmp_path / "base"):
            yield tmp_path / "base"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "outside"]
        assert [path.name for path in (tmp_path / "outside").iterdir()] == ["x"]
        assert (tmp_path / "outside" / "x").read_text() == "precious"

    @pytest.mark.parametrize("made", [named, placed], ids=["plain", "path"])
    def test_arguments_lead_nowhere_else(self, base: Path, made: Any) -> None:
        ran.clear()
        refused = 0
        for name in HOSTILE_KEYS:
            try:
                assert made(name) == "text", repr(name)
            except DatasetKeyError:
                refused += 1
        assert refused > len(HOSTILE_KEYS) // 2
        assert len(ran) + refused == len(HOSTILE_KEYS)  # what is refused does not run
        for path in base.rglob("*"):
            assert path.resolve().is_relative_to(base)

    def test_links(self, base: Path) -> None:
        (base / "out").symlink_to("../outside")
        for made in (named, placed):
            with pytest.raises(DatasetError, match="leads out of the store"):
                made("x")
        with pytest.raises(DatasetError, match="leads out of the store"):
            load_dataset("out/x")

    def test_a_link_in_the_place_of_the_file(self, base: Path) -> None:
        (base / "out").mkdir()
        (base / "out" / "x.txt").symlink_to("../../outside/x")
        with pytest.raises(DatasetError) as refused:
            named("x")
        assert refused.value.result in (None, "text")

    @pytest.mark.parametrize("how", ["pickle", "joblib", "os:system", "../../x", "json", "npy"])
    def test_a_manifest_makes_no_pickle_of_a_file(self, base: Path, tmp_path: Path, how: str) -> None:
        named("x")
        trace = base / "executed"
        file, (manifest,) = base / "out/x.txt", (base / ".eagerly/datasets/manifests").rglob("x.txt.json")
        file.write_bytes(pickle.dumps(Bomb(trace)))
        found = json.loads(manifest.read_text())
        status = file.stat()
        found["saves"][0] |= {"format": how, "python_type": "os.system", "size": status.st_size}
        found["saves"][0] |= {"inode": status.st_ino, "modified": status.st_mtime_ns}
        manifest.write_text(json.dumps(found))
        for return_type in (None, str, list):
            with pytest.raises(DatasetError):
                load_dataset("out/x.txt", return_type)
        assert not trace.exists()
        assert named("x") == "text"  # and is replaced
        assert load_dataset("out/x.txt") == "text"

    @pytest.mark.parametrize("made", [named, placed], ids=["plain", "path"])
    def test_arguments_that_lie_about_their_text(self, base: Path, made: Any) -> None:
        class Leads:
            def __str__(self) -> str:
                return "../../outside/x"

        ran.clear()
        with pytest.raises(DatasetKeyError):
            made(Leads())
        assert ran == []

    @pytest.mark.parametrize("made", [named, placed], ids=["plain", "path"])
    def test_arguments_that_cannot_be_shown(self, base: Path, made: Any) -> None:
        with pytest.raises(DatasetKeyError):
            made(with_methods(__format__=fail, __str__=fail, __repr__=fail))


# Arguments and results


def fail(*_: object, **__: object) -> Any:
    raise ValueError("no")


def with_methods(**methods: Any) -> Any:
    return type("Hostile", (), methods)()


class LyingMeta(type):
    def __hash__(cls) -> int:
        raise ValueError("no")

    def __eq__(cls, other: object) -> bool:
        raise ValueError("no")


class RaisingMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ValueError(name)


class OfLyingMeta(metaclass=LyingMeta):
    pass


class OfRaisingMeta(metaclass=RaisingMeta):
    pass


class Liars:
    """Builtins whose methods lie; what they hold is asked of the builtin, or they are refused."""

    class Text(str):
        __slots__ = ()
        __eq__ = __hash__ = encode = __iter__ = fail

    class Number(int):
        __eq__ = __hash__ = to_bytes = bit_length = __index__ = fail

    class Bytes(bytes):
        __len__ = __bytes__ = __iter__ = fail

    class List(list):
        __len__ = __iter__ = fail

    class Dict(dict):
        __len__ = __iter__ = items = keys = fail

    class Set(set):
        __len__ = __iter__ = fail

    class Tuple(tuple):
        __slots__ = ()
        __len__ = __iter__ = fail


class Endless:
    def __reduce_ex__(self, protocol: object) -> Any:
        return Endless, (Endless(),)


class EndlessState:
    def __getstate__(self) -> Any:
        return {"x": EndlessState()}


class EndlessKey:
    def __cache_key__(self) -> Any:
        return EndlessKey()


class ItsOwnKey:
    def __cache_key__(self) -> Any:
        return self


class Color(enum.Enum):
    RED = 1
    value = property(fail)  # type: ignore[assignment]


@dataclasses.dataclass
class Reluctant:
    x: int

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise ValueError("no")
        return object.__getattribute__(self, name)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def containing_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def opened(mode: str) -> Any:
    return Path(os.devnull).open(mode)


HOSTILE: dict[str, Callable[[], Any]] = {
    "__reduce_ex__ raises": lambda: with_methods(__reduce_ex__=fail),
    "__reduce_ex__ returns None": lambda: with_methods(__reduce_ex__=lambda *_: None),
    "__reduce_ex__ returns a number": lambda: with_methods(__reduce_ex__=lambda *_: 5),
    "__reduce_ex__ returns nothing": lambda: with_methods(__reduce_ex__=lambda *_: ()),
    "__reduce_ex__ returns too much": lambda: with_methods(__reduce_ex__=lambda *_: (1,) * 9),
    "__reduce_ex__ names something else": lambda: with_methods(__reduce_ex__=lambda *_: "os.system"),
    "__reduce_ex__ never ends": Endless,
    "__getstate__ never ends": EndlessState,
    "__getstate__ raises": lambda: with_methods(__getstate__=fail),
    "__cache_key__ raises": lambda: with_methods(__cache_key__=fail),
    "__cache_key__ is no method": lambda: with_methods(__cache_key__=5),
    "__cache_key__ gives a generator": lambda: with_methods(__cache_key__=lambda self: (x for x in ())),
    "__cache_key__ never ends": EndlessKey,
    "__cache_key__ is the object": ItsOwnKey,
    "__hash__ and __eq__ raise": lambda: with_methods(__hash__=fail, __eq__=fail),
    "in a set, __eq__ raises": lambda: {with_methods(__hash__=lambda _: 1, __eq__=fail)},
    "__class__ raises": lambda: with_methods(__class__=property(fail)),
    "__class__ lies": lambda: with_methods(__class__=property(lambda _: int)),
    "__getattribute__ raises": lambda: with_methods(__getattribute__=fail),
    "__getattr__ has everything": lambda: with_methods(__getattr__=lambda *_: fail),
    "__str__ and __repr__ raise": lambda: with_methods(__str__=fail, __repr__=fail),
    "a metaclass that cannot be hashed": lambda: object.__new__(OfLyingMeta),
    "such a class": lambda: OfLyingMeta,
    "a metaclass that has nothing": lambda: object.__new__(OfRaisingMeta),
    "__module__ is a number": lambda: with_methods(__module__=5),
    "str": lambda: Liars.Text("x"),
    "int": lambda: Liars.Number(5),
    "bytes": lambda: Liars.Bytes(b"x"),
    "list": lambda: Liars.List([1]),
    "dict": lambda: Liars.Dict(a=1),
    "set": lambda: Liars.Set({1}),
    "tuple": lambda: Liars.Tuple((1,)),
    "enum": lambda: Color.RED,
    "dataclass": lambda: Reluctant(1),
    "nested deeply": lambda: nested(100_000),
    "a list in itself": containing_itself,
    "a huge int": lambda: 1 << 3_000_000,
    "a huge negative int": lambda: -(1 << 3_000_000),
    "a lone surrogate": lambda: "\ud800",
    "NUL": lambda: "\0",
    "generator": lambda: (x for x in ()),
    "iterator": lambda: iter([1]),
    "lambda": lambda: lambda: 1,
    "lock": threading.Lock,
    "thread": threading.current_thread,
    "frame": lambda: sys._getframe(),
    "released view": released,
    "partial of itself": lambda: functools.partial(fail, functools.partial(fail)),
    "property": lambda: property(fail),
    "open file": lambda: opened("rb"),
    "StringIO": lambda: io.StringIO("x"),
}
REFUSED_ALWAYS = {name for name in HOSTILE if "never ends" in name or name in ("generator", "lock", "nested deeply")}


@task(cache=True)
def takes(x: object) -> int:
    return 42


@task(cache=True)
async def atakes(x: object) -> int:
    return 42


@task(cache=True)
def streams(x: object) -> Iterator[int]:
    yield 42


class TestHostileArguments:
    @pytest.mark.parametrize("name", list(HOSTILE))
    def test_the_call_is_refused_or_made(self, name: str, cache: DiskStore) -> None:
        """`UnkeyableArgument` is the only error that a key may cause."""
        ways: list[Callable[[Any], Any]] = [
            takes,
            takes,  # now that its key maker is there
            lambda value: asyncio.run(_call(atakes, value)),
            lambda value: sum(streams(value)),
            lambda value: takes.explain(value) and 42,
            lambda value: takes.is_cached(value) in (True, False) and 42,
            lambda value: takes.invalidate(value) in (True, False) and 42,
            lambda value: takes.refresh(value),
        ]
        with session(cache_store=cache):
            for way in ways:
                value = HOSTILE[name]()
                refusal: UnkeyableArgument | None = None
                try:
                    assert way(value) == 42
                except UnkeyableArgument as error:
                    refusal = error
                close(value)
                if refusal is None:
                    assert name not in REFUSED_ALWAYS
                else:
                    assert refusal.path.startswith("argument 'x'")
                    assert len(str(refusal)) < 2000

    def test_interruptions_go_through(self, cache: DiskStore) -> None:
        def interrupt(*_: object) -> Any:
            raise KeyboardInterrupt

        with session(cache_store=cache), pytest.raises(KeyboardInterrupt):
            takes(with_methods(__reduce_ex__=interrupt))


async def _call(made: Any, value: Any) -> Any:
    return await made(value)


@pytest.fixture
def cache(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "cache")


class Mutating:
    def __init__(self) -> None:
        self.asked = 0

    def __getstate__(self) -> Any:
        self.asked += 1
        return {"asked": self.asked}


class Unrestorable:
    def __setstate__(self, state: object) -> None:
        raise ValueError("no")

    def __getstate__(self) -> Any:
        return {"x": 1}


def local_class() -> Any:
    @dataclasses.dataclass
    class Local:
        x: int = 1

    return Local()


STORED, COMPUTED = "stored", "computed each time"

RESULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (threading.Lock, COMPUTED),
    "__reduce__ raises": (lambda: with_methods(__reduce_ex__=fail), COMPUTED),
    "__reduce__ never ends": (Endless, COMPUTED),
    "__reduce__ names nothing": (lambda: with_methods(__reduce_ex__=lambda *_: "nothing"), COMPUTED),
    "__setstate__ raises": (Unrestorable, COMPUTED),
    "__getstate__ mutates": (Mutating, STORED),
    "__class__ raises": (lambda: with_methods(__class__=property(fail)), COMPUTED),
    "__getattribute__ raises": (lambda: with_methods(__getattribute__=fail), COMPUTED),
    "__repr__ raises": (lambda: with_methods(__slots__=("l",), __repr__=fail, __reduce_ex__=fail), COMPUTED),
    "a list in itself": (containing_itself, STORED),
    "lambda": (lambda: lambda: 5, STORED),
    "local class": (local_class, STORED),
    "generator": (lambda: (x for x in [1]), COMPUTED),
    "nested deeply": (lambda: nested(100_000), COMPUTED),
    "open binary file": (lambda: opened("rb"), COMPUTED),
    "open file": (lambda: opened("r"), COMPUTED),
    "a view": (lambda: memoryview(b"abc"), COMPUTED),
    "a file within": (lambda: {"file": opened("r")}, COMPUTED),
    "None": (lambda: None, STORED),
}


def close(value: Any) -> None:
    for each in value.values() if type(value) is dict else [value]:
        if type.__dict__["__module__"].__get__(type(each)) == "_io":  # without asking a metaclass that may lie
            each.close()


class TestHostileResults:
    @pytest.mark.parametrize("name", RESULTS)
    @pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC, Kind.STREAM], ids=lambda kind: kind.value)
    @pytest.mark.filterwarnings("ignore:task .* returned a generator")
    def test_the_caller_gets_it(self, name: str, kind: Kind, cache: DiskStore, request: pytest.FixtureRequest) -> None:
        make, what = RESULTS[name]
        made: list[Any] = []

        def body(n: int) -> Any:
            made.append(make())
            return made[-1]

        request.addfinalizer(lambda: [close(each) for each in (*made, *others)])
        others: list[Any] = []
        called = kind.make(body, name="work", cache=True, cache_version="1")
        hooks = RecordingHooks()
        with warnings.catch_warnings(record=True) as caught, session(cache_store=cache, plugins=[hooks]):
            warnings.filterwarnings("always", message="the cache failed", category=EagerlyWarning)
            first = kind.run(called, 1)
            assert first is made[0]
            others += [kind.run(called, 1), kind.run(called, 1)]
        hooks.verify()
        assert [type(each) is type(first) or type(each).__name__ == type(first).__name__ for each in others] == [
            True
        ] * 2
        if what is COMPUTED:
            assert [each is mine for each, mine in zip(others, made[1:], strict=True)] == [True] * 2
            assert hooks.names().count("on_cache_error") >= 2
        else:
            assert len(made) == 1
        assert len([each for each in caught if "the cache failed" in str(each.message)]) == (what is COMPUTED)
