"""A process that was started for a run: what it sees of it, what it says, and how the run ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import Run, runs, session
from eagerly.errors import RunCancelled
from eagerly.runs import PostgresRunStore, RunStore, SqliteRunStore
from eagerly.runs._open import address_of
from postgres_server import fresh_schema
from run_tasks import PATIENCE, until_status

SAY = "print(json.dumps({}))\n"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    if request.param == "sqlite":
        sqlite = SqliteRunStore(tmp_path / "runs.db")
        with session(run_store=sqlite):
            yield sqlite
        sqlite.close()
        return
    with fresh_schema() as (url, schema):
        store = PostgresRunStore(url, schema=schema, lease=2.0)
        with session(run_store=store):
            yield store
        store.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[RunStore]:
    store = SqliteRunStore(tmp_path / "runs.db")
    with session(run_store=store):
        yield store
    store.close()


def environment(run: Run[Any] | None, store: RunStore | None, **more: str) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if not name.startswith("EAGERLY_")}
    if run is not None:
        found["EAGERLY_RUN_ID"] = run.id
    if store is not None:
        found["EAGERLY_RUN_STORE"] = address_of(store) or ""
    return {**found, **more}


def program(code: str, *, attach: bool = True) -> list[str]:
    head = "import json, os, sys, time\nfrom eagerly import current_task, map_tasks, runs, session, task\n"
    return [
        sys.executable,
        "-c",
        head + ("call = current_task()\ncall.should_stop()\n" if attach else "") + textwrap.dedent(code),
    ]


def start(code: str, environment: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program(code, **options), env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]  # str


def outcome(code: str, environment: dict[str, str], **options: Any) -> tuple[int, str, str]:
    child = start(code, environment, **options)
    out, err = child.communicate(timeout=PATIENCE)
    return child.returncode, out, err


# What it sees


def test_its_inputs_and_facts(store: RunStore) -> None:
    run = runs.create("import", {"file": "ü.csv", "n": [1, None]})
    code = """
        print(json.dumps([call.inputs, call.name, call.attempt, call.parent is None, str(call.session), call.run.id]))
        assert current_task() is call
    """
    found = outcome(code, environment(run, store))
    assert found[0] == 0, found[2]
    assert json.loads(found[1]) == [{"file": "ü.csv", "n": [1, None]}, "import", 1, True, "None", run.id]


def test_the_inputs_of_the_environment_come_first(store: RunStore) -> None:
    run = runs.create("import", {"file": "row"})
    code = "print(call.inputs['file'])"
    assert outcome(code, environment(run, store, EAGERLY_RUN_INPUT='{"file": "here"}'))[1] == "here\n"


def test_no_inputs(store: RunStore) -> None:
    assert outcome("print(call.inputs)", environment(runs.create("import"), store))[1] == "{}\n"


def test_what_it_says_is_in_the_record(store: RunStore) -> None:
    run = runs.create("import")
    code = """
        for step in range(1, 501):
            call.set_progress(step=step, steps=1000, message=f"row {step}")
        call.set_output({"rows": 500}, summary="half")
        call.set_progress(step=501, data={"last": True})
    """
    assert outcome(code, environment(run, store))[::2] == (0, "")
    run.refresh()
    assert (run.status, run.result(), run.output_summary) == ("completed", {"rows": 500}, "half")
    assert (run.step, run.steps, run.message, run.progress_data) == (501, 1000, "row 500", {"last": True})
    assert run.owner is not None


def test_progress_is_written_now_and_then(sqlite: RunStore) -> None:
    run = runs.create("import")
    code = """
        from eagerly.runs import SqliteRunStore
        writes, write = [], SqliteRunStore.write
        SqliteRunStore.write = lambda self, batch: (writes.append(len(batch)), write(self, batch))[1]
        until = time.monotonic() + 0.5
        said = 0
        while time.monotonic() < until:
            said += 1
            call.set_progress(message=str(said))
        print(json.dumps([said, len(writes)]))
    """
    found = outcome(code, environment(run, sqlite))
    said, writes = json.loads(found[1])
    assert said > writes * 10
    assert run.refresh().message == str(said)


def test_status_and_stop(store: RunStore) -> None:
    run = runs.create("import")
    code = """
        call.set_status("paused")
        print("paused", flush=True)
        try:
            call.sleep(60)
        finally:
            call.set_progress(message="tidied up")
            print(call.should_stop())
    """
    child = start(code, environment(run, store))
    assert child.stdout is not None
    assert child.stdout.readline() == "paused\n"
    until_status(run, "paused")
    run.stop()
    assert run.wait(PATIENCE).status == "cancelled"
    assert child.communicate(timeout=PATIENCE)[0] == "True\n"
    assert (run.refresh().message, run.cancel_reason) == ("tidied up", "stopped")


@pytest.mark.parametrize("verb", ["stop", "cancel"])
@pytest.mark.parametrize("wait", ["call.checkpoint(); time.sleep(0.01)", "asyncio.run(call.aio.sleep(60))"])
def test_asked_to_stop(verb: str, wait: str, store: RunStore) -> None:
    run = runs.create("import")
    child = start(f"import asyncio\nprint('here', flush=True)\nwhile True: {wait}", environment(run, store))
    assert child.stdout is not None
    child.stdout.readline()
    getattr(run, verb)()
    _, err = child.communicate(timeout=PATIENCE)
    assert "StopRequested" in err
    assert run.wait(PATIENCE).status == "cancelled"
    with pytest.raises(RunCancelled):
        run.result()


def test_one_that_returns_after_a_stop_keeps_its_output(store: RunStore) -> None:
    run = runs.create("import")
    child = start(
        "print(1, flush=True)\nwhile not call.should_stop(): pass\ncall.set_output(7)", environment(run, store)
    )
    assert child.stdout is not None
    child.stdout.readline()
    run.stop()
    assert run.wait(PATIENCE).status == "cancelled"
    assert run.output() == 7
    child.communicate()


def test_tasks_that_it_calls_are_inside(store: RunStore) -> None:
    run = runs.create("import")
    code = """
        @task
        def inner(x):
            me = current_task()
            me.set_progress(x / 10, message=me.name)
            return [me is not call, me.parent is call, me.parent_id == call.id, me.session_id is None, me.id != call.id]

        found = inner(1)
        with session():
            found += inner(2)
            found += map_tasks(inner, [3])[0]
            submitted = inner.submit(4)
            found += submitted.result()
        print(json.dumps(found))
    """
    found = outcome(code, environment(run, store))
    assert found[0] == 0, found[2]
    outside = [True, True, True, True, True]
    inside = [True, True, True, False, True]
    assert json.loads(found[1]) == outside + inside * 3
    assert (run.refresh().message, run.status) == ("inner[0]", "completed")
    made = runs.list(parent=run)  # what it has called in a session is recorded too
    assert [(each.kind, each.name, each.root_id) for each in made] == [
        ("call", "inner", run.id),
        ("call", "inner[0]", run.id),
        ("run", "inner", run.id),
    ]
    assert made[-1].message == "inner"


def test_worker_processes_of_it_are_not_it(sqlite: RunStore, tmp_path: Path) -> None:
    run = runs.create("import")
    (tmp_path / "seen_by_workers.py").write_text(
        "import sys\nfrom eagerly import current_task, task\n\n@task\ndef seen(x):\n"
        "    current_task().set_progress(0.1)\n    return [x, 'eagerly._environment_run' in sys.modules]\n"
    )
    code = "from seen_by_workers import seen\nprint(json.dumps(map_tasks(seen, [1, 2], backend='process')))"
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    found = outcome(code, environment(run, sqlite, PYTHONPATH=path))
    assert json.loads(found[1]) == [[1, False], [2, False]], found[2]
    assert run.refresh().status == "completed"


# How it ends


@pytest.mark.parametrize(
    ("code", "exit_code", "status", "error"),
    [
        ("", 0, "completed", None),
        ("sys.exit()", 0, "completed", None),
        ("sys.exit(0)", 0, "completed", None),
        ("sys.exit(3)", 3, "failed", "SystemExit: 3"),
        ("sys.exit('no rows')", 1, "failed", "SystemExit: no rows"),
        ("try: sys.exit(3)\nexcept SystemExit: pass", 0, "completed", None),
        ("try: sys.exit(3)\nexcept SystemExit: sys.exit(0)", 0, "completed", None),
        ("try: sys.exit(3)\nfinally:\n  try: sys.exit(0)\n  except SystemExit: pass", 3, "failed", "SystemExit: 3"),
        ("def main(): sys.exit(3)\ntry: main()\nexcept SystemExit as e: kept = e; raise", 3, "failed", "SystemExit: 3"),
        ("import asyncio\nasync def main(): sys.exit(3)\nasyncio.run(main())", 3, "failed", "SystemExit: 3"),
        ("try: sys.exit(3)\nexcept SystemExit: pass\nraise ValueError('ü')", 1, "failed", "ValueError: ü"),
        (
            "import threading\nt = threading.Thread(target=sys.exit, args=(3,))\nt.start(); t.join()",
            0,
            "completed",
            None,
        ),
        ("raise ValueError('ü')", 1, "failed", "ValueError: ü"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "failed", "KeyboardInterrupt: "),
        ("runs.update(call.run.id, status='completed', output=1)", 0, "completed", None),
        ("import os\nif os.fork() == 0: sys.exit(5)\nos.wait()", 0, "completed", None),
    ],
)
def test_who_begins_a_run_ends_it(code: str, exit_code: int, status: str, error: str | None, store: RunStore) -> None:
    run = runs.create("import")
    found = outcome(code, environment(run, store))
    assert found[0] == exit_code, found[2]
    run.refresh()
    assert run.status == status
    assert (run.error and f"{run.error.type}: {run.error.message}") == error
    if error is not None and "Value" in error:
        assert run.error is not None
        assert "Traceback" in run.error.traceback


def test_one_that_somebody_else_has_begun_is_theirs_to_end(store: RunStore) -> None:
    run = runs.update(runs.create("import"), status="running")
    assert outcome("call.set_progress(0.5)\nsys.exit(3)", environment(run, store))[0] == 3
    assert (run.refresh().status, run.progress, run.owner) == ("running", 0.5, None)


def test_two_programs_in_a_row(store: RunStore) -> None:
    run = runs.create("import")
    assert outcome("", environment(run, store))[0] == 0
    found = outcome("call.set_progress(0.5)\nprint(call.should_stop())", environment(run, store))
    assert found == (0, "True\n", "")
    assert (run.refresh().status, run.progress) == ("completed", 1.0)


@pytest.mark.parametrize("code", ["", "import eagerly.runs", "task(lambda: None)()", "runs.list()"])
def test_who_does_nothing_with_its_run_leaves_it_alone(code: str, store: RunStore) -> None:
    run = runs.create("import")
    assert outcome(code, environment(run, store), attach=False) == (0, "", "")
    assert run.refresh().status == "pending"


def test_the_command_line_leaves_it_alone(sqlite: RunStore) -> None:
    run = runs.create("import")
    shown = subprocess.run(
        [sys.executable, "-m", "eagerly", "runs", "show", run.id], env=environment(run, sqlite), capture_output=True
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert run.refresh().status == "pending"


def test_one_that_is_killed_is_lost(store: RunStore) -> None:
    run = runs.create("import")
    child = start("print(1, flush=True)\ntime.sleep(100)", environment(run, store))
    assert child.stdout is not None
    child.stdout.readline()
    assert run.refresh().status == "running"
    child.kill()
    child.communicate()
    run.wait(PATIENCE)
    assert run.error is not None
    assert (run.status, run.error.kind) == ("failed", "lost")


def test_one_that_was_cancelled_before(store: RunStore) -> None:
    run = runs.create("import").cancel("no")
    assert "StopRequested" in outcome("call.checkpoint()", environment(run, store))[2]
    assert run.refresh().cancel_reason == "no"


def test_a_program_in_a_program(store: RunStore) -> None:
    run = runs.create("import")
    code = """
        import subprocess
        inner = "from eagerly import current_task; current_task().set_progress(0.5, message='inner')"
        subprocess.run([sys.executable, "-c", inner], check=True)
        print(runs.get(call.run.id).status)
    """
    found = outcome(code, environment(run, store))
    assert found[:2] == (0, "running\n"), found[2]
    assert (run.refresh().status, run.message) == ("completed", "inner")


# What is wrong with it


@pytest.mark.parametrize(
    ("variables", "use", "message"),
    [
        ({"EAGERLY_RUN_ID": "run_0"}, "call.inputs", "EAGERLY_RUN_ID='run_0': there is no such run in"),
        ({"EAGERLY_RUN_ID": "run_0"}, "call.set_progress(0.5)", "EAGERLY_RUN_ID='run_0': there is no such run in"),
        ({"EAGERLY_RUN_ID": "run_0"}, "call.should_stop()", "EAGERLY_RUN_ID='run_0': there is no such run in"),
        ({"EAGERLY_RUN_INPUT": "{"}, "call.inputs", "environment variable EAGERLY_RUN_INPUT is no JSON"),
        ({"EAGERLY_RUN_INPUT": "[1]"}, "call.inputs", "EAGERLY_RUN_INPUT takes a JSON object"),
        (
            {"EAGERLY_RUN_STORE": "/etc/passwd"},
            "call.name",
            "EAGERLY_RUN_STORE='/etc/passwd', which EAGERLY_RUN_ID needs",
        ),
        (
            {"EAGERLY_RUN_STORE": "postgresql://a:secret-word@127.0.0.1:1/x?connect_timeout=1"},
            "call.name",
            "EAGERLY_RUN_STORE='postgresql://a:***@127.0.0.1:1/x?connect_timeout=1', which EAGERLY_RUN_ID needs",
        ),
        ({"EAGERLY_RUN_STORE": "x://y"}, "call.name", "EAGERLY_RUN_STORE='x://y'"),
        ({"EAGERLY_RUN_STORE": None}, "call.name", "EAGERLY_RUN_ID is set, and EAGERLY_RUN_STORE is not"),
        ({"EAGERLY_RUN_IDS": "x"}, "call.name", "there is no setting 'run_ids'"),
    ],
)
def test_bad_values_are_told_by_the_first_use(
    variables: dict[str, str | None], use: str, message: str, sqlite: RunStore, tmp_path: Path
) -> None:
    run = runs.create("import")
    env: dict[str, Any] = {**environment(run, sqlite), **variables}
    env = {name: value for name, value in env.items() if value is not None}
    code = f"call = current_task()\nprint('so far', flush=True)\n{use}"
    done = subprocess.run(
        program(code, attach=False), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "so far\n"
    assert message in done.stderr
    assert "secret-word" not in done.stderr
    assert done.stderr.count("Traceback") <= 3


def test_without_the_variable_there_is_no_run() -> None:
    code = "print(current_task(), 'eagerly._environment_run' in sys.modules)"
    assert outcome(code, environment(None, None), attach=False)[1] == "None False\n"


def test_validation_is_as_everywhere(store: RunStore) -> None:
    run = runs.create("import")
    code = """
        from eagerly.errors import OptionValueError, OutputNotSerializable
        uses = [
            lambda: call.set_progress(2),
            lambda: call.set_status("failed"),
            lambda: call.set_progress(step=2, steps=1),
        ]
        for use in uses:
            try: use()
            except OptionValueError as error: print(type(error).__name__)
        try: call.set_output({1})
        except OutputNotSerializable as error: print(type(error).__name__)
    """
    found = outcome(code, environment(run, store))
    assert found[1].split() == ["OptionValueError"] * 3 + ["OutputNotSerializable"], found[2]


def test_hooks_hear_of_what_is_done_from_outside(store: RunStore) -> None:
    from eagerly.testing import RecordingHooks

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        run = runs.create("import")
        runs.update(run, status="running")
        runs.update(run, progress=0.5)
        runs.create("child", parent=run)
        run.cancel()
    heard = [
        (str(e.arguments["run"].status), e.arguments["run"].task) for e in hooks.events if e.hook == "on_run_status"
    ]
    assert heard == [
        ("pending", "import"),
        ("running", "import"),
        ("pending", "child"),
        ("cancelled", "import"),
        ("cancelled", "child"),
    ]
