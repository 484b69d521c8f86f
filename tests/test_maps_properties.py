"""Whatever the lengths, chunks, windows and failures: a map gives what a plain loop gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eagerly import iter_tasks, map_tasks, session, task
from eagerly.testing import RecordingHooks


class Refused(Exception):
    """What bad items raise."""


@task
def check(item: tuple[str, int]) -> int:
    sort, number = item
    if sort == "bad":
        raise Refused(number)
    return number * 3


@task
def check_two(sort: str, number: int) -> int:
    return check.func((sort, number))  # type: ignore[no-any-return]  # the undecorated function


def plain(items: list[tuple[str, int]], errors: str) -> list[Any]:
    """What a loop gives: of errors their arguments."""
    found: list[Any] = []
    for item in items:
        try:
            found.append(check.func(item))
        except Refused as error:
            if errors == "raise":
                raise
            if errors == "return":
                found.append(error.args)
    return found


def shown(results: list[Any]) -> list[Any]:
    return [each.args if isinstance(each, Refused) else each for each in results]


ITEMS = st.lists(st.tuples(st.sampled_from(["good", "good", "good", "bad"]), st.integers(-5, 5)), max_size=40)
CHUNKS: st.SearchStrategy[int | Literal["auto"]] = st.one_of(st.just("auto"), st.integers(1, 12))  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
@given(data=st.data(), items=ITEMS, ordered=st.booleans(), errors=st.sampled_from(["raise", "return", "skip"]))
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_map_is_a_loop(
    backend: str,
    thread_backend: Any,
    process_backend: Any,
    data: st.DataObject,
    items: list[tuple[str, int]],
    ordered: bool,
    errors: Any,
) -> None:
    engine = {"inline": "inline", "thread": thread_backend, "process": process_backend}[backend]
    chunk = data.draw(CHUNKS)
    window = data.draw(st.one_of(st.none(), st.integers(chunk if isinstance(chunk, int) else 1, 30)))
    lazily, twice = data.draw(st.booleans()), data.draw(st.booleans())
    hooks = RecordingHooks()
    source: Iterator[Any] | list[Any] = iter(items) if lazily else items
    options: dict[str, Any] = {
        "backend": engine,
        "chunk": chunk,
        "window": window,
        "ordered": ordered,
        "errors": errors,
    }
    with session(plugins=[hooks]):
        failure, found = None, []
        try:
            if twice:
                found = (
                    map_tasks(check_two, *(iter(column) for column in zip(*items, strict=True)), **options)
                    if items
                    else []
                )
            else:
                found = [*iter_tasks(check, source, **options)]
        except Refused as error:
            failure = error
    hooks.verify()
    bad = [number for sort, number in items if sort == "bad"]
    if errors == "raise" and bad:
        assert failure is not None
        assert failure.args[0] in bad
        if backend == "inline":
            assert failure.args[0] == bad[0]
        return
    assert failure is None
    expected = plain(items, errors)
    assert shown(found) == expected if ordered else sorted(map(str, shown(found))) == sorted(map(str, expected))
    assert sorted(event.metadata.map_index for event in hooks.events if event.hook == "before_node_execute") == [
        *range(len(items))
    ]


@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
@given(taken=st.integers(0, 15), window=st.integers(1, 9), chunk=st.integers(1, 9), ordered=st.booleans())
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_more_is_taken_than_the_window(
    backend: str, thread_backend: Any, process_backend: Any, taken: int, window: int, chunk: int, ordered: bool
) -> None:
    engine = {"inline": "inline", "thread": thread_backend, "process": process_backend}[backend]
    chunk = min(chunk, window)
    read: list[int] = []

    def numbers() -> Iterator[tuple[str, int]]:
        for number in itertools.count():
            read.append(number)
            yield "good", number

    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        results = iter_tasks(check, numbers(), backend=engine, window=window, chunk=chunk, ordered=ordered)
        found = [*itertools.islice(results, taken)]
        assert len(read) <= taken + window
    hooks.verify()
    if ordered:
        assert found == [number * 3 for number in range(taken)]
    else:
        assert len({*found}) == taken
