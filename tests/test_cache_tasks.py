"""What people ask a cached task, and what makes two calls the same: arguments, methods, code, versions, modes, time."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eagerly
from eagerly import Settings, current_session, session, task
from eagerly.cache import DiskStore, Explanation, MemoryStore, _recording
from eagerly.errors import CacheError, OptionTypeError, OptionValueError, UnkeyableArgument
from eagerly.testing import RecordingHooks, instant_clock
from flights import PATIENCE
from kinds import KINDS, Kind, all_kinds
from stored_calls import DictStore


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "cache")


@pytest.fixture
def hooks(store: DiskStore) -> Iterator[RecordingHooks]:
    recording = RecordingHooks()
    with session(cache_store=store, plugins=[recording]):
        yield recording
    recording.verify()


@pytest.fixture
def runs() -> list[Any]:
    return []


def counting(kind: Kind, runs: list[Any], **options: Any) -> Any:
    def body(x: Any, y: Any = 2) -> Any:
        runs.append((x, y))
        return [x, y]

    if kind is Kind.SYNC:

        def work(x: Any, y: Any = 2) -> Any:
            return body(x, y)

    elif kind is Kind.ASYNC:

        async def work(x: Any, y: Any = 2) -> Any:
            return body(x, y)

    elif kind is Kind.STREAM:

        def work(x: Any, y: Any = 2) -> Any:
            yield body(x, y)

    else:

        async def work(x: Any, y: Any = 2) -> Any:
            yield body(x, y)

    return task(work, **{"cache": True, **options})


def refreshed(kind: Kind, work: Any, *args: Any) -> Any:
    """`refresh`, run to its end."""
    return kind.run(lambda *args: work.refresh(*args), *args)


@all_kinds
class TestControls:
    def test_before_and_after_a_call(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        assert not work.is_cached(1)
        assert not work.invalidate(1)
        assert kind.run(work, 1) == [1, 2]
        assert work.is_cached(1)
        assert not work.is_cached(2)
        assert kind.run(work, 1) == [1, 2]
        assert runs == [(1, 2)]
        assert work.invalidate(1)
        assert not work.is_cached(1)
        assert kind.run(work, 1) == [1, 2]
        assert runs == [(1, 2)] * 2

    def test_refresh(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        kind.run(work, 1)
        assert refreshed(kind, work, 1) == [1, 2]
        assert runs == [(1, 2)] * 2
        kind.run(work, 1)
        assert runs == [(1, 2)] * 2
        assert hooks.names("work").count("on_cache_miss") == 2

    def test_cache_key(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        key = work.cache_key(1)
        assert bytes.fromhex(key).hex() == key
        assert len(key) == 40
        assert key == work.cache_key(1, 2) == work.cache_key(x=1) == work.cache_key(y=2, x=1)
        assert key != work.cache_key(1, 3)
        kind.run(work, 1)
        assert hooks.of("work")[0].key == key
        assert runs == [(1, 2)]

    def test_one_call_however_it_is_spelled(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        for call in (
            lambda: kind.run(work, 1),
            lambda: kind.run(work, 1, 2),
            lambda: kind.run(work, x=1),
            lambda: kind.run(work, y=2, x=1),
        ):
            assert call() == [1, 2]
        assert runs == [(1, 2)]

    def test_explain(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        nothing = work.explain(1)
        assert isinstance(nothing, Explanation)
        assert (nothing.hit, nothing.differences) == (False, ())
        assert "nothing of" in nothing.reason
        kind.run(work, 1)
        hit = work.explain(1)
        assert hit.hit
        assert hit.key == work.cache_key(1)
        assert str(hit).startswith("hit: a result is stored in DiskStore(")
        miss = work.explain(1, y=3)
        assert [(each.kind, each.name) for each in miss.differences] == [("argument", "y")]
        assert "argument 'y' has another value" in str(miss)
        assert runs == [(1, 2)]

    def test_without_cache(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs, cache=False)
        for method in ("cache_key", "is_cached", "invalidate", "refresh", "explain"):
            with pytest.raises(OptionValueError, match=rf"{method}\(\): the task is not cached; write @task\(cache="):
                getattr(work, method)(1)

    def test_wrong_arguments(self, kind: Kind, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        for method in ("cache_key", "is_cached", "invalidate", "explain"):
            with pytest.raises(TypeError, match="z"):
                getattr(work, method)(1, z=3)

    def test_modes(self, kind: Kind, runs: list[Any], store: DiskStore, hooks: RecordingHooks) -> None:
        work = counting(kind, runs)
        with session(cache_mode="off"):
            kind.run(work, 1)
            kind.run(work, 1)
            assert not work.explain(1).hit
        assert len(runs) == 2
        assert not work.is_cached(1)
        with session(cache_mode="read"):
            kind.run(work, 1)
            assert not work.is_cached(1)
        kind.run(work, 1)
        assert len(runs) == 4
        with session(cache_mode="read"):
            kind.run(work, 1)
        assert len(runs) == 4
        with session(cache_mode="refresh"):
            assert not work.explain(1).hit
            kind.run(work, 1)
        kind.run(work, 1)
        assert len(runs) == 5
        assert store.stats().entries == 1

    def test_ttl(self, kind: Kind, runs: list[Any], store: DiskStore) -> None:
        clock = instant_clock()
        work = counting(kind, runs, cache_ttl=timedelta(minutes=1))
        assert work.cache_ttl == 60
        with session(cache_store=store, clock=clock):
            kind.run(work, 1)
            clock.advance(59)
            kind.run(work, 1)
            assert runs == [(1, 2)]
            assert work.explain(1).hit
            clock.advance(1)
            assert not work.is_cached(1)
            explained = work.explain(1)
            assert [each.kind for each in explained.differences] == ["expired"]
            assert "it expired on 20" in str(explained)
            kind.run(work, 1)
            assert runs == [(1, 2)] * 2
            assert work.is_cached(1)

    def test_a_store_of_its_own(self, kind: Kind, runs: list[Any], tmp_path: Path) -> None:
        """A path, a URL or a store, with no session around."""
        made = MemoryStore()
        for options in (
            {"cache": tmp_path / "a"},
            {"cache": True, "cache_store": str(tmp_path / "b")},
            {"cache": made},
        ):
            runs.clear()
            work = counting(kind, runs, **options)
            assert kind.run(work, 1) == kind.run(work, 1) == [1, 2]
            assert runs == [(1, 2)]
            assert work.is_cached(1)
            with session(cache_store=None):
                kind.run(work, 1)
            assert runs == [(1, 2)]
        assert made.stats().entries == 1

    def test_nowhere(self, kind: Kind, runs: list[Any]) -> None:
        work = counting(kind, runs)
        with session(cache_store=None):
            kind.run(work, 1)
            kind.run(work, 1)
            assert runs == [(1, 2)] * 2
            assert not work.is_cached(1)
            assert not work.invalidate(1)
            assert "no cache store here" in work.explain(1).reason
            assert len(work.cache_key(1)) == 40

    def test_outside_of_a_session(self, kind: Kind, runs: list[Any]) -> None:
        work = counting(kind, runs)
        kind.run(work, 1)
        kind.run(work, 1)
        assert runs == [(1, 2)] * 2
        assert not work.is_cached(1)


class TestModesAndSettings:
    def test_is_cached_tells_what_a_call_would_find(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        work(1)
        for mode, found in (("on", True), ("read", True), ("off", False), ("refresh", False)):
            with session(cache_mode=mode):  # type: ignore[arg-type]
                assert work.is_cached(1) is found
                assert work.explain(1).hit is found

    def test_from_settings_and_environment(
        self, runs: list[Any], store: DiskStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        work = counting(Kind.SYNC, runs)
        with session(cache_store=store, settings=Settings(cache_mode="off")):
            work(1)
            work(1)
        assert len(runs) == 2
        monkeypatch.setenv("EAGERLY_CACHE_MODE", "refresh")
        with session(cache_store=store):
            work(1)
            work(1)
        assert len(runs) == 4
        monkeypatch.setenv("EAGERLY_CACHE_STORE", str(tmp_path / "other"))
        monkeypatch.setenv("EAGERLY_CACHE_MODE", "on")
        with session() as here:
            assert repr(here.cache_store) == f"DiskStore({str(tmp_path / 'other')!r})"
            work(1)
            work(1)
        assert len(runs) == 5

    def test_the_default_store(self, runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("EAGERLY_CACHE_STORE", raising=False)
        monkeypatch.chdir(tmp_path)
        work = counting(Kind.SYNC, runs)
        with session() as here:
            assert current_session() is here
            (tmp_path / "elsewhere").mkdir()
            monkeypatch.chdir(tmp_path / "elsewhere")  # the place is that of when the session was opened
            work(1)
            work(1)
        assert runs == [(1, 2)]
        assert (tmp_path / ".eagerly" / "cache").is_dir()
        assert not (tmp_path / "elsewhere" / ".eagerly").exists()

    def test_inner_sessions_inherit(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        work(1)
        with session(name="inner"):
            work(1)
        with session(cache_mode="refresh"), session(name="inner"):
            work(1)
        assert len(runs) == 2


class TestWhatIsTheSame:
    def test_order_of_extras(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @task(cache=True)
        def work(*args: Any, **kwargs: Any) -> None:
            runs.append((args, kwargs))

        work(1, 2, a=1, b=2)
        work(1, 2, b=2, a=1)
        assert len(runs) == 1
        work(2, 1, a=1, b=2)
        work(1, 2, a=2, b=1)
        work(1, 2, 3)
        work((1, 2), 3)
        work(1, (2, 3))
        assert len(runs) == 6

    def test_types_are_kept_apart(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        values: list[Any] = [1, True, 1.0, "1", b"1", None, (1,), [1], {1}, frozenset({1}), 0.0, -0.0, np.int64(1)]
        for value in values * 2:
            work(value)
        assert len(runs) == len(values)

    def test_equal_values_built_differently(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        work({"a": 1, "b": [2]})
        work(dict([("b", [2]), ("a", 1)]))  # noqa: C406
        text = "".join(["x", "y"])
        work("xy")
        work(text)
        assert len(runs) == 2

    def test_none_is_a_hit(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = task(lambda x: runs.append(x), cache=True)
        assert work(1) is None
        assert work(1) is None
        assert runs == [1]
        assert work.is_cached(1)

    def test_errors_are_not_cached(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @task(cache=True)
        def work(x: int) -> None:
            runs.append(x)
            raise ValueError(x)

        for _ in range(2):
            with pytest.raises(ValueError, match="1"):
                work(1)
        assert runs == [1, 1]

    def test_functions_do_not_share(self, hooks: RecordingHooks) -> None:
        def make(result: str) -> Any:
            return task(lambda x: result, cache=True)

        one = task(lambda x: "one", cache=True)
        two = task(lambda x: "two", cache=True)
        closed = [make("three"), make("four")]
        assert [work(1) for work in (one, two, *closed, one, two, *closed)] == ["one", "two", "three", "four"] * 2

    def test_kinds_do_not_share(self, runs: list[Any], hooks: RecordingHooks) -> None:
        tasks = [counting(kind, runs) for kind in KINDS]
        assert len({work.cache_key(1) for work in tasks}) == len(KINDS)

    def test_ignored(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @task(cache=True, cache_ignore=("conn", "verbose"))
        def work(x: int, conn: Any, *, verbose: bool = False) -> int:
            runs.append(x)
            return x

        assert [work(1, threading.Lock()), work(1, conn=None, verbose=True)] == [1, 1]
        assert runs == [1]
        assert work.cache_ignore == {"conn", "verbose"}
        assert work.cache_key(1, None) != work.cache_key(2, None)

    def test_what_is_ignored_is_part_of_the_key(self, hooks: RecordingHooks) -> None:
        work = task(lambda a, b: [a, b], cache=True)
        without_a, without_b = work.options(cache_ignore=("a",)), work.options(cache_ignore=("b",))
        assert without_a.cache_key(1, 2) != without_b.cache_key(2, 1) != work.cache_key(2, 2)
        assert [without_a(1, 2), without_b(2, 1)] == [[1, 2], [2, 1]]

    def test_functions_of_other_names_do_not_share(self, hooks: RecordingHooks) -> None:
        """Not even with a pinned version, which replaces the code."""

        @task(cache=True, cache_version="1")
        def one(x: int) -> str:
            return "one"

        @task(cache=True, cache_version="1")
        def two(x: int) -> str:
            return "two"

        assert [one(1), two(1), one(1), two(1)] == ["one", "two"] * 2

    def test_lambdas_cannot_be_pinned(self) -> None:
        with pytest.raises(OptionValueError, match="cache_version"):
            task(lambda x: x, cache=True, cache_version="1")

    def test_unkeyable(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        with pytest.raises(UnkeyableArgument, match=r"argument 'y'.*\.*cache_ignore=\('y',\)|cache_ignore") as caught:
            work(1, {"lock": threading.Lock()})
        assert "argument 'y'" in caught.value.path
        with pytest.raises(UnkeyableArgument):
            work.cache_key(threading.Lock())
        assert runs == []

    def test_hash(self, runs: list[Any], hooks: RecordingHooks) -> None:
        seen: list[Any] = []

        def by_x(func: Any, inputs: dict[str, Any]) -> str:
            seen.append((func.__name__, dict(inputs)))
            return f"x={inputs['x']}"

        @task(cache=True, cache_hash=by_x)
        def work(x: int, y: Any = 2) -> int:
            runs.append(x)
            return x

        work(1, threading.Lock())
        work(x=1)
        assert runs == [1]
        assert work.cache_key(1) == "x=1"
        assert seen[-1] == ("work", {"x": 1, "y": 2})
        assert work.cache_hash is by_x

    @pytest.mark.parametrize("bad", [lambda func, inputs: 1, lambda func, inputs: inputs["z"], lambda func: "x"])
    def test_a_hash_that_fails(self, runs: list[Any], hooks: RecordingHooks, bad: Callable[..., Any]) -> None:
        work = counting(Kind.SYNC, runs, cache_hash=bad)
        with pytest.raises(UnkeyableArgument, match="cache_hash of "):
            work(1)
        assert runs == []

    def test_version(self, runs: list[Any], hooks: RecordingHooks) -> None:
        one = counting(Kind.SYNC, runs, cache_version="1")
        one(1)
        two = one.options(cache_version="2")
        assert two.cache_version == "2"
        explained = two.explain(1)
        assert ("version", "cache_version was '1', and is '2'") in [
            (each.kind, each.what) for each in explained.differences
        ]
        two(1)
        assert len(runs) == 2
        one(1)
        two(1)
        assert len(runs) == 2

    def test_copies_share(self, hooks: RecordingHooks) -> None:
        """What does not concern the cache does not concern the key."""
        noted.clear()
        work = _noting
        for copied in (work, work.options(name="other"), work.options(retries=3), work.options(tags=["a"])):
            assert copied(1) == 1
        assert noted == [1]
        work.options(cache=False)(1)
        assert noted == [1, 1]

    def test_who_sets_an_end_does_not_get_what_has_none(self, hooks: RecordingHooks) -> None:
        noted.clear()
        for ttl in (None, 60, 30):
            for _ in range(2):
                assert _noting.options(cache_ttl=ttl)(1) == 1
        assert noted == [1, 1, 1]

    def test_partials(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        functools.partial(work, 1)()
        functools.partial(work, y=2)(1)
        assert len(runs) == 1

        def add(x: int, y: int) -> int:
            runs.append("add")
            return x + y

        one = task(functools.partial(add, 1), cache=True, name="one")
        two = task(functools.partial(add, 2), cache=True, name="two")
        assert [one(5), two(5), one(5), two(5)] == [6, 7, 6, 7]
        assert runs.count("add") == 2


noted: list[int] = []


@task(cache=True)
def _noting(x: int) -> int:
    noted.append(x)
    return x


class TestMethods:
    def test_dataclass_fields(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @dataclasses.dataclass
        class Model:
            weight: float

            @task(cache=True)
            def predict(self, x: float) -> float:
                runs.append((self.weight, x))
                return self.weight * x

        assert Model(2).predict(3) == Model(2).predict(x=3) == Model.predict(Model(2), 3) == 6
        assert Model(3).predict(3) == 9
        assert runs == [(2, 3), (3, 3)]
        model = Model(2)
        assert model.predict.is_cached(3)
        model.weight = 5
        assert not model.predict.is_cached(3)
        assert model.predict(3) == 15

    def test_bound_methods_have_the_controls(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @dataclasses.dataclass
        class Model:
            weight: float

            @task(cache=True)
            def predict(self, x: float) -> float:
                runs.append(x)
                return self.weight * x

        bound = Model(2).predict
        key = bound.cache_key(3)
        assert key == Model.predict.cache_key(Model(2), 3)
        bound(3)
        assert bound.explain(3).hit
        assert [each.name for each in Model(4).predict.explain(3).differences] == ["self"]
        assert bound.refresh(3) == 6
        assert len(runs) == 2
        assert bound.invalidate(3)

    def test_cache_key_of_the_class(self, runs: list[Any], hooks: RecordingHooks) -> None:
        class Client:
            def __init__(self, url: str) -> None:
                self.url = url
                self.lock = threading.Lock()

            def __cache_key__(self) -> str:
                return self.url

            @task(cache=True)
            def fetch(self, page: int) -> str:
                runs.append(page)
                return f"{self.url}/{page}"

        assert Client("a").fetch(1) == Client("a").fetch(1) == "a/1"
        assert Client("b").fetch(1) == "b/1"
        assert len(runs) == 2

    def test_plain_attributes_and_never_the_address(self, runs: list[Any], hooks: RecordingHooks) -> None:
        class Plain:
            def __init__(self, value: Any) -> None:
                self.value = value

            @task(cache=True)
            def get(self) -> Any:
                runs.append(self.value)
                return self.value

        keys = {Plain(1).get.cache_key() for _ in range(20)}
        assert len(keys) == 1
        Plain(1).get()
        Plain(1).get()
        assert runs == [1]
        assert Plain(2).get() == 2
        with pytest.raises(UnkeyableArgument, match=r"argument 'self' -> \.value"):
            Plain(threading.Lock()).get()

    def test_subclasses_do_not_share(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @dataclasses.dataclass
        class Base:
            x: int

            def factor(self) -> int:
                return 1

            @task(cache=True)
            def scaled(self) -> int:
                return self.factor() * self.x

        @dataclasses.dataclass
        class Double(Base):
            def factor(self) -> int:
                return 2

        class Overriding(Base):
            @task(cache=True)
            def scaled(self) -> int:
                return 10 * self.x

        assert [Base(1).scaled(), Double(1).scaled(), Overriding(1).scaled()] == [1, 2, 10]
        assert [Base(1).scaled(), Double(1).scaled(), Overriding(1).scaled()] == [1, 2, 10]

    def test_class_and_static_methods(self, runs: list[Any], hooks: RecordingHooks) -> None:
        class Base:
            name = "base"

            @task(cache=True)
            @classmethod
            def which(cls, x: int) -> str:
                runs.append(cls.name)
                return f"{cls.name} {x}"

            @task(cache=True)
            @staticmethod
            def static(x: int) -> int:
                runs.append("static")
                return x

        class Sub(Base):
            name = "sub"

        for _ in range(2):
            assert [Base.which(1), Sub.which(1), Base().which(1)] == ["base 1", "sub 1", "base 1"]
            assert [Base.static(1), Sub().static(1)] == [1, 1]
        assert sorted(runs) == ["base", "static", "sub"]
        assert Base.which.is_cached(1)
        assert Base.static.is_cached(1)

    def test_async_methods(self, runs: list[Any], hooks: RecordingHooks) -> None:
        @dataclasses.dataclass
        class Client:
            url: str

            @task(cache=True)
            async def fetch(self, page: int) -> str:
                runs.append(page)
                return f"{self.url}/{page}"

            @task(cache=True)
            async def pages(self, count: int) -> Any:
                for page in range(count):
                    runs.append(page)
                    yield f"{self.url}/{page}"

        async def main() -> list[Any]:
            client = Client("a")
            results: list[Any] = [await client.fetch(1), await Client("a").fetch(1)]
            return results + [[page async for page in client.pages(2)] for _ in range(2)]

        assert asyncio.run(main()) == ["a/1", "a/1", ["a/0", "a/1"], ["a/0", "a/1"]]
        assert runs == [1, 0, 1]


class TestExplain:
    def test_the_nearest_of_several(self, hooks: RecordingHooks) -> None:
        work = task(lambda a, b, c: None, cache=True)
        work(1, 1, 1)
        work(2, 2, 1)
        explained = work.explain(2, 2, 2)
        assert [each.name for each in explained.differences] == ["c"]
        assert "the nearest of 2 stored results differs in 1:" in explained.reason

    def test_mode_and_no_store(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        work(1)
        with session(cache_mode="off"):
            assert "cache_mode='off'" in work.explain(1).reason
        with session(cache_mode="refresh"):
            assert "cache_mode='refresh'" in work.explain(1).reason
        with session(cache_store=None):
            assert "no cache store" in work.explain(1).reason

    def test_untrusted(self, runs: list[Any], store: DiskStore) -> None:
        work = counting(Kind.SYNC, runs)
        with session(cache_store=store):
            work(1)
        Path(store.path).chmod(0o777)
        with session(cache_store=DiskStore(store.path)):
            explained = work.explain(1)
        assert not explained.hit
        assert explained.reason.startswith(f"the store cannot be used: {store.path!r} has mode 0777")

    def test_what_the_code_covers(self, hooks: RecordingHooks) -> None:
        lock = threading.Lock()

        def helper() -> bool:
            return lock.locked()

        explained = task(lambda: helper(), cache=True).explain()
        assert any("helper" in name for name in explained.code)
        assert any("lock" in name for name in explained.skipped)
        assert "not covered:" in str(explained)

    def test_stores_that_cannot_list(self, runs: list[Any]) -> None:
        work = counting(Kind.SYNC, runs)
        with session(cache_store=DictStore()):
            work(1)
            assert work.explain(1).hit
            assert "nothing of" in work.explain(2).reason

    def test_a_broken_entry(self, runs: list[Any]) -> None:
        store = DictStore()
        work = counting(Kind.SYNC, runs)
        with session(cache_store=store):
            work(1)
            (key,) = store.data
            store.data[key] = b"nonsense"
            explained = work.explain(1)
            assert not explained.hit
            assert "cannot be used" in explained.reason

    def test_a_store_that_does_not_answer(self, runs: list[Any]) -> None:
        """Whether a result is stored, nobody knows: no word of one that cannot be used."""
        work = counting(Kind.SYNC, runs)
        with session(cache_store=DictStore(get=CacheError("cannot read: it did not answer"))):
            explained = work.explain(1)
        assert not explained.hit
        assert explained.reason == (
            "the store cannot be asked whether a result is stored: cannot read: it did not answer"
        )

    def test_edits_python_and_version(self, tmp_path: Path) -> None:
        """In fresh processes, as an edit is seen by the next one."""
        module = tmp_path / "edited.py"

        def run(helper: str, options: str, ask: str, argument: int = 1) -> list[str]:
            module.write_text(
                textwrap.dedent(f"""
                from eagerly import task

                LIMIT = 3

                def helper(x):
                    return {helper}

                @task(cache=True{options})
                def work(x):
                    return helper(x) + LIMIT
                """)
            )
            code = (
                "import edited; from eagerly import session\n"
                f"with session(cache_store='cache'): print(edited.work{ask}({argument}))"
            )
            done = subprocess.run(
                [sys.executable, "-B", "-c", code],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([_SOURCES, str(tmp_path)])},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        assert "nothing of edited.work is stored" in run("x", "", ".explain")[0]
        assert run("x", "", "") == ["4"]
        assert run("x", "", ".explain")[0].startswith("hit")
        edited = run("x + 1", "", ".explain")
        assert edited[0].startswith("miss")
        assert "  - the code or value of edited.helper has changed" in edited
        assert not any("edited.work has changed" in line for line in edited)
        assert run("x + 1", "", "") == ["5"]
        pinned = run("x + 2", ", cache_version='7'", ".explain")
        assert "  - cache_version was None, and is '7'" in pinned
        assert run("x + 2", ", cache_version='7'", "") == ["6"]
        assert run("x + 3", ", cache_version='7'", "") == ["6"]  # that is what pinning means


_SOURCES = str(Path(eagerly.__file__).parent.parent)


class TestProcesses:
    def test_a_pickled_task_finds_what_is_stored(self, tmp_path: Path) -> None:
        """The same key in another process, with another hash seed, and for a task that arrived there pickled."""
        module = tmp_path / "tasks_of_ours.py"
        module.write_text("from eagerly import task\n\n@task(cache=True)\ndef work(x, y):\n    return [x, y]\n")
        sys.path.insert(0, str(tmp_path))
        try:
            import tasks_of_ours  # type: ignore[import-not-found]

            with session(cache_store=tmp_path / "cache"):
                assert tasks_of_ours.work({"a": {"x", "y"}}, 3) == [{"a": {"x", "y"}}, 3]
                key = tasks_of_ours.work.cache_key({"a": {"x", "y"}}, 3)
            (tmp_path / "task").write_bytes(pickle.dumps(tasks_of_ours.work))
        finally:
            sys.path.remove(str(tmp_path))
        code = (
            "import pickle; from eagerly import session\n"
            "work = pickle.load(open('task', 'rb'))\n"
            "with session(cache_store='cache'):\n"
            "    print(work.cache_key({'a': {'y', 'x'}}, 3), work.is_cached({'a': {'x', 'y'}}, 3))\n"
        )
        for seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([_SOURCES, str(tmp_path)]),
                    "PYTHONHASHSEED": seed,
                },
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.stdout.split() == [key, "True"], done.stderr

    def test_tasks_with_stores_are_pickled(self, tmp_path: Path) -> None:
        store = DiskStore(tmp_path / "cache")
        with session(cache_store=store):
            _stored_here(1)
        copied = pickle.loads(pickle.dumps(_stored_here.options(cache_store=store)))
        assert copied.is_cached(1)
        assert copied.cache_store.path == store.path

    def test_large_results_are_writable_and_independent(self, tmp_path: Path, runs: list[Any]) -> None:
        @task(cache=True, cache_version="1")
        def large(x: int) -> Any:
            runs.append(x)
            return np.arange(12_500_000.0)

        with session(cache_store=tmp_path / "cache"):
            assert large(1).nbytes == 100_000_000
            first, second = large(1), large(1)
            assert first.flags.writeable
            first[:10] = -1
            assert second[0] == 0
            assert large(1)[0] == 0
        assert runs == [1]


@task(cache=True)
def _stored_here(x: int) -> list[int]:
    return [x]


class TestStatistics:
    def test_hits_and_misses(self, runs: list[Any], hooks: RecordingHooks, store: DiskStore) -> None:
        work = counting(Kind.SYNC, runs)
        before = store.stats()
        assert (before.hits, before.entries) == (0, 0)
        for x in (1, 2, 1, 1):
            work(x)
        after = store.stats()
        assert (after.hits, after.entries, after.errors) == (2, 2, 0)
        assert after.bytes > 0

    def test_hooks(self, runs: list[Any], hooks: RecordingHooks) -> None:
        work = counting(Kind.SYNC, runs)
        work(1)
        work(1)
        assert hooks.names("work") == ["on_cache_miss", "before_node_execute", "after_node_execute", "on_cache_hit"]
        assert hooks.of("work")[-1].value == [1, 2]

    def test_what_people_see_of_the_options(self, tmp_path: Path) -> None:
        work = task(lambda x: x, cache=tmp_path / "a", cache_ttl=5)
        assert (work.cache, work.cache_store, work.cache_ttl) == (True, str(tmp_path / "a"), 5)
        plain = task(lambda x: x)
        assert (plain.cache, plain.cache_store, plain.cache_ttl, plain.cache_version) == (False, None, None, None)
        assert plain.cache_ignore == frozenset()

    @pytest.mark.parametrize(
        ("options", "error", "match"),
        [
            ({"cache": 3}, OptionTypeError, "cache="),
            ({"cache": True, "cache_ttl": 0}, OptionValueError, "cache_ttl"),
            ({"cache": True, "cache_ignore": "x"}, OptionTypeError, r"cache_ignore=\('x',\)"),
            ({"cache": True, "cache_ignore": ("z",)}, OptionValueError, "'z'"),
            ({"cache": True, "cache_version": 3}, OptionTypeError, "cache_version='3'"),
            ({"cache": True, "cache_hash": "x"}, OptionTypeError, "cache_hash"),
            ({"cache_ttl": 3}, OptionValueError, "no effect without caching"),
            ({"cache": True, "cache_store": MemoryStore}, OptionTypeError, r"MemoryStore\(...\)"),
        ],
    )
    def test_mistakes(self, options: dict[str, Any], error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            task(lambda x: x, **options)


@pytest.mark.parametrize("how", [lambda store: pickle.loads(pickle.dumps(store)), copy.copy])
def test_a_copy_of_a_store_that_has_been_used_is_a_store(how: Any) -> None:
    runs: list[int] = []

    @task(cache=True)
    def work(x: int) -> int:
        runs.append(x)
        return x

    store = DictStore()
    with session(cache_store=store):
        assert work(1) == work(1) == 1
    with session(cache_store=how(store)):
        assert [work(x) for x in (1, 1, 2, 2)] == [1, 1, 2, 2]
    assert runs == [1, 2]


EVICTS_AND_INVALIDATES = """
import sqlite3, sys
from eagerly.cache import DiskStore
folder, key = sys.argv[1], bytes.fromhex(sys.argv[2])
[index] = [each for each in __import__("pathlib").Path(folder).rglob("*.db")]
database = sqlite3.connect(index)
with database:  # as it is evicted when there is no room: nobody is told, as it has not changed
    assert database.execute("DELETE FROM Cache").rowcount
database.close()
store = DiskStore(folder)
assert not store.delete(key)
"""


def test_what_was_evicted_and_is_invalidated_elsewhere_is_gone_here(tmp_path: Path) -> None:
    """It may be in the memory of others all the same."""
    runs: list[int] = []

    @task(cache=True, cache_version="1")
    def work(x: int) -> int:
        runs.append(x)
        return x

    store = DiskStore(tmp_path)
    with session(cache_store=store):
        work(1)
        work(1)
        [entry] = store.entries()
        command = [sys.executable, "-c", EVICTS_AND_INVALIDATES, str(tmp_path), entry.key.hex()]
        subprocess.run(command, check=True, timeout=60)
        work(1)
    assert runs == [1, 1]


class Locking(DictStore):
    """Gives its lock when it is told to, and notes when that is released."""

    def __init__(self) -> None:
        super().__init__(blocking=True)
        self.asked_for, self.go_on, self.released = threading.Event(), threading.Event(), threading.Event()

    def try_lock(self, key: bytes, /) -> Locking:
        self.asked_for.set()
        assert self.go_on.wait(PATIENCE)
        return self

    def release(self) -> None:
        self.released.set()

    def mark_waiting(self, key: bytes, /) -> None: ...
    def unmark_waiting(self, mark: Any, /) -> None: ...
    def is_waited_for(self, key: bytes, /) -> bool:
        return False


def test_a_lock_that_is_given_after_its_call_was_cancelled_is_released() -> None:
    """Else everybody would wait for it until it expires."""
    store = Locking()

    @task(cache=True)
    async def work(x: int) -> int:
        return x

    async def main() -> None:
        with session(cache_store=store):
            call = asyncio.ensure_future(work(1))
            await asyncio.to_thread(store.asked_for.wait, PATIENCE)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            store.go_on.set()
            assert await asyncio.to_thread(store.released.wait, PATIENCE)

    asyncio.run(main())


def test_the_traceback_of_an_error_does_not_grow_with_those_who_wait_for_it() -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    @task(cache=True)
    async def fails(x: int) -> int:
        begun.set()
        await end.wait()
        raise ValueError(x)

    async def main() -> list[int]:
        with session(cache_store=MemoryStore()):
            waiting = [asyncio.ensure_future(fails(1)) for _ in range(100)]
            await begun.wait()
            end.set()
            lengths: list[int] = []
            for each in waiting:
                with pytest.raises(ValueError, match="1") as caught:
                    await each
                lengths.append(len(caught.traceback))
            return lengths

    assert max(asyncio.run(main())) < 20


CLOSES_ALL = """
import os, sys
from eagerly import session, task
@task(cache=True)
def work(x):
    return x
with session(cache_store=sys.argv[1]):
    assert work(1) == work(1) == 1
    os.closerange(3, 200)
    assert (work(1), work(2), work(1)) == (1, 2, 1)
"""


def test_a_program_that_closes_all_its_files_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", CLOSES_ALL, str(tmp_path / "cache")]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr


TAKES_DESCRIPTORS = """
import os, sys
from pathlib import Path
from eagerly import session, task
from eagerly.cache import DiskStore
@task(cache=True, cache_version="1")
def work():
    return value
store, generation = DiskStore("cache"), Path("cache/generation")
with session(cache_store=store):
    value = "old"
    assert work() == work() == value
    before = generation.read_bytes()
    store.close()
    os.closerange(3, 200)
    theirs = [open(f"theirs{number}", "w+b", buffering=0) for number in range(20)]
    for file in theirs:
        file.write(b"not the cache's")
    value = "new"
    assert work.refresh() == work() == value
    assert generation.read_bytes() != before
    store.close()
del store
for file in theirs:
    assert os.pread(file.fileno(), 100, 0) == b"not the cache's"
"""


def test_files_of_a_program_that_have_the_numbers_of_ours_are_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKES_DESCRIPTORS]
    done = subprocess.run(command, cwd=tmp_path, check=False, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_store_that_cannot_tell_its_generation_has_nothing_in_front(is_async: bool, tmp_path: Path) -> None:
    class Unknowing(DiskStore):
        def generation(self) -> bytes:
            raise OSError("the file handle is stale")

    runs: list[Any] = []
    work = counting(Kind.ASYNC if is_async else Kind.SYNC, runs)

    def call() -> Any:
        return asyncio.run(work(1)) if is_async else work(1)

    store = Unknowing(tmp_path)
    with session(cache_store=store):
        assert call() == call() == [1, 2]
        assert work.invalidate(1)
        assert call() == [1, 2]
    assert len(runs) == 2
    assert store.memory is not None
    assert store.memory.hits == 0


def _refreshed_by_its_session(work: Any) -> None:
    with session(cache_mode="refresh"):
        work()


@pytest.mark.parametrize(
    "change", [lambda work: work.refresh(), _refreshed_by_its_session, lambda work: work.invalidate()]
)
def test_who_has_in_memory_what_was_evicted_sees_that_it_is_out_of_date(
    change: Callable[[Any], object], tmp_path: Path
) -> None:
    here, there = (DiskStore(tmp_path / "cache", size_limit=100_000) for _ in range(2))
    source = tmp_path / "source"
    source.write_text("old")

    @task(cache=True, cache_version="1")
    def work() -> str:
        return source.read_text()

    with session(cache_store=here):
        assert work() == work() == "old"
    generation = here.generation()
    for number in range(200):
        there.put(number.to_bytes(20, "big"), [bytes(2000)], tag="other")
    assert {entry.tag for entry in here.entries()} == {"other"}
    assert here.generation() == generation  # of what is evicted, what is in memory is as good as before
    source.write_text("new")
    with session(cache_store=here):
        assert work() == "old"
    with session(cache_store=there):
        change(work)
    with session(cache_store=here):
        assert work() == "new"


@pytest.mark.filterwarnings("ignore::eagerly.errors.EagerlyWarning")
def test_a_broken_replay_in_mode_read_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(MemoryStore):
        puts = 0

        def put(self, *args: Any, **options: Any) -> None:
            self.puts += 1
            super().put(*args, **options)

    @task(cache=True)
    def numbers() -> Iterator[list[int]]:
        yield from ([1], [2], [3])

    store = Counting()
    with session(cache_store=store):
        assert list(numbers()) == [[1], [2], [3]]
    assert store.puts == 1
    left = [b"", b""]

    def unpack(*args: Any, **options: Any) -> Any:
        left.pop()  # the third one cannot be read
        return unpacked(*args, **options)

    unpacked = _recording.unpack_item
    monkeypatch.setattr(_recording, "unpack_item", unpack)
    for mode, puts in (("read", 1), ("on", 2)):
        left[:] = [b"", b""]
        with session(cache_store=store, cache_mode=mode):
            assert list(numbers()) == [[1], [2], [3]]
        assert store.puts == puts
