"""Ctrl-C in every phase of a map: out promptly, nobody left behind, everything told, one traceback at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from queue import Empty
from typing import Any

import pytest

import map_bodies as bodies
from eagerly._inbox import Inbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc and sends signals")

PROGRAM = """
from eagerly import hook_impl
import map_bodies as bodies

def at(phase):
    (folder / f"at-{{phase}}").touch()

@task
def quick(number):
    return number

@task
def wait(number):
    at("body")
    end = time.monotonic() + 600
    while time.monotonic() < end and not current_task().should_stop():
        time.sleep(0.005)

@task
def deaf(number):
    at("body")
    time.sleep(600)

@task
async def wait_async(number):
    import asyncio
    at("body")
    await asyncio.sleep(600)

class Stuck:
    called = 0

    @hook_impl
    def after_node_execute(self, metadata):
        self.called += 1
        if self.called == 1:
            at("hook")
            doze()

@task
def deaf_but_one(number):
    if number == 0:
        wait_for(folder / "deaf")
        raise ZeroDivisionError
    (folder / "deaf").touch()
    time.sleep(600)

class Over:
    @hook_impl
    def after_session_end(self, session_id):
        print("session over")

def rows():
    yield from range(3)
    at("source")
    doze()

hooks = RecordingHooks()
plugins = [hooks, Over()]
backend = {backend!r}

def run():
    {run}

def main():
    try:
        {context}
            run()
    finally:
        hooks.verify(allow_running={allow})
        print("finally", children())

main()
"""

IN_SESSION = "with session(plugins=plugins, backend=backend):"
NO_SESSION = "if True:"

PHASES = {
    "waiting": "map_tasks(wait, range(8), backend=backend)",
    "waiting for async items": "map_tasks(wait_async, range(8), backend=backend)",
    "taking items": "map_tasks(quick, rows(), backend=backend)",
    "in a hook": "map_tasks(quick, range(100), backend=backend)",
    "in the consumer": ("[(at('consumer'), doze()) for _ in iter_tasks(quick, itertools.count(), backend=backend)]"),
}
DEAF = {
    "deaf items": "map_tasks(deaf, range(8), backend=backend)",
    "starting workers": (
        "threading.Thread(target=lambda: (until(children), at('start')), daemon=True).start(); "
        "map_tasks(quick, bodies.forever(), backend=backend)"
    ),
}


def interrupted(tmp_path: Any, source: str, *, group: bool) -> tuple[str, str, float]:
    """What the program says on stdout and stderr, and how long it took to end; and that it left nobody behind."""
    with bodies.start_script(tmp_path, source) as program:
        bodies.until(lambda: list(tmp_path.glob("at-*")) or program.poll() is not None)
        assert program.poll() is None, program.communicate()
        workers = bodies.children(program.pid)
        begin = time.monotonic()
        (os.killpg if group else os.kill)(program.pid, signal.SIGINT)
        out, err = bodies.answers(program)
        took = time.monotonic() - begin
    assert [pid for pid in workers if not bodies.gone(pid, within=3)] == []
    assert program.returncode == -signal.SIGINT, (out, err)
    return out, err, took


def program(backend: str, run: str, context: str = IN_SESSION, *, allow: bool = False) -> str:
    return PROGRAM.format(backend=backend, run=run, context=context, allow=allow)


def assert_prompt(out: str, err: str, took: float, *, session: bool = True, tracebacks: int = 1) -> None:
    assert out.splitlines()[-2:] == [*(["session over"] if session else []), "finally []"][-2:]
    assert err.count("Traceback (most recent call last)") == tracebacks, err
    assert "KeyboardInterrupt" in err.splitlines()[-3:]  # there may be notes
    assert took < 10  # some tenths of a second, where nobody else uses the processors


to_whom = pytest.mark.parametrize("group", [True, False], ids=["group", "coordinator"])


@pytest.mark.parametrize(
    ("backend", "group"),
    [("inline", True), ("thread", True), ("process", True), ("process", False)],
    ids=["inline", "thread", "process", "process, coordinator alone"],
)
@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c(phase, backend, group, tmp_path):
    # Threads cannot be interrupted, only asked: on a busy machine some have not answered when the program ends.
    source = program(backend, PHASES[phase], allow=backend == "thread")
    if phase == "in a hook":
        source = source.replace("Over()]", "Over(), Stuck()]")
    # asyncio shows the cancellation that it makes of a Ctrl-C too.
    tracebacks = 2 if phase == "waiting for async items" and backend == "inline" else 1
    assert_prompt(*interrupted(tmp_path, source, group=group), tracebacks=tracebacks)


@to_whom
@pytest.mark.parametrize("phase", DEAF)
def test_ctrl_c_on_processes(phase, group, tmp_path):
    assert_prompt(*interrupted(tmp_path, program("process", DEAF[phase]), group=group))


@pytest.mark.parametrize("phase", ["waiting", "deaf items"])
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_ctrl_c_without_a_session(phase, backend, tmp_path):
    source = program(backend, {**PHASES, **DEAF}[phase], NO_SESSION)
    assert_prompt(*interrupted(tmp_path, source, group=True), session=False)


def test_ctrl_c_while_threads_are_deaf(tmp_path):
    """They can only be left behind, and end with the program."""
    source = program("thread", DEAF["deaf items"], allow=True)
    assert_prompt(*interrupted(tmp_path, source, group=True))


def test_ctrl_c_while_a_session_waits_for_threads(tmp_path):
    run = """
    with contextlib.suppress(ZeroDivisionError):
        map_tasks(deaf_but_one, range(3))
    at("closing")
"""
    assert_prompt(*interrupted(tmp_path, program("thread", run, allow=True), group=True))


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_second_ctrl_c_does_no_harm(backend, tmp_path):
    source = program(backend, PHASES["waiting"], allow=True)
    with bodies.start_script(tmp_path, source) as running:
        bodies.until(lambda: list(tmp_path.glob("at-*")))
        workers = bodies.children(running.pid)
        for _ in range(3):
            if running.poll() is None:
                running.send_signal(signal.SIGINT)
        out, err = bodies.answers(running)
    assert "finally" in out
    assert "KeyboardInterrupt" in err.splitlines()
    assert [pid for pid in workers if not bodies.gone(pid, within=3)] == []


# -- the end of the program ------------------------------------------------------------------------------------------

ENDS = {
    "a map in atexit": """
atexit.register(lambda: print("late", map_tasks(double, [1, 2], backend="{kind}")))
""",
    "a map that nobody reads": """
results = iter_tasks(double, itertools.count(), backend="{kind}")
print(next(results))
""",
    "a session that nobody leaves": """
import warnings
warnings.simplefilter("ignore", ResourceWarning)
opened = session(backend="{kind}")
opened.__enter__()
print(map_tasks(double, [1, 2]))
""",
    "a map in a thread that outlives the main one": """
def run():
    threading.main_thread().join()
    print(map_tasks(double, range(3), backend="{kind}"))
threading.Thread(target=run).start()
""",
    "a map in a forked child": """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
with session(backend="{kind}"):
    print(map_tasks(double, range(5)))
    child = os.fork()
    if child == 0:
        print("child", map_tasks(double, range(5)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(map_tasks(double, range(5)))
""",
}
SAYS = {
    "a map in atexit": "late [2, 4]\n",
    "a map that nobody reads": "0\n",
    "a session that nobody leaves": "[2, 4]\n",
    "a map in a thread that outlives the main one": "[0, 2, 4]\n",
    "a map in a forked child": "[0, 2, 4, 6, 8]\nchild [0, 2, 4, 6, 8]\n0\n[0, 2, 4, 6, 8]\n",
}


NEEDS_THREADS = ("a map in atexit", "a map in a thread that outlives the main one")


@pytest.mark.parametrize("kind", ["inline", "thread", "process"])
@pytest.mark.parametrize("end", ENDS)
def test_maps_at_the_end_of_a_program(end, kind, tmp_path):
    if sys.version_info[:2] == (3, 12) and kind != "inline" and end in NEEDS_THREADS:
        pytest.skip("Python 3.12 starts no thread any more when the main one has ended")
    with bodies.start_script(tmp_path, ENDS[end].format(kind=kind)) as running:
        out, err = bodies.answers(running)
    assert (out, err, running.returncode) == (SAYS[end], "", 0)


def test_ctrl_c_just_when_a_wait_is_over_shows_nothing_else():
    """It was seen to be raised while the exception was handled that says that nothing has come."""

    class Interrupted:
        def get(self, timeout):
            try:
                raise Empty
            except Empty:
                raise KeyboardInterrupt  # noqa: B904 - as the interpreter does

    inbox: Inbox[None] = Inbox()
    inbox._queue = Interrupted()
    with pytest.raises(KeyboardInterrupt) as caught:
        inbox.wait(0.001)
    assert caught.value.__context__ is None


FORKED = """
import os
from eagerly import iter_tasks, session, task
from eagerly.errors import BackendError
@task
def same(x):
    return x
with session(backend="{kind}"):
    results = iter_tasks(same, range(100), window=4, chunk=1)
    assert next(results) == 0
    child = os.fork()
    if not child:
        try:
            list(results)
        except BackendError as error:
            print("refused" if "from which this one was forked" in str(error) else error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(list(results) == list(range(1, 100)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_forked_child_cannot_read_the_map_of_its_parent(kind: str) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED.format(kind=kind)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["refused", "True"], "")
