"""`RayBackend`: tasks on the workers of a Ray cluster.

Ray tells of a result on a thread of its own, where nothing may wait for Ray; so one thread of ours hands results on.
What we have not started is never shut down.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eagerly.backends._engine import LARGE, check_workers, load_engine, words_of
from eagerly.backends._protocol import SPECS_KEPT, Capabilities, Crash, Message, Work, WorkerFunction
from eagerly.errors import BackendError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eagerly.cache._protocol import Buffer

__all__ = ["RayBackend"]

OURS_ONLY: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: the servers listen on the loopback interface only
}
"""The environment of a cluster that we start: nothing leaves this machine."""


class RayBackend:
    """Runs tasks on Ray.

    If Ray is initialised in this process, its cluster is used, and is not shut down. Else one of our own is started on
    this machine, reachable from this machine only, without dashboard and usage statistics; `close` ends it. Starting
    one takes about five seconds. To use another cluster, call ``ray.init(address=...)`` first.

    A piece of work takes one CPU of the cluster and is done at most once (``max_retries=0``).

    In a task that runs on Ray, the work of an inner map takes no CPU of the cluster: the task that waits for it has
    one. So nested maps cannot wait for each other.

    Args:
        workers: How many CPUs the cluster has that we start; None: as many as this machine.

    Raises:
        OptionTypeError: `workers` is no number.
        OptionValueError: `workers` is less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._wanted = check_workers("RayBackend(workers=...)", workers)
        self._ray: Any = None
        self._ours = False  # the cluster
        self._nested = False
        self._workers = 1
        self._sent: dict[int, _Sent] = {}  # by id of the work; who takes one out says how it ended
        self._specs: dict[bytes, Any] = {}
        self._functions: dict[WorkerFunction, Any] = {}
        self._arrived: queue.SimpleQueue[tuple[_Sent, Future[bytes]] | None] = queue.SimpleQueue()
        self._postman: threading.Thread | None = None
        self._opening = threading.Lock()
        self._storing = threading.Lock()

    def __repr__(self) -> str:
        return f"RayBackend(workers={self._wanted!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return Capabilities(
            name="ray",
            workers=self._workers,
            kills=True,
            survives_crash=True,
            chunk_seconds=0.1,
        )

    def open(self) -> None:
        """Find the cluster, or start one.

        Raises:
            BackendError: There is no cluster to be had.
            MissingExtraError: Ray is not installed.
        """
        with self._opening:
            if self._ray is not None and self._ray.is_initialized():
                return
            ray = load_engine("ray", "the Ray backend", extra="ray")
            if not ray.is_initialized():
                _start(ray, self._wanted)
                self._ours = True
            elif self._wanted is not None:
                raise BackendError(
                    f"RayBackend(workers={self._wanted}) cannot have its way: Ray is initialised already, and its "
                    "cluster is used; leave out workers="
                )
            else:
                self._ours = False
            self._nested = ray.get_runtime_context().get_task_id() is not None
            self._workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
            self._specs.clear()
            self._functions.clear()
            self._ray = ray
            if self._postman is None:
                self._postman = threading.Thread(target=self._hand_on, name="eagerly-ray", daemon=True)
                self._postman.start()

    def submit(self, work: Work) -> None:
        """Hand `work` to Ray.

        Raises:
            BackendError: Ray has been shut down.
        """
        ray = self._ray
        if ray is None or not ray.is_initialized():
            raise BackendError("Ray has been shut down, and takes no work; open the backend again")
        message = work.message
        sent = self._sent[id(work)] = _Sent(work)
        try:
            run = self._functions.get(message.function) or self._function(message.function)
            sent.ref = run.remote(message.key, self._spec(message), message.body, *message.shared)
            sent.ref.future().add_done_callback(functools.partial(self._tell, sent))
        except Exception as error:
            self._sent.pop(id(work), None)
            raise BackendError(f"Ray takes no work: {words_of(error)}") from error

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Have Ray end `work`. It does not say whether a worker had begun it, so `Work.end` always follows.

        With ``force=True`` its worker is killed. With ``force=False`` nothing happens: Ray can interrupt a body, but
        when that meets its end, the program that asked for it dies ("Tried to complete task that was not pending", seen
        with Ray 2.60).
        """
        sent = self._sent.get(id(work))
        if force and sent is not None and sent.ref is not None:
            sent.asked = True
            with contextlib.suppress(Exception):  # it has ended meanwhile
                self._ray.cancel(sent.ref, force=True, recursive=False)
        return False

    def recover(self) -> None:
        """Nothing: Ray replaces workers that die.

        Raises:
            BackendError: Ray has been shut down.
        """
        if self._ray is None or not self._ray.is_initialized():
            raise BackendError("Ray has been shut down; open the backend again")

    def share(self, parts: Sequence[Buffer]) -> Any:
        """A reference to the bytes in Ray's object store."""
        return self._ray.put(b"".join(parts))

    def unshare(self, handle: Any) -> None:
        """Nothing: Ray drops an object when nobody has a reference to it."""

    def close(self) -> None:
        """End the cluster, if it is ours, and the work that we have given to another one."""
        with self._opening:
            ray, self._ray = self._ray, None
            left, self._sent = self._sent, {}
            if ray is not None and ray.is_initialized():
                if self._ours:
                    _stop(ray)
                else:
                    for sent in list(left.values()):
                        with contextlib.suppress(Exception):
                            ray.cancel(sent.ref, force=True, recursive=False)
            self._specs.clear()
            postman, self._postman = self._postman, None
            if postman is not None:
                self._arrived.put(None)
                if postman is not threading.current_thread():
                    postman.join()
        for sent in left.values():
            sent.work.end(Crash(message="the Ray backend was closed", asked=True))

    def _function(self, function: WorkerFunction) -> Any:
        remote = self._ray.remote(max_retries=0, num_cpus=0 if self._nested else 1)(function)
        return self._functions.setdefault(function, remote)

    def _spec(self, message: Message) -> Any:
        if len(message.spec) <= LARGE:
            return message.spec
        with self._storing:
            stored = self._specs.pop(message.key, None) or self._ray.put(message.spec)
            self._specs[message.key] = stored  # the newest last
            while len(self._specs) > SPECS_KEPT:
                del self._specs[next(iter(self._specs))]  # work that was handed over keeps what it needs
        return stored

    def _tell(self, sent: _Sent, future: Future[bytes]) -> None:
        self._arrived.put((sent, future))

    def _hand_on(self) -> None:
        while (arrived := self._arrived.get()) is not None:
            sent, future = arrived
            del arrived  # else the thread would keep the last result until the next one comes
            if self._sent.pop(id(sent.work), None) is not None:
                _end(sent, future)
            del sent, future


class _Sent:
    """A piece of work that Ray has."""

    __slots__ = ("asked", "ref", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.ref: Any = None
        self.asked = False


def _end(sent: _Sent, future: Future[bytes]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None or future.cancelled():
        message = "Ray has cancelled it" if error is None else words_of(error)
        sent.work.end(Crash(message=message, asked=sent.asked))
        return
    sent.work.output(future.result())
    sent.work.end()


def _start(ray: Any, workers: int | None) -> None:
    """Start a cluster that nobody outside of this machine can reach or hears of."""
    with _ours_only(), _signals_kept():
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                logging_level=logging.ERROR,
            )
        except Exception as error:
            raise BackendError(f"Ray cannot be started here: {words_of(error)}") from error
    address = ray.util.get_node_ip_address()
    if not address.startswith("127.") and address != "::1":
        _stop(ray)
        raise BackendError(
            f"this version of Ray cannot be kept from listening on {address}, which others may reach; call ray.init() "
            "first, if that is meant, and its cluster is used"
        )


def _stop(ray: Any) -> None:
    with _signals_kept():
        ray.shutdown()


@contextlib.contextmanager
def _ours_only() -> Generator[None]:
    """While this is open, what Ray starts has the environment `OURS_ONLY`, and finds the modules that we find."""
    environment = {**OURS_ONLY, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    constants: Any = sys.modules.get("ray._private.ray_constants")  # where Ray keeps what it read when imported
    clusters = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    if clusters is not None:
        constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        if clusters is not None:
            constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _signals_kept() -> Generator[None]:
    """Ray takes SIGTERM for itself. It belongs to the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
