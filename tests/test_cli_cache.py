"""``eagerly cache``: what it shows of a store, what it removes, and how it explains calls."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cli_project import Outcome, Project
from cli_project import project as project
from eagerly import session, task
from eagerly.cache import DiskStore

SECRET = "0123456789abcdef"

SHOP = """\
import threading

@task(cache=True)
def price(item: str, count: int = 1) -> float:
    "The price of some items."
    return count * 2.5

@task(cache=True, cache_ttl=5400)
async def rate(day: str) -> float:
    return 1.5

@task(cache=True)
def lines(count: int):
    yield from range(count)

@task(cache=True)
async def parts(count: int):
    for number in range(count):
        yield number

@task
def plain(x: int) -> int:
    return x

@task(cache=True)
def query(connection: threading.Thread, table: str) -> int:
    return 1

@task(cache=True, cache_ignore=("connection",))
def query_anyway(connection: threading.Thread, table: str) -> int:
    return 1

table = {"a": 1}

@task(cache=True)
def looks_up(x: str) -> int:
    return table[x]

class Order:
    def __init__(self, count):
        self.count = count

    @task(cache=True)
    def total(self, tax: float = 0.25) -> float:
        return self.count * (1 + tax)

    @staticmethod
    @task(cache=True)
    def number(day: str) -> int:
        return 1

order = Order(4)

@workflow
def fill():
    import asyncio
    for count in range(1, 4):
        price("pear", count)
    asyncio.run(rate("monday"))
    list(lines(3))
    order.total()
    query_anyway(threading.main_thread(), "t")

def function():
    pass
"""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EAGERLY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def shop(project: Project) -> Project:
    """A project whose cache has seven entries of five tasks."""
    project.write("shop.py", SHOP)
    assert project.run("run", "shop:fill").code == 0
    return project


@task(cache=True, cache_version="1")
def numbers(x: int) -> int:
    return x


def rows(outcome: Outcome) -> list[list[str]]:
    assert outcome.code == 0, outcome.err
    return [re.split(r"  +", line.strip()) for line in outcome.out.splitlines()]


# What is in it


def test_stats(shop: Project) -> None:
    outcome = shop.run("cache", "stats")
    about, by_task = outcome.out.split("\n\n")
    assert about.splitlines()[0] == f"store    DiskStore('{shop.folder}/.eagerly/cache')"
    assert re.search(r"^entries  7\nsize     \d\.\d kB$", about, re.MULTILINE)
    table = [line.split() for line in by_task.splitlines()]
    assert table[0] == ["entries", "size", "task"]
    names = ["shop.Order.total", "shop.lines", "shop.price", "shop.query_anyway", "shop.rate"]
    assert [(row[0], row[-1]) for row in table[1:]] == list(zip("11311", names, strict=True))
    assert outcome.err == ""


def test_stats_for_programs(shop: Project) -> None:
    found = json.loads(shop.run("cache", "stats", "--json").out)
    assert (found["entries"], len(found["tasks"])) == (7, 5)
    assert sum(each["bytes"] for each in found["tasks"].values()) == found["bytes"]
    assert found["tasks"]["shop.price"]["entries"] == 3


def test_the_list_has_the_newest_first_and_fits_into_eighty_columns(shop: Project) -> None:
    outcome = shop.run("cache", "list")
    head, *found = rows(outcome)
    assert head == ["key", "stored", "expires", "size", "task"]
    assert [row[-1] for row in found] == [
        *("shop.query_anyway", "shop.Order.total", "shop.lines", "shop.rate"),
        *["shop.price"] * 3,
    ]
    assert [row[2] for row in found if row[-1] == "shop.rate"] == ["in 1 h"]
    assert {row[2] for row in found if row[-1] != "shop.rate"} == {"never"}
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.err == ""


def test_the_list_of_one_task(shop: Project) -> None:
    found = rows(shop.run("cache", "list", "shop.Order.total"))
    assert [row[-1] for row in found] == ["task", "shop.Order.total"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("shop.prise", "shop.price"),
        ("shop.py:price", "shop.price"),
        ("./shop.py:price", "shop.price"),
        ("shop:Order.total", "shop.Order.total"),
        ("total", "shop.Order.total"),
    ],
)
@pytest.mark.parametrize("action", ["list", "clear"])
def test_a_task_of_which_nothing_is_stored(shop: Project, action: str, written: str, meant: str) -> None:
    outcome = shop.run("cache", action, written)
    assert outcome.code == 0  # there is no way to tell that from one that has not been called yet
    assert outcome.out == ("removed 0 entries\n" if action == "clear" else "")
    assert outcome.err.startswith(f"eagerly: nothing of a task {written!r} is stored in DiskStore(")
    assert outcome.err.endswith(f"; did you mean {meant!r}?\n")


def test_a_task_like_no_other(shop: Project) -> None:
    assert shop.run("cache", "list", "xyz").err.endswith("; `eagerly cache stats` shows the tasks that there are\n")


def test_the_list_for_programs_is_complete_and_has_whole_keys(shop: Project) -> None:
    with session(cache_store=".eagerly/cache"):
        for x in range(60):
            numbers(x)
        key = numbers.cache_key(59)
    found = json.loads(shop.run("cache", "list", "--json").out)
    assert len(found) == 67
    assert found[0].keys() == {"key", "task", "size", "stored_at", "expires"}
    assert found[0]["key"] == key
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+\+00:00", found[0]["stored_at"])
    assert found[0]["expires"] is None
    assert json.loads(shop.run("cache", "list", "--json", "--limit", "2").out) == found[:2]


@pytest.mark.parametrize(
    ("limit", "shown"), [((), 50), (("--limit", "500"), 307), (("--limit", "7"), 7), (("--limit", "9" * 20), 307)]
)
def test_several_hundred_entries(shop: Project, limit: tuple[str, ...], shown: int) -> None:
    with session(cache_store=".eagerly/cache"):
        for x in range(300):
            numbers(x)
    outcome = shop.run("cache", "list", *limit)
    assert len(outcome.out.splitlines()) == shown + 1
    assert outcome.err == ("" if shown == 307 else f"eagerly: these are the newest {shown}; --limit N shows more\n")


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "many", ""])
def test_limits_that_make_no_sense(shop: Project, limit: str) -> None:
    outcome = shop.run("cache", "list", "--limit", limit)
    assert outcome.code == 2
    assert f"eagerly cache list: error: argument --limit: takes a number from 1, not {limit!r}" in outcome.err


def test_names_cannot_steer_the_terminal(project: Project) -> None:
    store = DiskStore(project.folder / "cache")
    store.put(b"k" * 20, [b"x"], tag="evil\x1b[2J\nname")
    store.close()
    outcome = project.run("cache", "list", "--store", "cache")
    assert len(outcome.out.splitlines()) == 2
    assert "\x1b" not in outcome.out
    assert json.loads(project.run("cache", "list", "--store", "cache", "--json").out)[0]["task"] == "evil\x1b[2J\nname"


def test_an_output_of_a_small_alphabet(project: Project) -> None:
    store = DiskStore(project.folder / "cache")
    store.put(b"k" * 20, [b"x"], tag="møte")
    store.close()
    process = project.start("cache", "list", "--store", "cache", env={"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1].endswith(r"m\xf8te")


# What is removed


def test_clearing_one_task(shop: Project) -> None:
    assert shop.run("cache", "clear", "shop.price").out == "removed 3 entries\n"
    assert shop.run("cache", "clear", "shop.rate").out == "removed 1 entry\n"
    assert json.loads(shop.run("cache", "stats", "--json").out)["entries"] == 3
    assert "shop.Order.total" in shop.run("cache", "list").out


def test_clearing_everything(shop: Project) -> None:
    beside = shop.write(".eagerly/cache/mine.txt", "not the store's")
    outcome = shop.run("cache", "clear")
    assert (outcome.out, outcome.err) == ("removed 7 entries\n", "")
    assert beside.exists()
    assert shop.run("cache", "clear").out == "removed 0 entries\n"
    assert shop.run("cache", "list").err.startswith("eagerly: nothing is stored in DiskStore(")


# Which store


@pytest.mark.parametrize("action", ["stats", "list", "clear"])
def test_a_place_where_nothing_is(project: Project, action: str) -> None:
    outcome = project.run("cache", action, "--store", "nowhere")
    assert outcome.code == 0
    assert outcome.err.startswith(f"eagerly: there is nothing at {project.folder / 'nowhere'} yet\n")
    assert not (project.folder / "nowhere").exists()


def test_the_place_of_the_settings(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop.folder / "inner").mkdir()
    monkeypatch.chdir(shop.folder / "inner")
    monkeypatch.setenv("EAGERLY_CACHE_STORE", "../.eagerly/cache")
    assert "shop.price" in shop.run("cache", "stats").out


@pytest.mark.parametrize(
    ("store", "code", "message"),
    [
        ("", 2, "--store must not be empty; leave it out for that of the settings"),
        ("redis://127.0.0.1:1/0", 2, "signing_key="),
        ("redis://127.0.0.1:1/0", 2, "as on the command line, set EAGERLY_CACHE_SIGNING_KEY"),
        ("file:///shared", 2, "as on the command line, set EAGERLY_CACHE_SIGNING_KEY"),
        ("nosuch://bucket", 2, "knows no nosuch://"),
        ("shop.py", 1, "is a file, not a directory"),
    ],
)
def test_stores_that_cannot_be_opened(shop: Project, store: str, code: int, message: str) -> None:
    outcome = shop.run("cache", "stats", "--store", store)
    assert (outcome.code, outcome.out) == (code, "")
    assert re.fullmatch(rf"eagerly: error: .*{re.escape(message)}.*\n", outcome.err)


def test_a_server_that_does_not_answer(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("EAGERLY_CACHE_SIGNING_KEY", SECRET)
    outcome = project.run("cache", "list", "--store", "redis://127.0.0.1:1/0")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("eagerly: error: ")
    assert "Connection refused" in outcome.err
    assert SECRET not in outcome.err


def test_a_store_with_a_signing_key(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAGERLY_CACHE_SIGNING_KEY", SECRET)
    outcome = shop.run("cache", "stats")
    assert outcome.code == 0
    assert SECRET not in outcome.out


def test_memory_is_not_shared(project: Project) -> None:
    outcome = project.run("cache", "stats", "--store", "memory://")
    assert outcome.err == "eagerly: memory:// is the memory of each process, so here it is empty\n"
    assert rows(outcome)[1] == ["entries", "0"]


@pytest.mark.parametrize("action", ["stats", "list", "clear"])
def test_a_folder_that_others_can_write_to(shop: Project, action: str) -> None:
    (shop.folder / ".eagerly" / "cache").chmod(0o777)
    outcome = shop.run("cache", action)
    assert (outcome.code, outcome.out) == (1, "")
    assert "has mode 0777" in outcome.err
    assert "chmod go-w" in outcome.err


def test_why_a_call_is_no_hit_in_a_folder_that_others_can_write_to(shop: Project) -> None:
    shop.write("tasks.py", "@task(cache=True)\ndef double(x: int) -> int:\n    return 2 * x\n")
    (shop.folder / ".eagerly" / "cache").chmod(0o777)
    outcome = shop.run("cache", "explain", "tasks:double", "--x", "1")  # of which nothing is stored
    assert outcome.code == 0
    assert "miss: the store cannot be used: " in outcome.out
    assert "a result is stored" not in outcome.out


def test_a_corrupt_index_is_one_line_of_warning(project: Project) -> None:
    store = DiskStore(project.folder / "cache")
    store.put(b"k" * 20, [b"x"])
    store.close()
    (project.folder / "cache" / "cache.db").write_bytes(b"no database" * 1000)
    process = project.start("cache", "stats", "--store", "cache")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.fullmatch(r"eagerly: warning: the index of DiskStore\(.*\) is corrupt .*\n", err)
    assert "entries  0" in out


# Why a call would be a hit


@pytest.mark.parametrize(
    "words",
    [
        ("shop:price", "--item", "pear", "--count", "2"),
        ("shop.py:price", "--item", "pear"),
        ("shop:rate", "--day", "monday"),
        ("shop:lines", "--count", "3"),
        ("shop:order.total",),
        ("shop:query_anyway", "--table", "t"),
    ],
)
def test_a_hit(shop: Project, words: tuple[str, ...]) -> None:
    outcome = shop.run("cache", "explain", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("hit: a result is stored in DiskStore(")
    assert re.search(r"^key: [0-9a-f]{40}$", outcome.out, re.MULTILINE)
    assert re.search(r"^code: .*shop\.", outcome.out, re.MULTILINE)


def test_a_miss_says_what_is_different(shop: Project) -> None:
    outcome = shop.run("cache", "explain", "shop:price", "--item", "plum")
    assert outcome.code == 0
    assert outcome.out.startswith("miss: the nearest of 3 stored results differs in 1:\n")
    assert "  - argument 'item' has another value\n" in outcome.out


def test_explaining_runs_nothing_and_stores_nothing(shop: Project) -> None:
    before = shop.run("cache", "stats", "--json").out
    assert shop.run("cache", "explain", "shop:parts", "--count", "2").out.startswith("miss: nothing of shop.parts")
    assert shop.run("cache", "explain", "shop:Order.number", "--day", "monday").out.startswith("miss: ")
    assert shop.run("cache", "stats", "--json").out == before


def test_blind_spots_are_shown(shop: Project) -> None:
    assert "not covered: shop.table (a dict: " in shop.run("cache", "explain", "shop:looks_up", "--x", "a").out


def test_explaining_for_programs(shop: Project) -> None:
    found = json.loads(shop.run("cache", "explain", "--json", "shop:price", "--item", "plum").out)
    assert found["hit"] is False
    [difference] = found["differences"]
    assert (difference["kind"], difference["name"]) == ("argument", "item")
    assert found["code"].keys() == {"shop.price"}
    assert json.loads(shop.run("cache", "explain", "--json", "shop:looks_up", "--x", "a").out)["skipped"] != {}


@pytest.mark.parametrize("option", [("--store", "other"), ("--store=other",)])
def test_explaining_for_another_store(shop: Project, option: tuple[str, ...]) -> None:
    outcome = shop.run("cache", "explain", *option, "shop:price", "--item", "pear")
    assert outcome.out.startswith(f"miss: nothing of shop.price is stored in DiskStore('{shop.folder}/other')")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("shop:prise",), "there is no task 'prise' in shop .there are price, rate, .*did you mean 'price'"),
        (("shop:Order.totl",), "did you mean 'Order.total'"),
        (("shop:Order.total",), "'Order.total' of shop is a method, and no Order can be .* shop:an_object.total"),
        (("shop:Order",), "'Order' of shop is a class, not a task"),
        (("shop:fill",), "'fill' of shop is a workflow, not a task"),
        (("shop:function",), r"is a plain function, not a task; write @task\(cache=True\) above it"),
        (("shop:table",), "'table' of shop is {'a': 1}, not a task"),
        (("shop:plain", "--x", "1"), r"task 'plain' is not cached; write @task\(cache=True\)"),
        (("shop",), "shop has several tasks; say which, as in shop:price"),
        (("shop:query", "--table", "t"), "'connection' is required, and cannot be given here: .* into Thread"),
        (("shop:price",), "required and not given: --item"),
        (("shop:price", "--itm", "pear"), "there is no parameter --itm; did you mean --item"),
        (("nosuch:price",), "there is no module 'nosuch'"),
        ((), "the following arguments are required: MODULE:TASK"),
    ],
)
def test_tasks_that_cannot_be_explained(shop: Project, words: tuple[str, ...], message: str) -> None:
    outcome = shop.run("cache", "explain", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert re.search(message, outcome.err), outcome.err
    assert "Traceback" not in outcome.err


def test_the_only_task_of_a_module(project: Project) -> None:
    project.write("one.py", "@task(cache=True)\ndef it(x: int): return x\n")
    assert project.run("cache", "explain", "one.py", "--x", "1").out.startswith("miss: nothing of one.it ")
    project.write("none.py", "")
    assert "none has no tasks (there are none)" in project.run("cache", "explain", "none").err


def test_the_parameters_of_a_task(shop: Project) -> None:
    outcome = shop.run("cache", "explain", "shop:price", "--help")
    assert outcome.code == 0
    assert outcome.out.startswith("usage: eagerly cache explain shop:price --item TEXT [options]\n\nThe price of some")


def test_a_module_that_fails(project: Project) -> None:
    project.write("broken.py", "1 / 0\n")
    outcome = project.run("cache", "explain", "broken:x")
    assert outcome.code == 1
    assert "ZeroDivisionError" in outcome.err


# How it ends


@pytest.mark.parametrize("words", [(), ("nosuch",), ("list", "a", "b"), ("stats", "--limit", "3")])
def test_wrong_words(project: Project, words: tuple[str, ...]) -> None:
    outcome = project.run("cache", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("usage: eagerly")


def test_actions_have_their_own_names_in_help(project: Project) -> None:
    for action in ("stats", "list", "clear", "explain"):
        assert project.run("cache", action, "--help").out.startswith(f"usage: eagerly cache {action} [options]")
        assert f"    {action} " in project.run("cache", "--help").out


def test_a_closed_pipe_is_no_traceback(shop: Project) -> None:
    with session(cache_store=".eagerly/cache"):
        for x in range(1500):
            numbers(x)
    process = shop.start("cache", "list", "--limit", "2000")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("key ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c(project: Project, tmp_path: Path) -> None:
    """While the module of a task is being imported, as that may take long."""
    os.mkfifo(tmp_path / "pipe")
    project.write(
        "slow.py",
        textwrap.dedent("""
            import time
            open("pipe", "w").close()
            while True:  # CPython sleeps through a signal that comes just before it sleeps
                time.sleep(0.05)
        """),
    )
    process = project.start("cache", "explain", "slow:x", stdin=subprocess.DEVNULL)
    (tmp_path / "pipe").read_text()  # until it is there
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "eagerly: interrupted\n")


@pytest.mark.parametrize(("stored", "told"), [(1, "1 result is of __main__ "), (2, "2 results are of __main__ ")])
def test_results_of_the_script_are_counted(project: Project, stored: int, told: str) -> None:
    script = project.write(
        "flow.py",
        f"""
        from eagerly import session
        @task(cache=True)
        def double(x: int) -> int:
            return 2 * x
        if __name__ == "__main__":
            with session(cache_store=".eagerly/cache"):
                for x in range({stored}):
                    double(x)
        """,
    )
    subprocess.run([sys.executable, str(script)], check=True, cwd=project.folder)
    outcome = project.run("cache", "explain", "flow.py:double", "--x", "0")
    assert f"nothing of flow.double is stored; {told}" in outcome.out
