"""Cached streams: what is recorded and when, what a replay gives, and what leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eagerly import Retry, session, task
from eagerly.cache import DiskStore
from eagerly.errors import EagerlyWarning, OptionValueError
from eagerly.testing import RecordingHooks, instant_clock
from flights import GatedStore
from kinds import Kind, TheirError, stream_kinds
from stored_calls import DictStore

END = object()


class Consumer:
    """Takes a stream step by step, whichever kind it is."""

    def __init__(self, stream: Any, runner: asyncio.Runner) -> None:
        self.stream = stream
        self.returned: Any = None
        self._runner = runner if hasattr(stream, "asend") else None

    def next(self) -> Any:
        return self._step("send", "asend", None)

    def send(self, value: Any) -> Any:
        return self._step("send", "asend", value)

    def throw(self, error: BaseException) -> Any:
        return self._step("throw", "athrow", error)

    def close(self) -> None:
        self._step("close", "aclose")

    def rest(self) -> list[Any]:
        items = []
        while (item := self.next()) is not END:
            items.append(item)
        return items

    def _step(self, name: str, async_name: str, *args: Any) -> Any:
        try:
            if self._runner is None:
                return getattr(self.stream, name)(*args)
            return self._runner.run(_awaited(getattr(self.stream, async_name), *args))
        except StopIteration as stop:
            self.returned = stop.value
            return END
        except StopAsyncIteration:
            return END


async def _awaited(function: Callable[..., Any], *args: Any) -> Any:
    return await function(*args)


@dataclasses.dataclass
class Streams:
    """Makes and takes streams of one kind."""

    kind: Kind
    runner: asyncio.Runner
    runs: list[Any] = dataclasses.field(default_factory=list)

    def make(self, source: Callable[..., Iterator[Any]], **options: Any) -> Any:
        """A cached task that yields what `source` yields; it may be sent to, and notes that it runs."""
        runs = self.runs
        if self.kind.is_async:

            async def stream(x: Any) -> Any:
                runs.append(x)
                steps: Any = source(x)
                value = None
                while True:
                    try:
                        item = next(steps) if value is None else steps.send(value)
                    except StopIteration:
                        return
                    value = yield item

        else:

            def stream(x: Any) -> Any:  # type: ignore[misc]
                runs.append(x)
                return (yield from source(x))

        return task(stream, **{"name": "stream", "cache": True, "cache_version": "1", **options})

    def take(self, stream: Any) -> Consumer:
        return Consumer(stream, self.runner)

    def all(self, stream: Any) -> list[Any]:
        return self.take(stream).rest()


@pytest.fixture
def streams(kind: Kind) -> Iterator[Streams]:
    with asyncio.Runner() as runner:
        yield Streams(kind, runner)


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    return GatedStore(tmp_path / "cache")


@pytest.fixture
def hooks(store: GatedStore, tmp_path: Path) -> Iterator[RecordingHooks]:
    recording = RecordingHooks()
    with session(cache_store=store, dataset_store=tmp_path / "data", plugins=[recording], clock=instant_clock()):
        yield recording
    recording.verify()


def count(x: int) -> Iterator[int]:
    yield from range(x)
    return "end"


decoded: list[int] = []


class Noticed:
    """Notes when it is unpickled."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _notice, (self.number,)


def _notice(number: int) -> Noticed:
    decoded.append(number)
    return Noticed(number)


class Gone:
    """Can be pickled, and not unpickled a second time."""

    def __reduce__(self) -> Any:
        return _gone, ()


def _gone() -> Any:
    raise ImportError("its module has gone")


@stream_kinds
class TestReplay:
    def test_items_types_and_end(self, streams: Streams, hooks: RecordingHooks) -> None:
        given = [1, True, 1.0, None, "x", b"y", (1, [2]), {"a": {3}}, Decimal("1.10"), ValueError("v"), range(3)]

        def source(x: int) -> Iterator[Any]:
            yield from given
            return {"end": x}

        stream = streams.make(source)
        for _ in range(3):
            consumer = streams.take(stream(1))
            items = consumer.rest()
            assert list(map(repr, items)) == list(map(repr, given))
            assert list(map(type, items)) == list(map(type, given))
            assert consumer.returned == (None if streams.kind.is_async else {"end": 1})
        assert streams.runs == [1]
        assert [name for name in hooks.names("stream") if name.startswith("on_")] == ["on_cache_miss"] + [
            "on_cache_hit"
        ] * 2
        assert hooks.of("stream")[-1].value is None

    def test_arrays_can_be_written_to(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(lambda x: iter([np.arange(100_000.0), np.arange(3)]))
        streams.all(stream(1))
        first = streams.all(stream(1))
        first[0][:] = -1
        again = streams.all(stream(1))
        assert again[0][5] == 5
        assert again[1].tolist() == [0, 1, 2]

    def test_an_empty_stream(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(lambda x: iter(()))
        assert streams.all(stream(1)) == streams.all(stream(1)) == []
        assert streams.runs == [1]

    def test_one_by_one(self, streams: Streams, hooks: RecordingHooks) -> None:
        decoded.clear()
        stream = streams.make(lambda x: (Noticed(each) for each in range(5)))
        streams.all(stream(1))
        assert decoded == []
        replayed = streams.take(stream(1))
        assert decoded == []
        for each in range(3):
            assert replayed.next().number == each
            assert decoded == list(range(each + 1))
        replayed.close()
        assert streams.all(stream(1))[-1].number == 4
        assert streams.runs == [1]

    def test_nothing_happens_before_the_first_step(self, streams: Streams, store: GatedStore) -> None:
        stream = streams.make(count)
        with session(cache_store=store):
            unused = stream(1)
            assert store.asked == []
            streams.take(unused).close()

    def test_a_replay_outlives_its_entry(self, streams: Streams, store: GatedStore, hooks: RecordingHooks) -> None:
        stream = streams.make(lambda x: (bytes([each]) * 100_000 for each in range(5)))
        streams.all(stream(1))
        replayed = streams.take(stream(1))
        assert replayed.next() == b"\0" * 100_000
        assert stream.invalidate(1)
        store.clear()
        assert [item[0] for item in replayed.rest()] == [1, 2, 3, 4]
        assert streams.runs == [1]

    def test_interleaved(self, streams: Streams, hooks: RecordingHooks) -> None:
        """Each records for itself; who is exhausted first publishes, and the others publish the same again."""
        stream = streams.make(lambda x: ([x, each] for each in range(4)))
        one, two = streams.take(stream(1)), streams.take(stream(1))
        items = [one.next(), two.next(), two.next(), one.next()]
        assert items == [[1, 0], [1, 0], [1, 1], [1, 1]]
        assert two.rest() == [[1, 2], [1, 3]]
        three = streams.take(stream(1))
        assert [three.next(), one.next(), three.next()] == [[1, 0], [1, 2], [1, 1]]
        assert one.rest() == [[1, 3]]
        assert three.rest() == [[1, 2], [1, 3]]
        assert streams.runs == [1, 1]

    def test_what_cannot_be_decoded_any_more(self, streams: Streams, hooks: RecordingHooks) -> None:
        """The function runs after all, and goes on behind what was delivered."""

        def source(x: int) -> Iterator[Any]:
            yield 1
            yield 2
            yield Gone()
            yield 4

        stream = streams.make(source)
        streams.all(stream(1))
        with pytest.warns(EagerlyWarning, match="its module has gone"):
            items = streams.all(stream(1))
        assert [type(item).__name__ for item in items] == ["int", "int", "Gone", "int"]
        assert streams.runs == [1, 1]
        assert "on_cache_error" in hooks.names("stream")


def make_talking(kind: Kind, seen: list[Any]) -> Any:
    """A stream that answers what it is sent, catches what is thrown into it, and tidies up."""
    if kind.is_async:

        async def talking(x: int) -> Any:
            try:
                for each in range(x):
                    try:
                        sent = yield each
                        if sent is not None:
                            seen.append(sent)
                            yield ["answer", sent]
                    except TheirError as error:
                        yield ["caught", str(error)]
            finally:
                seen.append("tidy")

    else:

        def talking(x: int) -> Any:  # type: ignore[misc]
            try:
                for each in range(x):
                    try:
                        sent = yield each
                        if sent is not None:
                            seen.append(sent)
                            yield ["answer", sent]
                    except TheirError as error:
                        yield ["caught", str(error)]
            finally:
                seen.append("tidy")

    return task(talking, name="stream", cache=True, cache_version="1")


@stream_kinds
class TestSteeredReplay:
    """What is recorded is what comes when nobody steers; who does gets what the function gives."""

    @pytest.fixture
    def seen(self) -> list[Any]:
        return []

    @pytest.fixture
    def consumer(self, streams: Streams, hooks: RecordingHooks, seen: list[Any]) -> Consumer:
        """In the middle of a replay."""
        self.stream = make_talking(streams.kind, seen)
        assert streams.all(self.stream(4)) == [0, 1, 2, 3]
        seen.clear()
        consumer = streams.take(self.stream(4))
        assert [consumer.next(), consumer.next()] == [0, 1]
        assert hooks.names("stream")[-1] == "on_cache_hit"
        return consumer

    def test_send(self, consumer: Consumer, seen: list[Any]) -> None:
        assert consumer.send("a") == ["answer", "a"]
        assert consumer.next() == 2
        assert consumer.send("b") == ["answer", "b"]
        assert consumer.rest() == [3]
        assert seen == ["a", "b", "tidy"]

    def test_throw(self, consumer: Consumer) -> None:
        assert consumer.throw(TheirError("oh")) == ["caught", "oh"]
        assert consumer.rest() == [2, 3]

    def test_throw_what_it_does_not_catch(self, consumer: Consumer, seen: list[Any]) -> None:
        with pytest.raises(LookupError, match="oh"):
            consumer.throw(LookupError("oh"))
        assert seen == ["tidy"]
        assert consumer.next() is END

    def test_closed_afterwards(self, consumer: Consumer, seen: list[Any]) -> None:
        """The body that was begun for it is closed with it, and not when somebody collects garbage."""
        consumer.send("a")
        consumer.close()
        assert seen == ["a", "tidy"]

    def test_stores_nothing_else(self, streams: Streams, consumer: Consumer) -> None:
        consumer.send("a")
        consumer.rest()
        assert streams.all(self.stream(4)) == [0, 1, 2, 3]

    def test_closed_without_steering(self, consumer: Consumer, seen: list[Any]) -> None:
        consumer.close()
        assert seen == []  # the function never ran


@stream_kinds
class TestRecording:
    def test_as_delivered(self, streams: Streams, hooks: RecordingHooks) -> None:
        """Neither the consumer nor the function can change afterwards what is recorded."""

        def source(x: int) -> Iterator[Any]:
            item = [0]
            for each in range(3):
                item[0] = each
                yield item

        stream = streams.make(source)
        consumer = streams.take(stream(1))
        while (item := consumer.next()) is not END:
            item.append("mine")
            item[0] = -1
        assert streams.all(stream(1)) == [[0], [1, "mine"], [2, "mine", "mine"]]  # as they were when they passed

    def test_only_when_exhausted(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(count)
        consumer = streams.take(stream(3))
        for _ in range(3):
            consumer.next()
            assert not stream.is_cached(3)
        assert consumer.next() is END
        assert stream.is_cached(3)

    @pytest.mark.parametrize("after", [0, 1, 3])
    def test_not_when_closed_early(self, streams: Streams, hooks: RecordingHooks, after: int) -> None:
        stream = streams.make(count)
        consumer = streams.take(stream(3))
        for _ in range(after):
            consumer.next()
        consumer.close()
        assert not stream.is_cached(3)
        assert streams.all(stream(3)) == [0, 1, 2]

    def test_not_when_closed_though_the_body_returns(self, streams: Streams, hooks: RecordingHooks) -> None:
        if streams.kind.is_async:

            async def stubborn(x: int) -> Any:
                try:
                    yield x
                except GeneratorExit:
                    return

        else:

            def stubborn(x: int) -> Any:  # type: ignore[misc]
                try:
                    yield x
                except GeneratorExit:
                    return "end"

        stream = task(stubborn, name="stream", cache=True, cache_version="1")
        consumer = streams.take(stream(1))
        consumer.next()
        consumer.close()
        assert not stream.is_cached(1)

    def test_not_when_it_fails(self, streams: Streams, hooks: RecordingHooks) -> None:
        def source(x: int) -> Iterator[Any]:
            yield 1
            raise TheirError

        stream = streams.make(source)
        consumer = streams.take(stream(1))
        assert consumer.next() == 1
        with pytest.raises(TheirError):
            consumer.next()
        assert not stream.is_cached(1)

    def test_not_when_steered(self, streams: Streams, hooks: RecordingHooks) -> None:
        def source(x: int) -> Iterator[Any]:
            got = yield x
            yield got

        stream = streams.make(source)
        consumer = streams.take(stream(1))
        assert [consumer.next(), consumer.send("sent"), consumer.next()] == [1, "sent", END]
        assert not stream.is_cached(1)

    def test_not_when_thrown_into(self, streams: Streams, hooks: RecordingHooks) -> None:
        if streams.kind.is_async:

            async def catching(x: int) -> Any:
                try:
                    yield x
                except TheirError:
                    yield "caught"

        else:

            def catching(x: int) -> Any:  # type: ignore[misc]
                try:
                    yield x
                except TheirError:
                    yield "caught"

        stream = task(catching, name="stream", cache=True, cache_version="1")
        consumer = streams.take(stream(1))
        assert [consumer.next(), consumer.throw(TheirError()), consumer.next()] == [1, "caught", END]
        assert not stream.is_cached(1)

    def test_not_when_dropped(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(count)
        consumer = streams.take(stream(3))
        consumer.next()
        if streams.kind.is_async:
            consumer.close()  # a loop that has ended closes it; here it goes on for the next step
        del consumer
        gc.collect()
        assert not stream.is_cached(3)

    def test_retries_before_the_first_item(self, streams: Streams, hooks: RecordingHooks) -> None:
        attempts: list[int] = []

        def source(x: int) -> Iterator[Any]:
            attempts.append(x)
            if len(attempts) < 3:
                raise TheirError
            yield from (1, 2)

        stream = streams.make(source, retries=Retry(3, delay=1))
        assert streams.all(stream(1)) == streams.all(stream(1)) == [1, 2]
        assert attempts == [1, 1, 1]

    def test_items_that_nobody_can_pickle(self, streams: Streams, hooks: RecordingHooks) -> None:
        def source(x: int) -> Iterator[Any]:
            yield 1
            yield threading.Lock()
            yield 3

        stream = streams.make(source)
        with pytest.warns(EagerlyWarning, match="cannot be stored") as warned:
            results = [streams.all(stream(1)) for _ in range(2)]
        assert [(first, last) for first, _, last in results] == [(1, 3)] * 2
        assert len(warned) == 1
        assert not stream.is_cached(1)
        assert hooks.names("stream").count("on_cache_error") == 2

    @pytest.mark.parametrize("method", ["get", "put"])
    def test_a_store_that_fails(self, streams: Streams, store: GatedStore, hooks: RecordingHooks, method: str) -> None:
        store.fails[method] = OSError("the disk has gone")
        stream = streams.make(count)
        with pytest.warns(EagerlyWarning, match="the disk has gone"):
            assert streams.all(stream(3)) == [0, 1, 2]
        assert streams.all(stream(3)) == [0, 1, 2]
        assert len(streams.runs) == 2

    def test_recursion_is_none(self, streams: Streams, hooks: RecordingHooks) -> None:
        """Streams do not wait for one another, so one may take the same stream again."""
        if streams.kind.is_async:

            async def nested(x: int) -> Any:
                yield x
                if len(streams.runs) == 0:
                    streams.runs.append(x)
                    async for item in stream(x):
                        yield item

        else:

            def nested(x: int) -> Any:  # type: ignore[misc]
                yield x
                if len(streams.runs) == 0:
                    streams.runs.append(x)
                    yield from stream(x)

        stream = task(nested, name="stream", cache=True, cache_version="1")
        assert streams.all(stream(1)) == [1, 1]


@stream_kinds
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open files are listed in /proc")
class TestBigStreams:
    """More than fits into memory goes to a temporary file, of which nothing stays."""

    def _files(self) -> list[str]:
        gc.collect()
        folder = tempfile.gettempdir()
        names: list[str] = []
        for each in list(Path("/proc/self/fd").iterdir()):
            with contextlib.suppress(OSError):
                names.append(str(each.readlink()))
        return [name for name in names if name.startswith(folder)]

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        return folder

    def _chunks(self, x: int) -> Iterator[bytes]:
        for each in range(x):
            yield bytes([each]) * 2**20

    def test_spilled_and_replayed(self, streams: Streams, hooks: RecordingHooks, folder: Path) -> None:
        stream = streams.make(self._chunks)
        consumer = streams.take(stream(20))
        for _ in range(18):
            consumer.next()
        assert len(self._files()) == 1
        assert len(consumer.rest()) == 2
        assert self._files() == []
        assert list(folder.iterdir()) == []
        replayed = streams.all(stream(20))
        assert [item[:1] for item in replayed] == [bytes([each]) for each in range(20)]
        assert {len(item) for item in replayed} == {2**20}
        assert streams.runs == [20]

    @pytest.mark.parametrize("end", ["closed", "dropped", "steered"])
    def test_abandoned(self, streams: Streams, hooks: RecordingHooks, folder: Path, end: str) -> None:
        stream = streams.make(self._chunks)
        consumer = streams.take(stream(20))
        for _ in range(15):
            consumer.next()
        assert len(self._files()) == 1
        if end == "steered":
            consumer.send("x")
            assert self._files() == []
            consumer.close()
        elif end == "closed" or streams.kind.is_async:
            consumer.close()
        del consumer
        assert self._files() == []
        assert list(folder.iterdir()) == []

    def test_failed(self, streams: Streams, hooks: RecordingHooks) -> None:
        def source(x: int) -> Iterator[bytes]:
            yield from self._chunks(x)
            raise TheirError

        consumer = streams.take(streams.make(source)(15))
        with pytest.raises(TheirError):
            consumer.rest()
        del consumer
        assert self._files() == []


@stream_kinds
class TestModes:
    def test_read(self, streams: Streams, store: GatedStore, hooks: RecordingHooks) -> None:
        stream = streams.make(count)
        with session(cache_mode="read"):
            assert streams.all(stream(3)) == streams.all(stream(3)) == [0, 1, 2]
        assert streams.runs == [3, 3]
        assert not stream.is_cached(3)
        streams.all(stream(3))
        with session(cache_mode="read"):
            streams.all(stream(3))
        assert streams.runs == [3] * 3
        assert store.count("put") == 1

    def test_refresh(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(lambda x: iter([len(streams.runs)]))
        assert streams.all(stream(1)) == [1]
        with session(cache_mode="refresh"):
            assert streams.all(stream(1)) == [2]
        assert streams.all(stream(1)) == [2]
        assert streams.all(stream.refresh(1)) == [3]
        assert streams.all(stream(1)) == [3]

    def test_off(self, streams: Streams, store: GatedStore, hooks: RecordingHooks) -> None:
        stream = streams.make(count)
        with session(cache_mode="off"):
            assert streams.all(stream(3)) == streams.all(stream(3)) == [0, 1, 2]
        with session(cache_store=None):
            assert streams.all(stream(3)) == [0, 1, 2]
        assert streams.runs == [3] * 3
        assert store.asked == []

    def test_controls(self, streams: Streams, hooks: RecordingHooks) -> None:
        stream = streams.make(count)
        assert stream.cache_key(3) == stream.cache_key(x=3)
        assert stream.explain(3).hit is False
        streams.all(stream(3))
        assert stream.is_cached(3)
        assert stream.explain(3).hit is True
        assert stream.invalidate(3)
        assert not stream.invalidate(3)
        assert not stream.is_cached(3)

    def test_ttl(self, streams: Streams, store: GatedStore) -> None:
        clock = instant_clock()
        stream = streams.make(count, cache_ttl=60)
        with session(cache_store=store, clock=clock):
            streams.all(stream(3))
            clock.advance(59)
            streams.all(stream(3))
            assert streams.runs == [3]
            clock.advance(1)
            assert not stream.is_cached(3)
            streams.all(stream(3))
            assert streams.runs == [3, 3]

    def test_a_key_shared_with_a_function(self, streams: Streams, hooks: RecordingHooks) -> None:
        """A `cache_hash` that forgets the function: neither gets what belongs to the other."""
        stream = streams.make(count, cache_hash=lambda func, inputs: "same", cache_version=None)
        plain = task(lambda x: [x], name="plain", cache=True, cache_hash=lambda func, inputs: "same")
        assert streams.all(stream(2)) == [0, 1]
        with pytest.warns(EagerlyWarning, match="stream"):
            assert plain(2) == [2]
        assert plain(2) == [2]
        assert streams.all(stream(2)) == [0, 1]

    def test_other_stores(self, streams: Streams) -> None:
        for blocking in (False, True):
            store = DictStore(blocking=blocking)
            stream = streams.make(count)
            streams.runs.clear()
            with session(cache_store=store):
                assert streams.all(stream(3)) == streams.all(stream(3)) == [0, 1, 2]
            assert streams.runs == [3]


@stream_kinds
class TestWithDatasets:
    def test_both(self, streams: Streams, hooks: RecordingHooks, tmp_path: Path) -> None:
        stream = streams.make(lambda x: ({"n": each} for each in range(x)), dataset="rows/{x}.jsonl")
        file = tmp_path / "data" / "rows" / "3.jsonl"
        consumer = streams.take(stream(3))
        consumer.next()
        assert not file.exists()
        consumer.rest()
        written = file.read_text()
        assert len(written.splitlines()) == 3
        assert streams.all(stream(3)) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert streams.runs == [3]
        assert file.read_text() == written

    def test_neither_when_closed_early(self, streams: Streams, hooks: RecordingHooks, tmp_path: Path) -> None:
        stream = streams.make(lambda x: ({"n": each} for each in range(x)), dataset="rows.jsonl")
        consumer = streams.take(stream(3))
        consumer.next()
        consumer.close()
        assert not stream.is_cached(3)
        assert not (tmp_path / "data" / "rows.jsonl").exists()
        assert streams.all(stream(3)) == [{"n": 0}, {"n": 1}, {"n": 2}]

    def test_a_hit_without_its_dataset(self, streams: Streams, hooks: RecordingHooks, tmp_path: Path) -> None:
        """When a call has returned, its dataset is there; also when its items were cached."""
        stream = streams.make(lambda x: ({"n": each} for each in range(x)), dataset="rows.jsonl")
        streams.all(stream(3))
        elsewhere = tmp_path / "elsewhere"
        with session(dataset_store=elsewhere):
            assert streams.all(stream(3)) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert (elsewhere / "rows.jsonl").exists()


def test_timeouts_stay_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionValueError, match="timeout"):
        task(count, cache=True, timeout=1)


def test_threads_take_one_stream_each(tmp_path: Path) -> None:
    """A cache of streams is used from threads at once."""
    from flights import calling

    stream = task(count, cache=True, cache_version="1")
    with session(cache_store=DiskStore(tmp_path / "cache")):
        calls = calling(4, lambda: [list(stream(each)) for each in range(20)])
        assert [call.result() for call in calls] == [[list(range(each)) for each in range(20)]] * 4
