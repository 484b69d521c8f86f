"""`ExecutorBackend` at the level of bytes: pools of threads, of processes, of loky; executors nobody has heard of."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eagerly.backends import Backend, ExecutorBackend
from eagerly.errors import BackendError, OptionTypeError
from map_bodies import until
from works import (
    Gate,
    Piece,
    data_of,
    echo,
    exit_at_once,
    fail,
    inflate,
    kill_self,
    own_pid,
    pass_gate,
    sizes,
    submitted,
)


def process_pool(workers: int = 2) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def loky_pool(workers: int = 2) -> Executor:
    loky = pytest.importorskip("loky", reason="loky is not installed")
    executor: Executor = loky.ProcessPoolExecutor(workers)
    return executor


def reusable_pool() -> Executor:
    loky = pytest.importorskip("loky", reason="loky is not installed")
    executor: Executor = loky.get_reusable_executor(max_workers=2)
    return executor


class PlainExecutor(Executor):
    """Runs a call at once, and knows nothing else."""

    def __init__(self) -> None:
        self.broken = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.broken:
            raise BrokenExecutor("out of order")
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


PROCESSES = {"process": process_pool, "loky": loky_pool, "loky-reusable": reusable_pool}
MAKERS = {"thread": lambda: ThreadPoolExecutor(2), **PROCESSES, "plain": PlainExecutor}


def shut_down(executor: Executor) -> None:
    executor.shutdown(wait=True)


@pytest.fixture(scope="module")
def shared_executors() -> Iterator[dict[str, Executor]]:
    """For the tests that do no harm."""
    made: dict[str, Executor] = {}
    yield made
    for executor in made.values():
        shut_down(executor)


@pytest.fixture(params=MAKERS)
def backend(request: pytest.FixtureRequest, shared_executors: dict[str, Executor]) -> Iterator[Backend]:
    kind = request.param
    if kind not in shared_executors:
        shared_executors[kind] = MAKERS[kind]()
    backend = ExecutorBackend(shared_executors[kind])
    backend.open()
    yield backend
    backend.close()


@pytest.fixture(params=PROCESSES)
def fragile(request: pytest.FixtureRequest) -> Iterator[tuple[Executor, Backend]]:
    """A pool of processes, to be broken, and a backend on it."""
    executor = PROCESSES[request.param]()
    backend = ExecutorBackend(executor)
    backend.open()
    yield executor, backend
    backend.close()
    shut_down(executor)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


# What every executor does


def test_what_the_function_is_given_and_what_comes_back(backend: Backend) -> None:
    (piece,) = submitted(backend, Piece(echo, b"items", spec=b"common"))
    assert piece.data == b"common|items"


def test_many_pieces(backend: Backend) -> None:
    pieces = submitted(backend, *(Piece(echo, b"%d" % index) for index in range(200)))
    assert data_of(pieces) == [b"spec|%d" % index for index in range(200)]


def test_large_pieces(backend: Backend) -> None:
    size = 10_000_000
    there, back = submitted(backend, Piece(sizes, bytes(size), spec=bytes(size)), Piece(inflate, b"%d" % size))
    assert there.data == b"%d %d" % (size, size)
    assert len(back.data) == size


def test_shared_bytes_arrive_whole(backend: Backend) -> None:
    handle = backend.share([b"first ", memoryview(b"second"), b" third"])
    pieces = submitted(backend, *(Piece(echo, b"%d" % index, shared=(handle,)) for index in range(4)))
    assert data_of(pieces) == [b"spec|%d|first second third" % index for index in range(4)]
    backend.unshare(handle)


def test_a_shared_file_is_removed(backend: Backend) -> None:
    kept, dropped = backend.share([b"one"]), backend.share([b"two"])
    backend.unshare(dropped)
    backend.unshare(dropped)
    files = [Path(each) for each in (kept, dropped) if isinstance(each, str)]
    assert [file.exists() for file in files] in ([], [True, False])
    backend.close()
    assert not any(file.exists() for file in files)


def test_two_maps_at_once(backend: Backend) -> None:
    found: dict[bytes, list[bytes]] = {}

    def run_map(spec: bytes) -> None:
        pieces = submitted(backend, *(Piece(echo, b"%d" % index, spec=spec, key=spec * 16) for index in range(50)))
        found[spec] = data_of(pieces)

    threads = [threading.Thread(target=run_map, args=(spec,)) for spec in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {spec: [b"%s|%d" % (spec, index) for index in range(50)] for spec in (b"a", b"b")}


def test_an_end_that_is_no_result_is_a_crash_with_the_words_of_the_engine() -> None:
    backend = ExecutorBackend(PlainExecutor())
    (piece,) = submitted(backend, Piece(fail))
    assert piece.crash.message == "SystemExit: 3"
    backend.recover()  # nothing is broken


def test_closing_leaves_the_executor_alone(backend: Backend) -> None:
    backend.close()
    backend.open()
    (piece,) = submitted(backend, Piece(echo, b"again"))
    assert piece.data == b"spec|again"


# Threads


def test_a_pool_of_threads_runs_work_itself() -> None:
    with ThreadPoolExecutor(3, thread_name_prefix="mine") as executor:
        backend = ExecutorBackend(executor)
        assert backend.capabilities.in_process
        assert backend.capabilities.workers == 3
        assert not backend.capabilities.shared_fate
        (piece,) = submitted(backend, Piece(echo))
        assert piece.data == b"spec|"
    assert piece.thread is not None
    assert piece.thread.name.startswith("mine")


def test_work_that_has_not_begun_is_taken_back(gate: Gate) -> None:
    with ThreadPoolExecutor(1) as executor:
        backend = ExecutorBackend(executor)
        running, waiting = submitted(backend, Piece(pass_gate, gate.body), Piece(echo))
        gate.wait_until_begun()
        assert backend.cancel(waiting, force=False)
        assert not backend.cancel(waiting, force=True)
        assert not backend.cancel(running, force=True)
        gate.let_through()
        assert running.data.endswith(b" go")
    assert not backend.cancel(running, force=False)
    assert waiting.ends == []


def test_work_that_a_shutdown_drops_has_ended(gate: Gate) -> None:
    executor = ThreadPoolExecutor(1)
    backend = ExecutorBackend(executor)
    running, waiting = submitted(backend, Piece(pass_gate, gate.body), Piece(echo))
    gate.wait_until_begun()
    executor.shutdown(wait=False, cancel_futures=True)
    assert waiting.crash.message == "the ThreadPoolExecutor was shut down before the work began"
    gate.let_through()
    assert running.data


def test_an_initializer_that_fails_breaks_a_pool_of_threads_for_good(caplog: pytest.LogCaptureFixture) -> None:
    def initialize() -> None:
        raise LookupError("no licence")

    with ThreadPoolExecutor(1, initializer=initialize) as executor:
        backend = ExecutorBackend(executor)
        (piece,) = submitted(backend, Piece(echo))
        assert "BrokenThreadPool" in piece.crash.message
        for attempt in (backend.recover, backend.open):
            with pytest.raises(BackendError, match="the ThreadPoolExecutor has broken and takes no work any more"):
                attempt()
        with pytest.raises(BackendError, match="has broken"):
            backend.submit(Piece(echo))


# Processes


def test_what_a_pool_of_processes_says_of_itself(fragile: tuple[Executor, Backend]) -> None:
    capabilities = fragile[1].capabilities
    assert (capabilities.workers, capabilities.in_process) == (2, False)
    assert capabilities.shared_fate
    assert capabilities.survives_crash
    assert not capabilities.kills


@pytest.mark.parametrize(
    ("function", "number", "exitcode", "signalled"),
    [(exit_at_once, 7, 7, None), (kill_self, signal.SIGKILL, None, signal.SIGKILL)],
)
def test_a_pool_that_breaks_is_replaced_and_left_alone(
    fragile: tuple[Executor, Backend], function: Any, number: int, exitcode: int | None, signalled: int | None
) -> None:
    executor, backend = fragile
    crash = submitted(backend, Piece(function, b"%d" % number))[0].crash
    assert crash.pid is not None
    assert (crash.exitcode, crash.signal) == (exitcode, signalled)
    if function is exit_at_once:
        backend.recover()  # else work that is submitted before the crash was heard of
    after: set[bytes] = set()

    def both_have_worked() -> bool:
        after.update(data_of(submitted(backend, *(Piece(own_pid) for _ in range(20)))))
        return len(after) >= 2

    until(both_have_worked)
    assert len(after) == 2
    backend.recover()  # of another map, which heard of it later: the new one is not broken
    assert set(data_of(submitted(backend, Piece(own_pid)))) <= after
    with pytest.raises(BrokenExecutor):
        executor.submit(int)


def test_all_work_of_a_pool_that_breaks_has_ended(fragile: tuple[Executor, Backend], gate: Gate) -> None:
    _, backend = fragile
    innocent, culprit = Piece(pass_gate, gate.body), Piece(exit_at_once, b"1")
    submitted(backend, innocent)
    gate.wait_until_begun()
    submitted(backend, culprit)
    assert culprit.crash
    assert innocent.crash


def test_the_replacement_breaks_too_and_ends_with_the_backend(fragile: tuple[Executor, Backend], gate: Gate) -> None:
    _, backend = fragile
    for _ in range(2):
        assert submitted(backend, Piece(exit_at_once, b"1"))[0].crash
        backend.recover()
    (running,) = submitted(backend, Piece(pass_gate, gate.body))
    gate.wait_until_begun()
    backend.close()
    assert running.crash


def test_a_pool_that_was_broken_before_is_replaced_when_opened(fragile: tuple[Executor, Backend]) -> None:
    executor, backend = fragile
    assert submitted(backend, Piece(exit_at_once, b"1"))[0].crash
    later = ExecutorBackend(executor)
    later.open()
    assert submitted(later, Piece(echo))[0].data == b"spec|"
    later.close()


def test_the_replacement_has_the_initializer_of_the_pool() -> None:
    context = multiprocessing.get_context("spawn")
    import os

    with ProcessPoolExecutor(1, mp_context=context, initializer=os.putenv, initargs=("A", "b")) as executor:
        backend = ExecutorBackend(executor)
        assert submitted(backend, Piece(exit_at_once, b"1"))[0].crash
        backend.recover()
        replacement: Any = backend._executor
        assert replacement is not executor
        assert (replacement._initializer, replacement._initargs) == (os.putenv, ("A", "b"))
        assert (replacement._max_workers, replacement._mp_context) == (1, context)
        assert submitted(backend, Piece(echo))[0].data
        backend.close()


# Executors that take no work


@pytest.mark.parametrize("kind", ["thread", "process", "loky"])
def test_an_executor_that_was_shut_down(kind: str) -> None:
    executor = MAKERS[kind]()
    backend = ExecutorBackend(executor)
    backend.open()
    executor.shutdown()
    said = f"the {type(executor).__name__} has been shut down, and takes no work any more; make another one"
    with pytest.raises(BackendError, match=said):
        backend.submit(Piece(echo))
    with pytest.raises(BackendError, match=said):
        backend.open()


def test_an_unknown_executor_that_breaks_cannot_be_replaced() -> None:
    executor = PlainExecutor()
    backend = ExecutorBackend(executor)
    backend.open()
    assert backend.capabilities.workers >= 1
    assert not backend.capabilities.survives_crash
    executor.broken = True
    with pytest.raises(BackendError, match="the PlainExecutor takes no work any more, as it has broken"):
        backend.submit(Piece(echo))


def test_an_executor_that_can_start_nothing() -> None:
    class Full(PlainExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise BlockingIOError(11, "too many processes")

    with pytest.raises(BackendError, match=r"the Full takes no work: BlockingIOError: .*too many processes"):
        ExecutorBackend(Full()).submit(Piece(echo))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ThreadPoolExecutor, r"write ExecutorBackend\(ThreadPoolExecutor\(\)\)"),
        (3, r"takes an executor, not 3; write ExecutorBackend\(ThreadPoolExecutor\(\)\)"),
    ],
)
def test_what_is_no_executor(given: Any, said: str) -> None:
    with pytest.raises(OptionTypeError, match=said):
        ExecutorBackend(given)


def test_its_repr_names_the_executor() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert repr(ExecutorBackend(executor)) == f"ExecutorBackend({executor!r})"
