"""One computation of a key at a time, between real processes: waiting, dying, forking, deadlocks that must not be.

Each process runs a program of a few lines. It says on its standard output where it is, and goes on when it is told to
on its standard input.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import eagerly
from flights import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks, fork and kill -9")

PRELUDE = """
import asyncio, contextlib, os, sys, threading, warnings
from eagerly import session, task
from eagerly.cache import DiskStore
from flights import Calling, GatedStore, auntil, until

FOLDER, LOG = sys.argv[1:]

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def hear():
    line = sys.stdin.readline()
    assert line, "nobody is there any more"
    return line.strip()

def note(what):
    with open(LOG, "a") as log:
        log.write(f"{what}\\n")

class Store(GatedStore):
    '''Says so when somebody else has the lock.'''
    said = 0
    def try_lock(self, key, /):
        lock = super().try_lock(key)
        if lock is None and not self.said:
            self.said = 1
            say("waiting")
        return lock

def cached(version="1", **options):
    return task(cache=True, cache_version=version, **options)

store = Store(os.path.join(FOLDER, "cache"))
"""


class Process:
    """A program that is running."""

    def __init__(self, file: Path, folder: Path, log: Path) -> None:
        paths = [str(Path(eagerly.__file__).parent.parent), str(Path(__file__).parent)]
        self._process = subprocess.Popen(
            [sys.executable, str(file), str(folder), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def hear(self, patience: float = PATIENCE) -> str | None:
        """The next thing it says; None if it has ended."""
        try:
            return self._lines.get(timeout=patience)
        except queue.Empty:
            raise AssertionError("the process hangs") from None

    def expect(self, *words: str, patience: float = PATIENCE) -> None:
        for word in words:
            assert self.hear(patience) == word

    def rest(self, patience: float = PATIENCE) -> list[str]:
        """All that it still says until it ends, which it has to do well."""
        said = list(iter(lambda: self.hear(patience), None))
        assert self._process.wait(patience) == 0
        return [line for line in said if line is not None]

    def tell(self, word: str = "go") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)

    def clean_up(self) -> None:
        self._process.kill()
        self._process.communicate()


class Programs:
    """Starts programs that share a folder, and a log of what has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.running: list[Process] = []
        self._files: dict[str, Path] = {}

    def start(self, code: str) -> Process:
        # The same program is the same file, as tasks of a script are known by that.
        file = self._files.get(code)
        if file is None:  # once, as the ones that run already may still be reading it
            file = self._files[code] = self.folder / f"program{len(self._files)}.py"
            file.write_text(PRELUDE + textwrap.dedent(code))
        process = Process(file, self.folder, self.log)
        self.running.append(process)
        return process

    @property
    def noted(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    for process in programs.running:
        process.clean_up()


WORK = """
@cached()
def work(x):
    note("ran")
    say("running")
    hear()
    return [x]

hear()
with session(cache_store=store):
    say(work(1))
"""


def started(programs: Programs, code: str, count: int) -> list[Process]:
    processes = [programs.start(code) for _ in range(count)]
    for process in processes:
        process.tell()
    return processes


def sorted_by_role(processes: list[Process]) -> tuple[Process, list[Process]]:
    """The one that runs, and those that wait."""
    roles = {process: process.hear() for process in processes}
    assert sorted(map(str, roles.values())) == ["running"] + ["waiting"] * (len(processes) - 1)
    return (
        next(process for process, role in roles.items() if role == "running"),
        [process for process, role in roles.items() if role == "waiting"],
    )


class TestOnce:
    def test_four_processes(self, programs: Programs) -> None:
        leader, others = sorted_by_role(started(programs, WORK, 4))
        leader.tell()
        for process in (leader, *others):
            assert process.rest() == ["[1]"]
        assert programs.noted == ["ran"]

    def test_processes_threads_and_loops(self, programs: Programs) -> None:
        code = """
        def key(func, inputs):
            return f"key {inputs['x']}"

        @task(cache=True, cache_hash=key)
        def work(x):
            note("ran")
            until(lambda: os.path.exists(FOLDER + "/go"), "told to go on")
            return [x]

        @task(cache=True, cache_hash=key)
        async def awork(x):
            note("ran")
            await auntil(lambda: os.path.exists(FOLDER + "/go"), "told to go on")
            return [x]

        async def main():
            return await asyncio.gather(*[awork(1) for _ in range(10)])

        from flights import followers
        with session(cache_store=store):
            calls = [Calling(work, 1) for _ in range(4)] + [Calling(lambda: asyncio.run(main())) for _ in range(2)]
            until(lambda: followers(store) == 23, "all wait for one")
            say("all are there")
            assert [call.result() for call in calls] == [[1]] * 4 + [[[1]] * 10] * 2
            say("right")
        """
        processes = [programs.start(code) for _ in range(3)]
        for process in processes:
            while process.hear() != "all are there":
                pass
        (programs.folder / "go").touch()
        for process in processes:
            assert process.rest()[-1] == "right"
        assert programs.noted == ["ran"]

    def test_an_error_is_of_its_process(self, programs: Programs) -> None:
        code = """
        @cached()
        def work(x):
            note("ran")
            say("running")
            if hear() == "fail":
                raise ValueError(x)
            return [x]

        hear()
        with session(cache_store=store), contextlib.suppress(ValueError):
            say(work(1))
        """
        leader, others = sorted_by_role(started(programs, code, 2))
        leader.tell("fail")
        assert leader.rest() == []
        others[0].expect("running")
        others[0].tell()
        assert others[0].rest() == ["[1]"]

    def test_async_waits_while_the_loop_turns(self, programs: Programs) -> None:
        code = """
        @task(cache=True, cache_hash=lambda func, inputs: "key")
        def work(x):
            note("ran")
            say("running")
            hear()
            return [x]

        @task(cache=True, cache_hash=lambda func, inputs: "key")
        async def awork(x):
            note("ran")
            return [x]

        async def main():
            waiting = asyncio.create_task(awork(1))
            await auntil(lambda: store.denied, "it waits")
            for turn in range(3):
                await asyncio.sleep(0)
            say("turned")
            say(await waiting)

        with session(cache_store=store):
            if hear() == "sync":
                say(work(1))
            else:
                asyncio.run(main())
        """
        holder, waiter = programs.start(code), programs.start(code)
        holder.tell("sync")
        holder.expect("running")
        waiter.tell("async")
        waiter.expect("waiting", "turned")
        holder.tell()
        assert holder.rest() == ["[1]"]
        assert waiter.rest() == ["[1]"]
        assert programs.noted == ["ran"]


class TestKilled:
    def test_the_next_one_proceeds(self, programs: Programs) -> None:
        leader, others = sorted_by_role(started(programs, WORK, 4))
        for runs in (2, 3):
            leader.kill()
            leader = self._who_runs(others)
            others.remove(leader)
            assert programs.noted == ["ran"] * runs
        leader.tell()
        for process in (leader, *others):
            assert process.rest() == ["[1]"]
        assert programs.noted == ["ran"] * 3

    def _who_runs(self, processes: list[Process]) -> Process:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for process in processes:
                try:
                    if process.hear(0.01) == "running":
                        return process
                except AssertionError:
                    continue
        raise AssertionError("nobody goes on")

    def test_the_lock_alone_is_released(self, programs: Programs, tmp_path: Path) -> None:
        """Without waiters: whoever comes later finds no trace of who was killed."""
        holder = started(programs, WORK, 1)[0]
        holder.expect("running")
        holder.kill()
        later = started(programs, WORK, 1)[0]
        later.expect("running")
        later.tell()
        assert later.rest() == ["[1]"]

    @pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.slow)])
    def test_at_random_moments(self, programs: Programs, rounds: int) -> None:
        code = """
        @cached()
        def work(x):
            note(f"{x}")
            return [x] * 1000

        say("ready")
        hear()
        with session(cache_store=store):
            for x in range(60):
                assert work(x) == [x] * 1000
        say("right")
        """
        moments = random.Random(1)
        for each in range(rounds):
            programs.folder = programs.folder.parent / f"round{each}"
            programs.folder.mkdir()
            programs.log = programs.folder / "log"
            programs._files = {}
            processes = [programs.start(code) for _ in range(3)]
            for process in processes:
                process.expect("ready")
            for process in processes:
                process.tell()
            time.sleep(moments.uniform(0, 0.08))  # the moment itself; nothing depends on it
            processes[0].kill()
            for process in processes[1:]:
                assert process.rest()[-1] == "right"
            runs = [programs.noted.count(str(x)) for x in range(60)]
            assert min(runs) == 1
            assert max(runs) <= 2  # the one that was killed, and another
            assert runs.count(2) <= 1


class TestOppositeOrder:
    CROSSWISE = """
    def meet(me, other):
        open(FOLDER + "/met-" + me, "w").close()
        until(lambda: os.path.exists(FOLDER + "/met-" + other), "the other is there")

    def make(me, other, store):
        @cached(me, cache_ignore=("depth",), cache_store=store)
        def work(x, depth=0):
            if depth:
                return f"leaf {me}"
            meet(me, other)
            return [me, tasks[other](x, 1)[0]]
        return work

    P, Q = %s
    tasks = {"p": make("p", "q", P), "q": make("q", "p", Q)}
    say(tasks[hear()](1)[0])
    """

    def _check(self, programs: Programs, stores: str) -> None:
        code = self.CROSSWISE % stores
        left, right = programs.start(code), programs.start(code)
        left.tell("p")
        right.tell("q")
        assert left.rest(30)[-1] == "p"
        assert right.rest(30)[-1] == "q"

    def test_in_one_store(self, programs: Programs) -> None:
        self._check(programs, "store, store")

    def test_in_two_stores(self, programs: Programs) -> None:
        self._check(programs, "store, Store(FOLDER + '/other')")

    def test_in_event_loops(self, programs: Programs) -> None:
        code = (
            (self.CROSSWISE % "store, store")
            .replace("def work", "async def work")
            .replace("tasks[other](x, 1)[0]", "(await tasks[other](x, 1))[0]")
            .replace("say(tasks[hear()](1)[0])", "say(asyncio.run(tasks[hear()](1))[0])")
        )
        left, right = programs.start(code), programs.start(code)
        left.tell("p")
        right.tell("q")
        assert left.rest(30)[-1] == "p"
        assert right.rest(30)[-1] == "q"

    def test_a_cycle_through_one_who_waits_here(self, programs: Programs) -> None:
        """The first process: one thread waits for q, which the second process has; another has p, and waits for that
        thread. The second process has q and waits for p. Which of them gives way first is a matter of chance.
        """
        code = """
        from flights import followers

        runs, go_on = threading.Event(), threading.Event()

        @cached("p")
        def p(x):
            if role == "second":
                return ["p", "leaf"]
            runs.set()
            assert go_on.wait(60)
            return ["p", q(x)[0]]

        @cached("q")
        def q(x):
            if role == "second":
                say("q runs")
                hear()
                return ["q", p(x)[0]]
            return ["q", "leaf"]

        role = hear()
        if role == "second":
            go_on.set()
        with session(cache_store=store):
            if role == "first":
                has_p = Calling(p, 1)
                assert runs.wait(60)
                waits = Calling(q, 1)  # for the second process
                until(lambda: store.denied, "it waits")
                go_on.set()
                until(lambda: followers(store) == 1, "p waits for it")
                say("both wait")
                say(waits.result()[0], has_p.result()[0])
            else:
                say(q(1)[0])
        """
        first, second = programs.start(code), programs.start(code)
        second.tell("second")
        second.expect("q runs")
        first.tell("first")
        first.expect("waiting", "both wait")
        second.tell()
        assert second.rest(30)[-1] == "q"
        assert first.rest(30)[-1] == "q p"

    def test_a_loop_that_is_blocked_by_a_sync_call(self, programs: Programs) -> None:
        """The first process: a sync call on the thread of a loop waits for q, while p leads on that loop. The second
        process has q and waits for p.
        """
        code = """
        @task(cache=True, cache_hash=lambda f, i: "p")
        def p(x):
            return ["p"]

        @cached("q")
        def q(x):
            say("q runs")
            hear()
            return ["q", p(x)[0]]

        async def both():
            running = asyncio.Event()
            finish = asyncio.Event()

            @task(cache=True, cache_hash=lambda f, i: "p")
            async def slow(x):
                running.set()
                await finish.wait()
                return ["p"]

            leader = asyncio.create_task(slow(1))
            await running.wait()
            say("p leads")
            hear()
            here = q(1)[0]
            finish.set()
            return here, (await leader)[0]

        with session(cache_store=store):
            if hear() == "first":
                say(*asyncio.run(both()))
            else:
                say(q(1)[0])
        """
        first, second = programs.start(code), programs.start(code)
        second.tell("second")
        second.expect("q runs")
        first.tell("first")
        first.expect("p leads")
        first.tell()
        first.expect("waiting")
        second.tell()
        first.tell()
        assert first.rest(30)[-1] == "q p"
        assert second.rest(30)[-1] == "q"


class TestFork:
    def test_in_the_middle_of_a_computation(self, programs: Programs) -> None:
        """The child computes other things, and may ask for what its parent computes: it must not wait for that."""
        code = """
        @cached("other")
        def other(x):
            return [x, os.getpid()]

        @cached()
        def work(x, again):
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    ok = other(x)[0] == x
                    if again:
                        ok = ok and inner(x, again)
                    os._exit(0 if ok else 1)
                os._exit(2)
            return [os.waitpid(child, 0)[1]]

        def inner(x, again):
            os.fork = lambda: 12345            # the body does not fork again
            os.waitpid = lambda *_: (0, "child")
            return work(x, again) == ["child"]

        with session(cache_store=store):
            say(work(1, False), work(1, True))
        """
        assert programs.start(code).rest(30)[-1] == "[0] [0]"

    @pytest.mark.parametrize("module", ["eagerly.cache._client", "eagerly.cache._key", "eagerly.cache._code_reach"])
    def test_while_another_thread_makes_the_first_cached_call(self, module: str, tmp_path: Path) -> None:
        """The child would wait for ever for the thread that was loading what both need."""
        code = f"""
        import importlib.abc, os, signal, sys, threading
        from eagerly import task

        @task(cache=True, cache_store="cache")
        def work(x):
            return x

        class Slow(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == {module!r}:
                    loading.set()
                    forking.wait()

        loading, forking = threading.Event(), threading.Event()
        sys.meta_path.insert(0, Slow())
        os.register_at_fork(before=forking.set)
        thread = threading.Thread(target=work, args=(1,))
        thread.start()
        assert loading.wait({PATIENCE})
        child = os.fork()
        if not child:
            signal.setitimer(signal.ITIMER_REAL, {PATIENCE})
            os._exit(work(1) != 1)
        thread.join()
        print(os.waitpid(child, 0)[1])
        """
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
        assert (done.stdout, done.stderr) == ("0\n", "")

    def test_while_another_thread_leads(self, programs: Programs) -> None:
        """Nobody in the child computes it; the lock is the parent's, for which the child waits."""
        code = """
        @cached()
        def work(x):
            note("ran")
            say("running")
            hear()
            return [x]

        with session(cache_store=store):
            leader = Calling(work, 1)
            until(lambda: store.count("try_lock") == 1, "it leads")
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                store.said = 0
                os.write(write, b"right" if work(1) == [1] else b"wrong")
                os._exit(0)
            os.close(write)
            say(leader.result(), os.read(read, 10).decode(), os.waitpid(child, 0)[1])
        """
        process = programs.start(code)
        assert {process.hear(), process.hear()} == {"running", "waiting"}
        process.tell()
        assert process.rest(30) == ["[1] right 0"]
        assert programs.noted == ["ran"]

    def test_both_return_from_the_body(self, programs: Programs) -> None:
        """A child that comes out of the call too leaves the lock to its parent."""
        code = """
        @cached()
        def work(x):
            child = os.fork()
            return [x, "child" if child == 0 else "parent"] if child == 0 else [x, wait(child)]

        def wait(child):
            say("lock held", store.try_lock(KEY) is None)
            return "parent" if os.waitpid(child, 0)[1] == 0 else "the child failed"

        with session(cache_store=store):
            KEY = bytes.fromhex(work.cache_key(1))
            who = work(1)[1]
            if who == "child":
                os._exit(0)
            say(who)
        """
        assert [line for line in programs.start(code).rest(30) if line != "waiting"] == ["lock held True", "parent"]


class TestSeenByOthers:
    """What another process changes is seen by the next call here, though the result is in memory."""

    CODE = """
    @cached()
    def work(x):
        note("ran")
        return x if NEW is None else NEW

    NEW = None
    with session(cache_store=store):
        while True:
            word = hear()
            if word == "end":
                break
            if word.startswith("new"):
                NEW, word = word[4:], "refresh"
            if word == "clear":
                say(store.clear() > 0)
            else:
                say(getattr(work, word)(1) if word != "call" else work(1))
    """

    @pytest.mark.parametrize(
        ("change", "answer", "after"),
        [("invalidate", "True", "1"), ("clear", "True", "1"), ("new 2", "2", "2")],
        ids=["invalidate", "clear", "refresh"],
    )
    def test_change(self, programs: Programs, change: str, answer: str, after: str) -> None:
        one, other = programs.start(self.CODE), programs.start(self.CODE)

        def ask(process: Process, word: str) -> str | None:
            process.tell(word)
            return process.hear()

        assert [ask(one, "call"), ask(one, "call"), ask(other, "call")] == ["1"] * 3
        assert programs.noted == ["ran"]
        assert ask(other, change) == answer
        ran = len(programs.noted)
        assert ask(one, "call") == after
        assert len(programs.noted) == ran + (change != "new 2")
        assert ask(other, "call") == after
        for process in (one, other):
            process.tell("end")
            assert process.rest() == []

    def test_what_is_removed_while_it_is_being_stored(self, programs: Programs, tmp_path: Path) -> None:
        """Between publishing and remembering, another process removes the entry: this one must not remember it."""
        code = """
        @cached()
        def work(x):
            note("ran")
            return x

        def stored():
            say("stored")
            hear()

        with session(cache_store=store):
            if hear() == "first":
                store.afterwards["put"] = stored
                work(1)
                store.afterwards.clear()
                say(work.is_cached(1))
                work(1)
                say("end")
            else:
                say(work.invalidate(1))
        """
        first, second = programs.start(code), programs.start(code)
        first.tell("first")
        first.expect("stored")
        second.tell("second")
        assert second.rest() == ["True"]
        first.tell()
        assert first.rest() == ["False", "end"]
        assert programs.noted == ["ran", "ran"]
