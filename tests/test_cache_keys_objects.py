"""Keys of objects: sentinels, subclasses of library classes, classes that a function made, and what refusals advise."""

from __future__ import annotations

import collections
import datetime as dt
import fractions
import importlib
import logging
import sqlite3
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import eagerly.cache._code  # noqa: F401 - teaches the encoding about functions and classes
from eagerly.cache._encode import encode, encode_arguments, register_key
from eagerly.errors import UnkeyableArgument

LOCK = threading.Lock()
MISSING = object()
_OTHER = object()
_lower = object()


def key(value: Any) -> bytes:
    return encode(value, "argument 'x'")


def refusal(value: Any, name: str = "conn") -> str:
    with pytest.raises(UnkeyableArgument) as caught:
        encode_arguments({name: value})
    return str(caught.value)


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


# --- sentinels ---


def test_a_bare_object_counts_by_the_upper_case_name_that_its_module_has_for_it() -> None:
    assert key(MISSING) == key(MISSING)
    assert len({key(value) for value in (MISSING, _OTHER, [MISSING], Plain(a=MISSING), Plain(a=_OTHER))}) == 5


def test_a_name_that_may_be_bound_anew_does_not_count() -> None:
    assert "UPPER_CASE" in refusal(_lower)
    assert "UPPER_CASE" in refusal(object())


def test_a_name_that_is_bound_anew_is_looked_for_again() -> None:
    module = types.ModuleType("eagerly_test_sentinels")
    sys.modules[module.__name__] = module
    try:
        old = module.TOKEN = object()  # type: ignore[attr-defined]
        assert key(old)
        new = module.TOKEN = object()  # type: ignore[attr-defined]
        refusal(old)
        assert key(new)
    finally:
        del sys.modules[module.__name__]
    refusal(new)


def test_a_lazy_module_is_not_loaded_by_the_search() -> None:
    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    sys.modules["eagerly_test_lazy"] = Lazy("eagerly_test_lazy")
    try:
        refusal(object())
    finally:
        del sys.modules["eagerly_test_lazy"]


def test_a_bare_object_that_is_the_default_counts_as_that() -> None:
    unset, other = object(), object()
    defaults = {"y": unset, "z": other}

    def of(**inputs: Any) -> list[tuple[str, bytes]]:
        return encode_arguments(inputs, (), defaults)

    assert of(x=1, y=unset, z=other) == of(x=1, y=unset, z=other)
    made = [of(x=1, y=y, z=z) for y in (unset, None, 1) for z in (other, None)]
    assert len({tuple(each) for each in made}) == 6
    assert [name for name, _ in of(x=1, y=unset, z=2)] == ["x", "y", "z"]
    with pytest.raises(UnkeyableArgument, match="argument 'y'"):
        of(x=1, y=other, z=other)
    with pytest.raises(UnkeyableArgument, match="argument 'y'"):
        encode_arguments({"y": unset})
    assert encode_arguments({"x": LOCK, "y": unset}, ["x"], defaults) == of(y=unset)


def test_other_defaults_that_have_no_key_are_refused() -> None:
    held = Plain(lock=LOCK)
    with pytest.raises(UnkeyableArgument):
        encode_arguments({"y": held}, (), {"y": held})


# --- what stands for an object ---


class Forgot:
    def __cache_key__(self) -> None: ...


class Itself:
    def __cache_key__(self) -> Any:
        return self


class Raising:
    def __cache_key__(self) -> Any:
        raise RuntimeError("no session\nyet.")


class Holding:
    def __cache_key__(self) -> Any:
        return LOCK


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


class RaisingMute:
    def __cache_key__(self) -> Any:
        raise Mute


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Forgot(), "its __cache_key__ returned None; return what stands for it"),
        (Itself(), "its __cache_key__ returned the object itself"),
        (Raising(), "its __cache_key__ failed with RuntimeError: no session yet. Either"),
        (RaisingMute(), "its __cache_key__ failed with Mute. Either"),
        (Holding(), "let what stands for a Holding in keys be something that can be part of one"),
    ],
)
def test_a_cache_key_that_says_nothing_is_refused(value: Any, says: str) -> None:
    assert says in refusal(value)
    assert says in refusal([value])


def test_a_registered_function_that_says_nothing_is_refused() -> None:
    class Registered: ...

    register_key(Registered, lambda _: None)
    assert "the function that is registered for it returned None" in refusal(Registered())
    register_key(Registered, lambda each: each)
    assert "the function that is registered for it returned the object itself" in refusal(Registered())


def test_a_long_text_of_an_error_is_cut() -> None:
    class Long:
        def __getstate__(self) -> Any:
            raise ValueError("x" * 10_000)

    assert len(refusal(Long())) < 1_000


# --- what refusals advise ---


class Client:
    def __init__(self) -> None:
        self._lock = threading.Lock()


def test_the_innermost_class_of_the_user_is_to_be_registered() -> None:
    for value in (Client(), [Client()], Plain(client=Client()), {"a": Client()}):
        message = refusal(value)
        assert "say what stands for a Client with a method Client.__cache_key__" in message
        assert "register_key(Client, lambda client: ...)" in message
        assert "register_key(lock" not in message


def test_a_class_of_a_library_is_to_be_registered_from_the_outside() -> None:
    connection = sqlite3.connect(":memory:")
    try:
        assert "register_key(Connection, lambda connection: ...)" in refusal(connection)
    finally:
        connection.close()
    session = requests.Session()
    session.auth = LOCK  # type: ignore[assignment]
    assert "register_key(Session, lambda session: ...)" in refusal(session)


@pytest.mark.parametrize("value", [LOCK, [LOCK], iter([1]), {"a": (n for n in ())}])
def test_what_cannot_be_registered_is_not_advised(value: Any) -> None:
    assert "pass something else" in refusal(value)
    assert "register_key" not in refusal(value)


def test_what_is_advised_helps() -> None:
    class Class:  # whose name in lower case is no name of a parameter
        lock = None

        def __init__(self) -> None:
            self.lock = threading.Lock()  # type: ignore[assignment]

    assert "register_key(Class, lambda each: ...)" in refusal(Class())
    register_key(Class, lambda each: type(each).__name__)
    assert key(Class()) == key(Class())


def test_the_object_of_a_method_is_not_to_be_left_out() -> None:
    assert "cache_ignore" not in refusal(Client(), "self")
    message = refusal(Client(), "conn")
    assert "cache_ignore=('conn',) if it makes no difference to the result" in message
    assert message.index("__cache_key__") < message.index("cache_ignore") < message.index("cache_hash")
    with pytest.raises(UnkeyableArgument, match=r"cache_ignore=\('self',\)"):
        encode_arguments({"x": 1, "self": LOCK})


# --- classes that lie ---


class Unhashable(type):
    def __hash__(cls) -> int:
        raise ValueError("no hash")

    def __eq__(cls, other: object) -> bool:
        raise ValueError("no comparison")


class Nothing(type):
    def __getattribute__(cls, name: str) -> Any:
        raise ValueError("no attribute")


@pytest.mark.parametrize("meta", [Unhashable, Nothing])
def test_a_class_whose_metaclass_fails_is_refused(meta: Callable[..., type]) -> None:
    cls = meta("Lying", (), {})  # not global: pytest would look at it
    for value in (object.__new__(cls), [object.__new__(cls)], Plain(a=object.__new__(cls))):
        assert "cannot be part of a cache key" in refusal(value)


# --- subclasses of library classes ---

LIBRARY = """
import threading

class Session:
    def __init__(self):
        self.headers, self.lock, self.timeout = {}, threading.Lock(), 10

    def __getstate__(self):
        return {"headers": self.headers}

class Fixed:
    def __reduce__(self):
        return Fixed, ()

class Named:
    def __reduce__(self):
        return "NAMED"

NAMED = Named()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    site = tmp_path_factory.mktemp("venv") / "site-packages"
    site.mkdir()
    (site / "eagerly_test_library.py").write_text(LIBRARY)
    sys.path.insert(0, str(site))
    try:
        yield importlib.import_module("eagerly_test_library")
    finally:
        sys.path.remove(str(site))
        sys.modules.pop("eagerly_test_library", None)


class Api(requests.Session):
    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base


class Stamp(dt.datetime):
    label: Any = None


class Tally(collections.Counter[str]):
    label: Any = None


class Share(fractions.Fraction):
    label: Any = None


class Labelled(dt.date):
    __slots__ = ("label",)


def labelled(value: Any, label: Any) -> Any:
    value.label = label
    return value


MAKERS: dict[str, Callable[[Any], Any]] = {
    "requests": Api,
    "datetime": lambda label: labelled(Stamp(2024, 1, 1), label),
    "Counter": lambda label: labelled(Tally("aab"), label),
    "Fraction": lambda label: labelled(Share(1, 2), label),
    "slots": lambda label: labelled(Labelled(2024, 1, 1), label),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_attributes_that_the_base_class_does_not_know_of_count(kind: str) -> None:
    make = MAKERS[kind]
    assert key(make("a")) == key(make("a"))
    assert len({key(make(label)) for label in ("a", "b", 1, None)}) == 4
    assert "lock" in refusal(make(LOCK))


def test_a_library_says_itself_what_its_own_instances_are(library: Any) -> None:
    session = library.Session()
    session.note = "a"
    assert key(session) == key(library.Session())


def test_a_subclass_of_a_class_with_a_lossy_state(library: Any) -> None:
    class Mine(library.Session):  # type: ignore[misc]
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base = base

    assert key(Mine("a")) == key(Mine("a")) != key(Mine("b"))
    assert refusal(Mine(LOCK)).startswith("argument 'conn' -> .base ")
    slow = Mine("a")
    slow.timeout = 20
    assert key(slow) != key(Mine("a"))


def test_a_state_of_the_users_own_stays_what_it_says(library: Any) -> None:
    class Mine(library.Session):  # type: ignore[misc]
        def __init__(self, base: str) -> None:
            super().__init__()
            self.base = base

        def __getstate__(self) -> Any:
            return {"mine": 1}

    class Further(Mine):
        pass

    assert key(Mine("a")) == key(Mine("b"))
    assert key(Further("a")) == key(Further("b"))


def test_a_subclass_of_a_class_that_is_always_the_same(library: Any) -> None:
    class Mine(library.Fixed):  # type: ignore[misc]
        base = ""

    one, other = Mine(), Mine()
    one.base, other.base = "a", "b"
    assert key(one) != key(other)


def test_what_is_found_by_its_name_counts_by_it(library: Any) -> None:
    assert key(library.NAMED) == key(library.NAMED)


def test_a_subclass_of_a_logger_has_a_key() -> None:
    class AppLogger(logging.Logger):
        pass

    assert logging.getLoggerClass() is logging.Logger
    logging.setLoggerClass(AppLogger)
    try:
        logger = logging.getLogger("eagerly.test.own")
    finally:
        logging.setLoggerClass(logging.Logger)
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    try:
        assert key(logger) == key(logger)
    finally:
        logger.removeHandler(handler)


# --- classes that a function made ---


def made(table: Any, **attributes: Any) -> Any:
    class Local:
        lookup = table

        def get(self, name: str) -> Any:
            return self.lookup[name]

    for name, value in attributes.items():
        setattr(Local, name, value)
    return Local


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, lambda table: [*table.items()], lambda t: Plain(**t)])
def test_two_classes_of_one_name_differ_by_what_they_hold(kind: Callable[[Any], Any]) -> None:
    one, same, other = (made(kind({"a": number}))() for number in (1, 1, 2))
    assert key(one) == key(same) != key(other)


def test_dynamic_classes_differ_by_what_they_hold() -> None:
    one, same, other = (type("Dynamic", (), {"rates": [number], "__module__": __name__})() for number in (1, 1, 2))
    assert key(one) == key(same) != key(other)


def test_what_a_made_class_inherits_from_another_counts() -> None:
    one, same, other = (type("Derived", (made({"a": number}),), {})() for number in (1, 1, 2))
    assert key(one) == key(same) != key(other)


def test_what_a_made_class_holds_is_refused_as_in_an_argument() -> None:
    assert refusal(made({"a": LOCK})()).startswith("argument 'conn' -> .lookup -> ['a'] is of type")


def test_what_is_of_a_library_or_code_may_stand_in_a_made_class() -> None:
    assert key(made({}, guard=LOCK, log=logging.getLogger(), helper=len, later=property(lambda self: 1))())


class Found:
    seen: list[int] = []  # noqa: RUF012 - what the test is about


def test_what_a_class_with_a_name_holds_does_not_count() -> None:
    before = key(Found())
    Found.seen.append(1)
    try:
        assert key(Found()) == before
    finally:
        Found.seen.clear()


def test_a_made_class_that_holds_its_own_instances_is_no_endless_walk() -> None:
    cls = made({})
    cls.first = cls()
    assert key(cls())
