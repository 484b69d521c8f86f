"""The life of a cached call and of one that saves datasets: which hooks fire when, and what trouble with stores does.

Trouble with a cache is a miss, a hook and one warning; trouble with a dataset is an error, after the function ran once.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import warnings
from pathlib import Path

import pytest

from eagerly import (
    Retry,
    Settings,
    TaskMetadata,
    current_task,
    hook_impl,
    load_dataset,
    save_dataset,
    session,
    task,
)
from eagerly.cache import MemoryStore
from eagerly.datasets import DatasetStore
from eagerly.datasets.formats import Format, register_format, unregister_format
from eagerly.errors import (
    CacheError,
    DatasetError,
    DatasetFormatError,
    DatasetKeyError,
    DatasetNotFoundError,
    EagerlyWarning,
    TaskError,
    TaskTimeoutError,
    UnkeyableArgument,
)
from eagerly.testing import RecordingHooks, instant_clock
from kinds import Kind, TheirError, all_kinds, stream_kinds
from stored_calls import DATASET_HOOKS, BrokenStore, DictStore, dataset_of, stores_in

STRICT = Settings(strict_hooks=True)

plain_kinds = pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC], ids=lambda kind: kind.value)
both_blocking = pytest.mark.parametrize("blocking", [False, True], ids=["quick", "blocking"])


class Body:
    """A body that counts its runs and fails in the first of them."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self.failures = failures

    def __call__(self, *args, **kwargs):
        self.runs += 1
        if self.runs <= self.failures:
            raise TheirError(self.runs)
        return ["result", *args]


def cached(kind, body, **options):
    """A cached task named ``work``; its key does not depend on what the body has done so far."""
    return kind.make(lambda *args, **kwargs: body(*args, **kwargs), name="work", cache=True, **VERSIONED, **options)


VERSIONED = {"cache_version": "1"}


def items_of(kind):
    return ["node_iteration"] if kind.is_stream else []


def ran(kind, *before_its_end):
    """The hooks of a call that missed and ran; the trouble that storing makes comes just before its end."""
    return ["on_cache_miss", "before_node_execute", *items_of(kind), *before_its_end, "after_node_execute"]


@pytest.fixture
def hooks():
    return RecordingHooks()


def only_warning(caught):
    found = [each for each in caught if issubclass(each.category, EagerlyWarning)]
    assert len(found) == 1, [str(each.message) for each in found]
    return found[0]


class TestOrder:
    @both_blocking
    @all_kinds
    def test_a_miss_and_a_hit(self, kind, blocking, hooks):
        body = Body()
        made = cached(kind, body)
        with session(plugins=[hooks], cache_store=DictStore(blocking=blocking)):
            assert [kind.run(made, 1) for _ in range(3)] == [["result", 1]] * 3
        assert body.runs == 1
        first, *others = [[event.hook for event in call] for call in hooks.calls()]
        assert first == ran(kind)
        assert others == [["on_cache_hit"]] * 2
        hooks.verify()

    @all_kinds
    def test_their_arguments(self, kind, hooks):
        made = cached(kind, Body())
        with session(plugins=[hooks], cache_store=DictStore()):
            key = made.cache_key(1, named=2)
            kind.run(made, 1, named=2)
            kind.run(made, 1, named=2)
        miss, hit = (event for event in hooks.events if event.hook in ("on_cache_miss", "on_cache_hit"))
        assert miss.key == hit.key == key
        assert len(key) == 40
        assert set(key) <= set("0123456789abcdef")
        assert hit.value == (None if kind.is_stream else ["result", 1])
        for event in (miss, hit):
            assert isinstance(event.metadata, TaskMetadata)
            assert event.metadata.name == "work"
            assert event.metadata.inputs == {"args": (1,), "kwargs": {"named": 2}}
            assert event.reporter is event.metadata
        assert miss.metadata.id != hit.metadata.id

    @all_kinds
    def test_the_key_that_cache_hash_makes(self, kind, hooks):
        made = cached(kind, Body()).options(
            cache_version=None, cache_hash=lambda func, inputs: f"mine {inputs['args']}"
        )
        with session(plugins=[hooks], cache_store=DictStore()):
            kind.run(made, 1)
            kind.run(made, 1)
            assert made.cache_key(1) == "mine (1,)"
        assert [event.key for event in hooks.events if "cache" in event.hook] == ["mine (1,)"] * 2

    @plain_kinds
    def test_the_value_of_a_hit_is_the_one_that_is_returned(self, kind, hooks):
        made = cached(kind, Body())
        with session(plugins=[hooks], cache_store=MemoryStore()):
            kind.run(made)
            returned = kind.run(made)
        assert hooks.events[-2].value is returned

    @both_blocking
    @all_kinds
    def test_small_arguments_for_which_there_is_a_shortcut(self, kind, blocking, hooks):
        made = task(doubles(kind), name="work", cache=True)
        with session(plugins=[hooks], cache_store=DictStore(blocking=blocking)):
            assert [kind.run(made, 2) for _ in range(3)] == [4, 4, 4]
            key = made.cache_key(2)
        assert [[event.hook for event in call] for call in hooks.calls()] == [ran(kind), *[["on_cache_hit"]] * 2]
        told = [event for event in hooks.events if "cache" in event.hook]
        assert [event.key for event in told] == [key] * 3
        assert [event.value for event in told[1:]] == [None if kind.is_stream else 4] * 2
        hooks.verify()

    @both_blocking
    @all_kinds
    def test_and_trouble_on_the_shortcut(self, kind, blocking, hooks):
        made = task(doubles(kind), name="work", cache=True)
        store = DictStore(blocking=blocking, get=OSError("gone"))
        with session(plugins=[hooks], cache_store=store), pytest.warns(EagerlyWarning, match="gone"):
            assert [kind.run(made, 2) for _ in range(2)] == [4, 4]
        assert [[event.hook for event in call] for call in hooks.calls()] == [["on_cache_error", *ran(kind)]] * 2

    @plain_kinds
    def test_a_cached_none_is_a_hit(self, kind, hooks):
        runs = []
        made = cached(kind, lambda: runs.append(1))
        with session(plugins=[hooks], cache_store=DictStore()):
            assert [kind.run(made), kind.run(made)] == [None, None]
        assert runs == [1]
        assert hooks.events[-2].hook == "on_cache_hit"
        assert hooks.events[-2].value is None

    @stream_kinds
    def test_items_of_a_hit_are_replayed_without_hooks(self, kind, hooks):
        made = cached(kind, Body())
        with session(plugins=[hooks], cache_store=DictStore()):
            kind.run(made, 1)
            hooks.clear()
            assert kind.run(made, 1) == ["result", 1]
        assert hooks.names("work") == ["on_cache_hit"]

    @all_kinds
    def test_an_error_is_not_stored(self, kind, hooks):
        body = Body(failures=1)
        made = cached(kind, body)
        with session(plugins=[hooks], cache_store=DictStore()):
            with pytest.raises(TheirError) as caught:
                kind.run(made)
            assert kind.run(made) == ["result"]
        first, second = [[event.hook for event in call] for call in hooks.calls()]
        assert first == ["on_cache_miss", "before_node_execute", "on_node_error"]
        assert second == ran(kind)
        assert caught.value.__context__ is caught.value.__cause__ is None
        assert len(caught.value.__notes__) == 1
        hooks.verify()

    @all_kinds
    def test_retries_are_within_one_miss(self, kind, hooks):
        body = Body(failures=2)
        made = cached(kind, body, retries=Retry(2, delay=1))
        with session(plugins=[hooks], cache_store=DictStore(), clock=instant_clock()):
            assert kind.run(made) == ["result"]
            assert kind.run(made) == ["result"]
        first, second = [[event.hook for event in call] for call in hooks.calls()]
        assert first.count("on_cache_miss") == 1
        assert first[:2] == ["on_cache_miss", "before_node_execute"]
        assert first[-2:] == ["after_node_execute", "after_node_retry"]
        assert second == ["on_cache_hit"]
        assert body.runs == 3
        hooks.verify()

    @all_kinds
    def test_no_store_no_hooks(self, kind, hooks):
        body = Body()
        with session(plugins=[hooks], cache_store=None):
            for _ in range(2):
                kind.run(cached(kind, body))
        assert body.runs == 2
        assert not [name for name in hooks.names() if "cache" in name]

    @all_kinds
    def test_reports_from_the_hooks_reach_on_event(self, kind, hooks):
        class Reports:
            @hook_impl
            def on_cache_hit(self, reporter, key):
                reporter.report("hit", key=key)

            @hook_impl
            def on_cache_miss(self, reporter, key):
                reporter.report("miss", key=key)

            @hook_impl
            def on_cache_error(self, reporter, error):
                reporter.report("error", error=error)

        made = cached(kind, Body())
        failing = DictStore(put=OSError("full"))
        with session(plugins=[Reports(), hooks]):
            for store in (failing, working := DictStore(), working):
                with session(cache_store=store):
                    kind.run(made)
        events = [event for event in hooks.events if event.hook == "on_event"]
        assert [event.name for event in events] == ["miss", "error", "miss", "hit"]
        assert events[0].data == {"key": made.cache_key()}
        assert all(event.metadata.name == "work" for event in events)

    @plain_kinds
    @pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
    def test_those_who_waited_for_a_failure_hear_of_a_call_of_their_own(self, kind, wrapped, hooks):
        """Two calls at once, of which the second waits for the first, which fails."""
        entered, leave = threading.Event(), threading.Event()
        errors = []

        def fails():
            entered.set()
            assert leave.wait(60)
            raise TheirError

        made = cached(kind, fails, wrap_errors=wrapped)
        store = DictStore()

        def call():
            with session(plugins=[hooks], cache_store=store):
                try:
                    kind.run(made)
                except (TheirError, TaskError) as error:
                    errors.append(error)

        first = threading.Thread(target=call)
        first.start()
        assert entered.wait(60)
        second = threading.Thread(target=call)
        second.start()
        flights = session_flights(store)
        while not any(flight._callbacks for flight in list(flights.values())):
            assert second.is_alive()
            threading.Event().wait(0.001)
        leave.set()
        first.join()
        second.join()
        assert len(errors) == 2
        assert [type(error) for error in errors] == [TaskError if wrapped else TheirError] * 2
        told = [event for event in hooks.events if event.hook == "on_node_error"]
        assert [type(event.error) for event in told] == [TheirError] * 2
        for life in hooks.calls():
            assert [event.hook for event in life] == ["on_cache_miss", "before_node_execute", "on_node_error"]
        if wrapped:
            assert {error.metadata.id for error in errors} == {life[0].metadata.id for life in hooks.calls()}
        hooks.verify()


def session_flights(store):
    """What is being computed for a store, to see who waits."""
    with session(cache_store=store) as context:
        return context.cache_client.flights


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "names", "runs", "stored"),
        [
            ("on", [["on_cache_miss"], ["on_cache_hit"]], 1, True),
            ("off", [[], []], 2, False),
            ("read", [["on_cache_miss"], ["on_cache_miss"]], 2, False),
            ("refresh", [["on_cache_miss"], ["on_cache_miss"]], 2, True),
        ],
    )
    @all_kinds
    def test_an_empty_store(self, kind, mode, names, runs, stored, hooks):
        body, store = Body(), DictStore()
        made = cached(kind, body)
        with session(plugins=[hooks], cache_store=store, cache_mode=mode):
            for _ in range(2):
                assert kind.run(made) == ["result"]
        assert [[event.hook for event in call if "cache" in event.hook] for call in hooks.calls()] == names
        assert body.runs == runs
        assert bool(store.data) is stored
        hooks.verify()

    @pytest.mark.parametrize(
        ("mode", "asked"), [("on", {"get"}), ("off", set()), ("read", {"get"}), ("refresh", {"put"})]
    )
    @all_kinds
    def test_a_store_that_has_it(self, kind, mode, asked, hooks):
        body, store = Body(), DictStore()
        made = cached(kind, body)
        with session(cache_store=store):
            kind.run(made)
        store.asked.clear()
        with session(plugins=[hooks], cache_store=store, cache_mode=mode):
            assert kind.run(made) == ["result"]
        hit = mode in ("on", "read")
        assert body.runs == (1 if hit else 2)
        assert ("on_cache_hit" in hooks.names()) is hit
        assert ("before_node_execute" in hooks.names()) is not hit
        assert set(store.asked) == asked

    @all_kinds
    def test_read_serves_what_is_there_and_keeps_nothing(self, kind):
        body, store = Body(), DictStore()
        made = cached(kind, body)
        with session(cache_store=store):
            kind.run(made, 1)
        with session(cache_store=store, cache_mode="read"):
            kind.run(made, 1)
            kind.run(made, 2)
            kind.run(made, 2)
        assert body.runs == 3
        assert len(store.data) == 1

    @all_kinds
    @pytest.mark.parametrize("mode", ["on", "off", "read", "refresh"])
    def test_refresh_of_a_task_runs_and_stores_whatever_the_session_says(self, kind, mode, hooks):
        body, store = Body(), DictStore()
        made = cached(kind, body)
        with session(plugins=[hooks], cache_store=store, cache_mode=mode):
            for _ in range(2):
                assert refresh(kind, made, 1) == ["result", 1]
        assert body.runs == 2
        assert len(store.data) == 1
        assert [[event.hook for event in call] for call in hooks.calls()] == [ran(kind)] * 2

    @all_kinds
    def test_a_refreshed_result_is_found_afterwards(self, kind):
        numbers = iter(range(10))
        made = cached(kind, lambda: next(numbers))
        with session(cache_store=MemoryStore()):
            assert kind.run(made) == 0
            assert refresh(kind, made) == 1
            assert kind.run(made) == 1


def refresh(kind, made, *args):
    class Refreshing:
        def __call__(self, *args):
            return made.refresh(*args)

    return kind.run(Refreshing(), *args)


class TestTroubleWithTheCache:
    """It is a miss, a hook and one warning, and nothing else."""

    @both_blocking
    @all_kinds
    def test_reading(self, kind, blocking, hooks):
        body, error = Body(), OSError("the disk has gone")
        store = DictStore(blocking=blocking, get=error)
        made = cached(kind, body)
        with session(plugins=[hooks], cache_store=store), pytest.warns(EagerlyWarning) as caught:
            assert [kind.run(made, 1) for _ in range(2)] == [["result", 1]] * 2
        assert body.runs == 2
        for life in hooks.calls():
            names = [event.hook for event in life]
            assert names[0] == "on_cache_error"
            assert [name for name in names if name != "on_cache_error"] == ran(kind)
            assert names.index("on_cache_miss") == names.count("on_cache_error")
        event = hooks.of("work")[0]
        assert (event.error, event.key) == (error, made.cache_key(1))
        warning = only_warning(caught)
        assert "the disk has gone" in str(warning.message)
        assert "'work'" in str(warning.message)
        hooks.verify()

    @plain_kinds
    def test_one_trouble_is_told_once(self, kind, hooks):
        with session(plugins=[hooks], cache_store=DictStore(get=OSError("gone"))), pytest.warns(EagerlyWarning):
            kind.run(cached(kind, Body()))
        assert hooks.names("work") == ["on_cache_error", *ran(kind)]

    @both_blocking
    @all_kinds
    def test_writing(self, kind, blocking, hooks):
        body, error = Body(), OSError("the disk is full")
        made = cached(kind, body)
        store = DictStore(blocking=blocking, put=error)
        with session(plugins=[hooks], cache_store=store), pytest.warns(EagerlyWarning) as caught:
            assert [kind.run(made) for _ in range(2)] == [["result"]] * 2
        assert body.runs == 2
        assert [[event.hook for event in life] for life in hooks.calls()] == [ran(kind, "on_cache_error")] * 2
        assert "the disk is full" in str(only_warning(caught).message)
        hooks.verify()

    @all_kinds
    def test_a_result_that_cannot_be_pickled(self, kind, hooks):
        lock = threading.Lock()
        store = DictStore()
        with session(plugins=[hooks], cache_store=store), pytest.warns(EagerlyWarning, match="cannot be stored"):
            assert kind.run(cached(kind, lambda: lock)) is lock
        names = hooks.names("work")
        assert sorted(names) == sorted(ran(kind, "on_cache_error"))
        assert names[-1] == "after_node_execute"
        assert store.data == {}
        hooks.verify()

    @all_kinds
    @pytest.mark.parametrize("spoilt", [b"", b"nonsense", b"\x00" * 1000])
    def test_an_entry_that_is_none_is_replaced(self, kind, spoilt, hooks):
        body, store = Body(), DictStore()
        made = cached(kind, body)
        with session(cache_store=store):
            kind.run(made)
            (key,) = store.data
            store.data[key] = spoilt
            with session(plugins=[hooks]), pytest.warns(EagerlyWarning):
                assert kind.run(made) == ["result"]
            hooks.verify()
            assert isinstance(hooks.of("work")[0].error, CacheError)
            assert kind.run(made) == ["result"]
        assert body.runs == 2

    @all_kinds
    def test_a_value_of_which_unpickling_fails(self, kind, hooks):
        """Whatever its class does: an error of the cache never reaches the caller."""
        body = Body()
        made = cached(kind, lambda: (body(), RefusesToComeBack())[1])
        with session(plugins=[hooks], cache_store=DictStore()), warnings.catch_warnings():
            warnings.simplefilter("ignore", EagerlyWarning)
            for _ in range(2):
                assert isinstance(kind.run(made), RefusesToComeBack)
        assert body.runs == 2
        assert "on_cache_error" in hooks.names("work")
        hooks.verify()

    def test_one_warning_per_store(self):
        """Not one per task, argument or session; and another store is another one."""

        def double(x):
            return 2 * x

        def triple(x):
            return 3 * x

        tasks = [(kind, kind.make(body, cache=True)) for kind in Kind for body in (double, triple)]

        def use(store):
            for _ in range(2):
                with session(cache_store=store):
                    for kind, made in tasks:
                        assert kind.run(made, 1) in (2, 3)
                        assert kind.run(made, 2) in (4, 6)

        for store in (BrokenStore(), BrokenStore()):
            with pytest.warns(EagerlyWarning) as caught:
                use(store)
            assert only_warning(caught)

    @all_kinds
    def test_warnings_that_are_errors_fail_no_call(self, kind, hooks):
        with session(plugins=[hooks], cache_store=BrokenStore()), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kind.run(cached(kind, Body())) == ["result"]
        hooks.verify()

    @all_kinds
    def test_it_causes_no_retry(self, kind):
        body, clock = Body(), instant_clock()
        with session(cache_store=BrokenStore(), clock=clock), pytest.warns(EagerlyWarning):
            assert kind.run(cached(kind, body, retries=Retry(5, delay=1))) == ["result"]
        assert body.runs == 1
        assert clock.sleeps == []

    @all_kinds
    def test_the_users_error_comes_out_of_a_broken_cache_as_it_is(self, kind, hooks):
        with (
            pytest.warns(EagerlyWarning),
            session(plugins=[hooks], cache_store=BrokenStore()),
            pytest.raises(TheirError) as caught,
        ):
            kind.run(cached(kind, Body(failures=1)))
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        hooks.verify()

    @all_kinds
    @pytest.mark.parametrize("method", ["get", "put"])
    def test_ctrl_c_in_a_store_is_ctrl_c(self, kind, method, hooks):
        store = DictStore(**{method: KeyboardInterrupt()})
        made = cached(kind, Body())
        with session(plugins=[hooks], cache_store=store), pytest.raises(KeyboardInterrupt):
            kind.run(made)
        hooks.verify()
        assert current_task() is None
        assert ("on_node_cancel" in hooks.names()) is (method == "put")

    @all_kinds
    def test_what_a_call_leaves_behind_that_was_interrupted_stops_nobody(self, kind):
        """The traceback of an error may live for long, and with it all that the call had."""
        store, body = DictStore(put=KeyboardInterrupt()), Body()
        made = cached(kind, body)
        with session(cache_store=store), pytest.raises(KeyboardInterrupt) as caught:
            kind.run(made)
        store.fails.clear()
        assert caught.value.__traceback__ is not None
        assert in_a_thread(lambda: run_in(session(cache_store=store), kind, made)) == ["result"]

    @all_kinds
    @pytest.mark.parametrize("hook", ["on_cache_miss", "on_cache_hit", "on_cache_error", "before_node_execute"])
    def test_nor_does_one_that_a_hook_has_ended(self, kind, hook):
        store = DictStore()
        made = cached(kind, Body())
        if hook == "on_cache_hit":
            run_in(session(cache_store=store), kind, made)
        elif hook == "on_cache_error":
            store.fails["get"] = OSError("gone")
        broken = type("Broken", (), {hook: hook_impl(raises_key_error)})()
        with session(plugins=[broken], settings=STRICT, cache_store=store), pytest.raises(KeyError) as caught:
            kind.run(made)
        store.fails.clear()
        assert caught.value.__traceback__ is not None
        assert in_a_thread(lambda: run_in(session(cache_store=store), kind, made)) == ["result"]

    @all_kinds
    def test_nor_does_one_whose_dataset_was_refused(self, kind, tmp_path):
        store = DictStore()
        made = cached(kind, Body(), dataset=dataset_of(kind))
        with session(cache_store=store, dataset_store=tmp_path / "first"):
            kind.run(made, 1)
            with pytest.raises(DatasetKeyError) as caught:
                kind.run(made, 2)
        assert caught.value.__traceback__ is not None
        elsewhere = session(cache_store=store, dataset_store=tmp_path / "second")
        assert in_a_thread(lambda: run_in(elsewhere, kind, made, 2)) == ["result", 2]


def raises_key_error(self):
    raise KeyError("of a hook")


class RefusesToComeBack:
    def __reduce__(self):
        return refuse, ()


def refuse():
    raise LookupError("no way back")


def run_in(opened, kind, made, *args):
    with opened:
        return kind.run(made, *args)


def in_a_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(60)
    assert results, "it waits for somebody who has gone"
    return results[0]


class TestWhatIsNoCall:
    @all_kinds
    def test_wrong_arguments(self, kind, hooks):
        made = task(one_parameter(kind), cache=True, retries=3, name="work")
        with session(plugins=[hooks], cache_store=DictStore()) as context:
            for arguments in ({}, {"y": 1}):
                with pytest.raises(TypeError, match="argument"):
                    kind.run(made, **arguments)
            assert context.cache_store.asked == []
        assert hooks.calls() == []

    @all_kinds
    def test_arguments_that_cannot_be_part_of_a_key(self, kind, hooks):
        body = Body()
        made = cached(kind, body, retries=3)
        with session(plugins=[hooks], cache_store=DictStore()) as context:
            with pytest.raises(UnkeyableArgument) as caught:
                kind.run(made, threading.Lock())
            with pytest.raises(UnkeyableArgument):
                made.cache_key(threading.Lock())
            assert context.cache_store.asked == []
        assert hooks.calls() == []
        assert body.runs == 0
        assert "args" in caught.value.path
        assert not hasattr(caught.value, "__notes__")

    @all_kinds
    @pytest.mark.parametrize("wrong", ["raises", "number"])
    def test_a_cache_hash_that_makes_no_key(self, kind, wrong, hooks):
        body = Body()

        def hashing(func, inputs):
            if wrong == "raises":
                raise LookupError("theirs")
            return 3

        made = cached(kind, body).options(cache_version=None, cache_hash=hashing)
        with session(plugins=[hooks], cache_store=DictStore()), pytest.raises(UnkeyableArgument, match="cache_hash"):
            kind.run(made)
        assert hooks.calls() == []
        assert body.runs == 0

    @all_kinds
    def test_with_caching_off_any_argument_will_do(self, kind):
        body = Body()
        for options in ({"cache_store": None}, {"cache_mode": "off", "cache_store": DictStore()}):
            with session(**options):
                kind.run(cached(kind, body), threading.Lock())
        assert body.runs == 2


def doubles(kind):
    def sync(x):
        return 2 * x

    async def coroutine(x):
        return 2 * x

    def stream(x):
        yield 2 * x

    async def async_stream(x):
        yield 2 * x

    return dict(zip(Kind, (sync, coroutine, stream, async_stream), strict=True))[kind]


def one_parameter(kind):
    def sync(x): ...

    async def coroutine(x): ...

    def stream(x):
        yield

    async def async_stream(x):
        yield

    return dict(zip(Kind, (sync, coroutine, stream, async_stream), strict=True))[kind]


class TestTimeouts:
    @plain_kinds
    def test_a_hit_is_bounded_by_none(self, kind, hooks):
        """No helper thread, no deadline: a body with this timeout could not even begin."""
        seen = []

        def body():
            seen.append(threading.current_thread())
            while not current_task().should_stop():
                pass

        quick = cached(kind, lambda: "quick", timeout=60)
        with session(plugins=[hooks], cache_store=DictStore()):
            assert kind.run(quick) == "quick"
            assert kind.run(quick.options(timeout=1e-9)) == "quick"
        assert [[event.hook for event in call] for call in hooks.calls()] == [ran(kind), ["on_cache_hit"]]

    def test_and_one_that_runs_is(self, hooks):
        def body():
            while not current_task().should_stop():
                pass

        made = cached(Kind.SYNC, body, timeout=0.01)
        with session(plugins=[hooks], cache_store=DictStore()) as context:
            with pytest.raises(TaskTimeoutError):
                made()
            assert context.cache_store.data == {}
        assert hooks.names("work") == ["on_cache_miss", "before_node_execute", "on_node_error"]

    @plain_kinds
    def test_storing_takes_none_of_the_functions_time(self, kind, tmp_path):
        """The store is slower than the timeout, which bounds the function only."""
        waited = []

        class Slow(DictStore):
            def put(self, *args, **kwargs):
                waited.append(threading.Event().wait(0.3))
                super().put(*args, **kwargs)

        body = Body()
        with session(cache_store=Slow(blocking=True)):
            assert kind.run(cached(kind, body, timeout=0.2)) == ["result"]
        assert (waited, body.runs) == ([False], 1)


class TestDatasetsOfTasks:
    @all_kinds
    def test_hooks_and_their_arguments(self, kind, hooks, tmp_path):
        key = f"sub/{dataset_of(kind)}"
        made = kind.make(Body(), name="work", dataset=key)
        with session(plugins=[hooks], **stores_in(tmp_path)):
            kind.run(made, 1)
        events = {event.hook: event for event in hooks.of("work")}
        before, after = events["before_dataset_save"], events["after_dataset_save"]
        value = None if kind.is_stream else ["result", 1]
        path = tmp_path / "data" / "sub" / dataset_of(kind)
        assert (before.key, before.value, before.format, before.options) == (key, value, None, {})
        assert (after.key, after.value, after.options) == (key, value, {})
        assert after.format == ("jsonl" if kind.is_stream else "json")
        assert Path(after.path) == path
        assert path.is_file()
        assert before.metadata is after.metadata is events["after_node_execute"].metadata
        saved = ["before_dataset_save", "after_dataset_save"]
        if kind.is_stream:
            expected = ["before_node_execute", saved[0], "node_iteration", saved[1], "after_node_execute"]
        else:
            expected = ["before_node_execute", *saved, "after_node_execute"]
        assert hooks.names("work") == expected

    @all_kinds
    def test_cache_first_then_dataset_then_the_end(self, kind, hooks, tmp_path):
        store = DictStore()
        order = []

        class Notices:
            @hook_impl
            def after_dataset_save(self):
                order.append(("dataset", bool(store.data)))

            @hook_impl
            def after_node_execute(self):
                order.append(("end", bool(store.data)))

        made = cached(kind, Body(), dataset=dataset_of(kind))
        with session(plugins=[Notices()], cache_store=store, dataset_store=tmp_path):
            kind.run(made)
        assert order == [("dataset", True), ("end", True)]

    @all_kinds
    def test_a_format_that_was_asked_for_is_told(self, kind, hooks, tmp_path):
        form = "jsonl" if kind.is_stream else "pickle"
        made = kind.make(Body(), name="work", dataset="x.dat", dataset_format=form, dataset_store=tmp_path)
        with session(plugins=[hooks]):
            kind.run(made)
        assert [event.format for event in hooks.of("work") if "dataset" in event.hook] == [form, form]

    @pytest.mark.parametrize("kind", [Kind.SYNC, Kind.ASYNC], ids=lambda kind: kind.value)
    def test_what_cannot_be_saved_is_an_error_with_the_result(self, kind, hooks, tmp_path):
        result = {"a": object()}
        body = Body()
        made = kind.make(lambda: (body(), result)[1], name="work", dataset="x.json", retries=Retry(3, delay=1))
        clock = instant_clock()
        with session(plugins=[hooks], dataset_store=tmp_path, clock=clock), pytest.raises(DatasetError) as caught:
            kind.run(made)
        assert caught.value.result is result
        assert caught.value.key == "x.json"
        assert body.runs == 1
        assert clock.sleeps == []
        assert hooks.names("work") == ["before_node_execute", "before_dataset_save", "on_node_error"]
        assert hooks.of("work")[-1].error is caught.value
        assert [path for path in tmp_path.rglob("*") if path.is_file() and ".eagerly" not in path.parts] == []
        hooks.verify()

    @stream_kinds
    def test_an_item_that_cannot_be_written_is_an_error(self, kind, hooks, tmp_path):
        body = Body()
        made = kind.make(lambda: (body(), object())[1], name="work", dataset="x.jsonl", retries=3)
        with session(plugins=[hooks], dataset_store=tmp_path, clock=instant_clock()), pytest.raises(DatasetError):
            kind.run(made)
        assert body.runs == 1
        assert hooks.names("work") == ["before_node_execute", "before_dataset_save", "on_node_error"]
        assert [path for path in tmp_path.rglob("*") if path.is_file() and ".eagerly" not in path.parts] == []
        hooks.verify()

    @stream_kinds
    def test_which_is_not_its_own_cause(self, kind, tmp_path):
        made = kind.make(object, name="work", dataset="x.jsonl")
        with session(dataset_store=tmp_path), pytest.raises(DatasetError) as caught:
            kind.run(made)
        assert caught.value.__cause__ is not caught.value
        assert caught.value.__context__ is not caught.value

    @stream_kinds
    @pytest.mark.parametrize("options", [{"dataset_format": "nonsense"}, {"dataset_format": "pickle"}])
    def test_a_format_that_takes_no_items_is_an_error_too(self, kind, options, hooks, tmp_path):
        made = kind.make(Body(), name="work", dataset="x.dat", **options)
        with session(plugins=[hooks], dataset_store=tmp_path), pytest.raises(DatasetFormatError):
            kind.run(made)
        hooks.verify()
        assert hooks.names("work")[-1] == "on_node_error"

    @all_kinds
    def test_a_format_that_does_not_exist_is_found_before_anything_runs(self, kind, hooks, tmp_path):
        body = Body()
        made = kind.make(body, name="work", dataset=dataset_of(kind), dataset_format="nonsense", retries=3)
        with session(plugins=[hooks], dataset_store=tmp_path, clock=instant_clock()):
            with pytest.raises(DatasetFormatError, match="there is no format 'nonsense'") as caught:
                kind.run(made)
            assert caught.value.key == dataset_of(kind)
        assert body.runs == 0
        hooks.verify()

    @plain_kinds
    def test_a_format_may_be_registered_after_the_task_was_declared(self, kind, tmp_path):
        class LateFormat(Format):
            name, extensions, takes, unsafe = "late", (".late",), "anything", True

            def fits(self, value):
                return True

            def save(self, value, file, options):
                file.write(repr(value).encode())

            def load(self, file, return_type, options):
                return file.read()

        made = kind.make(Body(), name="work", dataset="work", dataset_format="late")
        with session(dataset_store=tmp_path):
            register_format(LateFormat)
            try:
                assert kind.run(made) == ["result"]
            finally:
                unregister_format("late")
        assert tmp_path.joinpath("work").read_text() == "['result']"

    @plain_kinds
    def test_what_cannot_be_saved_after_a_retry(self, kind, hooks, tmp_path):
        body = Body(failures=1)
        made = kind.make(lambda: (body(), object())[1], name="work", dataset="x.json", retries=1)
        with session(plugins=[hooks], dataset_store=tmp_path), pytest.raises(DatasetError):
            kind.run(made)
        hooks.verify()
        assert hooks.names("work")[-2:] == ["after_node_retry", "on_node_error"]
        assert body.runs == 2

    @plain_kinds
    def test_a_result_that_is_cached_but_not_saved_is_not_computed_again(self, kind, hooks, tmp_path):
        body = Body()
        made = cached(kind, body, dataset="x/y.json")
        tmp_path.joinpath("x").write_text("in the way")
        with session(cache_store=DictStore(), dataset_store=tmp_path):
            with pytest.raises(DatasetError) as caught:
                kind.run(made)
            assert caught.value.result == ["result"]
            tmp_path.joinpath("x").unlink()
            with session(plugins=[hooks]):
                assert kind.run(made) == ["result"]
        assert body.runs == 1
        assert tmp_path.joinpath("x/y.json").is_file()
        assert hooks.names("work") == ["before_dataset_save", "after_dataset_save", "on_cache_hit"]
        hooks.verify()

    @plain_kinds
    def test_a_hit_whose_dataset_cannot_be_saved(self, kind, hooks, tmp_path):
        body = Body()
        made = cached(kind, body, dataset="x/y.json")
        tmp_path.joinpath("x").write_text("in the way")
        with session(plugins=[hooks], cache_store=DictStore(), dataset_store=tmp_path):
            for _ in range(2):
                with pytest.raises(DatasetError) as caught:
                    kind.run(made)
                assert caught.value.result == ["result"]
        assert body.runs == 1
        hooks.verify()

    @plain_kinds
    def test_on_a_hit_nothing_is_saved_again(self, kind, hooks, tmp_path):
        made = cached(kind, Body(), dataset=dataset_of(kind))
        with session(**stores_in(tmp_path)):
            kind.run(made)
            with session(plugins=[hooks]):
                kind.run(made)
        assert hooks.names("work") == ["on_cache_hit"]

    @all_kinds
    @pytest.mark.parametrize("same_size", [False, True], ids=["other size", "same size"])
    def test_on_a_hit_a_file_that_was_altered_is_written_again(self, kind, same_size, hooks, tmp_path):
        made = cached(kind, Body(), dataset=dataset_of(kind))
        file = tmp_path / "data" / dataset_of(kind)
        with session(**stores_in(tmp_path)):
            kind.run(made)
        saved = file.read_bytes()
        file.write_bytes(b"x" * len(saved) if same_size else b"damaged")
        with session(plugins=[hooks], **stores_in(tmp_path)):
            assert kind.run(made) == ["result"]
        assert file.read_bytes() == saved
        assert "after_dataset_save" in hooks.names()
        hooks.verify()

    @all_kinds
    def test_on_a_hit_the_copy_of_a_file_is_good_enough(self, kind, hooks, tmp_path):
        body = Body()
        made = cached(kind, body, dataset=dataset_of(kind))
        with session(**stores_in(tmp_path)):
            kind.run(made)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        with session(plugins=[hooks], **{**stores_in(tmp_path), "dataset_store": tmp_path / "copy"}):
            assert kind.run(made) == ["result"]
        assert "before_dataset_save" not in hooks.names()
        assert body.runs == 1

    @all_kinds
    def test_a_key_that_another_call_has_taken_is_refused_before_anything_runs(self, kind, hooks, tmp_path):
        body = Body()
        made = cached(kind, body, dataset=dataset_of(kind))
        with session(plugins=[hooks], **stores_in(tmp_path)):
            kind.run(made, 1)
            with pytest.raises(DatasetKeyError, match="has been saved by another call"):
                kind.run(made, 2)
        assert body.runs == 1
        hooks.verify()
        assert len(hooks.calls()) == 1

    @all_kinds
    def test_a_call_that_failed_has_taken_no_key(self, kind, hooks, tmp_path):
        body = Body(failures=1)
        made = kind.make(body, name="work", dataset=dataset_of(kind))
        argument = [1, 2]
        with session(plugins=[hooks], dataset_store=tmp_path):
            with pytest.raises(TheirError):
                kind.run(made, argument)
            assert kind.run(made, argument) == ["result", argument]
        hooks.verify()

    @plain_kinds
    def test_nor_has_one_whose_result_could_not_be_saved(self, kind, hooks, tmp_path):
        results = iter([object(), 42])
        made = kind.make(lambda _: next(results), name="work", dataset=dataset_of(kind))
        with session(plugins=[hooks], dataset_store=tmp_path):
            with pytest.raises(DatasetError):
                kind.run(made, [1])
            assert kind.run(made, [2]) == 42
            with pytest.raises(DatasetKeyError):
                kind.run(made, [3])
        hooks.verify()

    @all_kinds
    def test_no_store_nothing_saved(self, kind, hooks, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        made = kind.make(Body(), name="work", dataset=dataset_of(kind))
        with session(plugins=[hooks], dataset_store=None):
            assert kind.run(made) == ["result"]
        assert kind.run(made) == ["result"]
        assert not [name for name in hooks.names() if "dataset" in name]
        assert list(tmp_path.iterdir()) == []

    @stream_kinds
    def test_an_early_close_leaves_nothing(self, kind, hooks, tmp_path):
        async def aclose_early(stream):
            await anext(stream)
            await stream.aclose()

        def source():
            return "item"

        made = cached(kind, source, dataset=dataset_of(kind))
        store = DictStore()
        with session(plugins=[hooks], cache_store=store, dataset_store=tmp_path):
            stream = made()
            if kind.is_async:
                asyncio.run(aclose_early(stream))
            else:
                next(stream)
                stream.close()
        assert store.data == {}
        assert [path for path in tmp_path.rglob("*") if path.is_file() and ".eagerly" not in path.parts] == []
        assert hooks.names("work") == [
            "on_cache_miss",
            "before_node_execute",
            "before_dataset_save",
            "node_iteration",
            "on_node_cancel",
        ]
        hooks.verify()


class TestDatasetsByHand:
    @all_kinds
    def test_inside_a_task(self, kind, hooks, tmp_path):
        def body(*args, **kwargs):
            saved = save_dataset("saved.json", [1], options={"indent": 1})
            return load_dataset("saved.json", list), saved

        with session(plugins=[hooks], dataset_store=tmp_path, clock=instant_clock()):
            loaded, saved = kind.run(kind.make(body, name="work"))
        assert loaded == [1]
        events = [event for event in hooks.of("work") if event.hook in DATASET_HOOKS]
        assert [event.hook for event in events] == list(DATASET_HOOKS)
        save, saved_, load, loaded_ = events
        assert (save.key, save.value, save.format, save.options) == ("saved.json", [1], None, {"indent": 1})
        assert (saved_.key, saved_.value, saved_.format, saved_.options) == ("saved.json", [1], "json", {"indent": 1})
        assert saved_.path == saved.path == str(tmp_path / "saved.json")
        assert (load.key, load.return_type, load.format, load.options) == ("saved.json", list, None, {})
        assert (loaded_.key, loaded_.return_type, loaded_.result, loaded_.duration) == ("saved.json", list, [1], 0.0)
        assert {event.metadata.id for event in events} == {hooks.of("work")[0].metadata.id}
        hooks.verify()

    def test_outside_of_tasks_there_is_no_metadata(self, hooks, tmp_path):
        with session(plugins=[hooks], dataset_store=tmp_path):
            save_dataset("x.json", 1, format="json")
            assert load_dataset("x.json", format="json") == 1
        events = hooks.events[1:-1]
        assert [event.hook for event in events] == list(DATASET_HOOKS)
        assert [event.metadata for event in events] == [None] * 4
        assert [event.format for event in events] == ["json"] * 4

    def test_outside_of_a_session_nobody_listens(self, hooks, tmp_path):
        save_dataset("x.json", 1, store=tmp_path)
        assert load_dataset("x.json", store=tmp_path) == 1

    def test_after_is_not_told_of_what_failed(self, hooks, tmp_path):
        with session(plugins=[hooks], dataset_store=tmp_path):
            with pytest.raises(DatasetError) as caught:
                save_dataset("x.json", unsaveable := object())
            assert caught.value.result is unsaveable
            with pytest.raises(DatasetNotFoundError):
                load_dataset("x.json")
        assert hooks.names()[1:-1] == ["before_dataset_save", "before_dataset_load"]

    def test_a_store_of_its_own(self, hooks, tmp_path):
        store = DatasetStore(tmp_path / "own")
        with session(plugins=[hooks], dataset_store=tmp_path):
            save_dataset("x.json", 1, store=store)
            assert load_dataset("x.json", store=tmp_path / "own") == 1
        assert hooks.events[2].path == str(tmp_path / "own" / "x.json")

    @all_kinds
    def test_in_a_body_their_failure_is_the_bodys_and_tried_again(self, kind, tmp_path):
        """Unlike the dataset that a task is asked to save: what the function does by hand, it does."""
        runs = []

        def body():
            runs.append(1)
            if len(runs) == 1:
                load_dataset("x.json")
            return "done"

        with session(dataset_store=tmp_path):
            assert kind.run(kind.make(body, retries=1)) == "done"
        assert len(runs) == 2


class TestStreamsThatWereStored:
    @stream_kinds
    def test_an_item_in_the_middle_that_does_not_come_back(self, kind, hooks):
        runs = []

        def source():
            runs.append(1)
            return [1, RefusesToComeBack(), 3]

        made = stream_over(kind, source)
        with session(plugins=[hooks], cache_store=DictStore()), warnings.catch_warnings():
            warnings.simplefilter("ignore", EagerlyWarning)
            for _ in range(2):
                items = everything(kind, made)
                assert [type(item) for item in items] == [int, RefusesToComeBack, int]
        assert len(runs) == 2
        assert "on_cache_error" in hooks.names("work")


def stream_over(kind, source):
    if kind is Kind.STREAM:

        def function():
            yield from source()

    else:

        async def function():
            for item in source():
                yield item

    return task(function, name="work", cache=True, **VERSIONED)


def everything(kind, made):
    async def gather():
        return [item async for item in made()]

    return asyncio.run(gather()) if kind.is_async else list(made())
