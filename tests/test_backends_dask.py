"""`DaskBackend` at the level of bytes, on a cluster that really runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly.backends import Backend, DaskBackend, FreesWorker
from eagerly.errors import BackendError, OptionTypeError, OptionValueError
from run_tasks import until
from works import Gate, Piece, data_of, echo, exit_at_once, fail, inflate, own_pid, pass_gate, sizes, submitted


@pytest.fixture
def backend(dask_client: Any) -> Iterator[DaskBackend]:
    dask_client.wait_for_workers(2)  # a test before this may have killed one
    backend = DaskBackend(dask_client)
    backend.open()
    yield backend
    backend.close()
    assert dask_client.status == "running"


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[list[Gate]]:
    gates = [Gate(tmp_path / f"gate{index}") for index in range(2)]
    yield gates
    for gate in gates:
        gate.close()


def held(client: Any) -> set[str]:
    """What the cluster keeps for this client, when all that was released has been."""

    async def turn() -> None:
        await asyncio.sleep(0)

    client.sync(turn)
    return set(client.futures)


def test_it_is_a_backend_that_frees_workers(backend: DaskBackend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend, FreesWorker)
    capabilities = backend.capabilities
    assert (capabilities.name, capabilities.workers) == ("dask", 2)
    assert capabilities.reruns
    assert capabilities.shared_fate
    assert not capabilities.kills
    assert not capabilities.in_process


def test_what_the_function_is_given_and_what_comes_back(backend: DaskBackend) -> None:
    piece, elsewhere = submitted(backend, Piece(echo, b"items", spec=b"common"), Piece(own_pid))
    assert piece.data == b"common|items"
    assert elsewhere.data != b"%d" % os.getpid()


def test_many_pieces_of_two_maps_at_once(backend: DaskBackend, dask_client: Any) -> None:
    found: dict[bytes, list[bytes]] = {}

    def run_map(spec: bytes) -> None:
        pieces = submitted(backend, *(Piece(echo, b"%d" % index, spec=spec, key=spec * 16) for index in range(100)))
        found[spec] = data_of(pieces)

    threads = [threading.Thread(target=run_map, args=(spec,)) for spec in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {spec: [b"%s|%d" % (spec, index) for index in range(100)] for spec in (b"a", b"b")}
    assert held(dask_client) == set()


def test_large_pieces_are_not_kept(backend: DaskBackend, dask_client: Any) -> None:
    size = 10_000_000
    there, back = submitted(backend, Piece(sizes, bytes(size), spec=bytes(size)), Piece(inflate, b"%d" % size))
    assert there.data == b"%d %d" % (size, size)
    assert len(back.data) == size
    del there, back
    assert len(held(dask_client)) == 1  # the spec: other pieces of the map may follow
    backend.close()
    assert held(dask_client) == set()


def test_a_large_spec_is_sent_once(backend: DaskBackend, dask_client: Any) -> None:
    pieces = submitted(backend, *(Piece(sizes, b"x", spec=bytes(100_000)) for _ in range(20)))
    assert set(data_of(pieces)) == {b"100000 1"}
    assert len(held(dask_client)) == 1


def test_specs_of_many_maps(backend: DaskBackend) -> None:
    pieces = submitted(backend, *(Piece(sizes, spec=bytes(100_000 + n), key=b"%16d" % n) for n in range(20)))
    assert data_of(pieces) == [b"%d 0" % (100_000 + n) for n in range(20)]
    assert len(backend._specs) == 16


def test_shared_bytes_arrive_whole(backend: DaskBackend, dask_client: Any) -> None:
    handle = backend.share([b"first ", memoryview(b"second"), b" third"])
    pieces = submitted(backend, *(Piece(echo, b"%d" % index, shared=(handle,)) for index in range(10)))
    assert data_of(pieces) == [b"spec|%d|first second third" % index for index in range(10)]
    backend.unshare(handle)
    assert held(dask_client) == set()


def test_a_worker_that_dies(backend: DaskBackend) -> None:
    (piece,) = submitted(backend, Piece(exit_at_once, b"7"))
    assert piece.crash.message.startswith("KilledWorker: ")
    backend.recover()
    after = submitted(backend, *(Piece(echo, b"%d" % index) for index in range(4)))
    assert data_of(after) == [b"spec|%d" % index for index in range(4)]


def test_what_dies_with_its_worker_is_sent_again(backend: DaskBackend) -> None:
    handle = backend.share([bytes(200_000)])
    spec = bytes(100_000)
    for _ in range(3):  # some of them hit the worker that has the bytes
        assert submitted(backend, Piece(sizes, b"x", spec=spec, shared=(handle,)))[0].wait()
        assert submitted(backend, Piece(exit_at_once, b"1", spec=spec))[0].crash
        backend.recover()
    pieces: list[Piece] = []
    while not pieces or pieces[-1].wait().ends != [None]:  # work may be sent before the loss is known here
        assert len(pieces) < 10
        pieces += submitted(backend, Piece(sizes, b"x", spec=spec, shared=(handle,)))
    assert pieces[-1].data == b"100000 1 200000"


def test_a_worker_that_its_cluster_has_given_up_is_replaced() -> None:
    """Seen in a long run: a while after a death the cluster closes a worker of that name which is just restarting."""
    backend = DaskBackend(workers=1)
    backend.open()
    try:
        for _ in range(2):
            cluster = backend._client.cluster
            cluster.sync(cluster.workers.pop(0).close)  # as `SpecCluster._update_worker_status` does
            backend.recover()
            assert data_of(submitted(backend, Piece(echo, b"on"))) == [b"spec|on"]
    finally:
        backend.close()


def lose_the_next_piece(dask_worker: Any) -> None:
    """As if the message about it had been lost between scheduler and worker."""
    handlers = dask_worker.stream_handlers
    real = handlers["compute-task"]

    def lost(**_: Any) -> None:
        handlers["compute-task"] = real

    handlers["compute-task"] = lost


def test_work_that_the_cluster_has_lost_is_a_crash(
    backend: DaskBackend, dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in a long run: scheduler and worker disagreed after another had died, and the map hung."""
    monkeypatch.setattr("eagerly.backends._dask.GLANCE", 0.2)
    dask_client.run(lose_the_next_piece)
    (piece,) = submitted(backend, Piece(echo, b"lost"))
    assert "the work was not done" in piece.crash.message
    again = submitted(backend, *(Piece(echo, b"%d" % index) for index in range(4)))
    backend_lost = [each for each in again if each.wait().ends != [None]]
    assert len(backend_lost) <= 1  # by the other worker
    assert data_of(submitted(backend, Piece(echo, b"here"))) == [b"spec|here"]


def test_an_end_that_is_no_result_is_a_crash(backend: DaskBackend) -> None:
    crash = submitted(backend, Piece(fail))[0].crash
    assert "SystemExit" in crash.message or "KilledWorker" in crash.message
    backend.recover()
    assert submitted(backend, Piece(echo))[0].data


def test_cancelled_work_that_waits_is_not_begun(
    dask_client: Any, backend: DaskBackend, gates: list[Gate], tmp_path: Path
) -> None:
    running = submitted(backend, *(Piece(pass_gate, gate.body) for gate in gates))
    for gate in gates:
        gate.wait_until_begun()
    third = Gate(tmp_path / "third")
    (waiting,) = submitted(backend, Piece(pass_gate, third.body))
    taken_back = backend.cancel(waiting, force=True)
    if not taken_back:
        assert waiting.crash.asked
    try:

        def there() -> int:
            found = dask_client.run(lambda dask_worker: [*map(str, dask_worker.state.tasks)])
            return sum(key.startswith("pass_gate") for keys in found.values() for key in keys)

        until(lambda: there() == len(gates))  # the scheduler has told the worker, which takes a moment
        for gate in gates:
            gate.let_through()
        assert all(data.endswith(b" go") for data in data_of(running))
        assert submitted(backend, *(Piece(echo) for _ in range(4)))[-1].data  # had it been there, it would have begun
        assert not third.has_begun()
    finally:
        third.let_through()
        third.close()


def test_running_work_goes_on_unless_it_is_to_be_forgotten(backend: DaskBackend, gates: list[Gate]) -> None:
    asked, forgotten = submitted(backend, *(Piece(pass_gate, gate.body) for gate in gates))
    for gate in gates:
        gate.wait_until_begun()
    assert not backend.cancel(asked, force=False)
    assert not backend.cancel(forgotten, force=True)
    crash = forgotten.crash
    assert crash.asked
    assert "Cancelled" in crash.message
    assert not asked.ended
    for gate in gates:
        gate.let_through()
    assert asked.data.endswith(b" go")
    assert not backend.cancel(asked, force=True)


def test_closing_ends_the_work_and_leaves_the_cluster(
    dask_client: Any, backend: DaskBackend, gates: list[Gate]
) -> None:
    (piece,) = submitted(backend, Piece(pass_gate, gates[0].body))
    gates[0].wait_until_begun()
    backend.close()
    assert piece.crash.asked
    gates[0].let_through()
    with pytest.raises(BackendError, match="the Dask cluster takes no work: it is closed"):
        backend.submit(Piece(echo))
    with pytest.raises(BackendError, match="it is closed"):
        backend.recover()
    backend.open()
    assert submitted(backend, Piece(echo))[0].data


def test_the_current_client_is_used(dask_client: Any) -> None:
    with dask_client.as_current():
        backend = DaskBackend()
        backend.open()
        assert backend._client is dask_client
        assert submitted(backend, Piece(echo))[0].data
        backend.close()
        with pytest.raises(BackendError, match=r"DaskBackend\(workers=3\) cannot have its way: .*leave out workers="):
            DaskBackend(workers=3).open()


def map_inside(width: int) -> list[bytes]:
    """Runs on a worker: maps over the cluster that the worker belongs to, and waits as a driver does."""
    backend = DaskBackend()
    backend.open()
    pieces = [Piece(echo, b"%d" % index) for index in range(width)]
    with backend.waiting():
        found = data_of(submitted(backend, *pieces))
        with backend.waiting():  # it has seceded already
            pass
    backend.close()
    return found


def test_maps_in_tasks_on_all_workers_do_not_wait_for_each_other(dask_client: Any) -> None:
    futures = [dask_client.submit(map_inside, 3, pure=False) for _ in range(4)]
    assert dask_client.gather(futures) == [[b"spec|0", b"spec|1", b"spec|2"]] * 4


def map_in_a_thread() -> list[bytes]:
    """Runs on a worker, in a thread that Dask does not know, as a body with a timeout does."""
    found: list[list[bytes]] = []
    thread = threading.Thread(target=lambda: found.append(map_inside(1)))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_of_a_task_maps_over_the_cluster_of_its_worker(dask_client: Any) -> None:
    assert dask_client.submit(map_in_a_thread, pure=False).result() == [b"spec|0"]


def test_waiting_elsewhere_does_nothing(backend: DaskBackend) -> None:
    with backend.waiting():
        assert submitted(backend, Piece(echo))[0].data


def test_a_client_that_is_closed(dask_client: Any) -> None:
    from distributed import Client

    client = Client(dask_client.scheduler.address, set_as_default=False)
    backend = DaskBackend(client)
    backend.open()
    client.close()
    with pytest.raises(BackendError, match="its client is closed"):
        backend.submit(Piece(echo))
    with pytest.raises(BackendError, match="the Dask client is closed"):
        backend.open()


async def test_a_client_that_is_asynchronous(dask_client: Any) -> None:
    from distributed import Client

    address = dask_client.scheduler.address
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        with pytest.raises(BackendError, match="asynchronous=True cannot be waited for here"):
            DaskBackend(client).open()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"client": "tcp://host:8786"}, OptionTypeError, r"takes a distributed.Client, not 'tcp://host:8786'; write "),
        ({"workers": 0}, OptionValueError, r"DaskBackend\(workers=...\) takes at least 1, not 0"),
        ({"workers": "2"}, OptionTypeError, r"takes a number of workers or None, not '2'"),
        ({"workers": True}, OptionTypeError, r"takes a number of workers or None, not True"),
    ],
)
def test_what_it_cannot_be_told(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        DaskBackend(**options)


def test_a_client_has_the_workers_that_it_has(dask_client: Any) -> None:
    with pytest.raises(OptionTypeError, match="not both"):
        DaskBackend(dask_client, workers=2)


# Clusters of our own

OWN = """
import os, sys
from eagerly.backends import DaskBackend
from works import Piece, data_of, echo, own_pid, submitted

def main():
    backend = DaskBackend(workers=2)
    backend.open()
    backend.open()
    address = backend._client.scheduler.address
    assert address.startswith("tcp://127.0.0.1:"), address
    assert backend._cluster.scheduler.allowed_failures == 0
    assert backend.capabilities.workers == 2
    pids = {int(data) for data in data_of(submitted(backend, *(Piece(own_pid) for _ in range(20))))}
    backend.close()
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        raise AssertionError("a worker is alive")
    import distributed
    try:
        distributed.Client.current()
    except ValueError:
        print("closed")

if __name__ == "__main__":
    main()
"""

UNGUARDED = """
from eagerly.backends import DaskBackend
backend = DaskBackend(workers=1)
try:
    backend.open()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def run_script(tmp_path: Path, source: str) -> str:
    """What a script of its own prints."""
    script = tmp_path / "script.py"
    script.write_text(source, encoding="utf-8")
    path = os.pathsep.join([str(Path(eagerly.__file__).parent.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_cluster_of_our_own_is_on_this_machine_and_ends_with_us(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra eagerly[dask] is not installed")
    assert run_script(tmp_path, OWN) == "closed\n"


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra eagerly[dask] is not installed")
    assert 'if __name__ == "__main__":' in run_script(tmp_path, UNGUARDED)
