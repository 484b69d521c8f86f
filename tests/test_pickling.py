"""Tasks cross process boundaries: by reference where a name leads back to them, else by value; really, through files
and other interpreters.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import eagerly
from eagerly import Retry, Task, async_session, current_task, session, task
from eagerly.errors import TaskTimeoutError
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds, make_function

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@task(retries=2, tags=["a"])
def module_sync(x: int) -> int:
    return x


@task(retries=2)
async def module_async(x: int) -> int:
    return x


@task(retries=2)
def module_stream(x: int) -> Any:
    yield x


@task(retries=2)
async def module_async_stream(x: int) -> Any:
    yield x


def _undecorated(x: int) -> int:
    return x


renamed_task = task(_undecorated, retries=4)


class Client:
    def __init__(self, base: int = 1) -> None:
        self.base = base

    @task(retries=3)
    def get(self, x: int) -> int:
        return self.base + x

    @task(retries=3)
    @classmethod
    def make(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @classmethod
    @task(retries=3)
    def made(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @task(retries=3)
    @staticmethod
    def helper(x: int) -> int:
        return x

    @task
    def __hidden(self, x: int) -> int:
        return self.base + x

    @property
    def hidden(self) -> Any:
        return self.__hidden

    under_another_name = task(lambda self, x: self.base + x)

    class Inner:
        @task
        def deep(self) -> str:
            return "deep"


OF_THE_MODULE = {
    Kind.SYNC: module_sync,
    Kind.ASYNC: module_async,
    Kind.STREAM: module_stream,
    Kind.ASYNC_STREAM: module_async_stream,
}

both_picklers = pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])


@all_kinds
@pytest.mark.parametrize("protocol", PROTOCOLS)
@both_picklers
def test_what_can_be_imported_is_pickled_by_reference(dumps: Any, protocol: int, kind: Kind) -> None:
    made = OF_THE_MODULE[kind]
    data = dumps(made, protocol=protocol)
    assert pickle.loads(data) is made
    assert len(data) < 100
    assert pickle.loads(dumps([made, {"key": made}], protocol=protocol)) == [made, {"key": made}]


@both_picklers
def test_methods_on_classes_are_pickled_by_reference(dumps: Any) -> None:
    assert pickle.loads(dumps(Client.get)) is Client.get
    assert pickle.loads(dumps(Client.helper)) is Client.helper
    assert pickle.loads(dumps(Client.Inner.deep)) is Client.Inner.deep


@both_picklers
@pytest.mark.parametrize("name", ["get", "make", "made", "helper", "hidden", "under_another_name"])
def test_bound_methods_take_their_object_along(dumps: Any, name: str) -> None:
    client = Client(10)
    bound = getattr(client, name)
    again = pickle.loads(dumps(bound))
    assert again(5) == bound(5)
    client_again, bound_again = pickle.loads(dumps((client, client.get)))
    assert bound_again.__self__ is client_again


@both_picklers
@pytest.mark.parametrize("name", ["get", "make", "helper", "hidden", "under_another_name"])
def test_options_of_bound_methods_are_kept(dumps: Any, name: str) -> None:
    client = Client(10)
    changed = getattr(client, name).options(retries=7, name="changed")
    again = pickle.loads(dumps(changed))
    assert (again.retries, again.name) == (7, "changed")
    assert again(5) == changed(5)


@all_kinds
@both_picklers
def test_copies_with_other_options_keep_them(dumps: Any, kind: Kind) -> None:
    changed = OF_THE_MODULE[kind].options(retries=Retry(5, delay=1, on=(OSError, KeyError)), name="for {x}")
    data = dumps(changed)
    again = pickle.loads(data)
    assert type(again) is type(changed)
    assert (again.retries, again.name) == (changed.retries, "for {x}")
    assert again.func is changed.func
    assert kind.run(again, 3) == 3
    assert again.options(retries=0).retries == 0


@both_picklers
def test_a_task_under_another_name_than_its_function(dumps: Any) -> None:
    again = pickle.loads(dumps(renamed_task))
    assert (again(3), again.retries, again.name) == (3, 4, "_undecorated")


@all_kinds
@both_picklers
def test_what_cannot_be_imported_is_pickled_by_value(dumps: Any, kind: Kind) -> None:
    offset = 10
    made = kind.make(lambda x: x + offset, retries=Retry(3, on=lambda _error: True), name="nested {args}")
    again = pickle.loads(dumps(made))
    assert type(again) is type(made)
    assert kind.run(again, 1) == 11
    assert (again.name, again.retries.retries) == (made.name, 3)
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        kind.run(again, 1)
    assert hooks.names("nested (1,)")[-1] == "after_node_execute"
    with pytest.raises(AttributeError, match="immutable"):
        again.retries = 5


@all_kinds
@both_picklers
def test_partials_instances_and_builtins(dumps: Any, kind: Kind) -> None:
    part = task(functools.partial(make_function(kind, lambda *args: args), 1), retries=1)
    assert kind.run(pickle.loads(dumps(part)), 2) == (1, 2)

    class Scorer:
        def __init__(self, bonus: int) -> None:
            self.bonus = bonus

        __call__ = make_function(kind, lambda self, x: self.bonus + x)

    again = pickle.loads(dumps(task(Scorer(5), retries=1)))
    assert kind.run(again, 1) == 6
    assert again.retries == 1
    assert pickle.loads(dumps(task(len, retries=1)))("abc") == 3


@both_picklers
def test_a_task_that_refers_to_itself(dumps: Any) -> None:
    @task(retries=1)
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    again = pickle.loads(dumps(factorial))
    assert again(5) == 120
    inside = again.func.__closure__[0].cell_contents
    assert inside is again


@both_picklers
def test_tasks_that_refer_to_each_other(dumps: Any) -> None:
    @task
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    @task(retries=1)
    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    again = pickle.loads(dumps(even))
    assert (again(10), again(7)) == (True, False)
    odd_again = again.func.__closure__[0].cell_contents
    assert odd_again.retries == 1
    assert odd_again.func.__closure__[0].cell_contents is again


def test_unpickled_tasks_share_nothing_with_those_they_came_from() -> None:
    shared: list[int] = []
    made = task(shared.append)
    nested = task(lambda x: [shared.append(x), shared][1])
    assert pickle.loads(pickle.dumps(nested))(1) == [1]
    pickle.loads(pickle.dumps(made))(1)
    assert shared == []


@all_kinds
@both_picklers
def test_methods_of_classes_that_cannot_be_imported(dumps: Any, kind: Kind) -> None:
    class Local:
        value = 7
        get = task(make_function(kind, lambda self: self.value), retries=2)

    again = pickle.loads(dumps(Local().get))
    assert kind.run(again) == 7
    assert again.retries == 2
    changed = pickle.loads(dumps(Local().get.options(retries=5)))
    assert kind.run(changed) == 7
    assert changed.retries == 5


# Other processes


def run_python(script: str, *, cwd: Path) -> str:
    (cwd / "script.py").write_text(textwrap.dedent(script))
    ran = subprocess.run(
        [sys.executable, "script.py"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(eagerly.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


MAKER = """
    import asyncio, pickle, sys
    from eagerly import Retry, task

    OFFSET = 100
    log = []

    @task(retries=Retry(2, on=lambda error: True))
    def plain(x): return x + OFFSET

    @task
    def factorial(n): return 1 if n < 2 else n * factorial(n - 1)

    @task
    def even(n): return n == 0 or odd(n - 1)

    @task
    def odd(n): return n != 0 and even(n - 1)

    @task
    async def coroutine(x): return plain(x)

    @task
    def stream(n):
        for i in range(n): yield plain(i)

    @task
    async def async_stream(n):
        for i in range(n): yield plain(i)

    class Thing:
        def __init__(self, base): self.base = base
        @task(retries=1)
        def get(self, x): return self.base + x
        @task
        @classmethod
        def make(cls, x): return cls(x).get(x)

    class Child(Thing):
        @task
        def get(self, x): return super().get(x) + 1000

    def closure(offset):
        @task
        def inner(x): return plain(x) + offset
        return inner

    things = {
        "plain": plain, "options": plain.options(retries=9), "factorial": factorial, "even": even,
        "lambda": task(lambda x: -x), "coroutine": coroutine, "stream": stream,
        "async_stream": async_stream, "bound": Thing(5).get,
        "bound_options": Thing(5).get.options(retries=8), "child": Child(5).get, "class": Thing.make,
        "closure": closure(7),
    }
    if __name__ == "__main__":
        for name, thing in things.items():
            with open(name + ".pickle", "wb") as file: pickle.dump(thing, file)
        with open("all.pickle", "wb") as file: pickle.dump(things, file)
"""

READER = """
    import asyncio, pickle
    def load(name):
        with open(name + ".pickle", "rb") as file: return pickle.load(file)
    def check(load):
        assert load("plain")(1) == 101
        assert load("plain").retries.retries == 2 and load("plain").retries.on(ValueError())
        assert load("options")(1) == 101 and load("options").retries == 9
        assert load("factorial")(5) == 120
        assert load("even")(10) is True and load("even")(7) is False
        assert load("lambda")(3) == -3
        assert asyncio.run(load("coroutine")(1)) == 101
        assert list(load("stream")(3)) == [100, 101, 102]
        async def collect(): return [x async for x in load("async_stream")(3)]
        assert asyncio.run(collect()) == [100, 101, 102]
        assert load("bound")(1) == 6 and load("bound").retries == 1
        assert load("bound_options")(1) == 6 and load("bound_options").retries == 8
        assert load("child")(1) == 1006
        assert load("class")(2) == 4
        assert load("closure")(1) == 108
    check(load)
    everything = load("all")
    check(everything.__getitem__)
    assert type(everything["plain"]).__name__ == "SyncTask"
    print("all well")
"""


def test_tasks_of_a_script_work_in_another_interpreter(tmp_path: Path) -> None:
    """What ``__main__`` defines cannot be imported elsewhere; the other process has no script and none of its names."""
    assert run_python(MAKER, cwd=tmp_path) == ""
    (tmp_path / "script.py").unlink()
    assert run_python(READER, cwd=tmp_path) == "all well\n"


def test_tasks_of_a_module_are_found_by_name_in_another_interpreter(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(MAKER))
    run_python(
        """
        import pickle, shop
        data = pickle.dumps((shop.plain, shop.plain.options(retries=9), shop.Thing.get, shop.Thing(5).get))
        assert len(data) < 500, len(data)
        with open("all.pickle", "wb") as file: file.write(data)
        """,
        cwd=tmp_path,
    )
    read = """
        import pickle
        with open("all.pickle", "rb") as file: plain, copy, method, bound = pickle.load(file)
        import shop
        assert plain is shop.plain and method is shop.Thing.get
        assert copy.retries == 9 and copy(1) == 101
        assert bound(1) == 6
        print("all well")
    """
    assert run_python(read, cwd=tmp_path) == "all well\n"


def test_process_pools_run_tasks() -> None:
    context = multiprocessing.get_context("spawn")
    offset = 10
    nested = task(lambda x: x + offset)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(nested, range(3))) == [10, 11, 12]
        assert pool.submit(Client(5).get, 1).result() == 6
        assert pool.submit(module_sync.options(retries=1), 4).result() == 4
        assert pool.submit(os.getpid).result() != os.getpid()


def test_a_backend_that_is_an_object_stays_behind() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        for copy in (module_sync.options(backend=executor), module_sync.options(backend="process")):
            again = pickle.loads(pickle.dumps(copy))
            assert again.backend == (copy.backend if isinstance(copy.backend, str) else None)


@all_kinds
def test_what_was_pickled_can_be_pickled_again(kind: Kind) -> None:
    made = kind.make(lambda x: x, retries=1)
    for _ in range(3):
        made = pickle.loads(pickle.dumps(made))
        assert isinstance(made, Task)
    assert kind.run(made, 4) == 4


def test_a_timeout_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(TaskTimeoutError("m", timeout=2.0, abandoned=True)))
    assert (type(error), str(error), error.timeout, error.abandoned) == (TaskTimeoutError, "m", 2.0, True)


def test_facts_about_a_call_can_be_pickled_again() -> None:
    once = pickle.loads(pickle.dumps(task(lambda x: current_task(), name="look")(3)))
    twice = pickle.loads(pickle.dumps(once))
    assert (twice.id, twice.inputs) == (once.id, {"x": 3})
    assert repr(twice) == repr(once) == f"<facts about a call of task 'look', attempt 1, id={once.id}>"


@pytest.mark.parametrize("named", [session, async_session], ids=["session", "async_session"])
def test_functions_that_ask_for_their_parentheses_are_pickled_by_name(named: Any) -> None:
    assert pickle.loads(pickle.dumps(named)) is named
    assert repr(named) == f"<function eagerly._session.{named.__name__}>"
