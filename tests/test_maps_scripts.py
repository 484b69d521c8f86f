"""Maps in scripts that really run: what stands in `__main__` travels, without a main guard on our own processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import eagerly

SOURCE = str(Path(eagerly.__file__).parent.parent)

THREADS = "'thread'"
PROCESSES = "'process'"


def run_script(folder: Path, text: str, *arguments: str, main: str = "script.py") -> str:
    """What the script prints. It must end well and say nothing on stderr."""
    script = folder / main
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


everywhere = pytest.mark.parametrize("backend", [THREADS, PROCESSES])


@everywhere
def test_no_main_guard_is_needed(tmp_path: Path, backend: str) -> None:
    said = run_script(
        tmp_path,
        f"""
        from eagerly import map_tasks, task
        base = 10
        @task
        def add(x):
            return helper(x)
        def helper(x):
            return x + base
        print("once")
        print(map_tasks(add, range(5), backend={backend}))
        print(map_tasks(lambda x: add(x) + 1, range(5), backend={backend}))
        """,
    )
    assert said == "once\n[10, 11, 12, 13, 14]\n[11, 12, 13, 14, 15]\n"


@everywhere
def test_values_of_classes_of_main_are_instances_of_them(tmp_path: Path, backend: str) -> None:
    said = run_script(
        tmp_path,
        f"""
        import dataclasses, enum, typing
        from eagerly import iter_tasks, map_tasks, session, task

        @dataclasses.dataclass
        class Point:
            x: int
            y: int = 0
            count: typing.ClassVar[int] = 0

        @dataclasses.dataclass(frozen=True)
        class Frozen:
            x: int

        class Plain:
            def __init__(self, x):
                self.x = x
            def __eq__(self, other):
                return isinstance(other, Plain) and other.x == self.x
            __hash__ = None

        class Pair(typing.NamedTuple):
            x: int
            y: int

        class Colour(enum.Enum):
            RED = 1
            BLUE = 2

        class Trouble(Exception):
            def __init__(self, x):
                super().__init__(x)
                self.x = x

        @task
        def make(x):
            return {{"point": Point(x), "frozen": Frozen(x), "plain": Plain(x), "pair": Pair(x, x), "red": Colour.RED}}

        @task
        def fail(x):
            raise Trouble(x)

        @task
        def same(point, colour):
            return isinstance(point, Point), colour is Colour.BLUE, point == Point(3)

        opened = session(backend={backend})
        opened.__enter__()
        for chunk in (1, 3):
            for found in map_tasks(make, range(3), backend={backend}, chunk=chunk):
                assert type(found["point"]) is Point, "point"
                assert type(found["frozen"]) is Frozen, "frozen"
                assert type(found["plain"]) is Plain, "plain"
                assert type(found["pair"]) is Pair, "pair"
                assert found["red"] is Colour.RED, "red"
            assert map_tasks(make, [7], backend={backend})[0]["plain"] == Plain(7)
        (error,) = map_tasks(fail, [3], errors="return", backend={backend})
        assert type(error) is Trouble, type(error)
        assert error.x == 3
        try:
            map_tasks(fail, [4], backend={backend})
        except Trouble as trouble:
            assert trouble.x == 4
        else:
            raise AssertionError
        assert map_tasks(same, [Point(3)], [Colour.BLUE], backend={backend}) == [(True, True, True)]
        with session():
            first = map_tasks(make, [1], backend={backend})
            second = map_tasks(make, [2], backend={backend})
            assert type(first[0]["point"]) is type(second[0]["point"]) is Point
        opened.__exit__(None, None, None)
        print("fine")
        """,
    )
    assert said == "fine\n"


@everywhere
def test_decorated_classes_methods_and_shadowing_names_of_main(tmp_path: Path, backend: str) -> None:
    said = run_script(
        tmp_path,
        f"""
        import functools
        from eagerly import map_tasks, session, task

        class Shop:
            def __init__(self, rate):
                self.rate = rate
            @task
            def price(self, x):
                return x * self.rate
            @task
            @staticmethod
            def double(x):
                return 2 * x
            @classmethod
            @task
            def named(cls, x):
                return cls.__name__ + str(x)

        def twice(x):
            return 2 * x
        twice = task(twice, name="double_{{x}}", retries=1)

        def factorial(x):
            return 1 if x == 0 else x * factorial(x - 1)
        factorial = task(factorial)

        def even(x):
            return x == 0 or odd(x - 1)
        def odd(x):
            return x != 0 and even(x - 1)

        shop = Shop(3)
        opened = session(backend={backend})
        opened.__enter__()
        print(map_tasks(shop.price, [1, 2], backend={backend}))
        print(map_tasks(Shop.price, [shop, shop], [1, 2], backend={backend}))
        print(map_tasks(Shop.double, [1, 2], backend={backend}))
        print(map_tasks(Shop.named, [1, 2], backend={backend}))
        print(map_tasks(twice, [1, 2], backend={backend}))
        print(map_tasks(twice.options(name="other"), [1, 2], backend={backend}))
        print(map_tasks(factorial, [3, 4], backend={backend}))
        print(map_tasks(even, [3, 4], backend={backend}))
        print(map_tasks(functools.partial(pow, 2), [3, 4], backend={backend}))
        print(map_tasks(functools.partial(shop.price), [3, 4], backend={backend}))
        opened.__exit__(None, None, None)
        """,
    )
    assert said == (
        "[3, 6]\n[3, 6]\n[2, 4]\n['Shop1', 'Shop2']\n[2, 4]\n[2, 4]\n[6, 24]\n[False, True]\n[8, 16]\n[9, 12]\n"
    )


@everywhere
def test_hooks_and_context_of_main(tmp_path: Path, backend: str) -> None:
    said = run_script(
        tmp_path,
        f"""
        from dataclasses import dataclass
        from eagerly import current_task, hook_impl, map_tasks, session, task
        from eagerly.testing import RecordingHooks

        @dataclass
        class Size:
            rows: int

        @task
        def load(x):
            current_task().report("size", size=Size(x))
            return x

        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            map_tasks(load, range(3), backend={backend})
        hooks.verify()
        sizes = [event.data["size"] for event in hooks.events if event.hook == "on_event"]
        assert all(type(size) is Size for size in sizes)
        print(sorted(size.rows for size in sizes))
        """,
    )
    assert said == "[0, 1, 2]\n"


@pytest.mark.parametrize("with_session", [False, True])
def test_a_script_may_end_in_the_middle_of_a_map(tmp_path: Path, with_session: bool) -> None:
    said = run_script(
        tmp_path,
        f"""
        import contextlib
        from eagerly import iter_tasks, session, task
        @task
        def add(x):
            return x + 1
        with session() if {with_session} else contextlib.nullcontext():
            results = iter_tasks(add, range(1000), backend="process")
            print(next(results))
            kept = [results]
        """,
    )
    assert said == "1\n"


def test_a_module_beside_the_script_is_found(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def triple(x):\n    return 3 * x\n\nclass Thing:\n    pass\n")
    said = run_script(
        tmp_path,
        """
        import beside
        from eagerly import map_tasks, task
        @task
        def make(x):
            return beside.Thing()
        print(map_tasks(beside.triple, range(3), backend="process"))
        print([type(each) is beside.Thing for each in map_tasks(make, range(2), backend="process")])
        """,
    )
    assert said == "[0, 3, 6]\n[True, True]\n"


def test_what_stands_before_in_the_script_runs_in_no_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_script(
        tmp_path,
        f"""
        from eagerly import map_tasks, task
        with open({str(log)!r}, "a") as file:
            file.write("run\\n")
        @task
        def add(x):
            return x + 1
        map_tasks(add, range(10), backend="process")
        """,
    )
    assert log.read_text() == "run\n"


@pytest.mark.parametrize("pool", ["ProcessPoolExecutor", "loky"])
def test_pools_of_others_get_what_stands_in_main_too(tmp_path: Path, pool: str) -> None:
    if pool == "loky":
        pytest.importorskip("loky")
    make = {
        "ProcessPoolExecutor": "futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn'))",
        "loky": "loky.get_reusable_executor(2)",
    }[pool]
    said = run_script(
        tmp_path,
        f"""
        import multiprocessing
        from concurrent import futures
        from dataclasses import dataclass
        {"import loky" if pool == "loky" else ""}
        from eagerly import map_tasks, task

        @dataclass
        class Point:
            x: int

        class Trouble(Exception):
            pass

        @task
        def make(x):
            if x == 2:
                raise Trouble(x)
            return Point(x)

        if __name__ == "__main__":
            with {make} as pool:
                found = map_tasks(make, range(4), backend=pool, errors="return")
                print([type(each) is Point for each in found], type(found[2]) is Trouble)
        """,
    )
    assert said == "[True, True, False, True] True\n"


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_clusters_get_what_stands_in_main_too(tmp_path: Path, backend: str) -> None:
    pytest.importorskip("distributed" if backend == "dask" else "ray")
    said = run_script(
        tmp_path,
        f"""
        from dataclasses import dataclass
        from eagerly import map_tasks, session, task

        @dataclass
        class Point:
            x: int

        class Trouble(Exception):
            pass

        @task
        def make(x):
            if x == 2:
                raise Trouble(x)
            return Point(x)

        if __name__ == "__main__":
            with session(backend={backend!r}):
                found = map_tasks(make, range(4), errors="return")
                print([type(each) is Point for each in found], type(found[2]) is Trouble)
        """,
    )
    assert said == "[True, True, False, True] True\n"


KEPT = """
    import sys
    from eagerly import map_tasks, session, task
    @task(cache=True, cache_version="1")
    def told(x):
        return x + {step}
    @task(cache=True)
    def looked_at(x):
        return x + 1
    def own():
        @task(cache=True)
        def local(x):
            return x
        return local
    with session(cache_store=sys.argv[1], backend={backend}):
        for each in (told, looked_at, own()):
            print(map_tasks(each, [1]), each.is_cached(1), map_tasks(each, [2]), each(2), end=" ")
"""


@everywhere
def test_what_workers_have_stored_is_found_by_the_script_and_by_no_other(tmp_path: Path, backend: str) -> None:
    cache = str(tmp_path / "cache")
    for main, step in (("one.py", 10), ("two.py", 20), ("one.py", 30)):
        said = run_script(tmp_path, KEPT.format(step=step, backend=backend), cache, main=main)
        kept = {"one.py": 10, "two.py": 20}[main]
        assert said == f"[{kept + 1}] True [{kept + 2}] {kept + 2} [2] True [3] 3 [1] True [2] 2 "


@everywhere
def test_functions_of_main_have_their_file_and_lines(tmp_path: Path, backend: str) -> None:
    said = run_script(
        tmp_path,
        f"""
        import inspect
        import traceback
        from eagerly import map_tasks, task
        @task
        def divide(x):
            return 1 / x
        def source():
            return inspect.getsource(source)
        print(map_tasks(lambda _: source(), [1], backend={backend})[0].splitlines()[1].strip())
        try:
            map_tasks(divide, [0], backend={backend})
        except ZeroDivisionError as error:
            print("".join(traceback.format_exception(error)))
        """,
    )
    assert said.startswith("return inspect.getsource(source)\n")
    assert f'File "{tmp_path / "script.py"}", line 7, in divide\n' in said
    assert "return 1 / x\n" in said


@pytest.mark.parametrize(
    "call", ["map_tasks(double, [1, 2], backend='process')", "double.options(backend='process').submit(1).result()"]
)
def test_a_module_that_maps_as_it_is_imported_is_told(tmp_path: Path, call: str) -> None:
    """Its workers import it, would map, and start workers that import it; as a script it is run."""
    (tmp_path / "flow.py").write_text(
        "from eagerly import map_tasks, session, task\n"
        "@task\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "with session():\n"
        f"    print({call})\n"
    )
    done = [
        subprocess.run(
            [sys.executable, *how],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": SOURCE},
            capture_output=True,
            text=True,
            timeout=120,
        )
        for how in (("-c", "import flow"), ("flow.py",))
    ]
    assert done[0].returncode == 1
    assert "the module flow calls its own tasks on 'process' while it is imported" in done[0].stderr
    assert "below if __name__ == '__main__':" in done[0].stderr
    assert (done[1].returncode, done[1].stdout) == (0, "[2, 4]\n" if "map" in call else "2\n")
