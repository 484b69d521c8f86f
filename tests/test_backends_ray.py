"""`RayBackend` at the level of bytes, on a cluster that really runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly.backends import Backend, RayBackend
from eagerly.errors import BackendError, OptionTypeError, OptionValueError
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


@pytest.fixture
def backend(ray_cluster: Any) -> Iterator[RayBackend]:
    backend = RayBackend()
    backend.open()
    yield backend
    backend.close()
    assert ray_cluster.is_initialized()


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[list[Gate]]:
    gates = [Gate(tmp_path / f"gate{index}") for index in range(3)]
    yield gates
    for gate in gates:
        gate.close()


def test_what_it_says_of_itself(backend: RayBackend) -> None:
    assert isinstance(backend, Backend)
    capabilities = backend.capabilities
    assert (capabilities.name, capabilities.workers) == ("ray", 2)
    assert capabilities.kills
    assert not capabilities.reruns
    assert not capabilities.shared_fate
    assert not capabilities.in_process


def test_what_the_function_is_given_and_what_comes_back(backend: RayBackend) -> None:
    piece, elsewhere = submitted(backend, Piece(echo, b"items", spec=b"common"), Piece(own_pid))
    assert piece.data == b"common|items"
    assert elsewhere.data != b"%d" % os.getpid()


def test_many_pieces_of_two_maps_at_once(backend: RayBackend) -> None:
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
    assert backend._sent == {}


def test_large_pieces(backend: RayBackend) -> None:
    size = 10_000_000
    there, back = submitted(backend, Piece(sizes, bytes(size), spec=bytes(size)), Piece(inflate, b"%d" % size))
    assert there.data == b"%d %d" % (size, size)
    assert len(back.data) == size


def test_a_large_spec_is_stored_once(backend: RayBackend) -> None:
    pieces = submitted(
        backend, *(Piece(sizes, spec=bytes(100_000 + n // 2), key=b"%16d" % (n // 2)) for n in range(40))
    )
    assert data_of(pieces) == [b"%d 0" % (100_000 + n // 2) for n in range(40)]
    assert list(backend._specs) == [b"%16d" % n for n in range(4, 20)]


def test_shared_bytes_arrive_whole(backend: RayBackend) -> None:
    handle = backend.share([b"first ", memoryview(b"second"), b" third"])
    pieces = submitted(backend, *(Piece(echo, b"%d" % index, shared=(handle,)) for index in range(10)))
    assert data_of(pieces) == [b"spec|%d|first second third" % index for index in range(10)]
    backend.unshare(handle)


@pytest.mark.parametrize(("function", "number"), [(exit_at_once, 7), (kill_self, signal.SIGKILL)])
def test_a_worker_that_dies_takes_nobody_with_it(
    backend: RayBackend, gates: list[Gate], function: Any, number: int
) -> None:
    innocent, culprit = submitted(backend, Piece(pass_gate, gates[0].body), Piece(function, b"%d" % number))
    assert culprit.crash.message.startswith("WorkerCrashedError: ")
    assert not culprit.crash.asked
    backend.recover()
    gates[0].wait_until_begun()
    gates[0].let_through()
    assert innocent.data.endswith(b" go")


def test_an_end_that_is_no_result_is_a_crash(backend: RayBackend) -> None:
    assert submitted(backend, Piece(fail))[0].crash.message
    assert submitted(backend, Piece(echo))[0].data


def test_running_work_goes_on_unless_it_is_to_be_killed(backend: RayBackend, gates: list[Gate]) -> None:
    asked, killed = submitted(backend, *(Piece(pass_gate, gate.body) for gate in gates[:2]))
    for gate in gates[:2]:
        gate.wait_until_begun()
    assert not backend.cancel(killed, force=True)
    assert killed.crash.asked
    assert not backend.cancel(asked, force=False)
    gates[0].let_through()
    assert asked.data.endswith(b" go")
    assert not backend.cancel(asked, force=True)
    assert submitted(backend, Piece(echo))[0].data


def test_cancelled_work_that_waits_is_not_begun(backend: RayBackend, gates: list[Gate]) -> None:
    running = submitted(backend, *(Piece(pass_gate, gate.body) for gate in gates[:2]))
    for gate in gates[:2]:
        gate.wait_until_begun()
    (waiting,) = submitted(backend, Piece(pass_gate, gates[2].body))
    assert not backend.cancel(waiting, force=True)
    assert waiting.crash.asked
    for gate in gates[:2]:
        gate.let_through()
    assert all(data.endswith(b" go") for data in data_of(running))
    assert not gates[2].has_begun()


def test_closing_ends_the_work_and_leaves_the_cluster(backend: RayBackend, gates: list[Gate]) -> None:
    (piece,) = submitted(backend, Piece(pass_gate, gates[0].body))
    gates[0].wait_until_begun()
    backend.close()
    assert piece.crash.asked
    with pytest.raises(BackendError, match="Ray has been shut down, and takes no work"):
        backend.submit(Piece(echo))
    with pytest.raises(BackendError, match="Ray has been shut down"):
        backend.recover()
    backend.open()
    assert submitted(backend, Piece(echo))[0].data


def map_inside(width: int) -> list[bytes]:
    """Runs on a worker: maps over the cluster that the worker belongs to."""
    backend = RayBackend()
    backend.open()
    found = data_of(submitted(backend, *(Piece(echo, b"%d" % index) for index in range(width))))
    backend.close()
    return found


def test_maps_in_tasks_on_all_cpus_do_not_wait_for_each_other(ray_cluster: Any) -> None:
    refs = [ray_cluster.remote(num_cpus=1)(map_inside).remote(3) for _ in range(3)]
    assert ray_cluster.get(refs) == [[b"spec|0", b"spec|1", b"spec|2"]] * 3


def test_a_cluster_has_the_workers_that_it_has(ray_cluster: Any) -> None:
    with pytest.raises(BackendError, match=r"RayBackend\(workers=3\) cannot have its way: .*leave out workers="):
        RayBackend(workers=3).open()


def test_nobody_else_can_reach_a_cluster_of_ours(ray_cluster: Any) -> None:
    (node,) = ray_cluster.nodes()
    assert node["NodeManagerAddress"] == "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: which address would be used
        except OSError:
            pytest.skip("this machine has no other address")
        address = probe.getsockname()[0]
    control = int(ray_cluster.get_runtime_context().gcs_address.rpartition(":")[2])
    ports = [control, node["NodeManagerPort"], node["ObjectManagerPort"]]
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=10)


@pytest.mark.parametrize(
    ("workers", "error", "said"),
    [
        (0, OptionValueError, r"RayBackend\(workers=...\) takes at least 1, not 0"),
        (1.5, OptionTypeError, r"takes a number of workers or None, not 1.5"),
    ],
)
def test_what_it_cannot_be_told(workers: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        RayBackend(workers)


OWN = """
import os, signal
from eagerly.backends import RayBackend
from works import Piece, data_of, echo, own_pid, submitted

def on_term(*_): pass
signal.signal(signal.SIGTERM, on_term)
environment = dict(os.environ)
backend = RayBackend(workers=1)
backend.open()
assert signal.getsignal(signal.SIGTERM) is on_term
for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
    assert os.environ.get(name) == environment.get(name)
import ray
def double(key, spec, body):  # of a script without a main guard
    return 2 * body
assert [piece.data for piece in submitted(backend, Piece(double, b"12"))] == [b"1212"]
backend.close()
assert not ray.is_initialized()
print("closed")
"""


def test_a_cluster_of_our_own_ends_with_us_and_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra eagerly[ray] is not installed")
    script = tmp_path / "script.py"
    script.write_text(OWN, encoding="utf-8")
    path = os.pathsep.join([str(Path(eagerly.__file__).parent.parent), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
