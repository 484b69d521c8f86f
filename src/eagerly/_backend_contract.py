"""`BackendContract`: what must hold for every backend, whatever engine is behind it.

Nothing here knows a test framework. The tasks stand in `_contract_tasks`, as workers import them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

from eagerly import _contract_tasks as tasks
from eagerly._checks import check, equal, in_threads, skip
from eagerly._mapping import iter_tasks, map_tasks
from eagerly._session import session
from eagerly._share import share
from eagerly._tasks import make_task
from eagerly.backends._protocol import Backend, Capabilities
from eagerly.backends._registry import opened
from eagerly.cache._disk import DiskStore
from eagerly.errors import BackendError, RemoteError, WorkerCrashed
from eagerly.testing import RecordingHooks

__all__ = ["BackendContract"]


class BackendContract:
    """What must hold for every `Backend`.

    Subclass it, next to your other tests, and say how a backend is made. What its capabilities do not allow is skipped.

    Attributes:
        nested_backend: What ``backend=`` takes in a task that runs on this backend, to map over the same workers, such
            as the name of the backend. None: a backend whose workers are other processes is not asked to nest.
        shares_files: Whether the workers see the files of this machine.

    Example:
        >>> from eagerly.backends import ThreadBackend
        >>> class TestMyBackend(BackendContract):
        ...     def make_backend(self):
        ...         return ThreadBackend(workers=2)
        >>> TestMyBackend().test_results_come_in_the_order_of_the_items()

        With unittest, write ``class TestMyBackend(BackendContract, unittest.TestCase)``.
    """

    nested_backend: Any = None
    shares_files: bool = True

    def make_backend(self) -> Any:
        """Whatever ``backend=`` takes. Each test calls it once or several times, and means the same workers each time:
        return the same one if it takes long to start. Closing it is up to you. With pytest, a fixture of the scope of
        the session does well."""
        raise NotImplementedError(
            "a subclass of BackendContract defines make_backend(self), which returns what backend= takes"
        )

    # What a backend is

    def test_it_has_what_a_backend_has(self) -> None:
        """It is a `Backend`; `open` may be called again; its capabilities are told, and stay what they are."""
        with opened(self.make_backend()) as backend:
            check(isinstance(backend, Backend), f"{backend!r} lacks a method or an attribute of Backend")
            can = backend.capabilities
            backend.open()
            equal(type(can), Capabilities, "the type of .capabilities")
            equal(backend.capabilities, can, "the capabilities, after another open()")
            check(can.workers >= 1, f"it says that it has {can.workers} workers")
            check(bool(can.name.strip()), "it has no name")

    def test_several_maps_at_a_time(self) -> None:
        """Threads may map over one backend at the same time, and each gets what is its own."""
        backend = self.make_backend()

        def run(base: int) -> None:
            numbers = range(base, base + 30)
            equal(map_tasks(tasks.square, numbers, backend=backend), [x * x for x in numbers], "a map beside others")

        in_threads(run, [0, 1000, 2000])

    # Ordering, window, chunks

    def test_results_come_in_the_order_of_the_items(self) -> None:
        """However many items a worker is handed at a time, results stand in the order of their items."""
        chunks: tuple[Any, ...] = ("auto", 1, 7)
        for chunk in chunks:
            found = self._map(tasks.square, range(50), chunk=chunk)
            equal(found, [x * x for x in range(50)], f"the map with chunk={chunk!r}")
        equal(self._map(tasks.square, []), [], "the map of nothing")
        equal(self._map(tasks.add, range(20), itertools.repeat(5)), [x + 5 for x in range(20)], "two iterables")

    def test_unordered_gives_every_result_once(self) -> None:
        """With ``ordered=False`` results come as they are there: each one, once."""
        found = self._map(tasks.square, range(50), ordered=False)
        equal(sorted(found), [x * x for x in range(50)], "the results, sorted")

    def test_infinite_iterables_work(self) -> None:
        """An item is taken only when there is room for it: a consumer that takes 10 results has 10 and the window
        read."""
        taken: list[int] = []

        def numbers() -> Iterator[int]:
            for number in itertools.count():
                taken.append(number)
                yield number

        results = iter_tasks(tasks.square, numbers(), backend=self.make_backend(), chunk=1, window=4)
        equal(list(itertools.islice(results, 10)), [x * x for x in range(10)], "the first ten results")
        check(len(taken) <= 14, f"{len(taken)} items were taken for ten results and a window of four")
        results.close()  # type: ignore[attr-defined]  # a generator
        check(len(taken) <= 14, f"{len(taken)} items were taken when the map was over")

    def test_an_error_of_the_iterable_comes_after_the_results_before_it(self) -> None:
        """What the iterable raises is raised, when the items before have been given out."""

        def numbers() -> Iterator[int]:
            yield from range(3)
            raise OSError("the disk is gone")

        found: list[int] = []
        with _raises(OSError, "the disk is gone"):
            found.extend(iter_tasks(tasks.square, numbers(), backend=self.make_backend()))
        equal(found, [0, 1, 4], "the results before the error")

    def test_every_kind_of_task_can_be_mapped(self) -> None:
        """Sync and async tasks give their results, streams a list for each item; also what cannot be imported."""
        equal(self._map(tasks.square_async, range(6)), [0, 1, 4, 9, 16, 25], "the map of an async task")
        equal(self._map(tasks.count_to, range(4)), [[], [0], [0, 1], [0, 1, 2]], "the map of a stream")
        equal(self._map(tasks.count_to_async, range(3)), [[], [0], [0, 1]], "the map of an async stream")
        base = 100

        def closure(x: int) -> int:
            return x + base

        equal(self._map(closure, range(5)), [100, 101, 102, 103, 104], "the map of a closure")

    # Context in

    def test_each_item_runs_in_a_context_of_its_own(self) -> None:
        """What an item leaves in a context variable, no other finds, nor does who reads the results."""
        equal(self._map(tasks.leave, range(20), chunk=5), [-1] * 20, "what items have found")
        equal(tasks.left_behind.get(), -1, "what the consumer finds")

    def test_an_item_knows_its_place(self) -> None:
        """Name, index, tags, parent and session are right in every worker, and ids are the same here and there."""
        hooks = RecordingHooks()

        def around() -> Any:
            return self._map(tasks.facts, range(10, 30), chunk=3)

        with session(plugins=[hooks]) as here:
            found = make_task(around, {})()
            (parent,) = (event.metadata.id for event in hooks.of("around") if event.hook == "before_node_execute")
        for index, seen in enumerate(found):
            started, _ = hooks.of(f"facts_{10 + index}[{index}]")
            equal(seen["id"], started.metadata.id, f"the id of item {index}")
            equal(seen["name"], f"facts_{10 + index}[{index}]", f"the name of item {index}")
            equal(seen["map_index"], index, f"the map index of item {index}")
            equal(seen["parent_id"], parent, f"the parent of item {index}")
            equal(seen["session_id"], here.session_id, f"the session of item {index}")
            equal(seen["same session"], True, f"whether item {index} is in the session of its call")
            equal(seen["backend"], self._can().name, f"the backend of item {index}")
            equal(seen["tags"], frozenset({"one", "two"}), f"the tags of item {index}")
            equal(seen["inputs"], {"x": 10 + index}, f"the inputs of item {index}")
        check(len({seen["id"] for seen in found}) == 20, "two items have the same id")

    # Facts out

    def test_hooks_hear_of_every_item_once_and_in_order(self) -> None:
        """Hooks run here, wherever a body runs: for each item its start and its end, none lost as the session ends."""
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            self._map(tasks.square, range(100))
        hooks.verify()
        starts = [event for event in hooks.events if event.hook == "before_node_execute"]
        equal(sorted(event.metadata.map_index for event in starts), [*range(100)], "the items that have started")
        ends = [event for event in hooks.events if event.hook == "after_node_execute"]
        equal({event.metadata.map_index: event.result for event in ends}, {x: x * x for x in range(100)}, "the ends")

    def test_what_bodies_say_arrives(self) -> None:
        """Events, log records and the calls that bodies make arrive here, once, as having been said by their item."""
        hooks, records = RecordingHooks(), _Records()
        with session(plugins=[hooks]), records:
            self._map(tasks.talks, range(10), chunk=2)
        hooks.verify()
        said = [(event.data, event.metadata.map_index) for event in hooks.events if event.hook == "on_event"]
        equal(sorted(said, key=lambda each: each[1]), [({"what": x}, x) for x in range(10)], "the events")
        equal(sorted(records.said), [f"item {x}" for x in range(10)], "the log records")
        items = {event.metadata.id for event in hooks.events if event.hook == "on_event"}
        inner = [event.metadata for event in hooks.of("square") if event.hook == "before_node_execute"]
        equal(len(inner), 10, "how many inner calls have started")
        equal({each.parent_id for each in inner}, items, "the parents of the inner calls")

    def test_a_map_that_is_left_ends_what_it_began(self) -> None:
        """When the session ends in the middle of a map, every item that has begun has an end, and the rest never
        begins."""
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            results = iter_tasks(tasks.square, range(1000), backend=self.make_backend(), chunk=1)
            equal(next(results), 0, "the first result")
        hooks.verify()
        check(len(hooks.calls()) < 1000, "a map that nobody read has run to its end")

    # Retries, cache

    def test_retries_are_those_of_the_task(self) -> None:
        """Each item is retried by itself, as anywhere, and hooks hear of it in the same order."""
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            equal(self._map(tasks.fails_first, range(8), chunk=4), [3] * 8, "the attempts that succeeded")
        hooks.verify()
        life = ["before_node_execute", "before_node_retry", "after_node_retry", "before_node_retry"]
        for call in hooks.calls():
            equal(
                [each.hook for each in call], [*life, "after_node_execute", "after_node_retry"], "the life of an item"
            )

    def test_items_have_their_own_cache_entries(self) -> None:
        """What one map has computed, the next one finds, item by item."""
        self._applies(self.shares_files, "its workers see other files")
        hooks = RecordingHooks()
        with tempfile.TemporaryDirectory() as place, contextlib.closing(DiskStore(place)) as store:
            with session(cache_store=store, plugins=[hooks]):
                equal(self._map(tasks.cached, range(5)), [0, 10, 20, 30, 40], "the first map")
                hooks.clear()
                equal(self._map(tasks.cached, range(7)), [0, 10, 20, 30, 40, 50, 60], "the second map")
            hits = sorted(event.metadata.map_index for event in hooks.events if event.hook == "on_cache_hit")
            equal(hits, [0, 1, 2, 3, 4], "the items that were in the cache")

    # Errors

    def test_the_error_of_an_item_is_raised_with_a_note(self) -> None:
        """By default the error of an item is raised: with its class and attributes, and a note that says which item."""
        with _raises(tasks.OddError, "not this one") as caught:
            self._map(tasks.fail_for, range(10), itertools.repeat(4))
        error = caught[0]
        equal((error.code, error.reason), (4, "not this one"), "the attributes of the error")
        notes = "\n".join(error.__notes__)
        check("item 4 of a map" in notes, f"the notes do not say which item it was: {notes!r}")

    def test_errors_can_be_returned_or_skipped(self) -> None:
        """``errors="return"``: in their places; ``"skip"``: left out. What was handed over with them stays."""
        found = self._map(tasks.fail_for, range(9), itertools.repeat(4), errors="return", chunk=9)
        equal(_class(found[4]), tasks.OddError, "the class of what stands in the place of the error")
        equal(found[:4] + found[5:], [0, 1, 2, 3, 5, 6, 7, 8], "the results beside an error")
        found = self._map(tasks.fail_for, range(9), itertools.repeat(4), errors="skip", chunk=3)
        equal(found, [0, 1, 2, 3, 5, 6, 7, 8], "the results without the error")

    def test_errors_arrive_as_what_they_are(self) -> None:
        """Causes and groups arrive; an error that cannot be pickled is a `RemoteError` that says what it was."""
        sorts = ["odd", "caused", "several", "cannot travel", "fine"]
        odd, caused, several, stuck, fine = self._map(tasks.give_and_raise, sorts, errors="return")
        equal((_class(odd), odd.code), (tasks.OddError, 7), "class and attribute of an error")
        equal(
            (_class(caused), _class(caused.__cause__)), (ValueError, KeyError), "the classes of an error and its cause"
        )
        equal([_class(each) for each in several.exceptions], [ValueError, tasks.OddError], "the classes in a group")
        equal(fine, "fine", "the result beside them")
        if self._can().in_process:
            equal(_class(stuck), tasks.CannotTravel, "the class of an error that need not travel")
        else:
            equal(_class(stuck), RemoteError, "the class of what stands for an error that cannot be pickled")
            check("CannotTravel" in stuck.type_name, f"it says that it was a {stuck.type_name}")
            check("it broke" in str(stuck), f"it says {str(stuck)!r}")

    def test_what_cannot_travel_concerns_its_own_item_only(self) -> None:
        """An argument or a result that cannot be pickled, or not be made again, is an error of its item."""
        self._applies(not self._can().in_process, "nothing of it leaves this process")
        sorts = ["one", "a lock", "two", "unreadable", "three"]
        one, lock, two, unreadable, three = self._map(tasks.give, sorts, errors="return", chunk=5)
        equal((one, two, three), ("one", "two", "three"), "the results beside one that cannot travel")
        for error in (lock, unreadable):
            equal(_class(error), BackendError, "the class of the error for a result that cannot travel")
        arguments = ["four", tasks.Unreadable(), "seven", _generator()]
        four, unread, seven, unsent = self._map(tasks.length, arguments, errors="return", chunk=4)
        equal((four, seven), (4, 5), "the results beside an argument that cannot travel")
        for error in (unread, unsent):
            equal(_class(error), BackendError, "the class of the error for an argument that cannot travel")

    def test_what_ends_programs_is_never_kept_back(self) -> None:
        """`SystemExit` and `KeyboardInterrupt` of an item are raised whatever ``errors=`` says, and no worker dies."""
        for how, cls in (("SystemExit", SystemExit), ("KeyboardInterrupt", KeyboardInterrupt)):
            for errors in ("return", "skip", "raise"):
                with _raises(cls):
                    self._map(tasks.die_of, range(4), itertools.repeat(2), itertools.repeat(how), errors=errors)
        equal(self._map(tasks.square, range(5)), [0, 1, 4, 9, 16], "the map after those")

    def test_who_runs_is_asked_to_stop(self) -> None:
        """When an item has failed, what runs is asked to stop, where the engine can ask."""
        can = self._can()
        self._applies(can.soft_cancel and can.workers > 1, "it cannot ask what runs to stop, or has one worker")
        with _raises(tasks.OddError):
            self._map(tasks.wait_until_asked_to_stop, range(2), itertools.repeat(1), chunk=1)

    # Crashes

    def test_a_dead_worker_fails_the_item_that_killed_it(self) -> None:
        """An item that ends its worker has failed, with its index, and nobody else; later maps go on."""
        self._applies(self._can().survives_crash, "a worker that dies takes the backend with it")
        found = self._map(tasks.die_of, range(6), itertools.repeat(3), itertools.repeat("exit"), errors="return")
        equal(found[:3] + found[4:], [0, 1, 2, 4, 5], "the results beside a crash")
        equal(_class(found[3]), WorkerCrashed, "the class of what stands for the crash")
        equal(found[3].index, 3, "the index of the item that crashed")
        equal(self._map(tasks.square, range(5)), [0, 1, 4, 9, 16], "the map after a crash")

    # Nesting

    def test_inner_maps_are_inline(self) -> None:
        """A map in an item that is told no backend runs where the item runs, on behalf of its call."""
        for outer in self._map(tasks.nested_facts, range(4)):
            inner = outer["inner"]
            equal(inner["backend"], "inline", "the backend of an inner map")
            equal(inner["process"], outer["process"], "the process of an inner map")
            equal(inner["parent_id"], outer["id"], "the parent of an inner item")

    def test_inner_maps_on_the_same_backend_end(self) -> None:
        """More items than workers, each of which maps over the same workers: nobody waits for ever."""
        inner = self.make_backend() if self._can().in_process else self.nested_backend
        self._applies(inner is not None, "nothing is known that would nest")
        items = range(self._can().workers + 1)
        wanted = [sum(x * x for x in range(n)) for n in items]
        equal(self._map(tasks.nested, items, itertools.repeat(inner), chunk=1), wanted, "the map of maps")

    # Large arguments

    def test_shared_objects_arrive(self) -> None:
        """What `share` gives is the object itself in the function: in a function that is imported, and in a closure."""
        shared = share(list(range(1000)))
        equal(self._map(_item_of, range(10), itertools.repeat(shared)), [*range(10)], "the map with a shared list")
        table = share({"factor": 3})

        def closure(x: int, table: dict[str, int]) -> int:
            return x * table["factor"] + len(table)

        equal(self._map(closure, [1, 2], itertools.repeat(table)), [4, 7], "the map of a closure with a shared dict")

    # How the tests do it

    def _can(self) -> Capabilities:
        with opened(self.make_backend()) as backend:
            return backend.capabilities

    def _map(self, func: Callable[..., Any], *iterables: Any, **options: Any) -> Any:
        return map_tasks(func, *iterables, backend=self.make_backend(), **options)

    def _applies(self, condition: bool, reason: str) -> None:
        if not condition:
            skip(f"{type(self).__name__}: {reason}")


def _class(value: object) -> type[object]:
    return type(value)


def _generator() -> Iterator[Any]:
    """What cannot be pickled."""
    yield from ()


def _item_of(index: int, values: list[int]) -> int:
    return values[index]


@contextlib.contextmanager
def _raises(cls: type[BaseException], saying: str = "") -> Generator[list[Any]]:
    caught: list[Any] = []
    try:
        yield caught
    except cls as error:
        check(saying in str(error), f"a {cls.__name__} says {str(error)!r}, and should say {saying!r}")
        caught.append(error)
    else:
        raise AssertionError(f"nothing was raised, and should be {cls.__name__}")


class _Records(logging.Handler):
    """What is said by logging while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger(tasks.LOGGER).addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger(tasks.LOGGER).removeHandler(self)
