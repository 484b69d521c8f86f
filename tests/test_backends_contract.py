"""The contract of backends, run against every one that we know; and what the contract itself must do."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import eagerly
from eagerly.backends import ThreadBackend, Work, register_backend, unregister_backend
from eagerly.contracts import BackendContract
from eagerly.errors import BackendError


class TestInline(BackendContract):
    def make_backend(self) -> str:
        return "inline"


class TestThread(BackendContract):
    @pytest.fixture(autouse=True)
    def _backend(self) -> Iterator[None]:
        with ThreadBackend(workers=3) as self.backend:
            yield

    def make_backend(self) -> Any:
        return self.backend


class TestThreadPoolExecutor(BackendContract):
    @pytest.fixture(autouse=True)
    def _backend(self) -> Iterator[None]:
        with ThreadPoolExecutor(3) as self.backend:
            yield

    def make_backend(self) -> Any:
        return self.backend


class TestProcess(BackendContract):
    nested_backend = "process"

    @pytest.fixture(autouse=True)
    def _backend(self, process_backend: Any) -> None:
        self.backend = process_backend

    def make_backend(self) -> Any:
        return self.backend


class TestProcessPoolExecutor(BackendContract):
    @pytest.fixture(autouse=True)
    def _backend(self, process_pool: Any) -> None:
        self.backend = process_pool

    def make_backend(self) -> Any:
        return self.backend


class TestLoky(BackendContract):
    @pytest.fixture(autouse=True)
    def _backend(self, loky_pool: Any) -> None:
        self.backend = loky_pool

    def make_backend(self) -> Any:
        return self.backend


class TestDask(BackendContract):
    nested_backend = "dask"

    @pytest.fixture(autouse=True)
    def _backend(self, dask_client: Any) -> None:
        dask_client.wait_for_workers(2)
        self.backend = dask_client

    def make_backend(self) -> Any:
        return self.backend


class TestRay(BackendContract):
    nested_backend = "ray"

    @pytest.fixture(autouse=True)
    def _backend(self, ray_cluster: Any) -> None:
        pass

    def make_backend(self) -> str:
        return "ray"


# What the contract itself must do


def contract_of(make: Any) -> BackendContract:
    class Contract(BackendContract):
        def make_backend(self) -> Any:
            return make()

    return Contract()


class ChangesItsMind(ThreadBackend):
    """Says something else of itself each time."""

    def open(self) -> None:
        workers = self.capabilities.workers + 1
        self.capabilities = dataclasses.replace(self.capabilities, workers=workers)


class Nameless(ThreadBackend):
    """Does not say which backend it is."""

    def __init__(self) -> None:
        super().__init__(2)
        self.capabilities = dataclasses.replace(self.capabilities, name=" ")


class Bytes(ThreadBackend):
    """Speaks to its thread in bytes, as backends do whose workers are elsewhere."""

    def __init__(self) -> None:
        super().__init__(1)
        self.capabilities = dataclasses.replace(self.capabilities, in_process=False, soft_cancel=False)

    def submit(self, work: Work) -> None:
        message = work.message
        arguments = (message.key, message.spec, message.body, *message.shared)
        thread = threading.Thread(target=lambda: self.hand_in(work, message.function(*arguments)))
        thread.start()
        thread.join()

    def hand_in(self, work: Work, data: bytes) -> None:
        work.output(data)
        work.end()

    def share(self, parts: Any) -> Any:
        return b"".join(parts)


class HandsInNothing(Bytes):
    def hand_in(self, work: Work, data: bytes) -> None:
        work.end()


class SharesNothing(Bytes):
    def share(self, parts: Any) -> Any:
        return b""


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (ChangesItsMind, "it_has_what_a_backend_has"),
        (Nameless, "it_has_what_a_backend_has"),
        (HandsInNothing, "results_come_in_the_order_of_the_items"),
        (HandsInNothing, "every_kind_of_task_can_be_mapped"),
        (SharesNothing, "shared_objects_arrive"),
    ],
)
def test_a_backend_that_breaks_a_promise_fails_its_test(make: Any, test: str) -> None:
    with pytest.raises((AssertionError, BackendError)):
        getattr(contract_of(make), f"test_{test}")()
    for right in (ThreadBackend, Bytes):
        getattr(contract_of(right), f"test_{test}")()


def test_what_it_has_made_by_name_it_closes() -> None:
    is_open: list[ThreadBackend] = []

    class Counted(ThreadBackend):
        def open(self) -> None:
            super().open()
            if self not in is_open:
                is_open.append(self)

        def close(self) -> None:
            super().close()
            is_open.remove(self)

    register_backend("counted", Counted)
    try:
        contract = contract_of(lambda: "counted")
        for test in ("it_has_what_a_backend_has", "inner_maps_on_the_same_backend_end"):
            getattr(contract, f"test_{test}")()
    finally:
        unregister_backend("counted")
    assert is_open == []


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(TypeError, match="not <object"):
        contract_of(object).test_it_has_what_a_backend_has()


def test_it_says_what_a_subclass_must_define() -> None:
    with pytest.raises(NotImplementedError, match=r"defines make_backend\(self\)"):
        BackendContract().test_results_come_in_the_order_of_the_items()


def test_it_runs_under_unittest_alone(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import sys, unittest\n"
        "from eagerly.contracts import BackendContract\n"
        "class TestMine(BackendContract, unittest.TestCase):\n"
        "    def make_backend(self):\n"
        "        return 'inline'\n"
        "assert 'pytest' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-q", "test_mine"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "OK (skipped=" in done.stderr
