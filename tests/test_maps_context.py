"""Where the items of maps are, and what of them is heard: hooks, events, records and calls, once and in order."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from eagerly import Settings, current_session, current_task, hook_impl, iter_tasks, map_tasks, session, task
from eagerly.backends import Capabilities, Crash, ThreadBackend, Work
from eagerly.errors import BackendError, SessionError, WorkerCrashed
from eagerly.plugins.logging import LoggingPlugin
from eagerly.testing import RecordingHooks
from mapped import KINDS, Odd, exit_at, look_around, reported, square, variable


def far(engine: Any) -> bool:
    """Whether its workers are other processes."""
    from eagerly.backends._registry import resolve_backend

    return not resolve_backend(engine).capabilities.in_process


def starts(hooks: RecordingHooks) -> list[int]:
    """The items that have started, in the order in which that was told."""
    return [event.metadata.map_index for event in hooks.events if event.hook == "before_node_execute"]


# Facts out


def test_calls_in_calls_in_items_have_the_right_parents(engine: Any) -> None:
    hooks = RecordingHooks()

    @task
    def inner(x: int) -> int:
        return square(x)

    @task(tags=["outer"])
    def outer(x: int) -> tuple[Any, ...]:
        call, here = current_task(), current_session()
        assert call is not None
        assert here is not None
        return inner(x), call.id, here.session_id

    @task
    def around() -> list[Any]:
        return map_tasks(outer, range(6), backend=engine)

    with session(plugins=[hooks]) as here:
        found = around()
    hooks.verify()
    begun = {event.metadata.id: event.metadata for event in hooks.events if event.hook == "before_node_execute"}
    (top,) = (each for each in begun.values() if each.name == "around")
    for index, (result, call_id, session_id) in enumerate(found):
        item = begun[call_id]
        assert (result, session_id) == (index * index, here.session_id)
        assert (item.parent_id, item.session_id, item.map_index) == (top.id, here.session_id, index)
        assert (item.tags, item.name) == ({"outer"}, f"outer[{index}]")
        (middle,) = (each for each in begun.values() if each.parent_id == call_id)
        (leaf,) = (each for each in begun.values() if each.parent_id == middle.id)
        assert (middle.name, middle.map_index, middle.inputs) == ("inner", None, {"x": index})
        assert (leaf.name, leaf.session_id, leaf.inputs) == ("square", here.session_id, {"x": index})


def test_events_come_between_start_and_end_of_their_item(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        map_tasks(reported, range(5), backend=engine, chunk=5)
    hooks.verify()
    for x in range(5):
        life = hooks.of(f"reported[{x}]")
        assert [event.hook for event in life] == ["before_node_execute", *["on_event"] * 3, "after_node_execute"]
        assert [event.data for event in life[1:4]] == [{"number": number, "x": x} for number in range(3)]
        assert life[-1].result == x * x


def test_events_may_have_any_data(engine: Any) -> None:
    hooks = RecordingHooks()

    def say(x: int) -> int:
        call = current_task()
        assert call is not None
        call.report("odd", value=Odd(x), lock=threading.Lock(), error=ValueError(x), plain=x)
        return x

    with session(plugins=[hooks]):
        assert map_tasks(say, range(3), backend=engine) == [0, 1, 2]
    events = [event for event in hooks.events if event.hook == "on_event"]
    assert sorted(event.data["plain"] for event in events) == [0, 1, 2]
    assert all(event.metadata.map_index == event.data["plain"] for event in events)
    assert all(isinstance(event.data["value"], Odd) for event in events)


def test_bodies_may_report_from_threads_of_theirs(engine: Any) -> None:
    hooks = RecordingHooks()

    def many(x: int) -> int:
        def say(number: int) -> None:
            call = current_task()
            assert call is not None
            call.report("from a thread", number=number)

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(say, number)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return x

    with session(plugins=[hooks]):
        map_tasks(many, range(3), backend=engine)
    said = Counter(
        (event.metadata.map_index, event.data["number"]) for event in hooks.events if event.hook == "on_event"
    )
    assert said == Counter((x, number) for x in range(3) for number in range(5))


class Collecting(logging.Handler):
    """Remembers records, and the call that was current when each was handled."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(self.note)

    def note(self, record: logging.LogRecord) -> bool:
        call = current_task()
        record.call_id = None if call is None else call.id  # type: ignore[attr-defined]
        record.index = None if call is None else call.map_index  # type: ignore[attr-defined]
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_log_records_of_bodies_are_handled_here_as_those_of_their_call(engine: Any) -> None:
    logger, handler = logging.getLogger("tests.bodies"), Collecting()

    @task
    def talk(x: int) -> Any:
        log = logging.getLogger("tests.bodies")
        log.info("item %d of %s", x, "many", extra={"colour": "red"})
        log.debug("not wanted")
        try:
            raise ValueError(x)
        except ValueError:
            log.exception("it failed")
        call = current_task()
        assert call is not None
        return call.id

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with session():
            ids = map_tasks(talk, range(4), backend=engine, chunk=2)
        map_tasks(talk, range(4), backend=engine)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    mine: Sequence[Any] = [each for each in handler.records if each.call_id in ids]
    assert len(handler.records) == 16
    assert [each.getMessage() for each in mine if each.levelno == logging.INFO] != []
    by_item = {index: [each for each in mine if each.index == index] for index in range(4)}
    for index, (said, failed) in by_item.items():
        assert said.getMessage() == f"item {index} of many"
        assert said.colour == "red"
        assert said.call_id == failed.call_id == ids[index]
        assert failed.levelname == "ERROR"
        text = logging.Formatter().format(failed)
        assert f"ValueError: {index}" in text
        assert "Traceback" in text


def test_the_logging_plugin_says_who_did_what(engine: Any) -> None:
    logger, handler = logging.getLogger("tests.plugin"), Collecting()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with session(plugins=[LoggingPlugin("tests.plugin")]) as here:
            map_tasks(square.options(tags=["b", "a"]), range(3), backend=engine)
    finally:
        logger.removeHandler(handler)
    said = sorted((each.eagerly_task, each.eagerly_event) for each in handler.records)  # type: ignore[attr-defined]
    assert said == sorted((f"square[{x}]", event) for x in range(3) for event in ("started", "ok"))
    for record in handler.records:
        assert record.eagerly_session_id == str(here.session_id)  # type: ignore[attr-defined]
        assert record.eagerly_tags == ["a", "b"]  # type: ignore[attr-defined]
        assert record.eagerly_parent_id is None  # type: ignore[attr-defined]


# Context in


def test_nothing_is_inherited_from_the_worker_or_left_in_it(engine: Any) -> None:
    token = variable.set("coordinator")
    try:
        found = map_tasks(look_around, range(6), backend=engine, chunk=3)
    finally:
        variable.reset(token)
    assert found == (["nothing"] if far(engine) else ["coordinator"]) * 6
    assert variable.get() == "nothing"


def test_a_stop_or_a_deadline_around_reaches_the_items(engine: Any) -> None:
    """A timeout around a map ends it, wherever it runs."""

    def wait(x: int) -> int:
        call = current_task()
        assert call is not None
        while not call.should_stop():
            pass
        return x

    @task(timeout=0.3)
    def around() -> Any:
        map_tasks(wait, range(2), backend=engine)
        while True:
            pass

    with pytest.raises(TimeoutError):
        around()
    assert map_tasks(square, range(3), backend=engine) == [0, 1, 4]


# Ends


def test_the_session_may_end_at_once(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        map_tasks(square, range(300), backend=engine)
    hooks.verify()
    assert sorted(starts(hooks)) == [*range(300)]
    assert hooks.names()[-1] == "after_session_end"


def test_the_session_may_end_in_the_middle(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        results = iter_tasks(square, range(10_000), backend=engine)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    hooks.verify()
    assert hooks.names()[-1] == "after_session_end"
    assert len(starts(hooks)) == len({*starts(hooks)})
    with pytest.raises(SessionError, match="was left before"):
        [*results]


def test_a_consumer_may_leave(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        for result in iter_tasks(square, range(10_000), backend=engine):
            if result > 10:
                break
        del result
        assert map_tasks(square, range(3), backend=engine) == [0, 1, 4]
    hooks.verify()


class Slow:
    """Hooks that do some work each time."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    @hook_impl
    def before_node_execute(self, metadata: Any) -> None:
        sum(range(200))
        self.heard.append(("start", metadata.map_index))

    @hook_impl
    def after_node_execute(self, metadata: Any, result: Any) -> None:
        sum(range(200))
        assert result == metadata.map_index**2
        self.heard.append(("end", metadata.map_index))


@pytest.mark.parametrize("ordered", [True, False])
def test_ten_thousand_items_with_slow_hooks(engine: Any, ordered: bool) -> None:
    slow = Slow()
    count = 10_000 if ordered else 2_000
    with session(plugins=[slow], settings=Settings(strict_hooks=True)):
        found = map_tasks(square, range(count), backend=engine, ordered=ordered)
    assert sorted(found) == [x * x for x in range(count)]
    assert Counter(slow.heard) == Counter((what, x) for x in range(count) for what in ("start", "end"))


def test_a_hook_that_waits_loses_nothing() -> None:
    """The hook of the first item waits for a thread that does not run before all items have."""
    let_go, waiting = threading.Event(), threading.Event()

    class Waits(RecordingHooks):
        @hook_impl
        def before_node_execute(self, metadata: Any, reporter: Any) -> None:
            if not self.events[1:]:
                waiting.set()
                assert let_go.wait(60)
            self._record("before_node_execute", metadata=metadata)

    hooks = Waits()
    threading.Thread(target=lambda: (waiting.wait(60), let_go.set()), daemon=True).start()
    with session(plugins=[hooks]):
        assert len(map_tasks(square, range(500), backend="process")) == 500
    hooks.verify()
    assert sorted(starts(hooks)) == [*range(500)]


# Engines that run work twice, or lose it


class Strange:
    """An engine of one thread that runs work in this process through its bytes, as others do elsewhere.

    Args:
        twice: Whether it runs everything twice, and hands in both.
        losing: How often it says of work that was done that its worker has died.
    """

    def __init__(self, *, twice: bool = False, losing: int = 0) -> None:
        self.capabilities = Capabilities(
            name="strange", workers=2, reruns=twice, survives_crash=True, shared_fate=True, chunk_seconds=0.01
        )
        self._twice, self._losing = twice, losing
        self.done = 0

    def open(self) -> None:
        pass

    def submit(self, work: Work) -> None:
        message = work.message
        outputs: list[bytes] = []

        def run() -> None:
            outputs.append(message.function(message.key, message.spec, message.body, *message.shared))

        for _ in range(2 if self._twice else 1):
            thread = threading.Thread(target=contextvars.Context().run, args=(run,))
            thread.start()
            thread.join()
            self.done += work.size
        if self._losing:
            self._losing -= 1
            work.end(Crash(message="it is gone"))
            return
        for data in outputs:
            work.output(data)
        work.end()

    def cancel(self, work: Work, *, force: bool) -> bool:
        return False

    def recover(self) -> None:
        pass

    def share(self, parts: Any) -> Any:
        return b"".join(parts)

    def unshare(self, handle: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("make", [square, reported, KINDS["stream"], KINDS["async"]], ids=lambda each: each.name)
def test_an_engine_that_runs_work_twice_is_heard_once(make: Any) -> None:
    hooks, engine = RecordingHooks(), Strange(twice=True)
    with session(plugins=[hooks]):
        found = map_tasks(make, range(50), backend=engine)
    assert engine.done == 100
    assert found == [[*range(x)] if make is KINDS["stream"] else x * x for x in range(50)]
    hooks.verify()
    assert sorted(index for index in starts(hooks) if index is not None) == [*range(50)]
    events = Counter(
        (event.metadata.map_index, event.data["number"]) for event in hooks.events if event.hook == "on_event"
    )
    assert set(events.values()) <= {1}


@pytest.mark.parametrize("ordered", [True, False])
def test_nor_is_anything_given_out_twice(ordered: bool) -> None:
    found = map_tasks(square, range(500), backend=Strange(twice=True), ordered=ordered)
    assert sorted(found) == [x * x for x in range(500)]


class Twice(ThreadBackend):
    """Runs each piece of work two times, in two threads."""

    def submit(self, work: Work) -> None:
        super().submit(work)
        thread = threading.Thread(target=work.run)
        thread.start()
        thread.join()


def test_threads_that_run_work_twice_do_it_once() -> None:
    hooks = RecordingHooks()
    with Twice(2) as engine, session(plugins=[hooks]):
        assert map_tasks(reported, range(60), backend=engine, chunk=3) == [x * x for x in range(60)]
    hooks.verify()
    assert sorted(index for index in starts(hooks) if index is not None) == [*range(60)]


def test_an_engine_that_loses_work_is_heard_once() -> None:
    hooks, engine = RecordingHooks(), Strange(losing=3)
    with session(plugins=[hooks]):
        found = map_tasks(reported, range(20), backend=engine, chunk=4, errors="return")
    hooks.verify()
    assert sorted(index for index in starts(hooks) if index is not None) == [*range(20)]
    assert all(value == index * index for index, value in enumerate(found) if isinstance(value, int))


def test_hooks_are_told_once_when_a_worker_dies(engine: Any) -> None:
    from eagerly.backends._registry import resolve_backend

    if not resolve_backend(engine).capabilities.survives_crash:
        pytest.skip("a worker that dies takes the program with it")
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        found = map_tasks(exit_at, range(30), [13] * 30, backend=engine, errors="return", chunk=6)
    assert found[:13] + found[14:] == [*range(13), *range(14, 30)]
    assert isinstance(found[13], WorkerCrashed)
    hooks.verify()
    assert sorted(starts(hooks)) == [*range(30)]
    said = Counter(event.data["x"] for event in hooks.events if event.hook == "on_event")
    assert {x: count for x, count in said.items() if x != 13} == dict.fromkeys([*range(13), *range(14, 30)], 1)
    assert [event.error for event in hooks.events if event.hook == "on_node_error"] == [found[13]]


# Plugins beside the body


class Beside:
    """Runs in the worker: what it hears, it writes down in a file."""

    runs_on_worker = True

    def __init__(self, path: str) -> None:
        self.path = path

    @hook_impl
    def after_node_execute(self, metadata: Any, result: Any) -> None:
        import os

        with open(self.path, "a") as file:  # noqa: PTH123
            file.write(f"{metadata.name} {result} {os.getpid()}\n")


class HoldsALockBeside(Beside):
    def __init__(self) -> None:
        super().__init__("")
        self.lock = threading.Lock()


def test_plugins_that_run_beside_the_body_run_there_only(engine: Any, tmp_path: Any) -> None:
    import os

    hooks, path = RecordingHooks(), tmp_path / "log"
    with session(plugins=[hooks, Beside(str(path))]):
        map_tasks(square, range(4), backend=engine)
    said = [line.split() for line in path.read_text().splitlines()]
    assert sorted(line[:2] for line in said) == [[f"square[{x}]", str(x * x)] for x in range(4)]
    assert all((int(line[2]) == os.getpid()) != far(engine) for line in said)
    hooks.verify()
    assert sorted(starts(hooks)) == [0, 1, 2, 3]


def test_a_plugin_that_cannot_travel_is_refused_with_the_reason(engine: Any) -> None:
    with session(plugins=[HoldsALockBeside()]):
        if far(engine):
            with pytest.raises(BackendError, match=r"HoldsALockBeside has runs_on_worker = True and cannot.*lock"):
                map_tasks(square, range(4), backend=engine)
        else:
            assert iter_tasks(square, range(2), backend=engine)


class Broken:
    @hook_impl
    def after_node_execute(self, metadata: Any) -> None:
        raise LookupError("the hook is broken")


def test_hooks_that_fail_are_logged_and_change_nothing(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    with session(plugins=[Broken()]):
        assert map_tasks(square, range(3), backend=engine) == [0, 1, 4]
    assert sum("after_node_execute of plugin Broken raised LookupError" in each for each in caplog.messages) == 3


def test_strict_hooks_raise_whatever_runs_where(engine: Any) -> None:
    hooks = RecordingHooks()
    with session(plugins=[Broken(), hooks], settings=Settings(strict_hooks=True)):
        with pytest.raises(LookupError, match="the hook is broken"):
            map_tasks(square, range(30), backend=engine)
        assert map_tasks(len, ["a"], backend="inline", errors="return")[0] is not None
    hooks.verify()


@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
def test_a_log_call_that_does_not_fit_its_arguments_fails_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(x: int) -> int:
        logging.raiseExceptions = False  # what a worker would print
        logging.getLogger("tests.careless").warning("%d", "x")
        return x

    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(logging.getLogger("tests.careless"), "propagate", kind == "process")
    assert map_tasks(task(careless), [1], backend=kind) == [1]
