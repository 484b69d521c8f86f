"""Mistakes that type checkers must find: every line with a marker errs, and no other line does.

A marker ``# E: mypy=[code] pyright=rule`` names what the two report in that line, perhaps among others. Checked by
`tests/test_typing.py`. Never run: most of these lines fail at run time too.
"""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import assert_type

from eagerly import (
    Clock,
    ContextExecutor,
    Retry,
    SessionContext,
    Settings,
    SyncTask,
    aiter_tasks,
    current_session,
    current_task,
    gather_tasks,
    hook_impl,
    load_dataset,
    map_tasks,
    register_plugins,
    save_dataset,
    session,
    task,
    workflow,
)
from eagerly.testing import RecordingHooks


@task
def add(x: int, y: int = 0, *, scale: int = 1) -> int:
    return (x + y) * scale


@task(retries=1)
async def fetch(url: str) -> bytes:
    return url.encode()


@task
def numbers(n: int) -> Iterator[int]:
    yield n


@task
async def ticks(n: int) -> AsyncIterator[int]:
    yield n


class Shop:
    @task
    def price(self, item: str) -> float:
        return len(item) * 1.2

    @task
    @classmethod
    def named(cls, name: str) -> int:
        return len(name)

    @task
    @staticmethod
    def parse(text: str) -> int:
        return int(text)

    @workflow
    def open(self, day: str) -> bool:
        return bool(day)


# Calls with wrong arguments

add("1")  # E: mypy=[arg-type] pyright=reportArgumentType
add()  # E: mypy=[call-arg] pyright=reportCallIssue
add(1, 2, 3)  # E: mypy=[call-arg] pyright=reportCallIssue
add(1, z=2)  # E: mypy=[call-arg] pyright=reportCallIssue
add(1, scale="2")  # E: mypy=[arg-type] pyright=reportArgumentType
task(lambda: 3)(1)  # E: mypy=[call-arg] pyright=reportCallIssue
task(add, retries=1)("1")  # E: mypy=[arg-type] pyright=reportArgumentType
task(retries=1)(add)("1")  # E: mypy=[arg-type] pyright=reportArgumentType
add.options(retries=1)("1")  # E: mypy=[arg-type] pyright=reportArgumentType
numbers("3")  # E: mypy=[arg-type] pyright=reportArgumentType
ticks("3")  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().price(1)  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().price()  # E: mypy=[call-arg] pyright=reportCallIssue
Shop.price("tea")  # E: mypy=[arg-type] pyright=reportCallIssue
Shop.named(1)  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().named(1)  # E: mypy=[arg-type] pyright=reportArgumentType
Shop.parse(1)  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().parse(1)  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().open(1)  # E: mypy=[arg-type] pyright=reportArgumentType


# Results taken for something else

text: str = add(1)  # E: mypy=[assignment] pyright=reportAssignmentType
number: int = Shop().price("tea")  # E: mypy=[assignment] pyright=reportAssignmentType
wrong_task: SyncTask[[str], int] = add  # E: mypy=[assignment] pyright=reportAssignmentType
add(1).upper()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
next(numbers(1)).upper()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
assert_type(add(1), str)  # E: mypy=[assert-type] pyright=reportAssertTypeFailure


async def in_async_code() -> None:
    await add(1)  # E: mypy=[misc] pyright=reportGeneralTypeIssues
    await fetch(1)  # E: mypy=[arg-type] pyright=reportArgumentType
    data: bytes = fetch("x")  # E: mypy=[assignment] pyright=reportAssignmentType
    fetch("x")  # E: mypy=[unused-coroutine] pyright=reportUnusedCoroutine
    (await fetch("x")).upper().encode()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
    for _ in ticks(1):  # E: mypy=[attr-defined] pyright=reportGeneralTypeIssues
        pass
    async for _ in numbers(1):  # E: mypy=[attr-defined] pyright=reportGeneralTypeIssues
        pass
    async for tick in ticks(1):
        tick.upper()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
    assert_type(data, bytes)


def in_sync_code() -> None:
    for item in numbers(1):
        item.upper()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
    fetch("x").decode()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue


# Options that do not exist, or have the wrong type


@task("name")  # E: mypy=[call-overload] pyright=reportCallIssue
def positional_name() -> None: ...


@task(retrys=3)  # E: mypy=[call-overload] pyright=reportCallIssue
def misspelled() -> None: ...


@task(retries="3")  # E: mypy=[call-overload] pyright=reportArgumentType
def number_as_text() -> None: ...


@task(timeout="3s")  # E: mypy=[call-overload] pyright=reportArgumentType
def duration_as_text() -> None: ...


@task(tags=3)  # E: mypy=[call-overload] pyright=reportArgumentType
def one_tag() -> None: ...


@task(name=lambda: "x")  # E: mypy=[call-overload] pyright=reportArgumentType
def computed_name() -> None: ...


task(len, retrys=3)  # E: mypy=[call-overload] pyright=reportCallIssue
task(3)  # E: mypy=[call-overload] pyright=reportCallIssue
add.options(retrys=3)  # E: mypy=[arg-type] pyright=reportArgumentType
add.options(retries="3")  # E: mypy=[arg-type] pyright=reportArgumentType
add.retries = 3  # E: mypy=[misc] pyright=reportAttributeAccessIssue
add.name = "other"  # E: mypy=[misc] pyright=reportAttributeAccessIssue


@workflow(title="x")  # E: mypy=[call-overload] pyright=reportCallIssue
def entry() -> None: ...


# Caching and datasets

add.cache_key("1")  # E: mypy=[arg-type] pyright=reportArgumentType
add.is_cached()  # E: mypy=[call-arg] pyright=reportCallIssue
add.invalidate(1, z=2)  # E: mypy=[call-arg] pyright=reportCallIssue
add.refresh("1")  # E: mypy=[arg-type] pyright=reportArgumentType
fetch.cache_key(1)  # E: mypy=[arg-type] pyright=reportArgumentType
numbers.is_cached("1")  # E: mypy=[arg-type] pyright=reportArgumentType
ticks.explain("1")  # E: mypy=[arg-type] pyright=reportArgumentType
Shop().price.cache_key(1)  # E: mypy=[arg-type] pyright=reportArgumentType
task(len, cache=3)  # E: mypy=[call-overload] pyright=reportArgumentType
task(len, cache_ttl="1")  # E: mypy=[call-overload] pyright=reportArgumentType
task(len, cache_version=3)  # E: mypy=[call-overload] pyright=reportArgumentType
task(len, cache_hash="key")  # E: mypy=[call-overload] pyright=reportArgumentType
add.options(cache_ignore=3)  # E: mypy=[arg-type] pyright=reportArgumentType
add.options(dataset=3)  # E: mypy=[arg-type] pyright=reportArgumentType
add.cache = True  # E: mypy=[misc] pyright=reportAttributeAccessIssue
session(cache_mode="of")  # E: mypy=[arg-type] pyright=reportArgumentType
session(cache_mode=None)  # E: mypy=[arg-type] pyright=reportArgumentType
session(cache_store=3)  # E: mypy=[arg-type] pyright=reportArgumentType
session(dataset_store=3)  # E: mypy=[arg-type] pyright=reportArgumentType
Settings(cache_mode="of")  # E: mypy=[arg-type] pyright=reportArgumentType
save_dataset("x.json")  # E: mypy=[call-arg] pyright=reportCallIssue
save_dataset("x.json", 1, "json")  # E: mypy=[call-arg] pyright=reportCallIssue
loaded: str = load_dataset("x.json", int)  # E: mypy=[assignment] pyright=reportAssignmentType


# Retry

Retry("3")  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on="OSError")  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on=OSError("instance"))  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on=KeyboardInterrupt)  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on=(OSError, "ValueError"))  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on=lambda: True)  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, on=lambda error: "soon")  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3, delay="1s")  # E: mypy=[arg-type] pyright=reportArgumentType
Retry(3).retries = 5  # E: mypy=[misc] pyright=reportAttributeAccessIssue


# Sessions

current_task().attempt  # E: mypy=[union-attr] pyright=reportOptionalMemberAccess
current_session().name  # E: mypy=[union-attr] pyright=reportOptionalMemberAccess
session(add)  # E: mypy=[arg-type] pyright=reportArgumentType
session(plugins=RecordingHooks())  # E: mypy=[arg-type] pyright=reportArgumentType
session(plugin=[RecordingHooks()])  # E: mypy=[arg-type] pyright=reportArgumentType
session(clock=Clock)  # E: mypy=[arg-type] pyright=reportArgumentType
session(clock=3.0)  # E: mypy=[arg-type] pyright=reportArgumentType
session(settings={"strict_hooks": True})  # E: mypy=[arg-type] pyright=reportArgumentType
session(name=3)  # E: mypy=[arg-type] pyright=reportArgumentType
with session:  # E: mypy=[attr-defined] pyright=reportGeneralTypeIssues
    pass
with session() as context:
    same: SessionContext = context
    context.nonsense  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
Settings(True)  # E: mypy=[call-arg] pyright=reportCallIssue
Settings(strict_hook=True)  # E: mypy=[call-arg] pyright=reportCallIssue
Settings(strict_hooks="yes")  # E: mypy=[arg-type] pyright=reportArgumentType
Settings().strict_hooks = True  # E: mypy=[misc] pyright=reportAttributeAccessIssue
Clock(sleep=lambda: None)  # E: mypy=[arg-type] pyright=reportArgumentType
Clock(async_sleep=lambda seconds: None)  # E: mypy=[arg-type] pyright=reportArgumentType


# Hooks


class Printer:
    @hook_impl(wrapper=True)  # E: mypy=[call-overload] pyright=reportCallIssue
    def before_node_execute(self) -> None: ...

    @hook_impl("first")  # E: mypy=[call-overload] pyright=reportArgumentType
    def on_node_error(self) -> None: ...

    @hook_impl
    def after_node_execute(self, result: int) -> int:
        return result


Printer().after_node_execute("1")  # E: mypy=[arg-type] pyright=reportArgumentType
register_plugins(plugins=[Printer()])  # E: mypy=[call-arg] pyright=reportCallIssue


# Threads

with ContextExecutor(ThreadPoolExecutor()) as pool:
    pool.submit(add, "1")  # E: mypy=[arg-type] pyright=reportArgumentType
    pool.submit(add, 1).result().upper()  # E: mypy=[attr-defined] pyright=reportAttributeAccessIssue
    pool.submit(3)  # E: mypy=[arg-type] pyright=reportCallIssue
ContextExecutor("threads")  # E: mypy=[arg-type] pyright=reportArgumentType


# Maps

map_tasks(add)(1)  # E: mypy=[operator] pyright=reportCallIssue
map_tasks(add, 5)  # E: mypy=[call-overload] pyright=reportArgumentType
map_tasks(add, [1], errors="retrun")  # E: mypy=[call-overload] pyright=reportArgumentType
map_tasks(add, [1], limit=3)  # E: mypy=[call-overload] pyright=reportCallIssue
gather_tasks(add, [1])  # E: mypy=[arg-type] pyright=reportArgumentType
gather_tasks(ticks, [1], ordered=True)  # E: mypy=[call-overload] pyright=reportCallIssue
aiter_tasks(add, [1])  # E: mypy=[arg-type] pyright=reportArgumentType
