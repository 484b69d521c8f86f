"""What type checkers see of submitted runs. Checked and run by `tests/test_typing.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from eagerly import INJECTED, Run, RunStatus, TaskContext, current_task, hook_impl, session, task


@task
def fetch(city: str, *, retry: bool = False) -> float:
    call = current_task()
    assert call is not None
    call.set_progress(0.5, message=city)
    call.set_progress(step=1, steps=2, data={"retry": retry})
    call.set_output({"city": city}, summary=city)
    return 20.5


@task(run_output="pickle")
async def fetch_async(city: str) -> bytes:
    return city.encode()


@task
def lines(path: str) -> Iterator[str]:
    yield path


@task
async def lines_async(path: str) -> AsyncIterator[str]:
    yield path


class Shop:
    @task
    def price(self, of: str) -> int:
        return len(of)


class Watcher:
    @hook_impl
    def on_run_status(self, run: Run[Any], previous: RunStatus | None) -> None:
        assert run.status != previous


def submitted() -> None:
    assert_type(fetch.submit("Oslo"), Run[float])
    assert_type(fetch.submit("Oslo", retry=True).result(), float)
    assert_type(fetch.options(backend="thread").submit("Oslo"), Run[float])
    assert_type(fetch_async.submit("Oslo"), Run[bytes])
    assert_type(lines.submit("a.txt"), Run[list[str]])
    assert_type(lines_async.submit("a.txt"), Run[list[str]])
    assert_type(Shop().price.submit("tea"), Run[int])
    assert_type(fetch.submit("Oslo").wait(), Run[float])
    assert_type(fetch.submit("Oslo").settled, bool)


async def awaited() -> None:
    assert_type(await fetch.submit("Oslo"), float)
    assert_type(await fetch.submit("Oslo").aio.result(timeout=1), float)


def wrong() -> None:
    fetch.submit(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def controlled(call: TaskContext) -> None:
    call.checkpoint()
    call.sleep(1)
    call.set_status("paused")


@task
def convert(files: list[str], *, call: TaskContext = INJECTED) -> int:
    call.set_progress(1.0)
    return len(files)


def injected() -> None:
    assert_type(convert(["a.png"]), int)
    assert_type(convert.submit(["a.png"]), Run[int])
    convert()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


if __name__ == "__main__":
    with session(plugins=[Watcher()]):
        submitted()
