"""Two calls of one session that would save under one key: refused, unless they are the same code and arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mapped
from eagerly import DatasetStore, load_dataset, map_tasks, session, task
from eagerly.errors import DatasetKeyError


@pytest.fixture(autouse=True)
def here(tmp_path: Path) -> Iterator[None]:
    with session(dataset_store=tmp_path / "data"):
        yield


def reporting(number: int) -> Callable[[str], int]:
    """A task of a factory: its like differ in what they have in their closure."""

    @task(dataset="reports/{day}.json")
    def report(day: str) -> int:
        return number

    return report


class TestWhoIsTheSame:
    def test_tasks_of_a_factory_with_other_closures_are_others(self) -> None:
        reporting(1)("mon")
        with pytest.raises(DatasetKeyError, match="has been saved by another call"):
            reporting(2)("mon")
        assert load_dataset("reports/mon.json") == 1

    def test_with_the_same_closure_they_are_the_same(self) -> None:
        reporting(1)("mon")
        assert reporting(1)("mon") == 1

    def test_two_lambdas_are_two_tasks(self) -> None:
        task(lambda x: "A", dataset="{x}.json")(1)
        with pytest.raises(DatasetKeyError, match="has been saved by another call"):
            task(lambda x: "B", dataset="{x}.json")(1)
        assert load_dataset("1.json") == "A"

    def test_a_copy_with_other_options_is_the_same(self) -> None:
        report: Any = reporting(1)
        report("mon")
        assert report.options(retries=1)("mon") == 1

    def test_so_it_is_when_its_closure_has_changed_meanwhile(self) -> None:
        seen: list[str] = []
        report: Any = task(lambda day: seen.append(day) or len(seen), dataset="{day}.json")
        assert report.options(retries=1)("mon") == 1
        assert report.options(retries=2)("mon") == 2

    @pytest.mark.parametrize("pair", [(0.0, -0.0), (1, True), (1, 1.0), (0, False), ("1", 1), (None, "None")], ids=repr)
    def test_arguments_that_are_only_equal_are_others(self, pair: tuple[Any, Any]) -> None:
        keep = task(repr_of, dataset="x.json")
        keep(pair[0])
        with pytest.raises(DatasetKeyError, match="has been saved by another call"):
            keep(pair[1])
        assert load_dataset("x.json") == repr(pair[0])

    @pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "-0.0", "'x'", "None"])
    def test_those_that_are_written_alike_are_the_same(self, value: str) -> None:
        keep = task(repr_of, dataset="x.json")
        assert keep(eval(value)) == keep(eval(value))

    def test_the_items_of_a_map_are_told_apart_as_calls_are(self) -> None:
        keep = task(repr_of, dataset="x.json")
        found = map_tasks(keep, [0.0, -0.0, 0.0], backend="thread", errors="return")
        refused = [type(each) is DatasetKeyError for each in found]
        assert refused in ([False, True, False], [True, False, True])  # whichever was first
        assert load_dataset("x.json") == next(each for each in found if isinstance(each, str))

    def test_a_number_too_long_to_be_written_down(self) -> None:
        keep = task(lambda x: 1, dataset="x.json")
        keep(10**5000)
        with pytest.raises(DatasetKeyError, match="has been saved by another call"):
            keep(10**5000)


def repr_of(x: object) -> str:
    return repr(x)


class TestInWorkers:
    """Each claims for itself: what another one has saved is seen when it is to be replaced."""

    @pytest.mark.parametrize("body", [mapped.saved_by_hand, mapped.saved_by_call, mapped.saved_by_stream], ids=repr)
    def test_of_two_that_save_one_dataset_one_is_refused(self, body: Any, process_backend: Any, tmp_path: Path) -> None:
        found = map_tasks(body, [1, 2], [str(tmp_path)] * 2, backend=process_backend, chunk=1, errors="return")
        (refused,) = [each for each in found if type(each) is DatasetKeyError]
        (kept,) = [each for each in found if type(each) is int]
        assert "has been saved by another call in this session" in str(refused)
        assert load_dataset(refused.key) == (kept if body is not mapped.saved_by_stream else [kept])

    def test_the_same_call_with_the_same_arguments_is_fine(self, process_backend: Any, tmp_path: Path) -> None:
        assert map_tasks(mapped.saved_alike, [1, 2], [str(tmp_path)] * 2, backend=process_backend, chunk=1) == [0, 0]

    def test_a_store_that_overwrites_refuses_nothing(self, process_backend: Any, tmp_path: Path) -> None:
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        with session(dataset_store=DatasetStore(tmp_path / "data", overwrite=True)):
            found = map_tasks(mapped.saved_by_hand, [1, 2], [str(meeting)] * 2, backend=process_backend, chunk=1)
        assert found == [1, 2]

    def test_another_session_replaces_what_is_there(self, process_backend: Any, tmp_path: Path) -> None:
        for number in (1, 2):
            meeting = tmp_path / f"meeting-{number}"
            meeting.mkdir()
            meeting.joinpath("somebody").touch()
            with session(dataset_store=tmp_path / "data"):
                map_tasks(mapped.saved_by_hand, [number], [str(meeting)], backend=process_backend)
        assert load_dataset("same.json") == 2

    def test_what_is_done_again_after_a_crash_may_save_again(self, process_backend: Any, tmp_path: Path) -> None:
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        body = mapped.saved_before_a_death.options(retries=1)
        assert map_tasks(body, [7], [str(meeting)], backend=process_backend, on_crash="retry") == [7]
        assert meeting.joinpath("died").exists()
        assert load_dataset("same.json") == 7
