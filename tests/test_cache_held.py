"""What a task brings along besides its code, and what is replaced between two calls: never another call's result."""

from __future__ import annotations

import functools
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from eagerly import session, task
from eagerly.cache import MemoryStore
from eagerly.errors import UnkeyableArgument

SRC = str(Path(__file__).parent.parent / "src")
MODES = pytest.mark.parametrize(
    "options", [{"cache": True}, {"cache": True, "cache_version": "1"}], ids=["auto", "set"]
)


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryStore]:
    with MemoryStoreSession() as store:
        yield store


class MemoryStoreSession:
    def __enter__(self) -> MemoryStore:
        store = MemoryStore()
        self.session = session(cache_store=store)
        self.session.__enter__()
        return store

    def __exit__(self, *args: object) -> None:
        self.session.__exit__(None, None, None)


class Model:
    rate = 1

    def __init__(self, a: int) -> None:
        self.a = a

    def run(self, x: int) -> int:
        return self.a * x * self.rate

    def __call__(self, x: int) -> int:
        return self.a * x


def multiply(a: int, x: int) -> int:
    return a * x


def query(conn: sqlite3.Connection, sql: str) -> list[Any]:
    return conn.execute(sql).fetchall()


def database(number: int) -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:")
    conn.execute("create table t (x)")
    conn.execute("insert into t values (?)", (number,))
    return conn


def closure(k: Any) -> Callable[[int], Any]:
    def inner(x: int) -> Any:
        return k, x

    return inner


def first_of(functions: list[Callable[[int], Any]]) -> Callable[[int], Any]:
    def first(x: int) -> Any:
        return functions[0](x)

    return first


def unnamed(func: Callable[[int], Any]) -> Callable[[int], Any]:
    def wrapper(x: int) -> Any:
        return func(x)

    return wrapper


def one(x: int) -> int:
    return x + 1


def two(x: int) -> int:
    return x + 2


def three(a: int, b: int, x: int) -> tuple[int, ...]:
    return a, b, x


def call_with(func: Callable[[int], Any], x: int) -> Any:
    return func(x)


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "bound methods": (Model(2).run, Model(3).run),
    "callable objects": (Model(2), Model(3)),
    "partials": (functools.partial(multiply, 2), functools.partial(multiply, 3)),
    "nested partials": (
        functools.partial(functools.partial(three, 2), 1),
        functools.partial(functools.partial(three, 3), 1),
    ),
    "closures over numbers": (closure(1), closure(2)),
    "closures over lists": (closure([1]), closure([2])),
    "closures over objects": (closure((1, Model(2).a)), closure((1, Model(3).a))),
    "wrappers": (unnamed(one), unnamed(two)),
    "wrappers of closures": (unnamed(closure(1)), unnamed(closure(2))),
    "partials of functions": (functools.partial(call_with, one), functools.partial(call_with, two)),
    "functions in lists": (first_of([closure(1)]), first_of([closure(2)])),
}


@MODES
@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_in_what_it_brings_along_has_its_own_results(pair: tuple[Any, Any], options: Any) -> None:
    for func in pair:
        assert task(func, **options)(5) == func(5)


@MODES
@pytest.mark.parametrize("made", [lambda m: m.run, lambda m: m], ids=["bound method", "callable object"])
def test_an_object_is_read_at_each_call(made: Any, options: Any) -> None:
    model = Model(2)
    call = task(made(model), **options)
    assert call(1) == 2
    model.a = 5
    assert call(1) == 5
    model.a = 2
    assert call(1) == 2


@MODES
@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda conn: functools.partial(query, conn), "its bound arguments"),
        (lambda conn: closure(conn), "variable 'k' of the enclosing function"),
        (lambda conn: closure([conn]), "variable 'k' of the enclosing function"),
        (lambda conn: unnamed(closure(conn)), "variable 'k' around closure.<locals>.inner"),
        (lambda conn: Model(conn).run, "the object it is bound to"),
        (lambda conn: Model(conn), "the object that is called"),
        (lambda conn: closure(Model(conn)), "variable 'k' of the enclosing function"),
    ],
)
def test_what_has_no_key_is_refused_with_its_name(make: Any, path: str, options: Any) -> None:
    conn = database(1)
    call = task(make(conn), **options)
    conn.close()
    for _ in range(2):
        with pytest.raises(UnkeyableArgument) as caught:
            call("select x from t")
        assert caught.value.path.startswith(path)
        assert "cache_hash=" in str(caught.value)
        assert "cache_ignore" in str(caught.value)


@MODES
def test_a_lock_in_a_closure_has_no_data(options: Any) -> None:
    lock, runs = threading.Lock(), []

    @task(**options)
    def locked(x: int) -> int:
        with lock:
            runs.append(x)
            return x

    assert [locked(1), locked(1)] == [1, 1]
    assert runs == [1]


@MODES
def test_a_variable_of_the_enclosing_function_is_read_at_each_call(options: Any) -> None:
    k, runs = 1, []

    @task(**options)
    def inner(x: int) -> int:
        runs.append(x)
        return x * k

    assert inner(10) == 10
    k = 2
    assert inner(10) == 20
    k = 1
    assert inner(10) == 10
    assert len(runs) == 2


@MODES
def test_a_list_counts_as_first_seen_until_the_variable_is_assigned(options: Any) -> None:
    items = [1]

    @task(**options)
    def total() -> int:
        return sum(items)

    assert total() == 1
    items.append(5)
    assert total() == 1  # the blind spot "mutated closure"
    items = [7]
    assert total() == 7


@MODES
def test_two_first_calls_at_once_have_seen_the_same(options: Any) -> None:
    items = [1]

    @task(**options)
    def total() -> int:
        return sum(items)

    keys: list[str] = []

    def overtake(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "held_by" and not keys:
            sys.setprofile(None)
            other = threading.Thread(target=lambda: keys.append(total.cache_key()))
            other.start()
            other.join()
            items.append(5)

    sys.setprofile(overtake)  # nothing else gets in between two steps of a first look
    try:
        keys.append(total.cache_key())
    finally:
        sys.setprofile(None)
    assert items == [1, 5]
    assert keys == [total.cache_key()] * 2


@MODES
def test_state_that_the_function_assigns_is_not_in_the_key(options: Any) -> None:
    count = 0

    def bump() -> None:
        nonlocal count
        count += 1

    @task(**options)
    def counted(x: int) -> int:
        bump()
        return x + 0 * count

    assert [counted(1), counted(1)] == [1, 1]
    assert count == 1


@MODES
def test_functions_that_hold_themselves_and_their_class(options: Any) -> None:
    class Child(Model):
        @task(**options)
        def run(self, x: int) -> int:
            return super().run(x) if x < 3 else self.run(x - 1)

    @task(**options)
    def down(x: int) -> int:
        return 0 if x == 0 else down(x - 1)

    assert [Child(2).run(4), Child(3).run(4)] == [4, 6]
    assert down(3) == 0


factor = 1


def by_factor(x: int) -> int:
    return x * factor


@task(cache=True)
def scale(x: int) -> int:
    return by_factor(x)


@task(cache=True)
def apply(f: Any, x: int) -> int:
    result: int = f(x)
    return result


@task(cache=True)
def use(model: Model, x: int) -> int:
    return model.run(x)


@pytest.mark.parametrize(
    "call", [lambda: scale(10), lambda: apply(by_factor, 10), lambda: apply(lambda x: by_factor(x), 10)]
)
def test_a_global_is_replaced(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (1, 2, 3, 1):
        monkeypatch.setitem(globals(), "factor", each)
        assert call() == 10 * each
    monkeypatch.setitem(globals(), "by_factor", two)
    assert call() == 12


def test_an_attribute_of_a_class_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert use(Model(2), 1) == 2
    monkeypatch.setattr(Model, "rate", 9)
    assert use(Model(2), 1) == 18
    monkeypatch.setattr(Model, "run", lambda self, x: -x)
    assert use(Model(2), 1) == -1


NOTEBOOK = """
import sys
from dataclasses import dataclass
from eagerly import task, session
from eagerly.cache import MemoryStore
RATE = [1]
def helper(x): return x * RATE[0]
wrap = lambda x: helper(x)
@task(cache=True)
def apply(f, x): return f(x)
@dataclass
class Model:
    a: int
    def go(self, x): return helper(x) * self.a
@task(cache=True)
def use(model, x): return model.go(x)
m = Model(2)
with session(cache_store=MemoryStore()):
    print(apply(wrap, 5), use(m, 5))
    def helper(x): return x * 100
    print(apply(wrap, 5), use(m, 5))
    def helper(x): return x * RATE[0]
    RATE[0] = 7
    print(apply(wrap, 5), use(m, 5))
"""

NAMELESS = """
from eagerly import task, session
{names}
@task(cache=True, cache_version="1")
def load(x): return {result!r}, x
with session(cache_store="cache"):
    print(load(1)[0])
"""


def python(source: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-"],
        env={**os.environ, "PYTHONPATH": SRC, **environment},
        input=source,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_notebook_looks_at_functions_and_objects_again(tmp_path: Path) -> None:
    assert python(NOTEBOOK, tmp_path).split() == ["5", "10", "500", "1000", "35", "70"]


def test_programs_without_a_file_do_not_share_a_set_version(tmp_path: Path) -> None:
    for result in ("one", "two"):
        assert python(NAMELESS.format(names="", result=result), tmp_path).strip() == result


@pytest.mark.parametrize("name", ["__vsc_ipynb_file__", "__session__", "JPY_SESSION_NAME"])
def test_notebooks_are_told_apart_by_their_file(tmp_path: Path, name: str) -> None:
    def run(file: str, result: str) -> str:
        names = f"get_ipython = None; {name} = {file!r}"
        environment = {name: file} if name.isupper() else {}
        return python(NAMELESS.format(names=names, result=result), tmp_path, **environment).strip()

    assert [run("a.ipynb", "one"), run("b.ipynb", "two"), run("a.ipynb", "edited")] == ["one", "two", "one"]
