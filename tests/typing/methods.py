"""What type checkers see of tasks and workflows in classes. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from eagerly import AsyncTask, AsyncTaskStream, SyncTask, SyncTaskStream, SyncWorkflow, task, workflow


class Shop:
    @task
    def price(self, item: str, *, taxed: bool = True) -> float:
        return len(item) * (1.2 if taxed else 1.0)

    @task(retries=2)
    async def order(self, item: str) -> int:
        return len(item)

    @task
    def shelf(self, start: int, /) -> Iterator[str]:
        yield str(start)

    @task(retries=1)
    async def visitors(self, start: int, /) -> AsyncIterator[str]:
        yield str(start)

    @task
    def plain(self, n: int, /) -> str:
        return str(n)

    @task
    async def plain_async(self, n: int, /) -> str:
        return str(n)

    # Both orders of the decorators, with and without parentheses

    @task
    @staticmethod
    def static_below(n: int, /) -> str:
        return str(n)

    @staticmethod
    @task(retries=1)
    def static_above(n: int, /) -> str:
        return str(n)

    @task(retries=1)
    @classmethod
    def of_class_below(cls, n: int, /) -> str:
        return cls.__name__ * n

    @classmethod
    @task
    def of_class_above(cls, n: int, /) -> str:
        return cls.__name__ * n

    @task
    @classmethod
    async def of_class_async(cls, n: int, /) -> str:
        return cls.__name__ * n

    @task
    @staticmethod
    async def static_async(n: int, /) -> str:
        return str(n)

    @task
    @classmethod
    def of_class_stream(cls, n: int, /) -> Iterator[str]:
        yield cls.__name__ * n

    @task
    @staticmethod
    async def static_async_stream(n: int, /) -> AsyncIterator[str]:
        yield str(n)

    @workflow
    def open(self, day: str, /) -> bool:
        return bool(day)

    @workflow(name="close")
    async def close(self, day: str) -> bool:
        return bool(day)

    async def from_inside(self) -> None:
        assert_type(self.price("tea", taxed=False), float)
        assert_type(await self.order("tea"), int)
        assert_type(self.of_class_below(1), str)
        assert_type(self.static_below(1), str)
        assert_type(self.open("monday"), bool)
        assert_type(await self.close("monday"), bool)


class Kiosk(Shop):
    async def from_a_subclass(self) -> None:
        assert_type(super().price("tea", taxed=False), float)
        assert_type(await super().order("tea"), int)
        assert_type(self.shelf(1), Generator[str, Any, Any])
        assert_type(self.visitors(1), AsyncGenerator[str, Any])


shop, kiosk = Shop(), Kiosk()

# On an instance: without `self`
assert_type(shop.plain, SyncTask[[int], str])
assert_type(shop.plain_async, AsyncTask[[int], str])
assert_type(shop.price("tea"), float)
assert_type(shop.shelf, SyncTaskStream[[int], str])
assert_type(shop.visitors, AsyncTaskStream[[int], str])
assert_type(kiosk.plain, SyncTask[[int], str])
assert_type(kiosk.price("tea", taxed=True), float)
assert_type(shop.plain.options(retries=2), SyncTask[[int], str])
assert_type(shop.open("monday"), bool)

# On the class: with it
assert_type(Shop.plain, SyncTask[[Shop, int], str])
assert_type(Shop.plain(shop, 1), str)
assert_type(Shop.price(kiosk, "tea", taxed=True), float)
assert_type(Kiosk.plain(kiosk, 1), str)
assert_type(Shop.open, SyncWorkflow[[Shop, str], bool])

# Class methods and static methods: the same on both
assert_type(shop.of_class_below, SyncTask[[int], str])
assert_type(Shop.of_class_below, SyncTask[[int], str])
assert_type(Kiosk.of_class_below(1), str)
assert_type(Shop.of_class_above, SyncTask[[int], str])
assert_type(shop.of_class_above(1), str)
assert_type(Shop.of_class_async, AsyncTask[[int], str])
assert_type(Shop.of_class_stream, SyncTaskStream[[int], str])
assert_type(shop.static_below, SyncTask[[int], str])
assert_type(Shop.static_below, SyncTask[[int], str])
assert_type(shop.static_above(1), str)
assert_type(Shop.static_above, SyncTask[[int], str])
assert_type(Shop.static_async, AsyncTask[[int], str])
assert_type(Shop.static_async_stream, AsyncTaskStream[[int], str])


@task
def parse(n: int, /) -> str:
    return str(n)


@dataclass
class Step:
    """A task in a field is a value, not a method."""

    run: SyncTask[[int], str]


assert_type(Step(parse).run, SyncTask[[int], str])
assert_type(Step(parse).run(1), str)

# What checkers cannot see, and what to write instead:
# - mypy, a method that returns Self or has a type variable of its own: it is lost on the instance. Name the class
#   instead of Self, or look the task up on the class: `Shop.method(shop, ...)`.
# - both, a static method whose first parameter is Any or object: it passes for a class method, as its parameter could
#   take the class. Make it a function of the module, or say what it takes.
