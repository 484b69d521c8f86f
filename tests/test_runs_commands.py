"""Command tasks: real programs, what they are given, what they give, how they end and how they are ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import Command, Run, registry, runs, session, task
from eagerly.backends import ThreadBackend
from eagerly.errors import (
    CommandError,
    CommandFailed,
    InvalidTransition,
    OptionValueError,
    OutputNotSerializable,
    RunCancelled,
    RunFailed,
    TaskTimeoutError,
)
from eagerly.runs import MemoryRunStore, PostgresRunStore, RunStore, SqliteRunStore
from eagerly.testing import RecordingHooks
from postgres_server import fresh_schema
from run_tasks import PATIENCE, until, until_status

STORES = ["memory", "sqlite", "postgres"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    made: RunStore
    if request.param == "postgres":
        with fresh_schema() as (url, schema):
            made = PostgresRunStore(url, schema=schema)
            yield made
            made.close()
        return
    made = MemoryRunStore() if request.param == "memory" else SqliteRunStore(tmp_path / "runs.db")
    yield made
    made.close()


def python(code: str, **options: Any) -> Any:
    """A command task that runs this Python code."""
    program = "import json, os, signal, sys, time\nfrom pathlib import Path\n" + textwrap.dedent(code)
    return registry.register("program", Command([sys.executable, "-c", program], **options))


def shell(code: str, **options: Any) -> Any:
    return registry.register("program", Command(["sh", "-c", code], **options))


def attached(code: str, **options: Any) -> Any:
    return python("from eagerly import current_task\ncall = current_task()\n" + textwrap.dedent(code), **options)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def written(file: Path) -> list[int]:
    """The process ids in a file, once they are there."""
    until(lambda: file.exists() and file.read_text().endswith("\n"))
    return [int(word) for word in file.read_text().split()]


def gone(pids: list[int]) -> None:
    until(lambda: not any(map(alive, pids)))


def settled(run: Run[Any]) -> None:
    until(lambda: run.settled)


# What it is given, and what it gives


def test_its_output_is_what_it_writes(store: RunStore) -> None:
    hello = registry.register("hello", Command(lambda name, mark="!": ["printf", "%s\\n", f"Hello {name}{mark}"]))
    with session(run_store=store):
        run = hello.submit("Zoë $HOME; 'x' ☃")
        assert run.result() == "Hello Zoë $HOME; 'x' ☃!\n"
        assert (run.status, run.task, run.inputs) == ("completed", "hello", {"name": "Zoë $HOME; 'x' ☃", "mark": "!"})
        assert runs.get(run.id).output() == run.result()
        assert hello("Ada", mark="?") == "Hello Ada?\n"


def test_a_program_of_ours_gives_its_output(store: RunStore) -> None:
    add = attached(
        """
        call.set_progress(step=1, steps=4, message="adding", data={"at": 1})
        call.set_output({"sum": sum(call.inputs["numbers"])}, summary="a sum")
        print("not this")
        """
    )
    with session(run_store=store):
        run = add.submit(numbers=[1, 2.5])
        assert run.result() == {"sum": 3.5}
        assert (run.step, run.steps, run.message, run.progress_data) == (1, 4, "adding", {"at": 1})
        assert run.output_summary == "a sum"
        assert add(numbers=[1, 2]) == {"sum": 3}


def test_an_output_is_there_before_the_program_has_ended(store: RunStore, tmp_path: Path) -> None:
    code = f"""
        call.set_output(1)
        while not Path("{tmp_path}/go").exists(): time.sleep(0.01)
        call.set_output(2)
        sys.exit(7)
    """
    with session(run_store=store):
        run = attached(code).submit()
        until(lambda: run.refresh().has_output)
        assert (run.status, run.output()) == ("running", 1)
        (tmp_path / "go").touch()
        assert (run.wait(PATIENCE).status, run.output()) == ("failed", 2)


def test_null_is_an_output(store: RunStore) -> None:
    with session(run_store=store):
        run = attached("call.set_output(None)\nprint('not this')").submit().wait()
        assert (run.has_output, run.output()) == (True, None)


@pytest.mark.parametrize("size", [1000, 99_000, 300_000, 3_000_000])
def test_inputs_of_any_size(size: int, store: RunStore) -> None:
    count = attached("call.set_output([len(call.inputs['text']), 'EAGERLY_RUN_INPUT' in os.environ])")
    with session(run_store=store):
        assert count.submit(text="é" * (size // 6)).result() == [size // 6, size < 100_000]


def test_any_program_finds_its_inputs(store: RunStore) -> None:
    with session(run_store=store):
        assert json.loads(shell('printf %s "$EAGERLY_RUN_INPUT"').submit(a=[1, None], b="ü").result()) == {
            "a": [1, None],
            "b": "ü",
        }


def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("REMOVED", "yes")
    monkeypatch.delenv("LC_CTYPE", raising=False)
    show = python(
        "print(json.dumps([dict(os.environ), os.getcwd(), sys.stdin.read()]))",
        env={"ADDED": "ä=1", "REMOVED": None},
        cwd=tmp_path,
    )
    environment, folder, read = json.loads(show())
    assert {name: environment.get(name) for name in ("INHERITED", "REMOVED", "ADDED")} == {
        "INHERITED": "yes",
        "REMOVED": None,
        "ADDED": "ä=1",
    }
    assert (folder, read) == (str(tmp_path), "")
    assert registry.register("program", Command(["sh", "-c", "echo ${LC_CTYPE-unset}"], env={"LC_ALL": "C"}))() == (
        "unset\n"
    )


def test_signals_are_as_for_any_program() -> None:
    status = registry.register("program", Command(["cat", "/proc/self/status"]))()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    # `make` starts programs with signals 32 and 33 ignored, and nobody can change that: as any other program has them.
    plain = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    expected = next(line.split()[1] for line in plain.splitlines() if line.startswith("SigIgn"))
    assert int(ignored, 16) & 0x7FFFFFFF == 0
    assert (ignored, int(blocked, 16)) == (expected, 0)


def test_no_descriptor_of_ours_is_passed_on() -> None:
    assert sorted(registry.register("program", Command(["ls", "/proc/self/fd"]))().split()) == ["0", "1", "2", "3"]


def test_what_json_does_not_have_is_refused_at_once(store: RunStore) -> None:
    with session(run_store=store):
        with pytest.raises(OutputNotSerializable, match=r"inputs\['x'\] is set"):
            shell("true").submit(x={1})
        with pytest.raises(OutputNotSerializable):
            shell("true")(x={1})
        with pytest.raises(TypeError, match="missing"):
            registry.register("hello", Command(lambda name: ["echo", name])).submit()
        assert [run for run in runs.list() if run.kind == "run"] == []  # a call that fails is recorded


def test_what_no_argument_can_have_is_refused_at_once(store: RunStore) -> None:
    echo = registry.register("echo", Command(lambda text: ["echo", text]))
    with session(run_store=store):
        for call in (echo.submit, echo):
            with pytest.raises(OptionValueError, match=r"'\\ud800' has a character that no argument can have here"):
                call("\ud800")
        assert [run for run in runs.list() if run.kind == "run"] == []  # a call that fails is recorded


def test_an_input_may_have_any_name(store: RunStore) -> None:
    with session(run_store=store):
        assert registry.register("p", Command(lambda self: ["echo", self])).submit(self="x").result() == "x\n"
        assert json.loads(shell('echo "$EAGERLY_RUN_INPUT"').submit(self=1, args=2).result()) == {"self": 1, "args": 2}


def test_an_attempt_counts_its_own_steps(store: RunStore, tmp_path: Path) -> None:
    code = f"""
        if not Path("{tmp_path}/again").exists():
            Path("{tmp_path}/again").touch()
            call.set_progress(step=8, steps=10)
            sys.exit(1)
        call.set_progress(steps=5)
    """
    with session(run_store=store):
        run = attached(code).options(retries=1).submit().wait(PATIENCE)
        assert (run.error, run.attempt, run.step, run.steps) == (None, 2, None, 5)


def test_a_flood_is_cut(store: RunStore) -> None:
    with session(run_store=store):
        flood = shell("yes 0123456789 | head -c 200000000; yes error | head -c 50000000 >&2; exit 1")
        run = flood.submit().wait()
        assert run.error is not None
        check_cut(run.error.traceback, 50_000_000, 8192)
        check_cut(shell("yes 0123456789 | head -c 22000000").submit().result(), 22_000_000, 65536)


def check_cut(text: str, total: int, most: int) -> None:
    first, rest = text.split("\n", 1)
    missing = re.fullmatch(r"\[([\d,]+) bytes before this were not kept\]", first)
    assert missing is not None
    assert int(missing[1].replace(",", "")) + len(rest) == total
    assert most - 20 < len(rest) <= most
    assert rest.startswith(("error\n", "0123456789\n"))  # a whole line


def test_output_that_is_no_text() -> None:
    assert registry.register("program", Command(["printf", r"a\377\000b"]))() == "a\ufffd\0b"


# Failing


@pytest.mark.parametrize(
    ("code", "message", "attributes"),
    [
        ("echo no such row >&2; exit 3", "ended with exit code 3: no such row", (3, None)),
        ("exit 255", "ended with exit code 255", (255, None)),
        ("kill -9 $$", "was ended by SIGKILL", (None, "SIGKILL")),
        ("echo bye >&2; kill -SEGV $$", "was ended by SIGSEGV: bye", (None, "SIGSEGV")),
    ],
)
def test_a_program_that_fails(code: str, message: str, attributes: tuple[Any, ...], store: RunStore) -> None:
    with session(run_store=store):
        run = shell(code).submit()
        with pytest.raises(RunFailed, match=message) as caught:
            run.result()
        cause = caught.value.__cause__
        assert isinstance(cause, CommandFailed)
        assert (cause.code, cause.signal) == attributes
        assert run.error is not None
        assert (run.error.kind, run.error.type) == ("exit", "CommandFailed")
        assert run.error.message == str(cause) == f"command 'program' (sh) {message}"
        assert run.error.traceback == (cause.stderr or run.error.traceback)
        with pytest.raises(CommandFailed, match=message):
            shell(code)()


def test_a_python_program_shows_its_traceback(store: RunStore) -> None:
    with session(run_store=store):
        run = python("def inner(): raise ValueError('ü')\ninner()").submit().wait()
        assert run.error is not None
        assert run.error.message.endswith("ended with exit code 1: ValueError: ü")
        assert "in inner" in run.error.traceback


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no-such-program"], "there is none in PATH, which is"),
        (["./no-such-program"], "there is none in '{folder}'"),
        (["{folder}/no-such"], "there is none"),
        (["{folder}"], "'{folder}' is a folder"),
        (["{folder}/plain"], "'{folder}/plain' may not be executed; write chmod"),
    ],
)
def test_no_program(argv: list[str], message: str, store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    argv = [word.format(folder=tmp_path) for word in argv]
    made = registry.register("program", Command(argv, cwd=tmp_path))
    with session(run_store=store):
        for call in (made.submit, made):
            with pytest.raises(CommandError) as caught:
                call()
            assert message.format(folder=tmp_path) in str(caught.value)
            assert repr(argv[0]) in str(caught.value)
        assert [run for run in runs.list() if run.kind == "run"] == []  # a call that fails is recorded


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="which is no folder"):
        registry.register("program", Command(["true"], cwd=tmp_path / "no")).submit()


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    file = tmp_path / "broken"
    file.write_bytes(b"\0\1\2")
    file.chmod(0o755)
    with session(run_store=tmp_path / "runs.db"):
        run = registry.register("program", Command([file])).submit().wait()
        assert run.error is not None
        assert (run.error.type, run.error.kind) == ("CommandError", "error")
        assert "cannot be started: Exec format error" in run.error.message


def test_a_program_in_a_folder_of_its_own_path(tmp_path: Path) -> None:
    file = tmp_path / "own-program"
    file.write_text("#!/bin/sh\necho $0 $1\n")
    file.chmod(0o755)
    assert registry.register("p", Command(["own-program", "x"], env={"PATH": str(tmp_path)}))() == f"{file} x\n"
    assert registry.register("p", Command(["./own-program", "x"], cwd=tmp_path))() == f"{file} x\n"


def test_retries_and_hooks(store: RunStore, tmp_path: Path) -> None:
    hooks = RecordingHooks()
    flaky = registry.register(
        "flaky", Command(["sh", "-c", f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) = 3"]), retries=2
    )
    with session(run_store=store, plugins=[hooks]):
        run = flaky.submit().wait()
        assert (run.status, run.attempt) == ("completed", 3)
    names = hooks.names()
    assert names.count("before_node_retry") == 2
    assert names.count("after_node_execute") == 1


def test_a_timeout_kills_it_all(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    slow = registry.register("slow", Command(["sh", "-c", f"sleep 100 & echo $$ $! > {pids}; wait"]), timeout=1)
    with session(run_store=store):
        run = slow.submit().wait()
        assert run.error is not None
        assert run.error.type == "TaskTimeoutError"
        gone(written(pids))
    pids.unlink()
    with pytest.raises(TaskTimeoutError):
        slow()
    gone(written(pids))


# Ending it

STUBBORN = (
    "trap '' TERM INT HUP; (trap '' TERM INT HUP; while :; do sleep 0.05; done) & echo $$ $! > {pids}; wait; wait"
)
POLITE = "trap 'echo tidy > {folder}/tidied; exit 0' TERM; sleep 100 & echo $$ $! > {pids}; wait"


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_a_polite_program_tidies_up(verb: str, store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with session(run_store=store):
        run = shell(POLITE.format(pids=pids, folder=tmp_path), grace=PATIENCE).submit()
        started = written(pids)
        getattr(run, verb)()
        assert run.wait(PATIENCE).status == "cancelled"
        settled(run)
        assert (tmp_path / "tidied").exists()
        gone(started)
        with pytest.raises(RunCancelled):
            run.result()
        assert run.refresh().has_output is (verb == "stop")


BUSY = """
trap 'asked=1' TERM
(trap '' TERM; while :; do sleep 0.05; done) & echo $$ $! > {folder}/pids
left=20
while :; do sleep 0.05; left=$((left - ${{asked:-0}})); [ $left = 0 ] && touch {folder}/beyond; done
"""
"""Goes on for a second when it is asked to stop, says so, and goes on."""


def test_a_stubborn_program_is_killed_with_its_children(store: RunStore, tmp_path: Path) -> None:
    with session(run_store=store):
        run = shell(BUSY.format(folder=tmp_path), grace=0.2).submit()
        started = written(tmp_path / "pids")
        run.stop()
        until((tmp_path / "beyond").exists)  # who is only asked takes the time that it needs
        assert all(map(alive, started))
        assert run.refresh().status == "running"
        run.cancel("enough")
        assert (run.status, run.cancel_reason) == ("cancelled", "enough")
        settled(run)
        gone(started)


def test_a_program_that_ends_by_the_signal_is_cancelled(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with session(run_store=store):
        run = shell(f"echo $$ > {pids}; exec sleep 100").submit()
        written(pids)
        run.stop()
        assert (run.wait(PATIENCE).status, run.error) == ("cancelled", None)


def test_the_signal_of_ones_choice(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"trap 'exit 0' USR1; trap '' TERM; echo $$ > {pids}; while :; do sleep 0.05; done"
    with session(run_store=store):
        run = shell(code, stop_signal="SIGUSR1").submit()
        written(pids)
        run.stop()
        assert run.wait(PATIENCE).status == "cancelled"


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_a_program_of_ours_sees_it_in_its_row(verb: str, store: RunStore, tmp_path: Path) -> None:
    code = f"""
        Path("{tmp_path}/begun").touch()
        try:
            call.sleep(60)
        finally:
            Path("{tmp_path}/ended").touch()
    """
    with session(run_store=store):
        run = attached(code, stop_signal=None, grace=PATIENCE).submit()
        until((tmp_path / "begun").exists)
        getattr(run, verb)()
        assert run.wait(PATIENCE).status == "cancelled"
        settled(run)
        assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("end", ["call.checkpoint()", "sys.exit(3)"])
def test_a_program_of_ours_asks_itself_to_stop(end: str, store: RunStore) -> None:
    with session(run_store=store):
        run = attached(f"call.set_output('so far')\ncall.request_stop()\n{end}", stop_signal=None).submit()
        assert (run.wait(PATIENCE).status, run.cancel_reason, run.error) == ("cancelled", "stopped", None)
        assert run.output() == "so far"


def test_a_program_of_ours_asks_itself_to_stop_and_ends_well(store: RunStore) -> None:
    with session(run_store=store):
        run = attached("call.request_stop()\ncall.set_output('all')", stop_signal=None).submit()
        assert run.wait(PATIENCE).status == "cancelled"
        assert run.output() == "all"


def test_what_a_program_leaves_in_its_group_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    assert shell(f"sleep 100 & echo $! > {pids}; echo done")() == "done\n"
    gone(written(pids))


def test_a_daemon_that_keeps_the_pipes_holds_nobody_up(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
        if os.fork() == 0:
            os.setsid()
            Path("{pids}").write_text(f"{{os.getpid()}}\\n")
            time.sleep(100)
        while not Path("{pids}").exists(): time.sleep(0.01)
        print("done")
    """
    assert python(code)() == "done\n"
    [daemon] = written(pids)
    assert alive(daemon)  # it has made a session of its own, as what is to stay does
    os.kill(daemon, signal.SIGKILL)


def test_a_program_that_leaves_its_group_is_killed_all_the_same(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with session(run_store=store):
        run = python(
            f"os.setpgid(0, 0)\nPath({str(pids)!r}).write_text(f'{{os.getpid()}}\\n')\ntime.sleep(100)"
        ).submit()
        started = written(pids)
        run.cancel()
        gone(started)


def test_a_program_that_is_paused_is_killed_all_the_same(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with session(run_store=store):
        run = shell(f"sleep 100 & echo $$ $PPID $! > {pids}; wait", grace=0.1).submit()
        started = written(pids)
        paused(started)
        run.cancel()
        settled(run)
        gone(started)


def paused(pids: list[int]) -> None:
    """Pause all of a process group."""
    os.killpg(os.getpgid(pids[0]), signal.SIGSTOP)
    until(lambda: all(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" for pid in pids))


@pytest.mark.parametrize("seed", range(6))
def test_ending_and_completing_race(seed: int, store: RunStore) -> None:
    quick = shell(f"sleep 0.0{seed}")
    with session(run_store=store):
        made = [quick.submit() for _ in range(4)]
        verbs = [made[0].stop, made[1].cancel, made[2].stop]
        threads = [threading.Thread(target=_quietly, args=(verb,)) for verb in verbs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for run in made:
            assert run.wait(PATIENCE).status in ("completed", "cancelled")
            settled(run)
        assert made[3].status == "completed"


def _quietly(verb: Callable[[], object]) -> None:
    with contextlib.suppress(InvalidTransition):
        verb()


def test_from_another_process(tmp_path: Path) -> None:
    pids, place = tmp_path / "pids", tmp_path / "runs.db"
    with session(run_store=place):
        run = shell(STUBBORN.format(pids=pids), grace=0.1).submit()
        started = written(pids)
        code = f"from eagerly import runs, session\nwith session(run_store={str(place)!r}): runs.cancel({run.id!r})"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
        assert run.wait(PATIENCE).status == "cancelled"
        gone(started)


def test_one_that_waits_for_its_turn_never_starts(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with ThreadBackend(1) as one, session(run_store=store, backend=one):
        first = shell(f"echo $$ > {pids}; exec sleep 100").submit()
        written(pids)
        second = shell(f"touch {tmp_path}/never").submit()
        assert second.refresh().status == "pending"
        second.stop()
        first.cancel()
        settled(first)
    assert not (tmp_path / "never").exists()


def test_a_call_in_a_run_ends_with_it(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    inner = shell(STUBBORN.format(pids=pids), grace=0.1)

    @task
    def outer() -> None:
        inner()

    with session(run_store=store):
        run = outer.submit()
        started = written(pids)
        run.stop()
        assert run.wait(PATIENCE).status == "cancelled"
        gone(started)


def test_a_call_in_a_run_tells_how_far_it_is(store: RunStore) -> None:
    inner = attached("call.set_progress(0.25, message='inside')\ncall.set_output(1)")

    @task
    def outer() -> Any:
        return [inner(), 2]

    with session(run_store=store):
        run = outer.submit()
        assert (run.result(), run.message) == ([1, 2], "inside")


@pytest.mark.parametrize("backend", ["process", "thread", None])
def test_the_backend_of_the_session_is_for_functions(backend: str | None, store: RunStore) -> None:
    with session(run_store=store, backend=backend):
        assert attached("call.set_output(os.environ['EAGERLY_RUN_ID'])").submit().result().startswith("run_")


async def test_on_an_event_loop(store: RunStore) -> None:
    async with session(run_store=store):
        assert await shell("echo x").submit() == "x\n"


# When our process ends


OWNER = """
    import sys
    from eagerly import Command, registry, session
    made = registry.register("program", Command(["sh", "-c", sys.argv[2]]))
    with session(run_store=sys.argv[1]):
        made.submit().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_us(number: int, tmp_path: Path) -> None:
    pids, place = tmp_path / "pids", tmp_path / "runs.db"
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(place), STUBBORN.format(pids=pids)],
        stderr=subprocess.DEVNULL,
    )
    started = written(pids)
    owner.send_signal(number)
    owner.wait(PATIENCE)
    gone(started)
    with session(run_store=place):
        [run] = runs.list()
        run.wait(PATIENCE)
        expected = ("cancelled", None) if number == signal.SIGINT else ("failed", "lost")
        assert (run.status, run.error and run.error.kind) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only there somebody continues the guard")
def test_it_ends_with_us_while_it_is_paused(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"sleep 100 & echo $$ $PPID $! > {pids}; wait"
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(OWNER), str(tmp_path / "runs.db"), code])
    started = written(pids)
    paused(started)
    owner.kill()
    owner.wait(PATIENCE)
    gone(started)


def test_it_ends_with_us_though_a_child_of_ours_lives_on(tmp_path: Path) -> None:
    pids, child = tmp_path / "pids", tmp_path / "child"
    code = f"""
        import os, sys, time
        from eagerly import Command, registry, session
        made = registry.register("program", Command(["sh", "-c", sys.argv[2]]))
        with session(run_store=sys.argv[1]):
            run = made.submit()
            while not os.path.exists({str(pids)!r}): time.sleep(0.01)
            pid = os.fork()
            if pid == 0:
                open({str(child)!r}, "w").write(f"{{os.getpid()}}\\n")
                time.sleep(100)
            run.wait()
    """
    owner = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            textwrap.dedent(code),
            str(tmp_path / "runs.db"),
            STUBBORN.format(pids=pids),
        ]
    )
    started, [fork] = written(pids), written(child)
    owner.kill()
    owner.wait(PATIENCE)
    gone(started)
    assert alive(fork)
    os.kill(fork, signal.SIGKILL)


def test_a_guard_that_is_killed_takes_the_program_along(store: RunStore, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with session(run_store=store):
        run = shell(f"echo $$ $PPID > {pids}; exec sleep 100").submit()
        program, guard = written(pids)
        os.kill(guard, signal.SIGKILL)
        assert run.wait(PATIENCE).status == "failed"
        gone([program, guard])


# Secrets


def test_a_password_stays_in_the_environment_of_the_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with fresh_schema() as (url, schema):
        secret = "hunter2hunter2"
        scheme, _, rest = url.partition("://")
        account, at, address = rest.rpartition("@")
        with_password = f"{scheme}://{account.partition(':')[0]}:{secret}{at}{address}" if at else url
        store = PostgresRunStore(with_password, schema=schema)
        with session(run_store=store):
            good = attached("call.set_output(os.environ['EAGERLY_RUN_STORE'].count('hunter2hunter2'))").submit()
            assert good.result() == 1
            bad = shell("exit 1").submit().wait()
            assert secret not in repr([each.to_dict() for each in runs.list()])
            assert secret not in repr(bad) + repr(bad.error) + caplog.text
            line = shell('cat /proc/$PPID/cmdline; tr "\\0" " " < /proc/$$/cmdline').submit().result()
            assert secret not in line
        store.close()


def test_the_program_is_really_in_that_schema() -> None:
    with fresh_schema() as (url, schema):
        store = PostgresRunStore(url, schema=schema)
        with session(run_store=store):
            run = attached("call.set_progress(0.5, message='there')").submit().wait()
            assert run.message == "there"
        store.close()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """In a process of its own, where nothing else comes or goes."""
    code = f"import test_runs_commands as tests; tests.assert_nothing_left_open({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr


def assert_nothing_left_open(folder: str) -> None:
    with session(run_store=Path(folder) / "runs.db"):
        quick = shell("echo x")
        opened = []
        for _ in range(30):
            assert quick() == "x\n"
            run = quick.submit().wait()
            settled(run)
            opened.append(len(list(Path("/proc/self/fd").iterdir())))
        # How many threads have a connection just now varies; what is left open every time adds up.
        assert min(opened[20:]) <= max(opened[:10])


def test_the_clock_of_a_test_does_not_matter(store: RunStore) -> None:
    from eagerly.testing import instant_clock

    with session(run_store=store, clock=instant_clock()):
        start = time.monotonic()
        assert shell("echo x").submit().result() == "x\n"
        assert time.monotonic() - start < PATIENCE


def test_status_is_seen_while_it_runs(store: RunStore, tmp_path: Path) -> None:
    code = f"""
        call.set_status("paused")
        while not Path("{tmp_path}/go").exists(): time.sleep(0.01)
        call.set_status("running")
        while not Path("{tmp_path}/end").exists(): time.sleep(0.01)
    """
    with session(run_store=store):
        run = attached(code).submit()
        until_status(run, "paused")
        (tmp_path / "go").touch()
        until_status(run, "running")
        (tmp_path / "end").touch()
        assert run.wait(PATIENCE).status == "completed"
