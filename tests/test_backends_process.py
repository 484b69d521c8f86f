"""The process backend at the level of bytes: what it carries, and what happens when processes die, hang or are left."""

from __future__ import annotations

import contextlib
import gc
import json
import marshal
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import eagerly
import worker_functions as functions
from eagerly import backends
from eagerly.backends import Crash, Message, ProcessBackend
from eagerly.backends._protocol import SPECS_KEPT
from eagerly.errors import BackendError, OptionTypeError, OptionValueError
from works import readable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")

PATIENCE = 60.0
"""Seconds after which something counts as hanging."""


class Work:
    """Some bytes on their way."""

    size = 1

    def __init__(self, function: Callable[..., bytes], body: bytes = b"", *shared: Any, **facts: Any) -> None:
        self.timed: bool = facts.pop("timed", False)
        self.message = Message(
            function, facts.pop("key", b"k" * 16), facts.pop("spec", b"the spec"), body, shared, **facts
        )
        self.parts: list[bytes] = []
        self.crash: Crash | None = None
        self.ends = 0
        self._said = threading.Semaphore(0)
        self._ended = threading.Event()

    def run(self) -> None:
        raise AssertionError("this backend runs nothing in this process")

    def output(self, data: bytes) -> None:
        assert not self._ended.is_set()
        self.parts.append(data)
        self._said.release()

    def end(self, crash: Crash | None = None) -> None:
        self.crash = crash
        self.ends += 1
        self._ended.set()

    def heard(self) -> bytes:
        """Wait until it has said something, and return what it said first."""
        assert self._said.acquire(timeout=PATIENCE), "the work says nothing"
        return self.parts[0]

    def result(self) -> bytes:
        """Wait until it has ended as it should, and return all that it said."""
        assert self._ended.wait(PATIENCE), "the work does not end"
        assert self.crash is None, str(self.crash)
        assert self.ends == 1
        return b"".join(self.parts)

    def died(self) -> Crash:
        """Wait until it has ended as it should not, and return how."""
        assert self._ended.wait(PATIENCE), "the work does not end"
        assert self.crash is not None
        assert self.ends == 1
        return self.crash


@contextlib.contextmanager
def opened(workers: int = 2) -> Iterator[ProcessBackend]:
    backend = ProcessBackend(workers)
    backend.open()
    try:
        yield backend
    finally:
        backend.close()


@pytest.fixture
def two() -> Iterator[ProcessBackend]:
    with opened(2) as backend:
        yield backend


@pytest.fixture
def one() -> Iterator[ProcessBackend]:
    with opened(1) as backend:
        yield backend


def do(backend: ProcessBackend, function: Callable[..., bytes], body: bytes = b"", *shared: Any, **facts: Any) -> Work:
    work = Work(function, body, *shared, **facts)
    backend.submit(work)
    return work


def gone(pid: int, within: float = PATIENCE) -> bool:
    """Whether that process ends within so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return readable(descriptor, within)
    finally:
        os.close(descriptor)


others: set[int] = set()


@pytest.fixture(autouse=True)
def _note_others() -> None:
    """The processes that other tests keep."""
    others.clear()
    others.update(children())


def own_children() -> list[int]:
    """Those that this test has started, and that are still there."""
    return [pid for pid in children() if pid not in others]


def children(pid: int | str = "self") -> list[int]:
    """The processes, dead ones included, that a process has started and not yet buried."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ends at this moment
            found += map(int, (task / "children").read_text().split())
    return found


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestWhatIsCarried:
    def test_the_function_gets_what_was_sent_and_its_result_comes_back(self, two: ProcessBackend) -> None:
        work = do(two, functions.arguments, b"\0body", "first", "second", key=b"0123456789abcdef", spec=b"")
        assert marshal.loads(work.result()) == (b"0123456789abcdef", b"", b"\0body", ("first", "second"))

    def test_a_spec_is_sent_once_and_again_when_the_worker_may_have_forgotten_it(self, one: ProcessBackend) -> None:
        def spec_sent(number: int) -> bool:
            key = number.to_bytes(16, "big")
            spec: bytes | None = marshal.loads(do(one, functions.arguments, key=key, spec=b"s").result())[1]
            return spec is not None

        assert [spec_sent(number) for number in range(SPECS_KEPT + 1)] == [True] * (SPECS_KEPT + 1)
        assert [spec_sent(number) for number in range(SPECS_KEPT, 0, -1)] == [False] * SPECS_KEPT
        assert spec_sent(0)
        assert spec_sent(1)  # which 0 has displaced, though it was used since

    def test_a_new_worker_gets_the_spec_again(self, one: ProcessBackend) -> None:
        for _ in range(2):
            assert marshal.loads(do(one, functions.arguments).result())[1] == b"the spec"
            do(one, functions.die_unnoticed).died()

    def test_parts_arrive_while_the_body_runs(self, one: ProcessBackend) -> None:
        work = do(one, functions.until_told)
        assert int(work.heard()) in children()
        assert not one.cancel(work, force=False)
        assert work.result().endswith(b"stopped")

    def test_parts_of_all_sizes_arrive_in_order(self, one: ProcessBackend) -> None:
        work = do(one, functions.spool)
        assert work.result().endswith(b"last")
        assert [len(part) for part in work.parts] == [
            *[0, 1, 1 << 14, (1 << 14) + 1, 1 << 17, (1 << 17) + 1, 1 << 18, 1 << 20],
            4,
        ]
        assert all(set(part) <= {len(part).bit_length()} for part in work.parts[:-1])
        assert {type(part) for part in work.parts} == {bytes}

    def test_large_bodies_and_results_travel_both_ways_at_once(self, two: ProcessBackend) -> None:
        generator = random.Random(11)
        bodies = [generator.randbytes(1 << 26) for _ in range(2)]
        works = [do(two, functions.echo, bodies[number % 2]) for number in range(4)]
        for number, work in enumerate(works):
            assert work.result() == bodies[number % 2]

    def test_a_body_that_does_not_fit_the_socket_holds_up_nobody_else(self, two: ProcessBackend) -> None:
        held, other = do(two, functions.until_told), do(two, functions.until_told)
        held.heard()
        idle = int(other.heard())
        two.cancel(other, force=False)
        other.result()
        os.kill(idle, signal.SIGSTOP)
        large = do(two, functions.echo, bytes(1 << 24))
        two.cancel(held, force=False)
        held.result()
        assert do(two, functions.echo, b"small").result() == b"small"
        os.kill(idle, signal.SIGCONT)
        assert len(large.result()) == 1 << 24

    def test_many_pieces_from_several_threads(self, two: ProcessBackend) -> None:
        outcomes: list[bool] = []

        def send(thread: int) -> None:
            bodies = [f"{thread}:{number}".encode() for number in range(500)]
            works = [do(two, functions.echo, body) for body in bodies]
            outcomes.append([work.result() for work in works] == bodies)

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [True] * 4

    def test_a_message_that_cannot_be_made_is_the_callers_problem(self, one: ProcessBackend) -> None:
        class Unmade(Work):
            @property
            def message(self) -> Message:
                raise ZeroDivisionError

            @message.setter
            def message(self, _: Message) -> None:
                pass

        with pytest.raises(ZeroDivisionError):
            one.submit(Unmade(functions.echo))
        assert do(one, functions.echo, b"next").result() == b"next"

    def test_what_cannot_be_sent_is_the_callers_problem_too(self, one: ProcessBackend) -> None:
        with pytest.raises(ValueError, match="unmarshallable"):
            do(one, functions.echo, b"", object())
        assert do(one, functions.echo, b"next").result() == b"next"

    def test_what_a_body_that_was_given_up_says_is_nobodys_output(self, one: ProcessBackend) -> None:
        assert do(one, functions.leave_something).result() == b""
        assert do(one, functions.find_something).result() == b"found"


class TestSurroundings:
    def facts(self, backend: ProcessBackend) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(do(backend, functions.surroundings).result())
        return found

    def test_work_runs_in_the_main_thread_and_there_is_no_other(self, one: ProcessBackend) -> None:
        facts = self.facts(one)
        assert facts["in main thread"]
        assert facts["threads"] == 1

    def test_nothing_is_inherited_but_the_standard_streams(self, one: ProcessBackend) -> None:
        facts = self.facts(one)
        assert facts["stdin"] == ""
        assert facts["descriptors"] == []
        assert "pytest" not in facts["main"]

    def test_they_are_those_of_the_moment_in_which_work_is_handed_in(
        self, one: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EAGERLY_TEST_GONE", "soon")
        assert self.facts(one)["environment"]["EAGERLY_TEST_GONE"] == "soon"
        (tmp_path / "päth").mkdir()
        monkeypatch.chdir(tmp_path / "päth")
        monkeypatch.setenv("EAGERLY_TEST_NEW", "värt")
        monkeypatch.delenv("EAGERLY_TEST_GONE")
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), tmp_path])
        facts = self.facts(one)
        assert facts["directory"] == str(tmp_path / "päth")
        assert facts["environment"]["EAGERLY_TEST_NEW"] == "värt"
        assert "EAGERLY_TEST_GONE" not in facts["environment"]
        assert facts["path"] == sys.path[:-1]

    def test_modules_that_appear_later_can_be_imported(
        self, one: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        do(one, functions.echo).result()
        source = "def function(key, spec, body, *shared, line):\n    return b'here'\n"
        (tmp_path / "appeared_later.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        import appeared_later  # type: ignore[import-not-found]

        assert do(one, appeared_later.function).result() == b"here"

    def test_a_folder_that_was_removed_is_no_obstacle(
        self, one: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "short-lived"
        folder.mkdir()
        monkeypatch.chdir(folder)
        folder.rmdir()
        assert do(one, functions.echo, b"x").result() == b"x"

    def test_what_a_body_prints_is_seen_when_it_has_ended(
        self, one: ProcessBackend, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        do(one, functions.say, b"a line without end").result()
        assert capfd.readouterr() == ("a line without end", "A LINE WITHOUT END")

    def test_programs_that_a_body_starts_can_be_interrupted(self, one: ProcessBackend) -> None:
        signals = dict(line.split(":\t") for line in self.facts(one)["signals"].splitlines())
        for name in ("SigIgn", "SigBlk"):
            assert int(signals[name], 16) & 1 << signal.SIGINT - 1 == 0

    def test_an_interrupt_does_nothing_to_a_worker(self, one: ProcessBackend) -> None:
        work = do(one, functions.until_told)
        os.kill(int(work.heard()), signal.SIGINT)
        one.cancel(work, force=False)
        assert work.result().endswith(b"stopped")


class TestDeath:
    @pytest.mark.parametrize(
        ("how", "exitcode", "number"),
        [
            ("os._exit", 7, None),
            ("SIGKILL", None, signal.SIGKILL),
            ("SIGTERM", None, signal.SIGTERM),
            ("segmentation fault", None, signal.SIGSEGV),
            ("memory", 1, None),
            ("sys.exit(3)", 3, None),
            ("sys.exit()", 0, None),
            ("sys.exit(text)", 1, None),
            ("exception", 1, None),
            ("closed connection", None, signal.SIGKILL),
        ],
    )
    def test_the_work_that_did_it_is_told_how_and_no_other_is_harmed(
        self, two: ProcessBackend, how: str, exitcode: int | None, number: int | None
    ) -> None:
        other = do(two, functions.until_told)
        other.heard()
        culprit = do(two, functions.die, how.encode())
        after = do(two, functions.echo, b"after")
        crash = culprit.died()
        assert (crash.exitcode, crash.signal, crash.item, crash.attempt) == (exitcode, number, 3, 2)
        assert (crash.overdue, crash.asked) == (False, False)
        assert culprit.parts == [b"last words"]
        assert after.result() == b"after"
        assert crash.pid not in children()
        two.cancel(other, force=False)
        assert other.result().endswith(b"stopped")

    def test_what_a_body_has_started_does_not_hide_its_death(self, one: ProcessBackend) -> None:
        work = do(one, functions.leave_a_child)
        child = int(work.heard())
        assert work.died().exitcode == 7
        os.kill(child, signal.SIGKILL)  # it was alive

    def test_why_it_died_is_on_standard_error(self, one: ProcessBackend, capfd: pytest.CaptureFixture[str]) -> None:
        do(one, functions.die, b"exception").died()
        assert "ValueError: what a worker function does not do" in capfd.readouterr().err
        do(one, functions.die, b"sys.exit(text)").died()
        assert capfd.readouterr().err == "that is all\n"

    def test_no_item_is_blamed_where_none_had_begun(self, one: ProcessBackend) -> None:
        do(one, functions.in_time, timed=True).result()  # leaves a mark
        crash = do(one, functions.die_unnoticed).died()
        assert (crash.exitcode, crash.item, crash.attempt) == (7, None, None)

    def test_every_worker_dies_many_times(self, two: ProcessBackend) -> None:
        works = [do(two, functions.die_unnoticed) for _ in range(8)]
        assert [work.died().exitcode for work in works] == [7] * 8
        assert do(two, functions.echo, b"alive").result() == b"alive"

    def test_an_idle_worker_that_dies_is_replaced_silently(self, one: ProcessBackend) -> None:
        first = int(do(one, functions.process).result())
        os.kill(first, signal.SIGKILL)
        assert int(do(one, functions.process).result()) != first

    def test_work_that_its_worker_has_not_begun_is_given_to_another(self, one: ProcessBackend) -> None:
        first = int(do(one, functions.process).result())
        os.kill(first, signal.SIGSTOP)
        work = do(one, functions.process)
        marker = do(one, functions.echo, b"behind it")
        os.kill(first, signal.SIGKILL)
        assert int(work.result()) != first
        assert marker.result() == b"behind it"

    def test_a_worker_that_retires_is_replaced_and_ends(self, one: ProcessBackend) -> None:
        first = int(do(one, functions.retire).result())
        assert int(do(one, functions.process).result()) != first
        assert gone(first)

    def test_a_retired_worker_that_does_not_end_is_ended(self, one: ProcessBackend) -> None:
        first = int(do(one, functions.retire_badly).result())
        assert gone(first)
        assert int(do(one, functions.process).result()) != first

    def test_workers_that_cannot_be_started_are_a_crash_that_says_so(
        self, two: ProcessBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        python = tmp_path / "python"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(python))
            assert "python" in do(two, functions.echo).died().message
            python.write_text("#!/bin/sh\nexit 3\n")
            python.chmod(0o700)
            crash = do(two, functions.echo).died()
            assert crash.exitcode == 3
            assert crash.message.startswith("no worker process can be started: the worker process ")
        assert do(two, functions.echo, b"again").result() == b"again"


class TestCancel:
    def test_work_that_has_not_begun_is_taken_back(self, one: ProcessBackend) -> None:
        running = do(one, functions.until_told)
        running.heard()
        for force in (False, True):
            waiting = do(one, functions.echo)
            assert one.cancel(waiting, force=force)
            assert not one.cancel(waiting, force=force)
            assert waiting.ends == 0
        one.cancel(running, force=False)
        running.result()
        assert do(one, functions.echo, b"next").result() == b"next"
        assert waiting.ends == 0

    def test_a_body_is_asked_to_stop_and_the_next_one_is_not(self, one: ProcessBackend) -> None:
        running = do(one, functions.until_told)
        running.heard()
        assert not one.cancel(running, force=False)
        assert running.result().endswith(b"stopped")
        assert do(one, functions.is_asked).result() == b"False"

    def test_with_force_the_worker_is_killed_alone(self, two: ProcessBackend) -> None:
        other = do(two, functions.until_told)
        other.heard()
        work = do(two, functions.for_ever)
        pid = int(work.heard())
        assert not two.cancel(work, force=True)
        crash = work.died()
        assert (crash.asked, crash.overdue, crash.signal, crash.pid) == (True, False, signal.SIGKILL, pid)
        assert (crash.item, crash.attempt) == (3, 2)
        assert do(two, functions.echo, b"next").result() == b"next"
        two.cancel(other, force=False)
        assert other.result().endswith(b"stopped")

    def test_work_that_has_ended_is_left_alone(self, one: ProcessBackend) -> None:
        work = do(one, functions.process)
        pid = work.result()
        assert not one.cancel(work, force=True)
        assert do(one, functions.process).result() == pid

    def test_a_soft_request_does_not_keep_a_hard_one_from_working(self, one: ProcessBackend) -> None:
        work = do(one, functions.for_ever)
        work.heard()
        one.cancel(work, force=False)
        one.cancel(work, force=True)
        one.cancel(work, force=True)
        assert work.died().asked


class TestTimeouts:
    def test_a_body_that_holds_the_gil_is_killed_when_its_time_is_up(self, one: ProcessBackend) -> None:
        work = do(one, functions.too_long, b"0.2", timed=True)
        after = do(one, functions.echo, b"after", timed=True)
        crash = work.died()
        assert (crash.overdue, crash.asked, crash.signal) == (True, False, signal.SIGKILL)
        assert (crash.item, crash.attempt, crash.pid) == (0, 5, int(work.heard()))
        assert after.result() == b"after"

    def test_a_worker_stands_by_for_one_that_is_killed(self, one: ProcessBackend) -> None:
        do(one, functions.echo, timed=True).result()
        work = do(one, functions.for_ever, timed=True)
        running = int(work.heard())
        spare = {child for child in own_children() if child != running}
        one.cancel(work, force=True)
        assert int(do(one, functions.process).result()) in spare

    def test_never_more_work_at_a_time_than_workers(self, one: ProcessBackend) -> None:
        do(one, functions.echo, timed=True).result()
        running = do(one, functions.until_told, timed=True)
        running.heard()
        waiting = [do(one, functions.echo, timed=True) for _ in range(3)]
        assert not gone(int(running.parts[0]), within=0.5)  # time in which they might be begun by mistake
        assert all(one.cancel(work, force=False) for work in waiting)
        one.cancel(running, force=False)
        running.result()

    def test_each_attempt_has_its_own_time(self, one: ProcessBackend) -> None:
        assert do(one, functions.in_time, timed=True).result() == b"done"

    def test_delivery_is_not_part_of_it(self, one: ProcessBackend) -> None:
        assert len(do(one, functions.late_result, timed=True).result()) == 1 << 26

    def test_a_time_that_was_not_announced_is_not_watched(self, one: ProcessBackend) -> None:
        work = do(one, functions.too_long, b"0.01")
        work.heard()
        assert not gone(int(work.parts[0]), within=0.3)
        one.cancel(work, force=True)
        assert work.died().asked


class TestShare:
    def test_workers_read_what_was_shared_until_it_is_not(self, two: ProcessBackend) -> None:
        first = two.share([b"one ", bytearray(b"and "), memoryview(b"-two-")[1:-1]])
        second = two.share([])
        assert do(two, functions.read_shared, b"", first, second).result() == b"one and two|"
        two.unshare(first)
        assert not Path(first).exists()
        assert Path(second).exists()
        two.unshare(first)

    def test_what_is_large_is_written_whole(self, one: ProcessBackend) -> None:
        data = random.Random(5).randbytes(1 << 23)
        path = one.share([data, memoryview(data).cast("H")])
        assert do(one, functions.read_shared, b"", path).result() == data + data

    def test_nobody_else_can_read_it(self, one: ProcessBackend) -> None:
        folder = Path(one.share([b"x"])).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_it_is_in_memory_where_there_is_room(self, one: ProcessBackend) -> None:
        room = os.statvfs("/dev/shm") if Path("/dev/shm").is_mount() else None
        if room is None or room.f_bavail * room.f_frsize < 1 << 26 or not os.access("/dev/shm", os.W_OK):
            pytest.skip("there is no such folder here")
        assert one.share([b"x"]).startswith("/dev/shm/eagerly-shared-")

    def test_it_is_removed_with_the_backend(self) -> None:
        with opened() as backend:
            path = Path(backend.share([b"x"]))
            assert path.exists()
        assert not path.parent.exists()
        other = ProcessBackend()
        path = Path(other.share([b"x"]))
        del other
        gc.collect()
        assert not path.parent.exists()

    def test_what_a_killed_program_has_left_is_removed_by_the_next(self, one: ProcessBackend, tmp_path: Path) -> None:
        with opened() as other:
            used = Path(other.share([b"in use"]))
            source = "backend = ProcessBackend(1)\nprint(backend.share([b'x']), flush=True)\nsignal.pause()\n"
            with script(tmp_path, source) as program:
                assert program.stdout is not None
                program.stdout.readline()
                left = Path(program.stdout.readline().strip())
                program.kill()
            assert left.exists()
            for folder in (left.parent, used.parent):
                os.utime(folder, (0, 0))
            one.share([b"y"])
            assert not left.parent.exists()
            assert used.exists()


class TestClose:
    def test_nothing_is_left_of_workers_however_they_ended(self) -> None:
        with opened() as backend:  # whatever is imported or opened once
            do(backend, functions.echo).result()
        gc.collect()
        before = descriptors(), children(), threading.active_count()
        for _ in range(3):
            with opened() as backend:
                do(backend, functions.die_unnoticed).died()
                do(backend, functions.die, b"SIGKILL").died()
                do(backend, functions.retire).result()
                do(backend, functions.too_long, b"0.01", timed=True).died()
                do(backend, functions.echo, bytes(1 << 20)).result()
                backend.share([b"x"])
            del backend
        gc.collect()
        assert (descriptors(), children(), threading.active_count()) == before

    def test_what_runs_is_killed_and_what_waits_is_ended(self, one: ProcessBackend) -> None:
        running = do(one, functions.for_ever)
        pid = int(running.heard())
        waiting = do(one, functions.echo)
        one.close()
        assert (running.died().asked, running.died().pid) == (True, pid)
        assert (waiting.died().asked, waiting.died().message) == (True, "the backend was closed")
        assert own_children() == []

    def test_twice_and_from_other_threads(self, two: ProcessBackend) -> None:
        do(two, functions.echo).result()
        threads = [threading.Thread(target=two.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        two.close()
        for thread in threads:
            thread.join()
        two.close()
        assert own_children() == []

    def test_from_the_thread_that_delivers(self, one: ProcessBackend) -> None:
        class Closing(Work):
            def end(self, crash: Crash | None = None) -> None:
                one.close()
                with pytest.raises(BackendError):
                    do(one, functions.echo)
                super().end(crash)

        work = Closing(functions.echo)
        one.submit(work)
        work.result()
        one.close()
        assert own_children() == []
        one.open()
        one.submit(work := Closing(functions.echo))
        work.result()
        one.open()
        assert do(one, functions.echo, b"again").result() == b"again"
        assert len(own_children()) == 1

    def test_a_closed_one_takes_nothing_and_can_be_opened_again(self, one: ProcessBackend) -> None:
        one.close()
        with pytest.raises(BackendError, match=r"call open\(\) before submit\(\)"):
            do(one, functions.echo)
        assert not one.cancel(Work(functions.echo), force=True)
        one.open()
        one.open()
        assert do(one, functions.echo, b"again").result() == b"again"

    def test_opened_by_many_threads_at_once(self) -> None:
        backend = ProcessBackend(1)
        results: list[bytes] = []

        def use() -> None:
            backend.open()
            results.append(do(backend, functions.process).result())

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        assert len(set(results)) == 1
        backend.close()

    def test_before_anything_was_done(self) -> None:
        with opened():
            pass
        ProcessBackend(3).close()

    def test_while_workers_start(self) -> None:
        for _ in range(3):
            with opened() as backend:
                work = do(backend, functions.echo)
            assert work.ends == 1
        assert own_children() == []

    def test_idle_workers_end_in_good_order(self, one: ProcessBackend, tmp_path: Path) -> None:
        do(one, functions.write_at_exit, str(tmp_path / "closed").encode()).result()
        one.close()
        assert (tmp_path / "closed").exists()
        source = (
            "backend = ProcessBackend(1)\nbackend.open()\n"
            f"do(backend, functions.write_at_exit, {str(tmp_path / 'left open').encode()!r}).result()\n"
        )
        assert answers(script(tmp_path, source)) == ("starts\n", "")
        assert (tmp_path / "left open").exists()

    def test_one_that_nobody_refers_to_any_more(self) -> None:
        backend = ProcessBackend(1)
        backend.open()
        pid = int(do(backend, functions.process).result())
        del backend
        gc.collect()
        assert gone(pid)


def script(tmp_path: Path, source: str, *options: str) -> subprocess.Popen[str]:
    """A program in a process group of its own, without a main guard, beside a module of functions."""
    (tmp_path / "beside.py").write_text(
        "import os\n\n\ndef here(key, spec, body, *shared, line):\n    print('in the worker')\n    return body * 2\n"
    )
    test_folder = str(Path(__file__).parent)
    prologue = (
        f"import sys\nsys.path.append({test_folder!r})\n"
        "import os, signal, threading\nimport worker_functions as functions\n"
        "from test_backends_process import Work, do, children\n"
        "from eagerly.backends import ProcessBackend\nfrom map_bodies import doze\n"
        "print('starts', flush=True)\n"
    )
    (tmp_path / "program.py").write_text(prologue + source)
    environment = {**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *options, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        process_group=0,
    )


START = """
backend = ProcessBackend(3)
backend.open()
runs = do(backend, functions.for_ever), do(backend, functions.until_told)
pids = [int(work.heard()) for work in runs]
idle = int(do(backend, functions.process).result())
"""


def answers(program: subprocess.Popen[str]) -> tuple[str, str]:
    return program.communicate(timeout=PATIENCE)


class TestCoordinator:
    def test_a_script_without_a_main_guard_that_imports_what_is_beside_it(self, tmp_path: Path) -> None:
        program = script(
            tmp_path,
            "import beside\nbackend = ProcessBackend(2)\nbackend.open()\n"
            "print(do(backend, beside.here, b'ab').result())\nbackend.close()\n",
        )
        assert answers(program) == ("starts\nin the worker\nb'abab'\n", "")

    def test_no_module_of_the_current_folder_gets_in_the_way(self, tmp_path: Path) -> None:
        for name in ("inspect", "logging", "eagerly", "signal", "mmap", "select", "marshal", "threading"):
            (tmp_path / f"{name}.py").write_text("raise SystemError('imported by mistake')\n")
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        program = script(
            folder,
            f"os.chdir({str(tmp_path)!r})\nbackend = ProcessBackend(1)\nbackend.open()\n"
            "print(do(backend, functions.echo, b'x').result())\n",
        )
        assert answers(program) == ("starts\nb'x'\n", "")

    def test_its_end_is_the_end_of_its_workers(self, tmp_path: Path) -> None:
        program = script(tmp_path, f"{START}print(*pids, idle, flush=True)\n")
        out, err = answers(program)
        assert err == ""
        assert program.returncode == 0
        assert all(gone(int(pid), within=3) for pid in out.splitlines()[1].split())

    def test_when_it_is_killed_no_worker_is_alive_soon_after(self, tmp_path: Path) -> None:
        with script(tmp_path, f"{START}print(*pids, idle, flush=True)\nsignal.pause()\n") as program:
            assert program.stdout is not None
            program.stdout.readline()
            pids = [int(pid) for pid in program.stdout.readline().split()]
            assert not any(gone(pid, within=0) for pid in pids)
            program.kill()
            assert [pid for pid in pids if not gone(pid, within=3)] == []

    def test_when_it_is_killed_while_workers_start_none_is_left(self, tmp_path: Path) -> None:
        source = (
            "backend = ProcessBackend(3)\nbackend.open()\nwork = do(backend, functions.echo)\n"
            "while len(children()) < 3:\n    pass\nprint(*children(), flush=True)\nsignal.pause()\n"
        )
        with script(tmp_path, source) as program:
            assert program.stdout is not None
            program.stdout.readline()
            pids = [int(pid) for pid in program.stdout.readline().split()]
            program.kill()
            assert len(pids) == 3
            assert [pid for pid in pids if not gone(pid, within=3)] == []

    def test_ctrl_c_ends_it_and_its_workers_without_a_word_of_theirs(self, tmp_path: Path) -> None:
        source = f"""{START}
try:
    print(*pids, idle, flush=True)
    doze()
except KeyboardInterrupt:
    for work in runs:
        backend.cancel(work, force=True)
    print(*[work.died().asked for work in runs])
finally:
    backend.close()
    print('over', children())
"""
        with script(tmp_path, source) as program:
            assert program.stdout is not None
            program.stdout.readline()
            pids = [int(pid) for pid in program.stdout.readline().split()]
            os.killpg(program.pid, signal.SIGINT)
            assert answers(program) == ("True True\nover []\n", "")
            assert all(gone(pid, within=0) for pid in pids)

    def test_ctrl_c_while_workers_start(self, tmp_path: Path) -> None:
        source = """
backend = ProcessBackend(3)
backend.open()
work = do(backend, functions.echo)
try:
    while not children():
        pass
    print('now', flush=True)
    doze()
except KeyboardInterrupt:
    print('interrupted', work.result())
"""
        with script(tmp_path, source) as program:
            assert program.stdout is not None
            assert program.stdout.readline() + program.stdout.readline() == "starts\nnow\n"
            os.killpg(program.pid, signal.SIGINT)
            assert answers(program) == ("interrupted b''\n", "")

    def test_a_forked_child_leaves_the_workers_alone_and_may_have_its_own(self, tmp_path: Path) -> None:
        source = f"""
import warnings
warnings.simplefilter('ignore', DeprecationWarning)  # of forking in a process that has threads
{START}
path = backend.share([b'shared'])
if os.fork() == 0:
    try:
        do(backend, functions.process)
    except Exception as error:
        print(type(error).__name__)
    backend.open()
    assert int(do(backend, functions.process).result()) not in [*pids, idle]
    print('in the child', do(backend, functions.echo, b'works').result())
    sys.exit()
print('child', os.waitstatus_to_exitcode(os.wait()[1]))
assert os.path.exists(path)
backend.cancel(runs[1], force=False)
print(runs[1].result().endswith(b'stopped'), do(backend, functions.echo, b'still here').result())
"""
        out, err = answers(script(tmp_path, source, "-u"))
        assert err == ""
        assert out == "starts\nBackendError\nin the child b'works'\nchild 0\nTrue b'still here'\n"

    def test_one_whose_standard_streams_are_closed(self, tmp_path: Path) -> None:
        source = """
os.close(0), os.close(2)
backend = ProcessBackend(2)
backend.open()
print(do(backend, functions.echo, b'works').result())
"""
        assert answers(script(tmp_path, source))[0] == "starts\nb'works'\n"


class Interrupter:
    """Raises `KeyboardInterrupt` at one bytecode of the backend's code in this thread."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if "/eagerly/backends/" not in frame.f_code.co_filename or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self

    def during(self, act: Callable[[], object]) -> bool:
        """Whether `act` was interrupted."""
        tracer = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks when the function is set whether anybody wants them
        sys.settrace(self)
        try:
            act()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(tracer)
        return False


@pytest.mark.skipif("coverage" in sys.modules, reason="has a tracer of its own")
class TestInterrupts:
    @pytest.fixture(autouse=True)
    def _lock_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tracer can raise between entering a `with` and its body, where no signal can, and then the lock is kept."""
        monkeypatch.setattr("eagerly.backends._process._opening", threading.RLock())

    def test_anywhere_in_submit_and_cancel(self, one: ProcessBackend) -> None:
        def both(work: Work) -> None:
            one.submit(work)
            one.cancel(work, force=False)

        at = 0
        while True:
            at += 1
            work = Work(functions.echo)
            if not Interrupter(at).during(lambda work=work: both(work)):  # type: ignore[misc]
                break
            one.cancel(work, force=False)
            assert do(one, functions.echo, b"next").result() == b"next"
        assert at > 50

    def test_anywhere_in_open_and_close(self) -> None:
        at = 0
        interrupted = True
        while interrupted:
            at += 1
            backend = ProcessBackend(1)

            def both(backend: ProcessBackend = backend) -> None:
                backend.open()
                backend.close()

            interrupted = Interrupter(at).during(both)
            if at % 16 == 0:  # each takes a new worker
                backend.open()
                assert do(backend, functions.echo, b"x").result() == b"x"
            backend.close()
        assert at > 50
        assert own_children() == []


class TestWhatItSaysOfItself:
    def test_it_is_a_backend_with_these_capabilities(self) -> None:
        backend = ProcessBackend(3)
        assert isinstance(backend, backends.Backend)
        assert backend.capabilities == backends.Capabilities(
            name="process",
            workers=3,
            kills=True,
            soft_cancel=True,
            live_events=True,
            survives_crash=True,
            chunk_seconds=0.1,
        )
        assert repr(backend) == "ProcessBackend(workers=3)"
        backend.recover()

    def test_as_many_workers_as_processors_that_may_be_used(self) -> None:
        assert ProcessBackend().capabilities.workers == len(os.sched_getaffinity(0))

    def test_a_number_of_workers_that_cannot_be(self) -> None:
        with pytest.raises(OptionValueError, match="must be 1 or more, not 0"):
            ProcessBackend(0)
        with pytest.raises(OptionValueError, match="must be 0 or more, not -1"):
            ProcessBackend(-1)
        with pytest.raises(OptionTypeError, match=r"takes an int, not '2'"):
            ProcessBackend("2")  # type: ignore[arg-type]

    @pytest.mark.parametrize("system", ["win32", "emscripten", "wasi"])
    def test_where_it_cannot_work_it_says_what_does(self, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
        backend = ProcessBackend()
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(BackendError, match=rf"{system} cannot do; use backend='inline', 'thread', 'dask' or 'ray'"):
            backend.open()

    def test_it_can_be_imported_there(self) -> None:
        source = (
            "import eagerly, subprocess, sys, tempfile\nsys.modules['fcntl'] = None\nsys.platform = 'win32'\n"
            "from eagerly.backends import ProcessBackend\n"
            "try:\n    ProcessBackend(2).open()\nexcept eagerly.errors.BackendError as error:\n    print('refused')\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parent.parent)}
        command = [sys.executable, "-c", source]
        assert subprocess.check_output(command, env=environment, text=True, timeout=PATIENCE) == "refused\n"

    def test_a_program_that_is_its_own_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = ProcessBackend()
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        with pytest.raises(BackendError, match=r"this program has none of its own \(sys.executable is '"):
            backend.open()
