"""What a code version reaches, what it leaves out and says so, and that nothing makes it fail."""

from __future__ import annotations

import dataclasses
import functools
import logging
import operator
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import typing
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pydantic
import pydantic.dataclasses
import pytest

import eagerly
from eagerly.cache._code import CodeVersion, code_version


def namespace(source: str, **given: Any) -> dict[str, Any]:
    """The globals of a module of the user's without a file."""
    found: dict[str, Any] = {"__name__": "shop", **given}
    exec(compile(source, "<cell>", "exec", dont_inherit=True), found)
    return found


def version(source: str, **given: Any) -> CodeVersion:
    """The version of the function ``f`` that `source` defines."""
    return code_version(namespace(source, **given)["f"])


def differ(one: CodeVersion, other: CodeVersion) -> set[str]:
    return {name for name in one.parts.keys() | other.parts.keys() if one.parts.get(name) != other.parts.get(name)}


def test_parts_have_the_names_that_people_use() -> None:
    found = version("RATE = 2\nclass Order:\n    size = 1\n    def total(self): return RATE\ndef f(): return Order()")
    assert set(found.parts) == {"shop.f", "shop.Order", "shop.Order.size", "shop.Order.total", "shop.RATE"}
    assert re.fullmatch("[0-9a-f]{40}", found.digest)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in found.parts.values())
    assert found.skipped == {}


def test_a_version_cannot_be_changed() -> None:
    found = version("def f(): pass")
    with pytest.raises(TypeError):
        found.parts["shop.f"] = ""  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (threading.Lock(), "cannot be part of a key"),
        ((x for x in "ab"), "cannot be part of a key"),
        (object(), "cannot be part of a key"),
        (sys.stdout, "cannot be part of a key"),
    ],
    ids=["lock", "generator", "object", "file"],
)
def test_what_cannot_be_keyed_is_skipped_and_reported(value: object, reason: str) -> None:
    source = "def f(x=VALUE): return VALUE, g\ndef make(v):\n    return lambda: v\ng = make([VALUE])"
    found = version(source, VALUE=value)
    assert set(found.skipped) == {"shop.VALUE", "shop.f(x=)", "shop.make.<locals>.<lambda>: v[0]"}
    assert all(reason in why for why in found.skipped.values())
    assert "0x" not in str(found.skipped)


def test_a_global_that_may_be_state_is_skipped_with_the_way_out() -> None:
    source = "items = [1]\nconfig = {}\ndef f(): return items, config, tuple_[0]"
    found = version(source, tuple_=(1, [2]))
    assert set(found.skipped) == {"shop.items", "shop.config", "shop.tuple_[1]"}
    assert all("UPPER_CASE" in why for why in found.skipped.values())


def test_a_counter_that_the_code_counts_is_state() -> None:
    source = f"COUNT = { ({}) }\nn = {1}\ndef f():\n    global n\n    n = n + 1\n    return n"
    one, two = version(source), version(source.replace("n = 1\n", "n = 2\n"))
    assert one == two
    assert "global" in one.skipped["shop.n"]


class Awkward:
    """Resists being looked at in every way."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparing")

    def __hash__(self) -> int:
        raise RuntimeError("no hashing")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __reduce_ex__(self, protocol: object) -> Any:
        raise RuntimeError("no pickling")


class Liar:
    @property
    def __class__(self) -> Any:
        return type(len)

    @property
    def __wrapped__(self) -> Any:
        raise ValueError("no")


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    return value


AWKWARD: list[Any] = [
    *(Awkward(), Liar(), deep(), unittest.mock.Mock(), unittest.mock.MagicMock(), unittest.mock.Mock(spec=len)),
    *(
        np.add,
        np.vectorize(abs),
        np.arange(3),
        np.float64(1),
        operator.itemgetter(1),
        str.upper,
        "a".upper,
        int.__add__,
    ),
    *(type, object, typing.Any, typing.TypeVar("T"), list[int], int | None, typing.Optional[int], typing.Callable),  # noqa: UP045
    *(logging.getLogger("x"), re, eagerly, eagerly.task, functools.lru_cache, unittest.mock.sentinel.x, NotImplemented),
]


@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: str(type.__repr__(type(value))))
@pytest.mark.parametrize("name", ["value", "VALUE"])
def test_nothing_makes_it_fail(value: Any, name: str) -> None:
    source = f"class C:\n    {name} = {name}\ndef f(x={name}): return {name}.a, C, TABLE\nTABLE = [{name}]\n"
    one = version(source, **{name: value})
    two = version(source, **{name: value})
    assert one == two
    assert "shop.f" in one.parts
    # And it does not hide what else has changed.
    assert version(source.replace(".a", ".b"), **{name: value}).digest != one.digest


@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: str(type.__repr__(type(value))))
def test_anything_has_a_version(value: Any) -> None:
    assert code_version(value).digest == code_version(value).digest


def test_builtins_and_libraries_are_known_by_name() -> None:
    assert version("def f(): return g()", g=len).digest != version("def f(): return g()", g=max).digest
    assert version("def f(): return g()", g=np.add).digest != version("def f(): return g()", g=np.subtract).digest
    assert version("def f(): return g()", g=shutil.copy).digest != version("def f(): return g()", g=shutil.move).digest
    found = version("import shutil, json\ndef f(x): return shutil.copy(x), json.dumps(x), LOG.info(x)", LOG=1)
    assert set(found.parts) == {"shop.f", "shop.LOG"}


def test_this_library_is_not_the_users_own() -> None:
    found = version("import eagerly\n@eagerly.task\ndef g(): return 1\ndef f(): return g(), eagerly.current_task()")
    assert not [name for name in found.parts if name.startswith("eagerly")]
    assert "shop.g" in found.parts


def test_a_checkout_is_own_and_a_site_directory_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("checkout/src", "venv/lib/python3/site-packages", "usr/lib/python3/dist-packages"):
        directory = tmp_path / place
        directory.mkdir(parents=True)
        name = "place_" + directory.name.replace("-", "_")
        (directory / f"{name}.py").write_text("def g(): return 1", encoding="utf-8")
        monkeypatch.syspath_prepend(str(directory))
    source = "from {0} import g\nimport {0}\ndef f(): return g(), {0}.g()"
    own = version(source.format("place_src"))
    assert "place_src.g" in own.parts
    for name in ("place_site_packages", "place_dist_packages"):
        assert set(version(source.format(name)).parts) == {"shop.f"}
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "place_src")


def test_an_import_inside_a_function_leaves_libraries_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    monkeypatch.delitem(sys.modules, "_pytest.nose", raising=False)
    found = version("def f():\n    import wave, no_such_module_anywhere\n    from _pytest import unraisableexception")
    assert "wave" not in sys.modules
    assert found.skipped == {}


def test_equal_functions_have_equal_pieces_and_two_on_one_line_do_not() -> None:
    found = namespace("first, second, third = lambda x: x + 1, lambda x: x + 2, lambda x: x + 1")
    versions = [code_version(found[name]).digest for name in ("first", "second", "third")]
    assert versions[0] == versions[2] != versions[1]


def test_two_functions_of_one_name_are_two_pieces() -> None:
    source = "def make(n):\n    def inner(): return n\n    return inner\n"
    source += "one, two = make(1), make(2)\ndef f(): return one(), two()"
    found = version(source)
    assert {"shop.make.<locals>.inner", "shop.make.<locals>.inner #2"} < set(found.parts)
    assert differ(found, version(source.replace("make(2)", "make(3)"))) == {"shop.make.<locals>.inner #2"}


def test_a_bound_method_counts_by_its_class_and_not_by_its_instance() -> None:
    source = "class Job:\n    def __init__(self, n): self.n = n\n    def run(self): return self.n\n"
    source += "job, other = Job(1), Job(2)"
    found = namespace(source)
    assert code_version(found["job"].run) == code_version(found["other"].run)
    assert code_version(found["job"].run) != code_version(
        namespace(source.replace("self.n = n", "self.n = -n"))["job"].run
    )


def test_a_method_of_a_subclass_counts_with_the_subclass() -> None:
    source = "class Base:\n    def run(self): return self.step()\nclass Job(Base):\n    def step(self): return 1\n"
    source += "job = Job()"
    edited = namespace(source.replace("return 1", "return 2"))
    assert differ(code_version(namespace(source)["job"].run), code_version(edited["job"].run)) == {"shop.Job.step"}


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial, eagerly.task, functools.cache, staticmethod])
def test_what_is_called_may_be_wrapped(wrap: Callable[[Any], Any]) -> None:
    one, two = (code_version(wrap(namespace(f"def f(x=1): return {n}")["f"])) for n in (1, 2))
    assert differ(one, two) == {"shop.f"}
    assert one.digest != two.digest


def test_a_partial_counts_with_its_arguments() -> None:
    func = namespace("def f(x, y): return x")["f"]
    assert code_version(functools.partial(func, 1)) != code_version(functools.partial(func, 2))
    assert code_version(functools.partial(func, y=1)) != code_version(functools.partial(func, y=2))


def test_a_callable_instance_counts_with_its_class_and_state() -> None:
    source = "class Scale:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return x * self.n\n"
    make = namespace(source)["Scale"]
    assert code_version(make(1)) == code_version(make(1))
    assert code_version(make(1)).digest != code_version(make(2)).digest
    assert code_version(make(1)).digest != code_version(namespace(source.replace("*", "+"))["Scale"](1)).digest


def test_classes_of_libraries_that_write_methods() -> None:
    source = """
@attrs.define
class Point:
    x: int = attrs.field(default=1, converter=lambda v: v + 2)
    y: list = attrs.field(factory=lambda: [3])

class Model(pydantic.BaseModel):
    name: str = "four"
    size: int = pydantic.Field(default=5, gt=0)
    @pydantic.field_validator("name")
    @classmethod
    def check(cls, value): return value + "six"

@pydantic.dataclasses.dataclass
class Checked:
    n: int = 7

def f(): return Point(), Model(), Checked()
"""
    given = {"attrs": attrs, "pydantic": pydantic}
    before = version(source, **given)
    assert before == version(source, **given)
    assert [name for name in before.skipped if "Model" in name or "Point" in name or "Checked" in name] == []
    for old, new in (
        *(
            ("default=1", "default=0"),
            ("v + 2", "v + 3"),
            ("[3]", "[4]"),
            ('"four"', '"five"'),
            ("default=5", "default=6"),
        ),
        *(
            ("gt=0", "gt=1"),
            (
                "class Model(pydantic.BaseModel):",
                "class Model(pydantic.BaseModel):\n    model_config = {'strict': True}",
            ),
            ("name: str", "name: bytes"),
            ('"six"', '"seven"'),
            ("n: int = 7", "n: int = 8"),
        ),
        ("n: int = 7", "n: float = 7"),
    ):
        assert version(source.replace(old, new), **given).digest != before.digest, (old, new)


def test_a_large_constant_table_is_quick_and_counts() -> None:
    table = list(range(200_000))
    one = version("def f(): return TABLE", TABLE=table)
    assert one != version("def f(): return TABLE", TABLE=[*table[:-1], 0])


@dataclasses.dataclass
class Chain:
    following: Any = None


def test_instances_that_refer_to_each_other() -> None:
    first = Chain()
    first.following = Chain(first)
    assert version("def f(): return LINKS", LINKS=first) == version("def f(): return LINKS", LINKS=first)


def test_looking_from_several_threads_sees_the_same() -> None:
    func = namespace("def g(): return 1\ndef f(): return [g() for _ in range(3)], Path", Path=Path)["f"]
    found: list[CodeVersion] = []
    threads = [threading.Thread(target=lambda: found.append(code_version(func))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(str, found))) == 1
    assert len(found) == 8


EXTENSION = """
#include <Python.h>
static PyObject *work(PyObject *self, PyObject *args) { return PyLong_FromLong(NUMBER); }
static PyMethodDef methods[] = {{"work", work, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "speedups", 0, -1, methods};
PyMODINIT_FUNC PyInit_speedups(void) { return PyModule_Create(&module); }
"""


def test_the_blind_spot_c_code(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    include = sysconfig.get_path("include")
    if compiler is None or not (Path(include) / "Python.h").exists():
        pytest.skip("needs a C compiler and the headers of Python")
    seen = []
    for number in (1, 2):
        (tmp_path / "speedups.c").write_text(EXTENSION.replace("NUMBER", str(number)), encoding="utf-8")
        command = [compiler, "-shared", "-fPIC", f"-I{include}", "speedups.c", "-o", "speedups.so"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        code = (
            "import speedups\nfrom eagerly.cache._code import code_version\n"
            "def f(): return speedups.work()\nprint(f(), code_version(f).digest)"
        )
        source = str(Path(__file__).parent.parent / "src")
        path = [str(tmp_path), source]
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{code}"],
            check=True,
            capture_output=True,
            text=True,
        )
        seen.append(done.stdout.split())
    assert [result for result, _ in seen] == ["1", "2"]
    assert seen[0][1] == seen[1][1]
