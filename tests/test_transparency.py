"""To all that inspects it, a task looks like its function; and neither the function nor its module is changed."""

from __future__ import annotations

import asyncio
import copy
import doctest
import functools
import gc
import inspect
import pydoc
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from eagerly import Task, session, task
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds


def functions() -> dict[Kind, Callable[..., Any]]:
    """One documented, annotated function of each kind."""

    def sync(x: int, y: str = "y", /, *rest: float, key: list[int], default: dict[str, int] = {}) -> tuple[int, str]:  # noqa: B006 - its identity is compared
        """Summary of sync.

        >>> 1 + 1
        2
        """
        return x, y

    async def async_(x: int, y: str = "y", /, *rest: float, key: list[int], default: Any = None) -> tuple[int, str]:
        """Summary of async."""
        return x, y

    def stream(x: int, y: str = "y", /, *rest: float, key: list[int], default: Any = None) -> Any:
        """Summary of stream."""
        yield x, y

    async def async_stream(x: int, y: str = "y", /, *rest: float, key: list[int], default: Any = None) -> Any:
        """Summary of async stream."""
        yield x, y

    return {Kind.SYNC: sync, Kind.ASYNC: async_, Kind.STREAM: stream, Kind.ASYNC_STREAM: async_stream}


@pytest.fixture
def function(kind: Kind) -> Callable[..., Any]:
    found = functions()[kind]
    found.custom = "attribute"  # type: ignore[attr-defined]
    return found


ATTRIBUTES = (
    "__name__ __qualname__ __module__ __doc__ __annotations__ __defaults__ __kwdefaults__ __code__ __globals__ "
    "__closure__ custom"
)


@all_kinds
def test_attributes_are_those_of_the_function(function: Callable[..., Any]) -> None:
    made = task(function, retries=1)
    for attribute in ATTRIBUTES.split():
        assert getattr(made, attribute) is getattr(function, attribute), attribute
    assert made.__wrapped__ is made.func is function
    assert inspect.unwrap(made) is function


@all_kinds
def test_what_inspect_tells_is_what_it_tells_of_the_function(function: Callable[..., Any]) -> None:
    made = task(function, retries=1)
    for tell in (
        inspect.signature,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        asyncio.iscoroutinefunction if sys.version_info < (3, 14) else inspect.iscoroutinefunction,
        inspect.getdoc,
        inspect.getsource,
        inspect.getsourcelines,
        inspect.isroutine,
        inspect.get_annotations,
        inspect.getcomments,
        inspect.getmodule,
        callable,
        typing.get_type_hints,
    ):
        assert tell(made) == tell(function), tell
    assert made.signature == inspect.signature(function)
    assert inspect.getfullargspec(made) == inspect.getfullargspec(function)
    assert made.description == inspect.getdoc(function)


@all_kinds
def test_bound_methods_look_like_bound_methods(kind: Kind, function: Callable[..., Any]) -> None:
    class Plain:
        method = function

    class Decorated:
        method = task(function)

    plain, decorated = Plain().method, Decorated().method
    assert inspect.signature(decorated) == inspect.signature(plain)
    assert inspect.iscoroutinefunction(decorated) == inspect.iscoroutinefunction(plain)
    assert inspect.isgeneratorfunction(decorated) == inspect.isgeneratorfunction(plain)
    assert inspect.isasyncgenfunction(decorated) == inspect.isasyncgenfunction(plain)
    assert decorated.__func__ is function
    assert decorated.__name__ == plain.__name__
    assert isinstance(decorated.__self__, Decorated)
    assert kind.run(functools.partial(decorated, key=[])) == (decorated.__self__, "y")


@all_kinds
def test_classes_of_tasks_do_not_get_in_the_way(function: Callable[..., Any]) -> None:
    made = task(function)
    cls = type(made)
    typing.get_type_hints(cls)  # type `type` gives classes that are asked an `__annotations__` of their own
    assert cls.__annotations__ is not None
    assert made.__annotations__ is function.__annotations__
    assert task(function).__annotations__ is function.__annotations__
    assert cls.__doc__ != made.__doc__
    assert inspect.signature(cls) is not None


@all_kinds
def test_the_function_and_its_module_are_not_changed(function: Callable[..., Any]) -> None:
    module = sys.modules[__name__]
    attributes = (*ATTRIBUTES.split(), "__dict__", "__type_params__")

    def look() -> Any:
        return (
            dict(vars(module)),
            {name: copy.copy(getattr(function, name, None)) for name in attributes},
            [id(getattr(function, name, None)) for name in attributes],
        )

    before = look()
    made = task(function, name="other", retries=3, tags=["a"], description="Other.")
    made.note = "set on the task"
    with session(plugins=[RecordingHooks()]):
        made.options(retries=1)
        repr(made), hash(made), made.signature, made.__annotations__  # looking must not change anything
    assert look() == before
    assert made.note == "set on the task"
    assert not hasattr(function, "note")


@all_kinds
def test_attributes_set_on_either_later(function: Callable[..., Any]) -> None:
    made = task(function)
    function.later = "function"  # type: ignore[attr-defined]
    assert made.later == "function"
    made.later = "task"
    assert (made.later, function.later) == ("task", "function")  # type: ignore[attr-defined]
    del made.later
    assert made.later == "function"


@all_kinds
def test_tasks_are_immutable_and_say_how_to_change_them(function: Callable[..., Any]) -> None:
    made = task(function, retries=1)
    with pytest.raises(AttributeError, match=r"immutable.*task\.options\(retries=3\)"):
        made.retries = 3
    for name in ("func", "declaration", "name", "timeout", "signature", "is_async", "__call__", "options"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(made, name, None)
        with pytest.raises(AttributeError):
            delattr(made, name)
    assert made.retries == 1
    assert made.func is function


@all_kinds
def test_an_attribute_that_is_missing_is_reported_as_such(function: Callable[..., Any]) -> None:
    made = task(function)
    with pytest.raises(AttributeError, match="has no attribute 'nope'") as caught:
        made.nope
    assert caught.value.name == "nope"
    assert caught.value.__cause__ is None
    assert getattr(made, "nope", 5) == 5


@all_kinds
def test_a_task_is_equal_to_itself_only(function: Callable[..., Any]) -> None:
    made = task(function)
    same = (made, copy.copy(made), copy.deepcopy(made), copy.deepcopy([made])[0])
    assert all(other is made for other in same)
    assert made == made
    assert made not in (task(function), made.options(), function)
    assert len({made, made.options(), task(function)}) == 3
    assert {made: 1}[made] == 1


def test_bound_tasks_are_equal_as_bound_methods_are() -> None:
    class Thing:
        @task
        def method(self) -> None: ...

        @task
        def other(self) -> None: ...

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # bound methods of unhashable objects can be hashed

    one, two = Thing(), Thing()
    assert one.method == one.method
    assert hash(one.method) == hash(one.method)
    assert one.method != two.method
    assert one.method != one.other
    assert one.method != Thing.method
    assert one.method is not one.method


@all_kinds
def test_tasks_can_be_referred_to_weakly_and_are_freed(kind: Kind) -> None:
    made = kind.make(lambda: 1)
    known = weakref.ref(made)
    kind.run(made)
    assert known() is made
    del made
    gc.collect()
    assert known() is None


@all_kinds
def test_its_repr_tells_what_it_was_told(function: Callable[..., Any]) -> None:
    shown = repr(task(function, retries=3, timeout=None))
    assert shown.startswith("<")
    assert f"{function.__module__}.{function.__qualname__}" in shown
    assert "retries=3" in shown
    assert str(task(function)) == repr(task(function))


@all_kinds
def test_calls_carry_the_name_of_the_function(kind: Kind, function: Callable[..., Any]) -> None:
    if kind is Kind.SYNC:
        return
    ours, theirs = task(function)(1, key=[]), function(1, key=[])
    assert type(ours) is type(theirs)
    assert ours.__name__ == theirs.__name__
    assert ours.__qualname__ == theirs.__qualname__
    for each in (ours, theirs):
        if kind is not Kind.ASYNC_STREAM:
            each.close()


# The tools that look at functions


@all_kinds
def test_functools_takes_tasks_for_functions(kind: Kind, function: Callable[..., Any]) -> None:
    made = task(function)

    @functools.wraps(made)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return made(*args, **kwargs)

    assert wrapper.__wrapped__ is made  # type: ignore[attr-defined]
    for name in functools.WRAPPER_ASSIGNMENTS:
        assert getattr(wrapper, name, None) == getattr(function, name, None)
    assert inspect.signature(wrapper) == inspect.signature(function)
    assert inspect.unwrap(wrapper) is function
    part = functools.partial(made, 5, key=[1])
    assert inspect.signature(part) == inspect.signature(functools.partial(function, 5, key=[1]))
    assert kind.run(part) == (5, "y")
    assert inspect.iscoroutinefunction(part) == (kind is Kind.ASYNC)


@all_kinds
def test_help_shows_what_it_shows_of_the_function(function: Callable[..., Any]) -> None:
    title, shown = pydoc.plain(pydoc.render_doc(task(function))).split("\n", 1)
    assert type(task(function)).__name__ in title
    assert shown == pydoc.plain(pydoc.render_doc(function)).split("\n", 1)[1]


def test_help_on_a_module_and_a_class_lists_their_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("shop", "A shop.")
    monkeypatch.setitem(sys.modules, "shop", module)
    source = '''
from eagerly import task

@task
def buy(what: str) -> int:
    """Buy something.

    >>> buy("milk")
    4
    """
    return len(what)

class Till:
    """A till."""

    @task
    def pay(self, amount: int) -> int:
        """Pay.

        >>> Till().pay(2)
        2
        """
        return amount
'''
    exec(compile(source, "shop.py", "exec", dont_inherit=True), vars(module))
    shown = pydoc.plain(pydoc.render_doc(module))
    assert "buy(what: str) -> int" in shown
    assert "pay(self, amount: int) -> int" in shown
    found = {test.name: len(test.examples) for test in doctest.DocTestFinder(exclude_empty=True).find(module)}
    assert {name: count for name, count in found.items() if count} == {"shop.buy": 1, "shop.Till.pay": 1}
    assert doctest.testmod(module).failed == 0


@all_kinds
def test_mocks_can_be_specified_by_tasks(kind: Kind, function: Callable[..., Any]) -> None:
    made = task(function)
    # Of callable objects that are no functions, mock does not enforce the signature.
    double = mock.create_autospec(made, return_value=7)
    assert inspect.iscoroutinefunction(double) == (kind is Kind.ASYNC)
    assert (asyncio.run(double(1, key=[])) if kind is Kind.ASYNC else double(1, key=[])) == 7
    double.assert_called_once_with(1, key=[])
    with pytest.raises(AttributeError):
        double.nope


def test_tasks_in_a_class_and_a_module_can_be_patched() -> None:
    class Service:
        @task(retries=3)
        def get(self) -> str:
            return "real"

    with mock.patch.object(Service, "get", autospec=True, return_value="patched"):
        assert Service().get() == "patched"
    assert Service().get() == "real"
    assert Service.get.retries == 3


def test_partials_and_instances_speak_for_what_they_call() -> None:
    def scale(factor: int, x: int) -> int:
        """Scale a number."""
        return factor * x

    made = task(functools.partial(scale, 3))
    assert (made.name, made.__name__, made.description) == ("scale", "scale", "Scale a number.")
    assert str(inspect.signature(made)) == "(x: 'int') -> 'int'"

    class Scorer:
        """Scores."""

        def __call__(self, x: int) -> int:
            return x

    scorer = task(Scorer())
    assert (scorer.name, scorer.description) == ("Scorer", "Scores.")
    assert scorer.__module__ == __name__
    assert str(inspect.signature(scorer)) == "(x: 'int') -> 'int'"


@all_kinds
def test_a_task_shows_what_it_was_told(kind: Kind, function: Callable[..., Any]) -> None:
    made = task(function, name="n", description="d", retries=2, tags=["a", "b"], wrap_errors=True)
    assert isinstance(made, Task)
    assert (made.name, made.description, made.retries, made.timeout) == ("n", "d", 2, None)
    assert made.tags == frozenset({"a", "b"})
    assert made.wrap_errors is True
    assert (made.is_async, made.is_generator) == (kind.is_async, kind.is_stream)
    plain = task(function)
    assert (plain.retries, plain.timeout, plain.tags, plain.wrap_errors) == (0, None, frozenset(), None)
