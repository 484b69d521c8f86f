"""Functions, methods and classes as arguments: which are one key and which are not."""

from __future__ import annotations

import functools
import gc
import math
import operator
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from eagerly.cache import _code  # noqa: F401 - teaches the encoding about functions
from eagerly.cache._encode import encode
from eagerly.errors import UnkeyableArgument


def key(value: Any) -> bytes:
    return encode(value, "argument 'key'")


def namespace(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "shop"}
    exec(compile(source, "<cell>", "exec", dont_inherit=True), found)
    return found


def test_equal_lambdas_are_one_key() -> None:
    made = [lambda x: x + 1 for _ in range(2)]
    assert made[0] is not made[1]
    assert key(made[0]) == key(made[1])


def test_two_lambdas_on_one_line_are_two_keys() -> None:
    one, two = lambda x: x + 1, lambda x: x + 2
    assert key(one) != key(two)


def test_functions_of_one_content_and_two_names_are_two_keys() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 1

    assert key(one) != key(two)  # a cached function that returns its argument has to return the right one


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("f = lambda x: x + 1", "1", "2"),
        ("f = lambda x, y=1: x", "y=1", "y=2"),
        ("f = lambda x, *, y=1: x", "y=1", "y=2"),
        ("f = (lambda n: lambda x: n)(1)", "(1)", "(2)"),
        ("f = (lambda n: lambda x: n)([1])", "[1]", "[2]"),
        ("def g(): return 1\ndef f(): return g()", "return 1", "return 2"),
        ("def g(): return 1\nf = (lambda h: lambda x: h)(g)", "return 1", "return 2"),
        ("RATE = 1\nf = lambda x: x * RATE", "RATE = 1", "RATE = 2"),
        ("import functools\nf = functools.partial(lambda x: x, 1)", "1", "2"),
        ("import functools\nf = functools.partial(lambda x: x + 1)", "1", "2"),
        ("class C:\n    def run(self): return 1\nf = C", "return 1", "return 2"),
        (
            (
                "import enum\nclass C(enum.Enum):\n    def __new__(cls, value, label):\n"
                "        made = object.__new__(cls)\n"
                "        made._value_, made.label = value, label\n        return made\n    ONE = 1, 'one'\nf = C.ONE"
            ),
            "'one'",
            "'two'",
        ),
        ("class B:\n    n = 1\nclass C(B): pass\nf = C", "n = 1", "n = 2"),
        (
            "class C:\n    def __init__(self): self.n = 1\n    def run(self): return 3\nf = C().run",
            "return 3",
            "return 4",
        ),
        ("class C:\n    def __init__(self): self.n = 1\n    def run(self): return 3\nf = C().run", "n = 1", "n = 2"),
        ("class C:\n    @classmethod\n    def run(cls): return 3\nf = C.run", "return 3", "return 4"),
        ("class C:\n    def run(self): return 3\nf = C()", "return 3", "return 4"),
        ("def make():\n    class C:\n        n = 1\n    return C\nf = make()", "n = 1", "n = 2"),
        (
            "def make():\n    n = 1\n    def f():\n        nonlocal n\n        n += 1\n    return f\nf = make()",
            "n = 1",
            "n = 2",
        ),
        (
            "import functools\n@functools.singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return 2",
            "return 2",
            "return 3",
        ),
        ("import functools\n@functools.wraps(abs)\ndef f(x): return 1", "return 1", "return 2"),
        ("def g(n):\n    return g(n - 1) if n else 1\nf = [g]", "else 1", "else 2"),
    ],
)
def test_an_edit_is_another_key_and_a_rerun_is_the_same(source: str, old: str, new: str) -> None:
    assert source.count(old) == 1
    before, again, after = (
        key(namespace(each)["f"]) for each in (source, f"# moved\n\n{source}", source.replace(old, new))
    )
    assert before == again
    assert before != after


def test_attributes_of_a_function_count() -> None:
    source = (
        "def retry(times):\n    def mark(func):\n        func.times = times\n        return func\n    return mark\n"
    )
    source += "@retry(times=3)\ndef f(x): return x\n"
    seen = [key(namespace(each)["f"]) for each in (source, source, source.replace("times=3", "times=4"))]
    assert seen[0] == seen[1] != seen[2]

    def locked() -> None: ...

    locked.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(UnkeyableArgument, match=r"argument 'key' -> \.lock"):
        key(locked)


def test_builtins_and_functions_of_libraries_are_their_names() -> None:
    values = [len, max, math.floor, os.path.join, operator.itemgetter(1), operator.itemgetter(2), "a".upper, "b".upper]
    assert len({key(value) for value in values}) == len(values)
    assert len({key(value) for value in (dict, list, functools.partial, Path)}) == 4


def test_functions_that_refer_to_themselves() -> None:
    source = """
def make(n):
    def even(x): return x == 0 or odd(x - 1)
    def odd(x): return x != n and even(x - 1)
    return even
f, g, h = make(0), make(0), make(1)
"""
    found = namespace(source)
    assert key(found["f"]) == key(found["g"]) != key(found["h"])


def test_a_class_with_an_instance_of_itself() -> None:
    source = "class C:\n    def __init__(self, n): self.n = n\nC.DEFAULT = C(1)\nC.ALL = [C.DEFAULT, C]\nf = C(2)"
    assert key(namespace(source)["f"]) == key(namespace(source)["f"])
    assert key(namespace(source)["f"]) != key(namespace(source.replace("C(1)", "C(3)"))["f"])


def test_a_closure_that_cannot_be_keyed_is_refused_with_its_path() -> None:
    lock = threading.Lock()
    with pytest.raises(UnkeyableArgument, match=r"argument 'key'.*__closure__\['lock'\]"):
        key(lambda: lock)
    with pytest.raises(UnkeyableArgument, match=r"argument 'key'.*__defaults__\['held'\]"):
        key(lambda held=lock: held)


def test_a_closure_is_looked_at_each_time() -> None:
    allowed = [1]

    def check(x: int) -> bool:
        return x in allowed

    before = key(check)
    allowed.append(2)
    assert key(check) != before


def test_code_that_is_gone_leaves_nothing_behind() -> None:
    from eagerly.cache import _code_keys

    def make(n: int) -> Any:
        return namespace(f"f = lambda x: x + {n}")["f"]

    gc.collect()
    before = len(_code_keys._digests)
    keys = {key(make(n)) for n in range(50)}
    assert len(keys) == 50
    gc.collect()
    assert len(_code_keys._digests) <= before


PRINT = """
import functools
from eagerly.cache import _code
from eagerly.cache._encode import encode
WORDS = {"alpha", "beta", "gamma"}
class Order:
    kinds = frozenset({"delta", "epsilon"})
    def total(self): return len(WORDS & {"zeta", "eta", "theta"})
def check(x, known=frozenset({"iota", "kappa"})): return x in WORDS
for value in (Order, Order(), Order().total, check, functools.partial(check, 1), lambda x: x in {"a", "b", "c"}):
    print(encode(value, "x").hex())
"""


def test_another_process_with_another_hash_seed_gets_the_same_keys() -> None:
    source = str(Path(__file__).parent.parent / "src")
    seen = {
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env={**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (0, 1, 2)
    }
    assert len(seen) == 1
    assert len(seen.pop().split()) == 6
