"""`LoggingPlugin`: which records there are, what they carry, and what it leaves alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eagerly import Retry, current_task, hook_impl, save_dataset, session, task
from eagerly.cache import MemoryStore
from eagerly.plugins.logging import LoggingPlugin
from eagerly.testing import instant_clock
from kinds import Kind, TheirError, all_kinds, stream_kinds
from stored_calls import BrokenStore, dataset_of

FACTS = {
    "event",
    "task",
    "qualified_name",
    "attempt",
    "call_id",
    "parent_id",
    "session_id",
    "tags",
    "duration",
    "error",
    "delay",
    "reason",
    "dataset",
    "path",
}


class Records(logging.Handler):
    """Keeps the records of one logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def events(self) -> list[str]:
        return [record.eagerly_event for record in self.records]

    @property
    def lines(self) -> list[str]:
        return [f"{record.levelname} {record.getMessage()}" for record in self.records]

    def last(self, event: str) -> logging.LogRecord:
        return [record for record in self.records if record.eagerly_event == event][-1]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own that tells nobody else."""
    logger = logging.getLogger("tests.plugins.logging")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def records(logger: logging.Logger) -> Records:
    records = Records()
    logger.addHandler(records)
    return records


@all_kinds
def test_a_call_that_returns_is_one_line(kind: Kind, logger: logging.Logger, records: Records) -> None:
    double = kind.make(lambda x: 2 * x, name="double", tags=["b", "a"])
    with session(plugins=[LoggingPlugin(logger)]) as here:
        kind.run(double, 21)
    assert records.events == ["started", "ok"]
    assert [record.levelno for record in records.records] == [logging.DEBUG, logging.INFO]
    record = records.last("ok")
    assert record.getMessage().startswith("task double succeeded in ")
    assert record.eagerly_task == "double"
    assert record.eagerly_qualified_name == "kinds.lambda"
    assert record.eagerly_attempt == 1
    assert record.eagerly_session_id == str(here.session_id)
    assert record.eagerly_parent_id is None
    assert record.eagerly_tags == ["a", "b"]
    assert isinstance(record.eagerly_duration, float)
    assert record.eagerly_call_id == records.last("started").eagerly_call_id
    for each in records.records:
        assert {name.removeprefix("eagerly_") for name in vars(each) if name.startswith("eagerly_")} == FACTS


@all_kinds
def test_a_call_that_fails_is_one_line_after_its_retries(kind: Kind, logger: logging.Logger, records: Records) -> None:
    def fail() -> None:
        raise TheirError(f"number {current_task().attempt},\non two lines")

    failing = kind.make(fail, retries=Retry(2, delay=3.0, backoff=1.0, jitter=0))
    with session(plugins=[LoggingPlugin(logger)], clock=instant_clock()), pytest.raises(TheirError):
        kind.run(failing)
    assert records.events == ["started", "retried", "retried", "failed"]
    assert [record.eagerly_attempt for record in records.records] == [1, 1, 2, 3]
    assert records.lines[1] == (
        "DEBUG task fail will be retried in 3.00 s (attempt 2) after TheirError: number 1, on two lines"
    )
    assert records.last("retried").eagerly_delay == 3.0
    assert records.lines[-1].startswith("ERROR task fail failed after 3 attempts in 6.00 s: TheirError: number 3,")
    assert records.last("failed").eagerly_error == "TheirError"
    assert records.last("failed").exc_info is None
    assert all("\n" not in line for line in records.lines)


def test_a_traceback_comes_on_request(logger: logging.Logger, records: Records) -> None:
    @task
    def fail() -> None:
        raise TheirError

    with session(plugins=[LoggingPlugin(logger, tracebacks=True)]), pytest.raises(TheirError) as caught:
        fail()
    exc_info = records.last("failed").exc_info
    assert exc_info is not None
    assert exc_info[1] is caught.value


@stream_kinds
def test_a_stream_that_is_left_early_is_no_warning(kind: Kind, logger: logging.Logger, records: Records) -> None:
    numbers = kind.make(lambda: 1, name="numbers")

    async def leave() -> None:
        stream = numbers()
        if kind.is_async:
            await anext(stream)
            await stream.aclose()
        else:
            next(stream)
            stream.close()

    with session(plugins=[LoggingPlugin(logger)]):
        asyncio.run(leave())
    assert records.lines[-1].startswith("INFO task numbers was closed early in ")
    assert records.last("cancelled").eagerly_reason == "closed"


def test_a_cancelled_call_is_a_warning(logger: logging.Logger, records: Records) -> None:
    @task
    async def wait() -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        running = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with session(plugins=[LoggingPlugin(logger)]):
        asyncio.run(cancel())
    assert records.lines[-1].startswith("WARNING task wait was cancelled in ")
    assert records.last("cancelled").eagerly_reason == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_is_a_warning(error: type[BaseException], logger: logging.Logger, records: Records) -> None:
    @task
    def stop() -> None:
        raise error

    with session(plugins=[LoggingPlugin(logger)]), pytest.raises(error):
        stop()
    assert records.lines[-1].startswith("WARNING task stop was interrupted in ")


@all_kinds
def test_a_hit_is_one_line(kind: Kind, logger: logging.Logger, records: Records) -> None:
    double = kind.make(lambda x: 2 * x, name="double", cache=True, cache_version="1")
    with session(plugins=[LoggingPlugin(logger)], cache_store=MemoryStore()):
        kind.run(double, 21)
        kind.run(double, 21)
    assert records.events == ["started", "ok", "cached"]
    assert records.lines[-1] == "INFO task double was in the cache"
    record = records.last("cached")
    assert (record.eagerly_duration, record.eagerly_attempt, record.eagerly_error) == (None, 1, None)
    assert {name for name in vars(record) if name.startswith("eagerly_")} == {f"eagerly_{fact}" for fact in FACTS}


@all_kinds
@pytest.mark.filterwarnings("ignore::eagerly.errors.EagerlyWarning")
def test_trouble_with_the_cache_is_a_warning(kind: Kind, logger: logging.Logger, records: Records) -> None:
    double = kind.make(lambda x: 2 * x, name="double", cache=True, cache_version="1")
    with session(plugins=[LoggingPlugin(logger, tracebacks=True)], cache_store=BrokenStore()):
        kind.run(double, 21)
    assert set(records.events) == {"cache_failed", "started", "ok"}
    assert "WARNING task double goes on without its cache: OSError: the disk has gone" in records.lines
    record = records.last("cache_failed")
    assert (record.eagerly_error, record.exc_info) == ("OSError", None)


@all_kinds
def test_a_saved_dataset_is_one_line(kind: Kind, logger: logging.Logger, records: Records, tmp_path: Path) -> None:
    double = kind.make(lambda x: 2 * x, name="double", dataset=dataset_of(kind))
    with session(plugins=[LoggingPlugin(logger)], dataset_store=tmp_path):
        kind.run(double, 21)
    assert records.events == ["started", "saved", "ok"]
    record = records.last("saved")
    key = dataset_of(kind)
    assert f"{record.levelname} {record.getMessage()}" == (
        f"INFO task double saved dataset {key} ({'jsonl' if kind.is_stream else 'json'})"
    )
    assert (record.eagerly_dataset, record.eagerly_path) == (key, str(tmp_path / key))


def test_a_dataset_that_is_saved_outside_of_all_calls(logger: logging.Logger, records: Records, tmp_path: Path) -> None:
    with session(plugins=[LoggingPlugin(logger)], dataset_store=tmp_path):
        save_dataset("by-hand.json", 1)
    assert records.lines == ["INFO saved dataset by-hand.json (json)"]
    (record,) = records.records
    facts = {name.removeprefix("eagerly_"): value for name, value in vars(record).items() if "eagerly_" in name}
    assert {name for name, value in facts.items() if value is not None} == {"event", "dataset", "path"}
    assert facts.keys() == FACTS


def test_ids_tell_who_called_whom(logger: logging.Logger, records: Records) -> None:
    @task
    def inner() -> None: ...

    @task
    def outer() -> None:
        inner()

    with session(plugins=[LoggingPlugin(logger)]):
        outer()
    started = {record.eagerly_task: record for record in records.records if record.eagerly_event == "started"}
    assert started["inner"].eagerly_parent_id == started["outer"].eagerly_call_id
    assert started["inner"].eagerly_call_id != started["outer"].eagerly_call_id


def test_levels_are_names_numbers_or_none(logger: logging.Logger, records: Records) -> None:
    @task(retries=1)
    def flaky() -> None:
        if current_task().attempt == 1:
            raise TheirError

    plugin = LoggingPlugin(logger, started=None, retried="warning", ok=35)
    with session(plugins=[plugin]):
        flaky()
    assert [(record.eagerly_event, record.levelno) for record in records.records] == [("retried", 30), ("ok", 35)]


def test_default_logger_is_named() -> None:
    records = Records()
    logger = logging.getLogger("eagerly.tasks")
    logger.addHandler(records)
    try:
        with session(plugins=[LoggingPlugin(failed=logging.CRITICAL)]), pytest.raises(TheirError):
            task(_fail)()
    finally:
        logger.removeHandler(records)
    assert [(record.name, record.levelname) for record in records.records] == [("eagerly.tasks", "CRITICAL")]


def _fail() -> None:
    raise TheirError


def test_the_applications_logging_is_left_alone(logger: logging.Logger) -> None:
    def state() -> list[object]:
        return [
            (name, list(each.handlers), each.level, each.propagate, list(each.filters), each.disabled)
            for name in (None, "eagerly", "eagerly.tasks", logger.name)
            for each in [logging.getLogger(name)]
        ]

    logger.setLevel(logging.CRITICAL + 1)
    before = state()
    with session(plugins=[LoggingPlugin(logger)]):
        task(_double)(1)
        with pytest.raises(TheirError):
            task(_fail)()
    assert state() == before


def _double(x: int) -> int:
    return 2 * x


def test_what_nobody_reads_is_not_worked_out(logger: logging.Logger, records: Records) -> None:
    class Metadata:
        """Knows whether somebody asked for the facts."""

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was asked for")

    logger.setLevel(logging.CRITICAL + 1)
    plugin, metadata = LoggingPlugin(logger), Metadata()
    plugin.before_node_execute(metadata)  # type: ignore[arg-type]
    plugin.before_node_retry(metadata, 2, TheirError(), 1.0)  # type: ignore[arg-type]
    plugin.after_node_execute(metadata, 1.0)  # type: ignore[arg-type]
    plugin.on_node_error(metadata, TheirError(), 1.0)  # type: ignore[arg-type]
    plugin.on_node_cancel(metadata, "closed", 1.0)  # type: ignore[arg-type]
    plugin.on_cache_hit(metadata)  # type: ignore[arg-type]
    plugin.on_cache_error(metadata, TheirError())  # type: ignore[arg-type]
    plugin.after_dataset_save("key", "json", metadata, "path")  # type: ignore[arg-type]
    assert records.records == []


def test_arguments_and_results_are_not_logged_or_kept(logger: logging.Logger) -> None:
    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("somebody looked")

        __str__ = __repr__

    seen: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record) + str(vars(record)))

    logger.addHandler(Lines())
    with session(plugins=[LoggingPlugin(logger)]):
        task(lambda secret: secret, name="same")(Secret())
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) is Secret]
    assert len(seen) == 2


def test_control_characters_cannot_forge_lines(logger: logging.Logger, records: Records) -> None:
    @task(name="greet {who}")
    def greet(who: str) -> None:
        raise TheirError("\x1b[2J")

    with session(plugins=[LoggingPlugin(logger)]), pytest.raises(TheirError):
        greet("x\nERROR forged")
    assert records.lines[0] == "DEBUG task greet x ERROR forged started"
    assert "\x1b" not in records.lines[-1]
    assert records.last("failed").eagerly_task == "greet x\nERROR forged"  # for machines, as it is


def test_threads_and_asyncio_tasks_at_once(logger: logging.Logger, records: Records) -> None:
    together = threading.Barrier(4, timeout=60)

    @task
    async def breathe() -> None:
        await asyncio.sleep(0)

    async def ten() -> None:
        await asyncio.gather(*(breathe() for _ in range(10)))

    def in_a_thread() -> None:
        together.wait()
        with session(plugins=[plugin]):
            asyncio.run(ten())

    plugin = LoggingPlugin(logger)
    threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.eagerly_call_id for record in records.records}) == 40
    assert records.events.count("ok") == records.events.count("started") == 40
    assert len({record.eagerly_session_id for record in records.records}) == 4


def test_a_stream_dropped_for_the_garbage_collector(logger: logging.Logger, records: Records) -> None:
    @task
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    with session(plugins=[LoggingPlugin(logger)]):
        cycle: list[object] = [numbers()]
        cycle.append(cycle)
        next(cycle[0])  # type: ignore[call-overload]
        del cycle
        assert records.events == ["started"]
        gc.collect()
    assert records.last("cancelled").eagerly_reason == "closed"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LoggingPlugin(3), TypeError, "takes a logger or its name, not 3"),  # type: ignore[arg-type]
        (lambda: LoggingPlugin(ok="LOUD"), ValueError, "ok='LOUD'.*logging has no such level; there are .*INFO"),
        (lambda: LoggingPlugin(ok=1.5), TypeError, "ok=.*takes a level such as logging.INFO or 'INFO', not 1.5"),  # type: ignore[arg-type]
        (lambda: LoggingPlugin(ok=True), TypeError, "ok=.*not True"),
    ],
)
def test_mistakes(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


def test_it_is_an_ordinary_plugin_among_others(logger: logging.Logger, records: Records) -> None:
    """It sees a call whose other observer fails, and inner sessions inherit it."""

    class Broken:
        @hook_impl
        def after_node_execute(self) -> None:
            raise TheirError

    hooks_log = logging.getLogger("eagerly.hooks")
    hooks_log.disabled = True
    try:
        with session(plugins=[LoggingPlugin(logger), Broken()]), session():
            task(_double)(1)
    finally:
        hooks_log.disabled = False
    assert records.events == ["started", "ok"]
