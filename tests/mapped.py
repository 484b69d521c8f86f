"""Tasks, errors and values for maps. Workers import this module, so it asserts nothing and imports no test."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from eagerly import Retry, current_task, map_tasks, save_dataset, session, task
from eagerly.testing import RecordingHooks


class TwoArguments(Exception):
    """Its constructor takes what `args` does not have."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}, line {line}")
        self.path, self.line = path, line


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class HoldsALock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class ComesBackAsAnother(Exception):
    def __reduce__(self) -> Any:
        return ValueError, ("not what was raised",)


class LosesItsText(Exception):
    def __reduce__(self) -> Any:
        return LosesItsText, ()


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there is no text")

    __repr__ = __str__


class NoNotes(Exception):
    def add_note(self, note: str, /) -> None:
        raise RuntimeError("no notes")


class OwnExit(SystemExit):
    """Ends programs, and refers to what cannot travel."""


class SlotsError(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def raised(sort: str) -> Any:  # noqa: C901 - one of many
    """Raise an error of that sort; of none, give the sort."""
    if sort == "two arguments":
        raise TwoArguments("a.py", 3)
    if sort == "keyword only":
        raise KeywordOnly(code=5)
    if sort == "lock":
        raise HoldsALock("held")
    if sort == "another":
        raise ComesBackAsAnother("this was raised")
    if sort == "loses its text":
        raise LosesItsText("what it says")
    if sort == "no text":
        raise NoText
    if sort == "no notes":
        raise NoNotes("silent")
    if sort == "slots":
        raise SlotsError(4)
    if sort == "local":

        class Local(Exception):
            pass

        raise Local("nobody can import it")
    if sort == "group":
        raise ExceptionGroup("both", [ValueError("one"), ExceptionGroup("inner", [TwoArguments("b.py", 1)])])
    if sort == "base group":
        raise BaseExceptionGroup("bad", [KeyboardInterrupt(), ValueError("one")])
    if sort == "caused":
        try:
            raise TwoArguments("c.py", 2)
        except TwoArguments as error:
            raise OSError(2, "gone", "c.py") from error
    if sort == "in the course of":
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 - the context is the point
    if sort == "suppressed":
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None
    if sort == "noted":
        error = ValueError("with notes")
        error.add_note("look here")
        error.detail = 7  # type: ignore[attr-defined]
        raise error
    if sort == "system exit":
        raise SystemExit(3)
    if sort == "keyboard interrupt":
        raise KeyboardInterrupt
    if sort == "own exit":
        raise OwnExit(HoldsALock("held"))
    if sort == "large group":
        raise ExceptionGroup("many", [ValueError(number) for number in range(300)])
    if sort == "circle":
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one
    if sort == "stop iteration":
        raise StopIteration(3)
    if sort == "generator exit":
        raise GeneratorExit
    if sort == "os error":
        open("/no/such/file")  # noqa: PTH123, SIM115
    if sort == "unicode":
        b"\xff".decode()
    return sort


raises = task(raised, name="raises")
raises_async: Any


@task(name="raises_async")
async def raises_async(sort: str) -> Any:
    return raised(sort)


@task
def square(x: int) -> int:
    return x * x


@task
async def square_async(x: int) -> int:
    return x * x


@task
def up_to(x: int) -> Iterator[int]:
    yield from range(x)


@task
async def up_to_async(x: int) -> AsyncIterator[int]:
    for each in range(x):
        yield each


KINDS = {"sync": square, "async": square_async, "stream": up_to, "async_stream": up_to_async}
"""A task of each kind."""


def wanted(kind: str, x: int) -> Any:
    """What a map of it has for an item."""
    return [*range(x)] if "stream" in kind else x * x


def too_early() -> None:
    """Fails in the first two attempts."""
    call = current_task()
    assert call is not None
    if call.attempt < 3:
        raise TwoArguments("early.py", call.attempt)


@task(retries=Retry(2, delay=0))
def third_time(x: int) -> int:
    too_early()
    return x * x


@task(retries=Retry(2, delay=0))
async def third_time_async(x: int) -> int:
    too_early()
    return x * x


@task(retries=Retry(2, delay=0))
def third_time_up_to(x: int) -> Iterator[int]:
    too_early()
    yield from range(x)


@task(retries=Retry(2, delay=0))
async def third_time_up_to_async(x: int) -> AsyncIterator[int]:
    too_early()
    for each in range(x):
        yield each


RETRYING = {
    "sync": third_time,
    "async": third_time_async,
    "stream": third_time_up_to,
    "async_stream": third_time_up_to_async,
}


@task(cache=True, cache_version="1")
def counted(x: int, log: str) -> int:
    """Notes each run in a file: a line, appended in one write."""
    with Path(log).open("a") as file:
        file.write(f"{x}\n")
    return x * 10


@task(cache=True, cache_version="1", cache_ignore=("log",))
async def counted_async(x: int, log: str) -> int:
    with Path(log).open("a") as file:
        file.write(f"{x}\n")
    return x * 10


@task(dataset="out/{x}", dataset_format="json")
def saved(x: int) -> dict[str, int]:
    return {"x": x}


@task(name="load_{x}_as_{map_index}")
def named(x: str) -> str:
    call = current_task()
    assert call is not None
    return call.name


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@task
def look_around(x: int) -> str:
    """What the context has; leaves something in it."""
    before = variable.get()
    variable.set(f"item {x}")
    return before


@task
def reported(x: int) -> int:
    call = current_task()
    assert call is not None
    for number in range(3):
        call.report("step", number=number, x=x)
    return square(x)


@task
def three(x: int, y: int = 10, *rest: int) -> tuple[Any, ...]:
    return x, y, rest


class Shop:
    """A class whose methods are tasks, and whose instances travel."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    @task
    def price(self, x: int) -> int:
        return x * self.rate

    @task
    @staticmethod
    def double(x: int) -> int:
        return 2 * x

    @staticmethod
    @task
    def triple(x: int) -> int:
        return 3 * x

    @task
    @classmethod
    def named(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @classmethod
    @task
    def renamed(cls, x: int) -> str:
        return f"{cls.__name__}-{x}"

    def plain(self, x: int) -> int:
        return x + self.rate

    def __call__(self, x: int) -> int:
        return x - self.rate


def _power(base: int, exponent: int) -> int:
    return base**exponent


cube = functools.partial(_power, exponent=3)


def shadowed(x: int) -> int:
    return x + 1000


plain_shadowed = shadowed
shadowed = task(shadowed)  # type: ignore[assignment]  # the task has the name of its function


class Odd:
    """A value whose comparison and text fail."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("it cannot be compared")

    def __repr__(self) -> str:
        raise RuntimeError("it cannot be shown")

    __hash__ = None  # type: ignore[assignment]


class BreaksWhenRead:
    def __reduce__(self) -> Any:
        return _break, ()


def _break() -> None:
    raise ZeroDivisionError("it was made elsewhere")


class ExitsWhenRead:
    def __reduce__(self) -> Any:
        return _exit, ()


def _exit() -> None:
    raise SystemExit(9)


@task
def give(sort: str) -> Any:
    if sort == "lock":
        return threading.Lock()
    if sort == "breaks":
        return BreaksWhenRead()
    if sort == "exits":
        return ExitsWhenRead()
    if sort == "odd":
        return Odd(3)
    if sort == "generator":
        return (x for x in range(3))
    if sort == "lambda":
        return lambda x: x + 1
    if sort == "error":
        return ValueError("a result")
    return sort


@task
def take(value: Any) -> str:
    return type(value).__name__


@task
def nth(x: int, values: Any) -> Any:
    return values[x]


@task
def about_value(value: Any) -> str:
    """What the value is, and what is in it."""
    return _about(value)


def _about(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, int) for each in value):
        return f"list of {len(value)}"
    if isinstance(value, dict):
        return f"dict of {[_about(each) for each in value.values()]}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {[_about(each) for each in value]}"
    return type(value).__name__


@task
def about_array(x: int, array: Any) -> dict[str, Any]:
    return {
        "value": float(array[x]),
        "kind": type(array).__name__,
        "dtype": str(array.dtype),
        "writeable": bool(array.flags.writeable),
        "id": id(array),
    }


@task
def fail_after(x: int, path: str) -> None:
    """Item 1 fails. Others do so when it has, and some more."""
    if x != 1:
        late = time.monotonic() + 60
        while not Path(path).exists() and time.monotonic() < late:
            pass
        raise TwoArguments("late.py", 2)
    try:
        raise TwoArguments("first.py", 1)
    finally:
        threading.Timer(0.05, Path(path).touch).start()


@task
def exit_at(x: int, bad: int) -> int:
    call = current_task()
    assert call is not None
    call.report("reached", x=x)
    if x == bad:
        os._exit(7)
    return x


@task
def outer_map(x: int, backend: Any) -> int:
    """The sum of a map in an item, which says something in each of its items."""
    return sum(map_tasks(reported, range(x), backend=backend))


@task
def own_session(x: int) -> int:
    """A session within an item, whose hooks are called there."""
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        result = square(x)
    hooks.verify()
    assert hooks.names("square") == ["before_node_execute", "after_node_execute"]
    return result


def meet(x: object, meeting: str) -> None:
    """Wait until somebody else is here, too: in another worker, as items of one worker take turns."""
    Path(meeting, str(x)).touch()
    until = time.monotonic() + 60
    while len([*Path(meeting).iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.005)


@task
def saved_by_hand(x: int, meeting: str) -> int:
    meet(x, meeting)
    save_dataset("same.json", x)
    return x


@task(dataset="same.json")
def same(x: int) -> int:
    return x


@task(dataset="same.jsonl")
def same_stream(x: int) -> Iterator[int]:
    yield x


@task
def saved_by_call(x: int, meeting: str) -> int:
    meet(x, meeting)
    return same(x)


@task
def saved_by_stream(x: int, meeting: str) -> int:
    meet(x, meeting)
    return next(iter([*same_stream(x)]))


@task
def saved_alike(x: int, meeting: str) -> int:
    meet(x, meeting)
    return same(0)


@task(dataset="large.json")
def large(x: list[int]) -> list[int]:
    return x


@task
def saved_before_a_death(x: int, meeting: str) -> int:
    large([x] * 1000)
    save_dataset("same.json", x)
    if not any(Path(meeting).iterdir()):
        Path(meeting, "died").touch()
        os._exit(3)
    return x
