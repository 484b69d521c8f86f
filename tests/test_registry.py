"""`eagerly.registry`: what is known by name, which of several is meant, and where names are taken."""

from __future__ import annotations

import gc
import importlib
import itertools
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eagerly import Command, registry, runs, session, task, workflow
from eagerly.errors import AmbiguousName, OptionTypeError, OptionValueError, TaskNotFound
from eagerly.runs import MemoryRunStore

Make = Callable[..., Any]

MODULE = """
    from eagerly import Command, registry, task

    @task(cache_version="3", cache=True)
    def {name}(city):
        return "{module}"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Writes a module and imports it; what it has made is gone afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(name: str, code: str = MODULE, **values: str) -> Any:
        text = textwrap.dedent(code).format(module=name, **{"name": "fetch_for_registry", **values})
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        del sys.modules[name]
    gc.collect()


@task
def plain_for_registry(x: int) -> int:
    """Twice as much."""
    return 2 * x


@task
async def async_for_registry() -> None: ...


@task
def stream_for_registry() -> Iterator[int]:
    yield 1


@task(name="other name for registry")
async def async_stream_for_registry() -> AsyncIterator[int]:
    yield 1


ALL = {
    "plain_for_registry": ("sync", plain_for_registry),
    "async_for_registry": ("async", async_for_registry),
    "stream_for_registry": ("stream", stream_for_registry),
    "other name for registry": ("async stream", async_stream_for_registry),
}


@pytest.mark.parametrize("name", ALL)
def test_every_task_is_known(name: str) -> None:
    kind, known = ALL[name]
    found = registry.get(name)
    assert (found.name, found.kind, found.version, found.command) == (name, kind, None, None)
    assert found.task is known
    assert found.function is known.func
    assert found.qualified_name == f"{__name__}.{known.__name__}"
    assert found in registry.list()
    assert found in registry.list(kind=kind)
    assert found not in registry.list(kind="command")
    assert registry.get("plain_for_registry").description == "Twice as much."


@pytest.mark.parametrize("word", ["id", "part", "qualified", "task", "definition"])
def test_what_else_says_which_one(word: str) -> None:
    found = registry.get("plain_for_registry")
    words: dict[str, Any] = {
        "id": found.id,
        "part": found.id[:17],
        "qualified": f"{__name__}.plain_for_registry",
        "task": plain_for_registry,
        "definition": found,
    }
    assert registry.get(words[word]) == found
    assert {registry.get(words[word]): 1}[found] == 1


def test_an_id_is_the_same_in_every_process(module: Make, tmp_path: Path) -> None:
    made = module("shop_registry")
    code = "import shop_registry, eagerly; print(eagerly.registry.get('fetch_for_registry').id)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == registry.get(made.fetch_for_registry).id
    assert registry.get(made.fetch_for_registry).version == "3"


def test_nothing_is_known_by_that_name() -> None:
    with pytest.raises(TaskNotFound, match=r"did you mean 'plain_for_registry'\?") as caught:
        registry.get("plain_for_registri")
    assert isinstance(caught.value, LookupError)
    with pytest.raises(TaskNotFound, match="there is no task 'task_0000000000'"):
        registry.get("task_0000000000")


def test_two_of_one_name(module: Make) -> None:
    here, there = module("here_registry"), module("there_registry")
    with pytest.raises(AmbiguousName) as caught:
        registry.get("fetch_for_registry")
    for each in (here, there):
        known = registry.get(f"{each.__name__}.fetch_for_registry")
        assert known.qualified_name in str(caught.value)
        assert known.id in str(caught.value)
        assert registry.get(known.id).task is each.fetch_for_registry
    with session(run_store=MemoryRunStore()):
        with pytest.raises(AmbiguousName, match="write the name with its module, or the id"):
            runs.create("fetch_for_registry")
        made = runs.create(registry.get(there.fetch_for_registry).id)
        assert (made.task, made.task_version) == ("fetch_for_registry", "3")
        assert len(runs.list(task="fetch_for_registry")) == 1  # the name in the record, which no other module changes


def test_a_name_that_looks_like_an_id(module: Make) -> None:
    made = module("odd_registry")
    start = registry.get(made.fetch_for_registry).id[:9]
    module("clash_registry", "from eagerly import task\nclash = task(len, name='{fetch}')", fetch=start)
    with pytest.raises(AmbiguousName):
        registry.get(start)


def test_a_task_in_a_function_gives_way() -> None:
    @task
    def plain_for_registry() -> None: ...

    assert registry.get("plain_for_registry").task is ALL["plain_for_registry"][1]
    assert registry.get(plain_for_registry.declaration.qualified_name).task is plain_for_registry


def test_what_nobody_has_is_gone() -> None:
    def make() -> None:
        @task
        def gone_for_registry() -> None: ...

        assert registry.get("gone_for_registry").kind == "sync"

    make()
    gc.collect()
    with pytest.raises(TaskNotFound):
        registry.get("gone_for_registry")


def test_one_place_that_makes_many() -> None:
    def make(number: int) -> Any:
        @task
        def many_for_registry() -> int:
            return number

        return many_for_registry

    kept = [make(number) for number in range(50)]
    assert registry.get("many_for_registry").task is kept[-1]
    assert [each.name for each in registry.list()].count("many_for_registry") == 1


def test_a_module_that_is_reloaded(module: Make, tmp_path: Path) -> None:
    made = module("again_registry")
    old = made.fetch_for_registry
    (tmp_path / "again_registry.py").write_text(textwrap.dedent(MODULE).format(module="new", name="fetch_for_registry"))
    importlib.invalidate_caches()
    importlib.reload(made)
    assert made.fetch_for_registry is not old
    assert registry.get("fetch_for_registry").task is made.fetch_for_registry
    assert registry.get(old).id == registry.get("fetch_for_registry").id


def test_options_make_no_other_definition() -> None:
    copy = plain_for_registry.options(name="copied_for_registry")
    with pytest.raises(TaskNotFound):
        registry.get("copied_for_registry")
    assert registry.get(copy).name == "copied_for_registry"


# Registering


def test_a_command() -> None:
    made = registry.register("command_for_registry", Command(["true"]), version="7", description="d", tags=["x"])
    found = registry.get("command_for_registry")
    assert (found.kind, found.version, found.function, found.task) == ("command", "7", None, made)
    assert found.command == made.command == Command(["true"])
    assert (found.qualified_name, found.description) == (f"{__name__}.command_for_registry", "d")
    assert found in registry.list(kind="command")
    with session(run_store=MemoryRunStore()):
        run = made.submit().wait()
        assert (run.task_version, run.tags) == ("7", ("x",))


def test_registering_again_replaces() -> None:
    registry.register("again_for_registry", Command(["false"]))
    made = registry.register("again_for_registry", Command(["true"]))
    assert registry.get("again_for_registry").task is made
    assert [each.name for each in registry.list()].count("again_for_registry") == 1


def test_two_modules_that_register_one_name(module: Make) -> None:
    code = (
        "from eagerly import Command, registry\nmade = registry.register('both_for_registry', Command(['{program}']))"
    )
    module("one_registry", code, program="true")
    second = module("two_registry", code, program="false")
    with pytest.raises(AmbiguousName, match=r"'one_registry\.both_for_registry'"):
        registry.get("both_for_registry")
    assert registry.get("two_registry.both_for_registry").task is second.made


def test_a_task_under_another_name() -> None:
    made = registry.register("nightly_for_registry", plain_for_registry, version="2")
    assert made(4) == 8
    assert registry.get("nightly_for_registry").version == "2"
    function = registry.register("function_for_registry", lambda x: x + 1)
    assert function(1) == 2
    with session(run_store=MemoryRunStore()):
        run = made.submit(3)
        assert (run.result(), run.task, run.task_version) == (6, "nightly_for_registry", "2")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: registry.register(3, Command(["true"])), OptionTypeError, r"write registry.register\('name', ...\)"),
        (lambda: registry.register("", Command(["true"])), OptionValueError, "must not be empty"),
        (lambda: registry.register("a.b", Command(["true"])), OptionValueError, "period"),
        (lambda: registry.register("task_00ff00ff", Command(["true"])), OptionValueError, "looks like the id"),
        (lambda: registry.register("x", Command(["true"]), version=3), OptionTypeError, "takes a string, not 3"),
        (lambda: registry.register("x", ["true"]), OptionTypeError, "callable"),
        (lambda: registry.register("x", plain_for_registry, timeout=3), OptionTypeError, "is for commands"),
        (lambda: registry.register("x", Command(["true"]), retries=-1), OptionValueError, "retries"),
        (lambda: registry.list(kind="program"), OptionValueError, "takes one of 'sync'"),
        (lambda: registry.get(3), OptionTypeError, "takes a string, not 3; write the name or id of a task"),
        (lambda: registry.get(" "), OptionValueError, "must not be empty"),
        (lambda: Command("ls -l"), OptionTypeError, r"write \['ls', '-l'\], not 'ls -l'"),
        (lambda: Command([]), OptionValueError, "names no program"),
        (lambda: Command(["a", 3]), OptionTypeError, "3 is neither; write '3'"),
        (lambda: Command(["a", "\0"]), OptionValueError, "NUL"),
        (lambda: Command(["a", "\ud800"]), OptionValueError, r"'\\ud800' has a character that no argument can have"),
        (lambda: Command(["a"], env={"a\ud800": "x"}), OptionValueError, "cannot be the name of a variable"),
        (lambda: Command(["a"], env={"a": "\ud800"}), OptionValueError, "a character that no variable can have"),
        (lambda: Command(3), OptionTypeError, "takes a list"),
        (lambda: Command(["a"], cwd=3), OptionTypeError, "takes a path, not 3"),
        (lambda: Command(["a"], env=["x"]), OptionTypeError, "takes a mapping, not list"),
        (lambda: Command(["a"], env={"a=": "x"}), OptionValueError, "cannot be the name of a variable"),
        (lambda: Command(["a"], env={"a": 1}), OptionTypeError, "takes a string or None, not int"),
        (lambda: Command(["a"], env={"EAGERLY_RUN_ID": "x"}), OptionValueError, "is set for each run"),
        (lambda: Command(["a"], stop_signal="TERM"), OptionValueError, "such as 'SIGTERM'"),
        (lambda: Command(["a"], stop_signal="SIGSTOP"), OptionValueError, "would not end it"),
        (lambda: Command(["a"], grace=-1), OptionValueError, "grace"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# Where names are taken


def test_runs_take_what_the_registry_gives() -> None:
    known = registry.get("plain_for_registry")
    with session(run_store=MemoryRunStore()):
        for each in ("plain_for_registry", known, known.id, known.id[:20], plain_for_registry, known.qualified_name):
            assert runs.create(each).task == "plain_for_registry"
        runs.create("nobody knows this")
        for each in ("plain_for_registry", known, known.id, plain_for_registry, known.qualified_name):
            assert len(runs.list(task=each)) == len(list(runs.iter(task=each))) == 6
        assert len(runs.list(task="nobody knows this")) == 1
        unknown = f"task_{'0' * 24}"
        with pytest.raises(TaskNotFound, match="write its name"):
            runs.create(unknown)
        with pytest.raises(TaskNotFound):
            runs.list(task=unknown)
        assert runs.create("x", task_version="1").task_version == "1"


def test_runs_are_found_by_the_beginning_of_an_id() -> None:
    known = registry.get("plain_for_registry")
    with session(run_store=MemoryRunStore()):
        made = runs.create(known)
        runs.create("another")
        for size in (12, 20, 28):
            assert [*runs.list(task=known.id[:size])] == [*runs.iter(task=known.id[:size])] == [made]
        for name in ("task_20240131", f"task_{'0' * 23}"):  # a name in the records of another program
            assert [*runs.list(task=name)] == []
            assert runs.list(task=runs.create(name).task) == runs.list(limit=1, descending=True)


def test_the_beginning_of_several_ids(module: Make) -> None:
    code = "from eagerly import task\n" + "".join(f"t{n} = task(len, name='n{n}')\n" for n in range(3000))
    made = module("several_registry", code)
    ids = sorted(registry.get(getattr(made, f"t{n}")).id for n in range(3000))
    start = next(one[:9] for one, other in itertools.pairwise(ids) if one[:9] == other[:9])
    with session(run_store=MemoryRunStore()):
        with pytest.raises(AmbiguousName, match=r"list\(task=...\): several tasks are meant"):
            runs.list(task=start)
        named = task(name=start)(len)  # which is a name in the records first of all
        made = runs.create(named)
        assert [*runs.list(task=start)] == [made]


@pytest.mark.parametrize("wanted", [5, b"plain", [], Path("plain"), object()])
def test_what_is_no_task(wanted: Any) -> None:
    with (
        session(run_store=MemoryRunStore()),
        pytest.raises(
            OptionTypeError, match=r"list\(task=...\) takes a string, not .*; write the name or id of a task"
        ),
    ):
        runs.list(task=wanted)


def test_the_runs_of_a_workflow() -> None:
    @workflow
    def flow_for_registry() -> None: ...

    with session(run_store=MemoryRunStore()):
        runs.create("another")
        made = runs.create("flow_for_registry")
        assert [*runs.list(task=flow_for_registry)] == [made]


async def test_the_async_twins_do_too() -> None:
    known = registry.get("plain_for_registry")
    async with session(run_store=MemoryRunStore()):
        made = await runs.aio.create(known.id)
        assert [each.id for each in await runs.aio.list(task=known)] == [made.id]
        assert [each.id async for each in runs.aio.iter(task=known.id)] == [made.id]
