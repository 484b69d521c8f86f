"""`DaskBackend`: tasks on the workers of a Dask cluster, through `distributed`.

All that talks to the cluster runs on the event loop of the client: one coroutine carries one piece of work there and
back. Results are released as soon as they have been fetched. What we have not started is never closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import multiprocessing
import sys
import threading
import time
from asyncio import CancelledError
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from typing import TYPE_CHECKING, Any, Final

from eagerly.backends._engine import LARGE, check_workers, is_dask_client, load_engine, words_of
from eagerly.backends._protocol import SPECS_KEPT, Capabilities, Crash, Message, Work
from eagerly.errors import BackendError, OptionTypeError

if TYPE_CHECKING:
    from eagerly.cache._protocol import Buffer

__all__ = ["DaskBackend"]

LARGE_BODY: Final = 1024 * 1024
"""Bytes above which items are sent to a worker past the description of the work, which the scheduler keeps."""

GLANCE: Final = 5.0
"""Seconds between two looks whether somebody does the work that is waited for."""

IDLE_GLANCES: Final = 3
"""So many looks in turn that find nobody at work mean that the work is lost."""

PATIENCE: Final = 30
"""Seconds to wait for a worker, when all have died."""


NO_GUARD: Final = (
    "Dask starts workers that import the script once more: put what a script does, other than definitions, under "
    'if __name__ == "__main__":'
)


class DaskBackend:
    """Runs tasks on a Dask cluster.

    Which one: that of `client`; else, in a task that runs on a Dask worker, the cluster of that worker; else that of
    the client which is current; else one of our own on this machine, reachable from this machine only, which `close`
    ends. As Dask starts its workers with `multiprocessing`, a script in which we start one needs
    ``if __name__ == "__main__":``.

    Dask may run a piece of work again on its own: when a worker dies that had done it, before its result was fetched;
    and on clusters that are not ours, when a worker dies that was doing it, as often as the cluster's setting
    ``distributed.scheduler.allowed-failures`` says (3 unless changed; 0 on ours).

    Args:
        client: A `distributed.Client` of the cluster.
        workers: How many workers to start, each a process with one thread; None: as many as there are CPUs. Only for a
            cluster of our own.

    Raises:
        OptionTypeError: `client` is no such client; `workers` is no number, or given together with `client`.
        OptionValueError: `workers` is less than 1.
    """

    def __init__(self, client: Any = None, workers: int | None = None) -> None:
        if client is not None and not is_dask_client(client):
            raise OptionTypeError(
                f"DaskBackend(client=...) takes a distributed.Client, not {client!r}; write "
                "DaskBackend(Client(...)) with a cluster or the address of a scheduler"
            )
        if client is not None and workers is not None:
            raise OptionTypeError(
                "DaskBackend takes client= or workers=, not both: the cluster of a client has the workers that it has"
            )
        self._given = client
        self._wanted = check_workers("DaskBackend(workers=...)", workers)
        self._client: Any = None
        self._cluster: Any = None  # ours
        self._workers = 1
        self._carried: dict[int, _Carried] = {}  # by id of the work; who takes one out says how it ended
        self._specs: dict[bytes, _Scattered] = {}
        self._opening = threading.Lock()
        self._claims = threading.Lock()

    def __repr__(self) -> str:
        return f"DaskBackend({self._given!r})" if self._given is not None else f"DaskBackend(workers={self._wanted!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do. Dask cannot end a body: `cancel` with ``force=True`` ends the wait for it."""
        return Capabilities(
            name="dask",
            workers=self._workers,
            shared_fate=True,  # what waits in a worker that dies is lost with what runs there
            reruns=True,
            survives_crash=True,
            chunk_seconds=0.3,
        )

    def open(self) -> None:
        """Find the cluster, or start one, which takes about a second.

        Raises:
            BackendError: There is no cluster to be had.
            MissingExtraError: `distributed` is not installed.
        """
        with self._opening:
            if self._client is not None and self._client.status == "running":
                return
            distributed = load_engine("distributed", "the Dask backend", extra="dask")
            client = self._given or _client_here(distributed)
            if client is None:
                client = self._start(distributed)
            elif self._wanted is not None:
                raise BackendError(
                    f"DaskBackend(workers={self._wanted}) cannot have its way: there is a Dask client already "
                    f"({client!r}), and its cluster is used; leave out workers="
                )
            if client.status != "running":
                raise BackendError(f"the Dask client is {client.status}: {client!r}; make another one")
            if client.asynchronous:
                raise BackendError(
                    "a Dask client with asynchronous=True cannot be waited for here; write Client(...) without it"
                )
            self._workers = max(1, sum(client.nthreads().values()))
            self._client = client

    def submit(self, work: Work) -> None:
        """Send `work` to the cluster.

        Raises:
            BackendError: The client is closed, or has lost its scheduler.
        """
        client = self._client
        if client is None or client.status != "running":
            raise BackendError(self._refusal())
        carried = _Carried(work, work.message)
        with self._claims:
            self._carried[id(work)] = carried
        client.loop.add_callback(self._carry, client, carried)

    def cancel(self, work: Work, *, force: bool) -> bool:
        """Take `work` back if it has not been sent. Else, with ``force=True``, have the cluster forget it.

        Then what still waits in a worker is not begun, and `Work.end` comes at once, also for a body that runs: it goes
        on to its end, unheard.
        """
        with self._claims:
            carried = self._carried.get(id(work))
            if carried is None:
                return False
            if carried.future is None:
                del self._carried[id(work)]
                return True
            carried.forgotten = carried.forgotten or force
        if force:
            self._client.loop.add_callback(self._client.cancel, [carried.future], asynchronous=True)
        return False

    def recover(self) -> None:
        """Wait for a worker: the cluster replaces those that die, and we have it replace those that it has given up.

        Raises:
            BackendError: None has come, or there is no cluster any more.
        """
        client = self._client
        if client is None or client.status != "running":
            raise BackendError(self._refusal())
        for _ in range(PATIENCE):
            _refill(client.cluster)
            with contextlib.suppress(TimeoutError):
                client.wait_for_workers(1, timeout=1)
                return
        raise BackendError(f"all workers of the Dask cluster have died, and none came in {PATIENCE} s")

    def share(self, parts: Sequence[Buffer]) -> Any:
        """A reference: the bytes are scattered when first used, and again if the worker that has them dies."""
        return _Scattered(parts)

    def unshare(self, handle: Any) -> None:
        """Have the cluster forget what was shared, as soon as no work refers to it."""
        handle.forget()

    @contextlib.contextmanager
    def waiting(self) -> Generator[None]:
        """While a task waits for a map, others have its thread, if it runs on a worker of Dask: it secedes."""
        worker = _worker_of_this_thread()
        if worker is None:
            yield
            return
        _secede(worker)
        try:
            yield
        finally:
            importlib.import_module("distributed").rejoin()

    def close(self) -> None:
        """End the cluster, if it is ours, and have another one forget what we have sent."""
        with self._opening:
            client, self._client = self._client, None
            cluster, self._cluster = self._cluster, None
            with self._claims:
                left, self._carried = self._carried, {}
            self._specs.clear()
            if cluster is not None:
                client.close()
                cluster.close()
            elif client is not None and client.status == "running":
                client.loop.add_callback(
                    client.cancel, [each.future for each in left.values() if each.future], asynchronous=True
                )
        for each in left.values():
            each.work.end(Crash(message="the Dask backend was closed", asked=True))

    def _start(self, distributed: Any) -> Any:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise BackendError(NO_GUARD)
        try:
            self._cluster = distributed.LocalCluster(
                n_workers=self._wanted,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                silence_logs=logging.CRITICAL,  # what goes wrong is told by exceptions
                # Without its dashboard the scheduler still has a server for health checks, on port 8787 unless told.
                dashboard_address=None,
                scheduler_kwargs={"allowed_failures": 0, "dashboard_address": "127.0.0.1:0"},
            )
            client = distributed.Client(self._cluster, set_as_default=False)
            client.wait_for_workers(len(self._cluster.worker_spec), timeout=PATIENCE)
        except (Exception, CancelledError) as error:
            cluster, self._cluster = self._cluster, None
            if cluster is not None:
                cluster.close()
            hint = f". {NO_GUARD}" if "Nanny" in str(error) else ""  # it watches the process that has not come up
            raise BackendError(f"no Dask cluster can be started here ({words_of(error)}){hint}") from error
        return client

    def _refusal(self) -> str:
        client = self._client
        return (
            f"the Dask cluster takes no work: {'it is closed' if client is None else f'its client is {client.status}'}"
        )

    async def _carry(self, client: Any, carried: _Carried) -> None:
        """One piece of work, there and back. Runs on the event loop of the client."""
        message, data, crash = carried.message, b"", None
        try:
            spec = await self._spec(client, message)
            body = message.body
            if len(body) > LARGE_BODY:
                body = await client.scatter(body, hash=False, asynchronous=True)
            shared = [await each.on(client) for each in message.shared]
            with self._claims:
                if id(carried.work) not in self._carried:
                    return
                carried.future = client.submit(
                    message.function, message.key, spec, body, *shared, pure=False, retries=0
                )
            data = await _result_of(client, carried.future)
        except (Exception, CancelledError, FutureCancelledError) as error:
            crash = Crash(message=words_of(error), asked=carried.forgotten)
        if carried.future is not None:
            carried.future.release()
        with self._claims:
            if self._carried.pop(id(carried.work), None) is None:
                return
        if crash is None:
            carried.work.output(data)
        carried.work.end(crash)

    async def _spec(self, client: Any, message: Message) -> Any:
        if len(message.spec) <= LARGE:
            return message.spec
        scattered = self._specs.pop(message.key, None) or _Scattered([message.spec])
        self._specs[message.key] = scattered  # the newest last
        while len(self._specs) > SPECS_KEPT:
            del self._specs[next(iter(self._specs))]  # work that was sent keeps what it needs
        return await scattered.on(client)


async def _result_of(client: Any, future: Any) -> bytes:
    """What the worker has returned.

    Raises:
        _LostError: The cluster knows of the work, and nobody does it: now and then a scheduler and its workers disagree
            after one has died, and would wait for each other for ever.
    """
    gathering = asyncio.ensure_future(client.gather(future, asynchronous=True))
    idle = 0
    while not gathering.done():
        await asyncio.wait((gathering,), timeout=GLANCE)
        if not gathering.done():
            idle = 0 if await client.scheduler.call_stack(keys=None) else idle + 1
            if idle == IDLE_GLANCES:
                gathering.cancel()
                await client.cancel([future], asynchronous=True)
                raise _LostError("all workers have been idle, and the work was not done")
    return gathering.result()  # type: ignore[no-any-return]  # bytes


class _LostError(Exception):
    """The cluster has lost a piece of work."""


class _Carried:
    """A piece of work on its way."""

    __slots__ = ("forgotten", "future", "message", "work")

    def __init__(self, work: Work, message: Message) -> None:
        self.work = work
        self.message = message
        self.future: Any = None  # once it has been sent
        self.forgotten = False


class _Scattered:
    """Bytes in the memory of workers. They are kept here as well, as those there are lost with their worker."""

    __slots__ = ("_parts", "_sending")

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = parts
        self._sending: asyncio.Future[Any] | None = None

    async def on(self, client: Any) -> Any:
        """The reference to them, for a task of this client."""
        sending = self._sending
        if sending is None or (sending.done() and not _is_there(sending, client)):
            data = b"".join(self._parts)
            sending = self._sending = asyncio.ensure_future(client.scatter(data, hash=False, asynchronous=True))
        return await sending

    def forget(self) -> None:
        self._parts, self._sending = (), None


def _refill(cluster: Any) -> None:
    """Have the cluster start what is missing of the workers that it means to have.

    A worker that dies while its cluster looks what became of an earlier death (``lost-worker-timeout`` later, 15 s
    unless changed) is taken for gone and is not replaced any more.
    """
    wanted = len(getattr(cluster, "worker_spec", ()))  # a scheduler that somebody else has started has no cluster here
    if cluster is not None and len(cluster.workers) < wanted:
        cluster.scale(wanted)


def _is_there(sent: asyncio.Future[Any], client: Any) -> bool:
    if sent.cancelled() or sent.exception() is not None:
        return False
    future = sent.result()
    return future.client is client and future.status == "finished"


def _client_here(distributed: Any) -> Any:
    """The client of the worker that runs this task, else the one that is current, else None."""
    worker = _worker_of_this_thread() or _worker_of_this_process(distributed)
    if worker is not None:
        return worker._get_client()  # get_client() would ask the context, and items have one of their own
    try:
        return distributed.Client.current()
    except ValueError:
        return None


def _worker_of_this_thread() -> Any:
    """The Dask worker in whose pool of threads this one is; None elsewhere, and for a task that has seceded already."""
    module = sys.modules.get("distributed.threadpoolexecutor")
    executor = getattr(getattr(module, "thread_state", None), "executor", None)
    if executor is None or threading.current_thread() not in executor._threads:
        return None
    workers = sys.modules["distributed"].Worker._instances
    return next((each for each in workers if executor in each.executors.values()), None)


def _worker_of_this_process(distributed: Any) -> Any:
    """The worker that this process is there for, as seen by threads that a task has started; else None."""
    workers = list(distributed.Worker._instances)
    return workers[0] if len(workers) == 1 and not distributed.Scheduler._instances else None


def _secede(worker: Any) -> None:
    """As `distributed.secede`, which finds the worker in the context, and items have one of their own."""
    load = importlib.import_module
    state = load("distributed.worker").thread_state
    load("distributed.threadpoolexecutor").secede()
    event = load("distributed.worker_state_machine").SecedeEvent(
        key=state.key, compute_duration=time.time() - state.start_time, stimulus_id=f"secede-{time.time()}"
    )
    worker.loop.add_callback(worker.handle_stimulus, event)
