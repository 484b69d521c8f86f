"""Every way to make a task, and every sort of callable that can become one: the kind is chosen at decoration, and a
call does what a call of the undecorated function does.
"""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import enum
import functools
import inspect
import math
import operator
import sys
import types
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eagerly import (
    AsyncTask,
    AsyncTaskStream,
    Retry,
    SyncTask,
    SyncTaskStream,
    Task,
    current_task,
    session,
    task,
    workflow,
)
from eagerly._declaration import DEFAULTS
from eagerly._decorator import TaskOptions
from eagerly._session import OPTIONS as SESSION_OPTIONS
from eagerly._workflow import OPTIONS as WORKFLOW_OPTIONS
from eagerly.errors import EagerlyError
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds, make_function
from stored_calls import DictStore, dataset_of, stores_in

CLASSES = {
    Kind.SYNC: SyncTask,
    Kind.ASYNC: AsyncTask,
    Kind.STREAM: SyncTaskStream,
    Kind.ASYNC_STREAM: AsyncTaskStream,
}

FORMS: dict[str, Callable[[Any], Any]] = {
    "@task": task,
    "@task()": task(),
    "@task(retries=2)": task(retries=2),
    "task(fn, retries=2)": lambda function: task(function, retries=2),
    "options of options": lambda function: task(function).options(retries=1).options(tags=("a",)),
    "task of a task": lambda function: task(task(function), retries=1),
}


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


@all_kinds
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_makes_the_task_of_the_functions_kind(kind: Kind, form: Callable[[Any], Any]) -> None:
    made = form(make_function(kind, echo))
    assert type(made) is CLASSES[kind]
    assert isinstance(made, Task)
    assert (made.is_async, made.is_generator) == (kind.is_async, kind.is_stream)
    assert kind.run(made, 1, b=2) == ((1,), {"b": 2})


def test_a_decorator_with_options_can_be_used_again() -> None:
    dependable = task(retries=2, tags=["net"])
    first, second = dependable(len), dependable(sum)
    assert first("abc") == 3
    assert second([1, 2]) == 3
    assert (first.name, second.name) == ("len", "sum")
    assert first.retries == second.retries == 2


def test_options_add_up_and_leave_the_original_alone() -> None:
    retry = Retry(2, delay=0.5)
    plain = task(echo, retries=1)
    changed = plain.options(retries=retry).options(name="again", description="Again.").options(timeout=3)
    assert (changed.retries, changed.name, changed.description, changed.timeout) == (retry, "again", "Again.", 3.0)
    assert (plain.retries, plain.name, plain.description, plain.timeout) == (1, "echo", "", None)
    assert changed.options(timeout=None, name=None).timeout is None
    assert changed.options(name=None).name == "echo"
    assert type(changed) is type(plain)


def test_a_task_of_a_task_makes_two_calls() -> None:
    inner = task(echo, name="inner")
    outer = task(inner, name="outer")
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        assert outer(1) == ((1,), {})
    assert hooks.of("inner")[0].metadata.parent_id == hooks.of("outer")[0].metadata.id


# Methods


def methods_of(kind: Kind, decorate: Callable[[Any], Any] = task) -> type:
    """A class with tasks as instance, class and static methods, whose bodies tell what they got."""

    class Base:
        __slots__ = ("value",)

        def __init__(self, value: str = "v") -> None:
            self.value = value

        method = decorate(make_function(kind, lambda self, x=0: (self, x)))
        above_class = classmethod(decorate(make_function(kind, lambda cls, x=0: (cls, x))))
        below_class = decorate(classmethod(make_function(kind, lambda cls, x=0: (cls, x))))
        above_static = staticmethod(decorate(make_function(kind, lambda x=0: ("static", x))))
        below_static = decorate(staticmethod(make_function(kind, lambda x=0: ("static", x))))

    return Base


@all_kinds
def test_methods_bind_like_methods(kind: Kind) -> None:
    cls = methods_of(kind)
    child_cls = type("Child", (cls,), {"__slots__": ()})
    for owner in (cls, child_cls):
        instance = owner()
        assert kind.run(instance.method, 1) == (instance, 1)
        assert kind.run(instance.method, x=1) == (instance, 1)
        assert kind.run(owner.method, instance, 2) == (instance, 2)
        for name in ("above_class", "below_class"):
            assert kind.run(getattr(owner, name), 3) == (owner, 3)
            assert kind.run(getattr(instance, name), x=4) == (owner, 4)
        for name in ("above_static", "below_static"):
            assert kind.run(getattr(owner, name), 5) == ("static", 5)
            assert kind.run(getattr(instance, name)) == ("static", 0)


@all_kinds
def test_bound_tasks_keep_their_kind_and_options(kind: Kind) -> None:
    instance = methods_of(kind, task(retries=3))()
    for name in ("method", "below_class", "below_static"):
        bound = getattr(instance, name)
        assert type(bound) is CLASSES[kind]
        assert bound.retries == 3
        changed = bound.options(retries=1, name="other")
        assert (changed.retries, changed.name) == (1, "other")
        assert kind.run(changed, 7) == kind.run(bound, 7)


def test_a_bound_task_is_bound_once_and_for_all() -> None:
    class First:
        @task
        def method(self) -> Any:
            return self

    first = First()

    class Second:
        borrowed = first.method

    assert Second().borrowed() is first


@all_kinds
def test_super_reaches_the_task_that_was_overridden(kind: Kind) -> None:
    class Base:
        get = task(make_function(kind, lambda self: ("base", self)))

        @classmethod
        @task
        def name(cls) -> str:
            return cls.__name__

    class Child(Base):
        get = task(make_function(kind, lambda self: ("child", self)))

        def get_of_parent(self) -> Any:
            return super().get

        @classmethod
        @task
        def name(cls) -> str:
            return f"child {super().name()}"

    class GrandChild(Child):
        pass

    child = GrandChild()
    assert kind.run(child.get) == ("child", child)
    assert kind.run(child.get_of_parent()) == ("base", child)
    assert kind.run(super(GrandChild, child).get) == ("child", child)
    assert GrandChild.name() == child.name() == "child GrandChild"


def test_slots_dataclasses_enums_and_abstract_classes_take_tasks() -> None:
    @dataclasses.dataclass(slots=True, frozen=True)
    class Point:
        x: int

        @task
        def doubled(self) -> int:
            return 2 * self.x

    class Colour(enum.Enum):
        RED = 1

        @task
        def label(self) -> str:
            return self.name.lower()

    class Shape(abc.ABC):
        @task
        @abc.abstractmethod
        def area(self) -> float: ...

    assert Point(2).doubled() == 4
    assert [field.name for field in dataclasses.fields(Point)] == ["x"]
    assert Colour.RED.label() == "red"
    assert list(Colour) == [Colour.RED]
    with pytest.raises(TypeError, match="abstract"):
        Shape()  # type: ignore[abstract]


def test_properties_around_tasks() -> None:
    class Report:
        made = 0

        @property
        @task
        def size(self) -> int:
            return 3

        @functools.cached_property
        @task
        def total(self) -> int:
            self.made += 1
            return self.made

    report = Report()
    assert report.size == 3
    assert (report.total, report.total) == (1, 1)


def test_a_private_method_can_be_a_task() -> None:
    class Vault:
        @task
        def __open(self, __code: int) -> int:
            return __code

        def open(self, code: int) -> int:
            return self.__open(code)

    assert Vault().open(7) == 7


def test_a_method_without_named_self_binds_too() -> None:
    class Loose:
        @task
        def method(*args: Any) -> tuple[Any, ...]:
            return args

    loose = Loose()
    assert loose.method(1) == (loose, 1)
    assert str(inspect.signature(loose.method)) == "(*args: 'Any') -> 'tuple[Any, ...]'"


# Other callables


@all_kinds
def test_partials(kind: Kind) -> None:
    made = task(functools.partial(functools.partial(make_function(kind, echo), 1), b=2))
    assert type(made) is CLASSES[kind]
    assert made.name == "echo"
    assert kind.run(made, 3, c=4) == ((1, 3), {"b": 2, "c": 4})


@all_kinds
def test_a_partial_in_a_class_is_no_method_as_in_python(kind: Kind) -> None:
    class Holder:
        shout = task(functools.partial(make_function(kind, echo), "hi"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Python 3.13 warns that this will change
        assert kind.run(Holder().shout) == (("hi",), {})


@all_kinds
def test_callable_instances(kind: Kind) -> None:
    class Scorer:
        """Scores."""

        def __init__(self, bonus: int) -> None:
            self.bonus = bonus

        __call__ = make_function(kind, lambda self, x: self.bonus + x)

    made = task(Scorer(10), retries=1)
    assert type(made) is CLASSES[kind]
    assert made.name == "Scorer"
    assert made.bonus == 10
    assert kind.run(made, 5) == 15
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        kind.run(made)


@all_kinds
def test_a_callable_instance_in_a_class_is_no_method_as_in_python(kind: Kind) -> None:
    class Callback:
        __call__ = make_function(kind, lambda _self, *args: args)

    class Holder:
        callback = task(Callback())

    assert kind.run(Holder().callback, 1) == (1,)


@all_kinds
def test_bound_methods(kind: Kind) -> None:
    class Client:
        get = make_function(kind, lambda self, key: (self, key))

    client = Client()
    made = task(client.get)
    assert type(made) is CLASSES[kind]
    assert kind.run(made, "k") == (client, "k")


def test_lambdas_and_nested_functions() -> None:
    double = task(lambda x: 2 * x)
    assert double(2) == 4
    assert double.name == "<lambda>"

    def outer(offset: int) -> Any:
        @task
        def nested(x: int) -> int:
            return x + offset

        return nested

    assert outer(1)(1) == 2
    assert outer(5)(1) == 6


@pytest.mark.parametrize(
    ("builtin", "args", "result"),
    [
        (len, ("abc",), 3),
        (math.sqrt, (9,), 3.0),
        (str.upper, ("a",), "A"),
        ("abc".split, ("b",), ["a", "c"]),
        (operator.add, (1, 2), 3),
        (sorted, ([2, 1],), [1, 2]),
        ({"a": 1}.get, ("a",), 1),
    ],
    ids=str,
)
def test_builtins_with_a_signature(builtin: Any, args: tuple[Any, ...], result: object) -> None:
    made = task(builtin, retries=1)
    assert type(made) is SyncTask
    assert made(*args) == result
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        assert made(*args) == result
        with pytest.raises(TypeError):
            made(*args, *range(9))
    assert hooks.names(made.name) == ["before_node_execute", "after_node_execute"]


@pytest.mark.parametrize("builtin", [min, max, dir], ids=str)
def test_builtins_without_a_signature_are_refused_with_the_way_out(builtin: Any) -> None:
    try:
        inspect.signature(builtin)
    except ValueError:
        pass
    else:
        pytest.skip("this Python knows its signature")
    with pytest.raises(TypeError, match="needs a signature") as caught:
        task(builtin)
    assert isinstance(caught.value, EagerlyError)
    assert f"task(lambda value: {builtin.__name__}(value)" in str(caught.value)


@pytest.mark.parametrize(
    "not_a_function",
    [int, 5, None.__class__, property(len), functools.partialmethod(len), object(), [len]],
    ids=repr,
)
@pytest.mark.parametrize("form", [task, task(retries=1), lambda value: task(value, retries=1)], ids=range(3))
def test_classes_and_non_callables_are_refused(form: Callable[[Any], Any], not_a_function: object) -> None:
    with pytest.raises(TypeError, match="can only be applied to callable functions") as caught:
        form(not_a_function)
    assert isinstance(caught.value, EagerlyError)


# Parameters


def with_parameters(kind: Kind, parameters: str, result: str) -> Any:
    """A function of that kind with those parameters, which returns or yields the expression `result`."""
    namespace: dict[str, Any] = {}
    colour, word = "async " if kind.is_async else "", "yield" if kind.is_stream else "return"
    exec(f"{colour}def function({parameters}):\n    {word} {result}", namespace)
    return namespace["function"]


def called(kind: Kind, made: Any, *args: Any, **kwargs: Any) -> Any:
    """As `Kind.run`, whose own parameters would be in the way of some keywords."""
    return kind.run(functools.partial(made, *args, **kwargs))


OUR_NAMES = (
    "self, cls, func, args, kwargs, call, task, name, timeout, error, result, token, delay, instance, owner, check, "
    "bind, value, source, scope"
)


@all_kinds
@pytest.mark.parametrize("parameters", [OUR_NAMES, f"*, {OUR_NAMES}", "**given"], ids=range(3))
def test_parameters_may_have_the_names_that_we_use(kind: Kind, parameters: str) -> None:
    made = task(with_parameters(kind, parameters, "locals()"), retries=1)
    given = {name: number for number, name in enumerate(inspect.signature(eval(f"lambda {OUR_NAMES}: 0")).parameters)}
    expected = {"given": given} if parameters == "**given" else given
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        assert called(kind, made, **given) == expected
    assert hooks.of("function")[0].metadata.inputs == expected


def test_such_parameters_of_a_function_with_a_timeout_and_a_name_template() -> None:
    @task(timeout=30, name="{name}-{self}-{map_index}")
    def clash(self: int, func: int, args: int, kwargs: int, name: int, timeout: int, map_index: int) -> Any:
        return self, func, args, kwargs, name, timeout, map_index, current_task().name  # type: ignore[union-attr]

    assert clash(*range(7)) == (*range(7), "4-0-6")
    assert clash(**dict(zip(inspect.signature(clash).parameters, range(7), strict=True))) == (*range(7), "4-0-6")


SIGNATURES = {
    "a, b=2, /": "(a, b)",
    "*, a, b=2": "(a, b)",
    "a, b=2, /, c=3, *, d, e=5": "(a, b, c, d, e)",
    "a, *args, b=2, **kwargs": "(a, args, b, kwargs)",
    "*args, **kwargs": "(args, kwargs)",
    "": "()",
    "a, /, **kwargs": "(a, kwargs)",
    "*, a=1, b": "(a, b)",
}
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4), {}),
    ((), {"a": 1}),
    ((1,), {"a": 1}),
    ((1,), {"d": 4}),
    ((1,), {"b": 4, "z": 5}),
    ((), {"a": 1, "b": 2}),
    ((1, 2), {"c": 3, "d": 4, "e": 5}),
]


def outcome(function: Callable[..., Any]) -> Any:
    try:
        return function()
    except TypeError as error:
        return str(error)


@all_kinds
@pytest.mark.parametrize("parameters", SIGNATURES)
def test_every_call_is_taken_or_refused_as_by_the_function(kind: Kind, parameters: str) -> None:
    function = with_parameters(kind, parameters, SIGNATURES[parameters])
    made = task(function, retries=2)
    for args, kwargs in CALLS:
        expected = outcome(lambda: called(kind, function, *args, **kwargs))  # noqa: B023 - called at once
        assert outcome(lambda: called(kind, made, *args, **kwargs)) == expected  # noqa: B023
        hooks = RecordingHooks()
        with session(plugins=[hooks]):
            assert outcome(lambda: called(kind, made, *args, **kwargs)) == expected  # noqa: B023
        if isinstance(expected, str):
            assert hooks.names("function") == []
        else:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            assert hooks.of("function")[0].metadata.inputs == bound.arguments


@all_kinds
def test_default_values_are_the_very_objects(kind: Kind) -> None:
    default: list[int] = []
    named: dict[str, int] = {}
    made = kind.make(lambda a=default, *, b=named: (a, b))
    a, b = kind.run(made)
    assert a is default
    assert b is named

    @task
    def with_default(a: Any = default, *, b: Any = named) -> Any:
        return current_task().inputs  # type: ignore[union-attr]

    assert with_default()["a"] is default
    assert with_default()["b"] is named


# Functions that other decorators made


def forwarding(kind: Kind, function: Callable[..., Any]) -> Any:
    """What a decorator that keeps the kind of a function leaves of it."""
    if kind is Kind.SYNC:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function("injected", *args, **kwargs)

    elif kind is Kind.ASYNC:

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function("injected", *args, **kwargs)

    elif kind is Kind.STREAM:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            yield from function("injected", *args, **kwargs)

    else:

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async for item in function("injected", *args, **kwargs):
                yield item

    return wrapper


@all_kinds
@pytest.mark.parametrize("listening", [False, True])
def test_a_decorator_below_may_supply_arguments(kind: Kind, listening: bool) -> None:
    made = task(forwarding(kind, with_parameters(kind, "connection, x", "(connection, x)")))
    with session(plugins=[RecordingHooks()] if listening else []):
        assert kind.run(made, 1) == ("injected", 1)


@pytest.mark.parametrize(
    ("args", "inputs"),
    [
        (("a connection", 1), {"connection": "a connection", "x": 1}),  # what the function under the decorator takes
        ((1,), {"args": (1,), "kwargs": {}}),  # what the decorator takes, as it gives the rest itself
    ],
)
def test_inputs_under_a_decorator_that_supplies_arguments(args: Any, inputs: Any) -> None:
    def function(connection: Any, x: Any) -> Any: ...

    @functools.wraps(function)
    def supply(*args: Any, **kwargs: Any) -> Any:
        return current_task()

    assert task(supply)(*args).inputs == inputs


@all_kinds
@pytest.mark.parametrize("listening", [False, True])
def test_wrong_arguments_are_not_tried_again_under_a_decorator_either(kind: Kind, listening: bool) -> None:
    made = task(forwarding(kind, with_parameters(kind, "connection, x", "x")), retries=3)
    hooks = RecordingHooks()
    with session(plugins=[hooks] if listening else []), pytest.raises(TypeError, match="positional argument"):
        kind.run(made, 1, 2, 3)
    assert "before_node_retry" not in hooks.names()


def test_a_cached_function_keeps_its_cache_and_its_methods() -> None:
    @task
    @functools.lru_cache(maxsize=4)
    def slow(x: int) -> list[int]:
        """Slow."""
        return [x]

    assert type(slow) is SyncTask
    assert slow(1) is slow(1)
    assert slow.cache_info().hits == 1
    slow.cache_clear()
    assert slow.cache_info().currsize == 0
    assert slow.__doc__ == "Slow."


def test_a_task_can_be_cached_dispatched_and_made_partial() -> None:
    @functools.lru_cache
    @task
    def once(x: int) -> list[int]:
        return [x]

    @functools.singledispatch
    @task
    def kind_of(value: object) -> str:
        return "object"

    @kind_of.register
    @task
    def _(value: int) -> str:
        return "int"

    @task
    def add(a: int, b: int) -> int:
        return a + b

    assert once(1) is once(1)
    assert (kind_of(""), kind_of(1)) == ("object", "int")
    assert functools.partial(add, 1)(2) == 3
    assert functools.reduce(add, [1, 2, 3]) == 6


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect.markcoroutinefunction is new in Python 3.12")
def test_functions_marked_as_coroutine_functions_are_async() -> None:
    @task(retries=1)
    @inspect.markcoroutinefunction
    def marked(x: int) -> Any:
        return asyncio.sleep(0, x)

    assert type(marked) is AsyncTask
    assert inspect.iscoroutinefunction(marked)
    assert asyncio.run(marked(3)) == 3


@pytest.mark.skipif(not hasattr(asyncio.coroutines, "_is_coroutine"), reason="Python has dropped asyncio's own mark")
def test_functions_with_asyncios_older_mark_are_async() -> None:
    def marked(x: int) -> Any:
        return asyncio.sleep(0, x)

    marked._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    made = task(marked, timeout=30)
    assert type(made) is AsyncTask
    assert asyncio.run(made(3)) == 3


def keywords_of(function: Any) -> list[str]:
    return [each.name for each in inspect.signature(function).parameters.values() if each.kind is each.KEYWORD_ONLY]


@pytest.mark.parametrize("takes", [task, Task.options], ids=["task", "options"])
def test_every_option_is_where_people_look(takes: Any) -> None:
    """The signatures are written out for readers and type checkers; this says which of them was forgotten."""
    assert keywords_of(takes) == list(DEFAULTS) == list(TaskOptions.__annotations__)


@pytest.mark.parametrize("takes", [task, task(len).options], ids=["task", "options"])
def test_every_option_arrives(takes: Any, tmp_path: Path) -> None:
    store, hashed = DictStore(), lambda func, inputs: "key"
    given = {"name": "n", "description": "d", "retries": 1, "timeout": 1, "tags": ["a"], "wrap_errors": True}
    given |= {"cache": True, "cache_store": store, "cache_ttl": 1, "cache_version": "v", "cache_ignore": ["obj"]}
    given |= {"dataset": "x.txt", "dataset_store": tmp_path, "dataset_format": "json", "cache_hash": None}
    given |= {"backend": "thread", "run_output": "pickle"}
    assert given.keys() == DEFAULTS.keys()
    plain = task(len)
    changed = takes(len, **given) if takes is task else takes(**given)
    for name in given:
        if name not in ("name", "cache_hash"):
            assert getattr(changed, name) != getattr(plain, name), name
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        changed([])
    assert [name for name in hooks.names("n") if "node" in name] == ["before_node_execute", "after_node_execute"]
    assert len(store.data) == 1
    assert tmp_path.joinpath("x.txt").read_text("utf-8").strip() == "0"
    # What replaces the whole key cannot stand beside what is part of it.
    hashing = changed.options(cache_version=None, cache_ignore=(), cache_hash=hashed)
    assert hashing.cache_hash is hashed
    assert hashing.cache_key([]) == "key"


def test_what_a_task_shows_of_its_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = task(len)
    assert (plain.cache, plain.cache_store, plain.cache_ttl, plain.cache_hash) == (False, None, None, None)
    assert (plain.cache_version, plain.cache_ignore) == (None, frozenset())
    assert (plain.dataset, plain.dataset_store, plain.dataset_format) == (None, None, None)
    cached = task(len, cache=True, cache_ttl=timedelta(minutes=1), cache_version="2", cache_ignore=("obj",))
    assert (cached.cache, cached.cache_store, cached.cache_ttl) == (True, None, 60.0)
    assert (cached.cache_version, cached.cache_ignore) == ("2", frozenset({"obj"}))
    monkeypatch.chdir(tmp_path)
    relative = task(len, cache="here", dataset="{obj}.txt", dataset_store="there")
    monkeypatch.chdir("/")
    assert (relative.cache, relative.cache_store) == (True, str(tmp_path / "here"))
    assert (relative.dataset, relative.dataset_store) == ("{obj}.txt", str(tmp_path / "there"))
    assert task(len, cache=tmp_path).cache_store == task(len, cache=True, cache_store=tmp_path).cache_store
    assert task(len, cache="redis://localhost").cache_store == "redis://localhost"
    store = DictStore()
    assert task(len, cache=store).cache_store is store


def test_cache_false_switches_off_what_is_said_beside_it() -> None:
    cached = task(len, cache=True, cache_ttl=60, cache_ignore=("obj",))
    off = cached.options(cache=False)
    assert (off.cache, off.cache_ttl) == (False, None)
    assert off.options(cache=True).cache_ttl == 60.0
    saved = task(len, dataset="x.json", dataset_format="json")
    assert saved.options(dataset=None).dataset_format is None


@all_kinds
def test_every_kind_can_be_cached_and_saved(kind: Kind, tmp_path: Path) -> None:
    runs = []

    def body(x: int) -> int:
        runs.append(x)
        return 2 * x

    made = kind.make(body, cache=True, cache_version="1", dataset=dataset_of(kind))
    assert made.cache is True
    with session(**stores_in(tmp_path)):
        assert [kind.run(made, 1), kind.run(made, 1)] == [2, 2]
    assert runs == [1]
    assert (tmp_path / "data" / dataset_of(kind)).read_text("utf-8").strip() == "2"


@pytest.mark.parametrize(("takes", "options"), [(session, SESSION_OPTIONS), (workflow, WORKFLOW_OPTIONS)])
def test_the_options_that_messages_name_are_those_of_the_signature(takes: Any, options: Any) -> None:
    assert keywords_of(takes) == list(options)


def test_the_two_methods_that_python_makes_class_methods_by_itself() -> None:
    class Base:
        made: list[str] = []  # noqa: RUF012 - shared on purpose

        @task
        def __init_subclass__(cls) -> None:
            cls.made.append(cls.__name__)

        @task
        def __class_getitem__(cls, item: int) -> tuple[str, int]:
            return cls.__name__, item

    class Derived(Base): ...

    assert Base.made == ["Derived"]
    assert Derived[3] == ("Derived", 3)


def test_a_coroutine_made_of_a_generator_is_awaited() -> None:
    @task
    @types.coroutine
    def steps() -> Any:
        yield
        return 3

    async def main() -> int:
        return await steps()

    assert isinstance(steps, AsyncTask)
    assert asyncio.run(main()) == 3


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (property(lambda self: 1), "goes below @property"),
        (functools.cached_property(lambda self: 1), "goes below @cached_property"),
        ((number for number in ()), "is what calling one gave; leave out the parentheses"),
    ],
    ids=["property", "cached_property", "generator"],
)
def test_what_is_no_function_is_refused_with_the_fix(made: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"callable functions.*{message}"):
        task(made)
