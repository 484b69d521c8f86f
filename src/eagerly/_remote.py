"""What a worker in another process does: bytes in, bytes out.

`run_chunk` is the only function that engines call there. It runs the items of one piece of work, none in a context in
which another has left something, and hands back how they ended and what is to be told of them. Nothing that an item
does concerns another.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly._item_run import Loops, giver
from eagerly._records import BROKEN, ERROR, LIVELY, MANY, MOVED, ONE, PACKED, UNREAD, UNSENT, Output
from eagerly._relay import log_record, note_left_runs, pack_events, recorder
from eagerly._remote_item import AttemptWatch, Moved, RemoteItem, RemoteMap, kill_at
from eagerly._replica import CallFacts, SessionFacts, distant, monotonic_deadline
from eagerly._row_run import worker_run
from eagerly._run_body import run_body
from eagerly._scope import OUTSIDE, here
from eagerly._share import reading
from eagerly._wire import PLAIN, dump, load, pack_error, reason
from eagerly._worker_run import RunSpec, WorkerRun
from eagerly.backends._protocol import SPECS_KEPT
from eagerly.errors import BackendError, EagerlyWarning, TaskTimeoutError
from eagerly.hooks._compile import compile_hooks
from eagerly.runs._live import wait_until_written

if TYPE_CHECKING:
    from eagerly._item import ItemScope
    from eagerly._task import Task
    from eagerly.backends._protocol import Line

__all__ = ["OfOneMap", "Spec", "is_worker", "run_chunk"]

GLANCE: Final = 0.001
"""Seconds between two looks whether the work is to stop."""

_enter = here.set


class Spec(NamedTuple):
    """What all maps of a task in a session have in common, as it travels. Workers keep what they make of it.

    Attributes:
        task: The task.
        unary: Whether each item is one argument, and not a tuple of them.
        backend: As in `MapScope`.
        session: The facts about the session, or None outside of one.
        hooks: The hooks that somebody listens to.
        plugins: Those that run beside the body.
    """

    task: Task[..., Any]
    unary: bool
    backend: str
    session: SessionFacts | None
    hooks: tuple[str, ...]
    plugins: tuple[object, ...]


class OfOneMap(NamedTuple):
    """What all items of one map have in common besides.

    Attributes:
        base: As in `MapScope`.
        deadline: When the first of the timeouts around the map is up, in Unix seconds, or None.
        calls: The calls around the map.
        run: For what is no map but one submitted call, whose arguments may have names: the run; else None.
        root: As in `MapScope`.
    """

    base: int
    deadline: float | None
    calls: list[CallFacts]
    run: RunSpec | None = None
    root: str | None = None


def run_chunk(key: bytes, spec: bytes | None, body: bytes, *shared: Any, line: Line | None = None) -> bytes:
    """Run the items in `body`, and return how they ended.

    Args:
        key: Identifies the spec.
        spec: What all items of the map have in common; None if this process has had it before.
        body: The items.
        shared: The objects that the map shares, as bytes or paths.
        line: Connects this with the coordinator, where there is such a thing.
    """
    if line is not None:  # a worker of ours is replaced when something in it cannot be ended; nobody has to be warned
        warnings.filterwarnings("ignore", "task .* did not stop within", EagerlyWarning)
    output = Output(line)
    try:
        with reading(shared):
            crew = _crew(key, spec)
    except Exception as error:
        output.add((BROKEN, 0, pack_error(error)))
    else:
        with _logs_noted():
            crew.run(body, shared, output, line)
    return output.close()


class _UnreadError(Exception):
    """The arguments of an item could not be read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Crew:
    """What a worker keeps of a map: the task, and a session like that of the coordinator."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._give = giver(spec.task, _loops)
        self._hears_of_runs = "on_run_status" in spec.hooks
        declaration = spec.task.declaration
        self._timeout = None if spec.task.is_generator else declaration.timeout
        plugins: list[object] = list(spec.plugins)
        if spec.hooks:
            plugins.append(recorder(spec.hooks))
        if declaration.retry is not None or declaration.timeout is not None:
            plugins.append(AttemptWatch(self._timeout))
        self._plugins = tuple(plugins)
        self._hooks = compile_hooks(plugins, strict=False)
        self._session = OUTSIDE if spec.session is None else spec.session.replica(self._hooks, tuple(plugins))

    def run(self, body: bytes, shared: tuple[Any, ...], output: Output, line: Line | None) -> None:
        """Run the items in `body`, until the coordinator asks to stop."""
        spec = self._spec
        of_one_map, first, resume, patience, lively, pickled, packed = load(body)
        this: OfOneMap = load(of_one_map)
        scope = RemoteMap(
            self._session,
            distant(this.calls),  # type: ignore[arg-type]  # it has what is asked of a call
            base=this.base,
            backend=spec.backend,
            deadline=monotonic_deadline(this.deadline),
        )
        scope.first, scope.line, scope.output = first, line, output
        scope.root = this.root
        give: Callable[..., Any] = self._give
        if this.run is not None:
            scope.run = worker_run(this.run, scope, output.send)
            give = partial(_run_body, scope.run, spec.task)
        if self._hears_of_runs:
            give = partial(_until_written, give)
        call = give if spec.unary else partial(_spread, give)
        late = time.perf_counter() + patience
        rest = enumerate(packed)
        with _hooks_outside(self._hooks if self._session is OUTSIDE else None), reading(shared):
            more = line is None or not line.stopping
            while more:
                context = contextvars.Context()
                more = context.run(self._run_some, context, rest, call, scope, resume, pickled, late, lively)

    def _run_some(  # noqa: C901 - one loop, read from top to bottom
        self,
        context: contextvars.Context,
        rest: Iterator[tuple[int, Any]],
        call: Callable[[Any], Any],
        scope: RemoteMap,
        resume: tuple[int, float] | None,
        pickled: bool,
        late: float,
        lively: float,
    ) -> bool:
        """Run items in `context`, in which this is called; whether there may be more, which need another one."""
        line, output, timeout = scope.line, scope.output, self._timeout
        first, attempt = scope.first, 1 if resume is None else resume[0]
        begin = None if line is None else line.begin
        clock = time.perf_counter
        values: list[Any] | None = None  # to which the next result may be appended, if nothing was flushed since
        flushes = 0
        due = late if line is None else 0.0
        for place, args in rest:
            if begin is not None:
                begin(place, attempt, 0.0 if timeout is None else kill_at(timeout))
            item = RemoteItem(scope, first + place)
            if resume is not None:
                item.resume = resume
            try:
                if pickled:
                    args = _unpickled(args)
                _enter(item)
                value = call(args)
            except BaseException as error:
                _enter(OUTSIDE)
                self._note_failure(item, error)
                values = None
            else:
                plain = type(value) in PLAIN and not (item.events or output.told)
                if plain and values is not None:
                    values.append(value)  # the usual: one more of the same
                if not plain or values is None or output.flushes != flushes:
                    # Flushed meanwhile by a thread of the body's: it may be among what was sent. The first time counts.
                    _enter(OUTSIDE)
                    flushes = output.flushes
                    values = self._hand_in(item, value, output)
                    value = None  # it may be large, and the next item is to have the room
            now = clock()
            if now >= due:
                if line is not None and now - output.last > (LIVELY if output.urgent else lively):
                    output.flush()
                    values = None
                if now > late or (line is not None and line.stopping):
                    return False
                due = min(late, now + GLANCE)
            if len(context) > 1:  # there is more in it than where the item was: not for the next one
                return True
        return False

    def _note_failure(self, item: RemoteItem, error: BaseException) -> None:
        """Note that an item has given no result."""
        output, line = item.map.output, item.map.line
        if isinstance(error, _UnreadError):
            if not isinstance(error.error, Exception):
                raise error.error  # it ends this process, as it would end any that reads it
            output.add((UNREAD, item.map_index, pack_error(error.error)))
        elif isinstance(error, Moved):
            output.add((MOVED, item.map_index, error.attempt, error.delay, error.elapsed, error.events))
            assert line is not None
            line.retire()
        else:
            output.add((ERROR, item.map_index, pack_error(error), time.time(), pack_events(item)))
            if line is not None and isinstance(error, TaskTimeoutError) and error.abandoned:
                line.retire()
            output.flush()

    def _hand_in(self, item: ItemScope, value: Any, output: Output) -> list[Any] | None:
        """Note a result; the list to which those that follow may be appended, if that will do for them."""
        told = output.told
        values = None
        if type(value) in PLAIN and not item.rich:
            if item.events or told:
                output.add((ONE, item.map_index, value, item.events))
            else:
                values = [value]
                output.add((MANY, item.map_index, values))
        else:
            self._pack(item, value, output)
        if told:
            output.flush()
        return values

    def _pack(self, item: ItemScope, value: Any, output: Output) -> None:
        events = pack_events(item)
        try:
            data = dump(value)
        except Exception as error:
            why = f"the result, {type(value).__module__}.{type(value).__qualname__}, cannot be pickled: {reason(error)}"
            output.add((UNSENT, item.map_index, why, events))
        else:
            output.add((PACKED, item.map_index, data, events))


def _spread(give: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return give(*args)


def _until_written(give: Callable[..., Any], *args: Any) -> Any:
    """The call. What a coroutine has submitted is written when it ends, and so noted before nobody hears of it."""
    try:
        return give(*args)
    finally:
        wait_until_written()
        item: Any = here.get()
        note_left_runs(item)


def _unpickled(data: bytes) -> Any:
    _enter(OUTSIDE)
    try:
        return load(data)
    except BaseException as error:
        raise _UnreadError(error) from None


def _run_body(run: WorkerRun, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    item: Any = here.get()
    try:
        return run_body(task, item, run, args, kwargs)
    finally:
        run.close()


def is_worker() -> bool:
    """Whether this process has been given work by another one."""
    return _given


_given: bool = False
_loops = Loops()
_crews: OrderedDict[bytes, _Crew] = OrderedDict()
_crewing = threading.Lock()


def _crew(key: bytes, data: bytes | None) -> _Crew:
    global _given
    _given = True
    with _crewing:
        crew = _crews.get(key)
        if crew is None:
            if data is None:
                raise BackendError("this worker has not been given what the items of the map have in common")
            crew = _crews[key] = _Crew(_unpacked(data))
            while len(_crews) > 2 * SPECS_KEPT:
                _crews.popitem(last=False)
        else:
            _crews.move_to_end(key)
        return crew


def _unpacked(data: bytes) -> Spec:
    path, levels, packed = load(data)
    sys.path.extend(each for each in path if each not in sys.path)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    return load(packed)  # type: ignore[no-any-return]  # a Spec


@contextlib.contextmanager
def _hooks_outside(hooks: Any) -> Generator[None]:
    """Where no session is open nobody listens, but for what this worker itself has to know."""
    if hooks is None:
        yield
        return
    before, OUTSIDE.hooks = OUTSIDE.hooks, hooks
    try:
        yield
    finally:
        OUTSIDE.hooks = before


class _NotingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            log_record(record)
        except Exception:  # its message and arguments do not fit: as everywhere, that is no error of who logs
            self.handleError(record)


_handler = _NotingHandler()
_handlers = 0


@contextlib.contextmanager
def _logs_noted() -> Generator[None]:
    """Log records made meanwhile travel with the results of the items that made them."""
    global _handlers
    with _crewing:
        _handlers += 1
        logging.root.addHandler(_handler)
    try:
        yield
    finally:
        with _crewing:
            _handlers -= 1
            if not _handlers:
                logging.root.removeHandler(_handler)
