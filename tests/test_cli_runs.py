"""``eagerly runs``: what it shows, waits for, ends and removes, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_project import Outcome, Project
from cli_project import project as project
from eagerly import Command, Run, registry, runs, session, task
from eagerly.runs import SqliteRunStore
from run_tasks import until


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EAGERLY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def stored(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose settings name a store, and a session with that store."""
    monkeypatch.setenv("EAGERLY_RUN_STORE", "runs.db")
    store = SqliteRunStore(project.folder / "runs.db")
    with session(run_store=store):
        yield project
    store.close()


def rows(outcome: Outcome) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in outcome.out.splitlines()]


def running(task: str = "import") -> Run[object]:
    return runs.update(runs.create(task), status="running", step=1, steps=4, message="reading")


# Lists


def test_the_list(stored: Project) -> None:
    first, second = runs.create("import"), running("export")
    outcome = stored.run("runs", "list")
    assert (outcome.code, outcome.err) == (0, "")
    head, *found = rows(outcome)
    assert head == ["run", "status", "done", "took", "created", "task"]
    assert [(row[0], row[1], row[-1]) for row in found] == [
        (second.id[:12], "running", "export"),
        (first.id[:12], "pending", "import"),
    ]
    assert found[0][2] == "25%"
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), ["c", "b", "a"]),
        (("--task", "a"), ["a"]),
        (("--status", "failed"), ["b"]),
        (("--status", "failed", "--status", "pending"), ["c", "b", "a"]),
        (("--tag", "x"), ["b", "a"]),
        (("--tag", "x", "--tag", "y"), ["a"]),
        (("--parent", "@last"), []),
        (("--since", "1h", "--until", "0s"), ["c", "b", "a"]),
        (("--since", "2001-01-01"), ["c", "b", "a"]),
        (("--until", "2001-01-01"), []),
        (("--until", "20010101"), []),
        (("--limit", "1"), ["c"]),
    ],
)
def test_filters(words: tuple[str, ...], names: list[str], stored: Project) -> None:
    runs.create("a", tags=["x", "y"])
    runs.update(runs.create("b", tags=["x"]), status="failed")
    runs.create("c")
    assert [row[-1] for row in rows(stored.run("runs", "list", *words))[1:]] == names
    assert [each["task"] for each in json.loads(stored.run("runs", "list", "--json", *words).out)] == names


def test_the_list_of_children(stored: Project) -> None:
    parent = runs.create("parent")
    runs.create("child", parent=parent)
    assert [row[-1] for row in rows(stored.run("runs", "list", "--parent", parent.id))[1:]] == ["child"]


def test_more_than_are_shown(stored: Project) -> None:
    for _ in range(3):
        runs.create("a")
    assert stored.run("runs", "list", "--limit", "2").err == "eagerly: there are more; write --limit 10\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "no runs in {folder}/runs.db"), (("--task", "x"), "no run in {folder}/runs.db matches")],
)
def test_nothing_is_there(words: tuple[str, ...], message: str, stored: Project) -> None:
    outcome = stored.run("runs", "list", *words)
    assert outcome == (0, "", f"eagerly: {message.format(folder=stored.folder)}\n")
    assert not Path("runs.db").exists()


def test_wide_names_on_a_terminal(stored: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = runs.create("数据导入任务" * 10)
    runs.create("a\u0308" * 10, parent=parent)
    runs.create("数据导入任务", parent=parent)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    names = [row[-1] for row in rows(stored.run("runs", "list", "--all"))[1:]]
    assert names == ["数据导入任务", "a\u0308" * 10, "数据导入任务..."]  # 16 columns at most
    runs.create("数据导入任务" * 10, parent=parent)
    *_, decomposed, short, long = stored.run("runs", "show", parent.id).out.splitlines()
    assert decomposed.endswith("a\u0308" * 10)
    assert short.endswith("  数据导入任务")
    beginning, name = long[:37], long[37:]
    assert beginning.isascii()
    assert (name[-3:], len(name[:-3])) == ("...", 20)  # 37, 40 and 3 columns


# One


def test_what_is_known_of_a_run(stored: Project) -> None:
    run = runs.create("import", {"file": "a.csv"}, tags=["x", "y"])
    child = runs.update(runs.create("child", parent=run), status="completed")
    below = runs.create("below", parent=child)
    try:
        raise ValueError("no such row")
    except ValueError as error:
        runs.update(run, status="failed", error=error)
    outcome = stored.run("runs", "show", run.id)
    about, trace, tree = outcome.out.split("\n\n")
    known = dict(re.split(r"  +", line, maxsplit=1) for line in about.splitlines())
    assert known["id"] == run.id
    assert known["status"] == "failed"
    assert known["input_summary"] == "file='a.csv'"
    assert known["tags"] == "x, y"
    assert known["error"] == "ValueError: no such row"
    assert "message" not in known
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: no such row")
    assert [line.split()[0] for line in tree.splitlines()] == ["has", child.id[:12], below.id[:12]]
    assert tree.splitlines()[2].startswith("    run_")
    assert json.loads(stored.run("runs", "show", "--json", run.id).out)["error"]["type"] == "ValueError"


def test_a_long_chain_of_runs(stored: Project) -> None:
    parent = first = runs.create("first")
    for _ in range(1200):
        parent = runs.create("below", parent=parent)
    outcome = stored.run("runs", "show", first.id)
    assert (outcome.code, outcome.err, outcome.out.count("below")) == (0, "", 1200)
    assert outcome.out.splitlines()[-1].startswith(f"{'  ' * 1200}{parent.id[:12]}")


def test_a_session_with_many_runs(stored: Project) -> None:
    with session(run_store="runs.db") as here:
        parent = runs.create("parent")
        for number in range(101):
            runs.create(f"root {number}")
            runs.create(f"child {number}", parent=parent)
    *_, last = stored.run("runs", "show", str(here.session_id)).out.splitlines()
    assert last == f"  ... and more: eagerly runs list --session {here.session_id}"
    assert stored.run(*last.partition("eagerly ")[2].split()).code == 0
    *_, last = stored.run("runs", "show", parent.id).out.splitlines()
    assert last == f"  ... and more: eagerly runs list --parent {parent.id[:12]}"


def test_how_a_run_may_be_named(stored: Project) -> None:
    run = runs.create("import")
    for word in (run.id, run.id[:10], run.id[4:], run.id[4:8], "@last"):
        assert json.loads(stored.run("runs", "show", "--json", word).out)["id"] == run.id
    while True:
        other = runs.create("import")
        if other.id[4] == run.id[4]:
            break
    outcome = stored.run("runs", "show", run.id[4])
    assert outcome.code == 1
    assert f"several runs begin with {run.id[4]!r}: run_" in outcome.err
    assert "write more of the id" in outcome.err


@pytest.mark.parametrize(
    "words", [("show", "nosuch"), ("wait", "run_nosuch"), ("stop", "nosuch"), ("output", "nosuch")]
)
def test_there_is_no_such_run(words: tuple[str, ...], stored: Project) -> None:
    assert stored.run("runs", *words)[:2] == (1, "")
    runs.create("import")
    outcome = stored.run("runs", *words)
    assert outcome == (1, "", f"eagerly: error: there is no run 'run_nosuch' in {stored.folder}/runs.db\n")
    assert stored.run("runs", "show", "@last").code == 0


def test_the_last_of_none(stored: Project) -> None:
    assert stored.run("runs", "show", "@last").err == f"eagerly: error: there are no runs in {stored.folder}/runs.db\n"


def test_the_output(stored: Project) -> None:
    run = runs.update(runs.create("import"), status="completed", output={"rows": [1, None]})
    assert json.loads(stored.run("runs", "output", run.id).out) == {"rows": [1, None]}
    empty = runs.create("import")
    outcome = stored.run("runs", "output", empty.id)
    assert outcome == (1, "", f"eagerly: error: run {empty.id} has no output; it is pending\n")


class Shy:
    def __str__(self) -> str:
        raise LookupError("no words for it")


ITSELF: list[object] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({(1, 2): 3}, "is dict, which JSON does not have: keys must be str"),
        (float("nan"), "is float, which JSON does not have: "),
        (ITSELF, "is list, which JSON does not have: Circular reference"),
        ([10**5000], "is list, which JSON does not have: Exceeds the limit"),
        (Shy(), "is Shy, which JSON does not have: no words for it"),
    ],
)
def test_an_output_that_json_does_not_have(value: object, message: str, stored: Project) -> None:
    @task(run_output="pickle")
    def give() -> object:
        return value

    run = give.submit().wait()
    assert run.has_output, run.error
    outcome = stored.run("runs", "output", run.id)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"eagerly: error: the output of run {run.id} {message}")
    assert outcome.err.endswith(f"; read it with runs.output({run.id!r})\n")


# Waiting


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1)])
def test_the_exit_code_says_how_it_ended(status: str, code: int, stored: Project) -> None:
    run = runs.update(running(), status=status)
    outcome = stored.run("runs", "wait", run.id)
    assert (outcome.code, outcome.err) == (code, "")
    assert outcome.out.split()[1:3] == [run.id[:12], status]
    assert stored.run("runs", "tail", run.id).code == code


def test_why_it_has_ended_comes_before_what_it_said(stored: Project) -> None:
    failed, cancelled = runs.update(running(), status="failed", error=ValueError("no such row")), running()
    for verb in ("wait", "tail"):
        assert rows(stored.run("runs", verb, failed.id))[0][-1] == "no such row"
    assert rows(stored.run("runs", "cancel", cancelled.id, "--reason", "too long"))[0][-1] == "too long"
    assert rows(stored.run("runs", "wait", cancelled.id))[0][-1] == "too long"


def test_waiting_too_long(stored: Project) -> None:
    run = running()
    outcome = stored.run("runs", "wait", run.id, "--timeout", "0.01")
    assert outcome == (3, "", f"eagerly: run {run.id} is running after 0.01 s of waiting, and goes on\n")


def test_following_a_run(stored: Project) -> None:
    run = running()
    process = stored.start("runs", "tail", run.id)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    runs.update(run, step=2, message="writing")
    lines.append(process.stdout.readline())
    runs.update(run, status="completed")
    rest, complaints = process.communicate(timeout=60)
    lines.append(rest)
    assert process.returncode == 0, complaints
    shown = [re.split(r"  +", line.strip())[1:] for line in lines]
    assert shown == [
        [run.id[:12], "running", "25%", "1/4", "reading"],
        [run.id[:12], "running", "50%", "2/4", "writing"],
        [run.id[:12], "completed", "100%", "2/4", "writing"],
    ]
    assert "\x1b" not in "".join(lines)


def test_following_a_run_as_json(stored: Project) -> None:
    run = running()
    process = stored.start("runs", "tail", "--json", run.id)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    runs.update(run, step=2, message="two\nlines")
    lines.append(process.stdout.readline())
    runs.update(run, status="failed", error="no such row")
    rest, complaints = process.communicate(timeout=60)
    assert process.returncode == 1, complaints
    assert rest.count("\n") == 1
    shown = [json.loads(line) for line in (*lines, rest)]
    assert [(each["id"], each["status"], each["step"], each["message"]) for each in shown] == [
        (run.id, "running", 1, "reading"),
        (run.id, "running", 2, "two\nlines"),
        (run.id, "failed", 2, "two\nlines"),
    ]
    assert shown[-1] == json.loads(stored.run("runs", "show", "--json", run.id).out)
    outcome = stored.run("runs", "tail", "--json", run.id)
    assert (outcome.code, json.loads(outcome.out)) == (1, shown[-1])


# Ending


def test_stop_and_cancel(stored: Project) -> None:
    pending, first, second = runs.create("a"), running(), running()
    assert stored.run("runs", "stop", pending.id, first.id).code == 0
    assert pending.refresh().status == "cancelled"
    assert first.refresh().stop_requested_at is not None
    outcome = stored.run("runs", "cancel", first.id, second.id, "--reason", "not needed")
    assert outcome.code == 0
    assert [row[1:3] for row in rows(outcome)] == [[first.id[:12], "cancelled"], [second.id[:12], "cancelled"]]
    assert {first.refresh().cancel_reason, second.refresh().cancel_reason} == {"not needed"}
    again = stored.run("runs", "cancel", first.id)
    assert again.code == 1
    assert "is cancelled and cannot become cancelled" in again.err
    assert json.loads(stored.run("runs", "stop", "--json", first.id).out)[0]["status"] == "cancelled"


def test_none_is_stopped_if_one_is_not_there(stored: Project) -> None:
    run = running()
    assert stored.run("runs", "cancel", run.id, "nosuch").code == 1
    assert run.refresh().status == "running"
    running()
    assert stored.run("runs", "cancel", run.id, "run_").code == 1  # which may mean either
    assert run.refresh().status == "running"


def test_those_that_can_be_are_cancelled(stored: Project) -> None:
    first, ended, third = running(), runs.update(running(), status="failed"), running()
    outcome = stored.run("runs", "cancel", first.id, ended.id, third.id)
    assert outcome.code == 1
    assert [row[1:3] for row in rows(outcome)] == [[first.id[:12], "cancelled"], [third.id[:12], "cancelled"]]
    assert outcome.err.startswith(f"eagerly: error: run {ended.id} is failed and cannot become cancelled")
    assert len(outcome.err.splitlines()) == 1
    assert [each.refresh().status for each in (first, ended, third)] == ["cancelled", "failed", "cancelled"]
    fourth = running()
    outcome = stored.run("runs", "cancel", "--json", third.id, fourth.id)
    assert (outcome.code, [each["id"] for each in json.loads(outcome.out)]) == (1, [fourth.id])
    assert third.id in outcome.err
    outcome = stored.run("runs", "cancel", "--json", third.id)
    assert (outcome.code, json.loads(outcome.out)) == (1, [])


def test_those_that_can_be_are_stopped(stored: Project) -> None:
    @task
    def stop_from_outside() -> Outcome:
        call = runs.list(task="stop_from_outside", parent=None)[0]
        return stored.run("runs", "stop", first.id, call.id, ended.id, third.id)

    first, ended, third = running(), runs.update(running(), status="failed"), running()
    outcome = stop_from_outside()  # a call cannot be stopped
    assert outcome.code == 1
    assert [row[1:3] for row in rows(outcome)] == [
        [first.id[:12], "running"],
        [ended.id[:12], "failed"],
        [third.id[:12], "running"],
    ]
    assert "is a call that its caller waits for, and cannot be stopped" in outcome.err
    assert None not in (first.refresh().stop_requested_at, third.refresh().stop_requested_at)
    assert stored.run("runs", "stop", ended.id, ended.id) == (0, stored.run("runs", "stop", ended.id).out, "")


def test_a_run_and_what_it_has_made_are_cancelled(stored: Project) -> None:
    parent = running()
    child = runs.create("child", parent=parent)
    outcome = stored.run("runs", "cancel", parent.id, child.id, parent.id)
    assert (outcome.code, outcome.err) == (0, "")
    assert [row[1:3] for row in rows(outcome)] == [[parent.id[:12], "cancelled"], [child.id[:12], "cancelled"]]


# Removing


def test_prune(stored: Project) -> None:
    for _ in range(3):
        runs.update(runs.create("a"), status="completed")
    live = runs.create("b")
    assert stored.run("runs", "prune", "--older-than", "1h").err.startswith("eagerly: 0 runs removed from ")
    assert stored.run("runs", "prune", "--keep", "2").err.startswith("eagerly: 1 run removed from ")
    assert json.loads(stored.run("runs", "prune", "--older-than", "0s", "--json").out) == {"removed": 2}
    assert [*runs.list()] == [live]


def test_the_help_of_prune_says_that_both_may_be_given(stored: Project) -> None:
    runs.update(runs.create("a"), status="completed")
    assert stored.run("runs", "prune", "--older-than", "0s", "--keep", "1").err.startswith("eagerly: 0 runs removed ")
    text = stored.run("runs", "prune", "--help").out
    assert text.startswith(
        "usage: eagerly runs prune [options] (--older-than AGE | --keep N | --older-than AGE --keep N)"
    )


# What cannot work


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "--limit", "many"), "--limit takes a number, not 'many'"),
        (("list", "--limit", "0"), "--limit takes 1 to 1000, not 0"),
        (("list", "--status", "done"), "takes one of 'pending', 'running', "),
        (("list", "--since", "yesterday"), "--since takes 90s, 30m, 2h or 7d for that long ago, or a moment such as"),
        (("prune",), "write --older-than 30d, or --keep 1000, or both"),
        (("prune", "--older-than", "old"), "--older-than takes a duration such as 90s, 30m, 2h or 7d, not 'old'"),
        (("prune", "--older-than", "5"), "takes a duration such as 90s, 30m, 2h or 7d, not '5'; write 5d for days"),
        (("prune", "--older-than", "0.5 "), "not '0.5 '; write 0.5d for days"),
        (("list", "--since", "5"), "--since takes a duration such as 90s, 30m, 2h or 7d, not '5'; write 5d for days"),
        (("list", "--until", "2024"), "--until takes a duration such as 90s, 30m, 2h or 7d, not '2024'"),
        (("prune", "--older-than", "9" * 400 + "d"), "is longer than Python can count"),
        (("prune", "--older-than=-1d"), "--older-than takes a duration such as 90s, 30m, 2h or 7d, not '-1d'"),
        (("prune", "--keep", "-1"), "--keep must be 0 or more, not -1"),
        (("prune", "--keep", "9" * 20), "--keep must be less than 2**63"),
        (("prune", "--older-than", "800000d"), "--older-than=800000d is before the year 1; write a shorter time"),
        (("list", "--since", "999999999d"), "--since=999999999d is before the year 1; write a shorter time"),
        (("list", "--until", "0001-01-01T00:00+05:00"), "--until takes 90s, 30m, 2h or 7d for that long ago, or a mom"),
        (("prune", "--keep", "many"), "--keep takes a number, not 'many'"),
        (("list", "--limit", "-1"), "--limit takes 1 to 1000, not -1"),
        (("wait", "@last", "--timeout", "-1"), "takes a duration"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str, stored: Project) -> None:
    runs.update(runs.create("import"), status="completed")
    outcome = stored.run("runs", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert len(runs.list()) == 1


def test_without_a_store(project: Project) -> None:
    outcome = project.run("runs", "list")
    assert outcome.code == 2
    assert outcome.err == (
        "eagerly: error: there is no run store; write --store PATH, or set EAGERLY_RUN_STORE or run_store in"
        " pyproject.toml\n"
    )
    assert project.run("runs", "list", "--store", "there.db").code == 0


def test_a_damaged_store(project: Project) -> None:
    Path("runs.db").write_bytes(b"no database" * 1000)
    outcome = project.run("runs", "list", "--store", "runs.db")
    assert (outcome.code, outcome.out) == (1, "")
    assert "is damaged or no SQLite database" in outcome.err


# Commands


def test_a_command_that_failed(stored: Project) -> None:
    made = registry.register("convert", Command(["sh", "-c", "seq 3 >&2; echo 'no such table' >&2; exit 3"]))
    run = made.submit(file="a.csv").wait()
    outcome = stored.run("runs", "show", run.id)
    about, said = outcome.out.split("\n\n")
    known = dict(re.split(r"  +", line, maxsplit=1) for line in about.splitlines())
    assert known["error"] == "CommandFailed: command 'convert' (sh) ended with exit code 3: no such table"
    assert said.splitlines() == ["the end of its standard error", "1", "2", "3", "no such table"]
    assert json.loads(stored.run("runs", "show", "--json", run.id).out)["error"]["kind"] == "exit"
    tail = stored.run("runs", "tail", run.id)
    assert (tail.code, tail.out.count("no such table")) == (1, 1)
    assert [row[-1] for row in rows(stored.run("runs", "list", "--task", "convert"))[1:]] == ["convert"]


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_a_command_is_ended(verb: str, stored: Project) -> None:
    pid = stored.folder / "pid"
    run = registry.register("endless", Command(["sh", "-c", f"echo $$ > {pid}; exec sleep 100"])).submit()
    until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    assert stored.run("runs", verb, run.id).code == 0
    assert stored.run("runs", "wait", run.id).code == 1
    assert run.wait().status == "cancelled"
    until(lambda: run.settled)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_output_of_a_command(stored: Project) -> None:
    registry.register("hello", Command(["echo", "héllo"])).submit().wait()
    assert json.loads(stored.run("runs", "output", "@last").out) == "héllo\n"
