"""What the items of maps raise, and what cannot travel: it concerns its own item, and arrives as what it is."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from pathlib import Path
from typing import Any

import pytest

from eagerly import Settings, iter_tasks, map_tasks, session, task
from eagerly.errors import BackendError, RemoteError, TaskError
from eagerly.testing import RecordingHooks
from kinds import frames_of_ours
from mapped import (
    BreaksWhenRead,
    ComesBackAsAnother,
    ExitsWhenRead,
    HoldsALock,
    KeywordOnly,
    LosesItsText,
    NoText,
    Odd,
    SlotsError,
    TwoArguments,
    fail_after,
    give,
    raises,
    raises_async,
    square,
    take,
)

TRAVEL_NOT = {
    "two arguments": TwoArguments,
    "keyword only": KeywordOnly,
    "lock": HoldsALock,
    "another": ComesBackAsAnother,
    "loses its text": LosesItsText,
}
"""Errors that pickle refuses, or would change."""


def far(engine: Any) -> bool:
    """Whether its workers are other processes."""
    from eagerly.backends._registry import resolve_backend

    return not resolve_backend(engine).capabilities.in_process


def test_errors_stand_in_their_places_and_their_mates_keep_their_results(engine: Any) -> None:
    sorts = ["a", "slots", "b", *TRAVEL_NOT, "c", "no text", "local", "d"]
    found = map_tasks(raises, sorts, errors="return", backend=engine, chunk=len(sorts))
    at = dict(zip(sorts, found, strict=True))
    assert [at[each] for each in "abcd"] == ["a", "b", "c", "d"]
    assert type(at["slots"]) is SlotsError
    assert at["slots"].code == 4
    assert type(at["local"]).__name__ == "Local"
    for sort, cls in TRAVEL_NOT.items():
        error = at[sort]
        if far(engine):
            assert type(error) is RemoteError, sort
            assert error.type_name == f"mapped.{cls.__name__}"
            assert "in raised" in error.traceback
        else:
            assert type(error) is cls
    assert type(at["no text"]) in (NoText, RemoteError)


@pytest.mark.parametrize("make", [raises, raises_async], ids=["sync", "async"])
def test_causes_contexts_groups_and_notes_arrive(engine: Any, make: Any) -> None:
    sorts = ["caused", "in the course of", "suppressed", "noted", "group", "os error", "unicode"]
    caused, course, suppressed, noted, group, os_error, unicode = map_tasks(
        make, sorts, errors="return", backend=engine
    )
    assert type(caused) is FileNotFoundError
    assert caused.filename == "c.py"
    assert isinstance(caused.__cause__, RemoteError if far(engine) else TwoArguments)
    assert "c.py, line 2" in str(caused.__cause__)
    assert type(course) is ValueError
    assert not course.__suppress_context__
    assert "first" in "".join(traceback.format_exception(course))
    assert suppressed.__suppress_context__
    assert noted.__notes__[0] == "look here"
    assert noted.detail == 7
    assert type(group) is ExceptionGroup
    one, inner = group.exceptions
    assert (type(one), type(inner)) == (ValueError, ExceptionGroup)
    assert type(inner.exceptions[0]) is (RemoteError if far(engine) else TwoArguments)
    assert os_error.filename == "/no/such/file"
    assert unicode.object == b"\xff"


def test_a_context_that_is_no_cause_arrives(engine: Any) -> None:
    (error,) = map_tasks(raises, ["in the course of"], errors="return", backend=engine)
    assert type(error.__context__) is KeyError


@pytest.mark.parametrize("errors", ["raise", "return", "skip"])
@pytest.mark.parametrize(("sort", "cls"), [("system exit", SystemExit), ("keyboard interrupt", KeyboardInterrupt)])
@pytest.mark.parametrize("make", [raises, raises_async], ids=["sync", "async"])
def test_what_ends_programs_ends_the_map(engine: Any, errors: Any, sort: str, cls: Any, make: Any) -> None:
    with pytest.raises(cls):
        map_tasks(make, ["a", sort, "b"], errors=errors, backend=engine)
    assert map_tasks(square, range(4), backend=engine) == [0, 1, 4, 9]


def test_a_group_of_what_ends_programs_ends_the_map(engine: Any) -> None:
    with pytest.raises(BaseExceptionGroup):
        map_tasks(raises, ["a", "base group"], errors="return", backend=engine)


def test_what_ends_programs_does_so_even_if_it_cannot_travel(engine: Any) -> None:
    with pytest.raises(SystemExit):
        map_tasks(raises, ["a", "own exit"], errors="return", backend=engine)


def test_large_groups_and_circles_arrive(engine: Any) -> None:
    group, circle = map_tasks(raises, ["large group", "circle"], errors="return", backend=engine)
    assert [each.args for each in group.exceptions] == [(number,) for number in range(300)]
    assert circle.__cause__.args == ("two",)


def test_odd_ends_of_functions_are_errors_of_their_items(engine: Any) -> None:
    found = map_tasks(raises, ["stop iteration", "a"], errors="return", backend=engine)
    assert type(found[0]) is StopIteration
    assert found[0].value == 3
    assert found[1] == "a"
    with pytest.raises(GeneratorExit):
        map_tasks(raises, ["generator exit", "a"], errors="return", backend=engine)


def test_stop_iteration_does_not_end_the_map_silently(engine: Any) -> None:
    with pytest.raises((StopIteration, RuntimeError)) as caught:
        map_tasks(raises, ["a", "stop iteration", "b"], backend=engine)
    error = caught.value.__cause__ if isinstance(caught.value, RuntimeError) else caught.value
    assert type(error) is StopIteration


def test_the_note_names_item_arguments_and_traceback(engine: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        map_tasks(raises, ["a", "os error", "b"], backend=engine)
    notes = "\n".join(caught.value.__notes__)
    assert "item 1 of a map: 'os error'" in notes
    assert ("Traceback in the worker" in notes) == far(engine)
    text = "".join(traceback.format_exception(caught.value))
    assert "in raised" in text
    assert text.count("in raised") == 1


def test_errors_whose_notes_fail_do_not_matter(engine: Any) -> None:
    found = map_tasks(raises, ["no notes", "a"], errors="return", backend=engine)
    assert type(found[0]).__name__ == "NoNotes"
    assert found[1] == "a"


def test_arguments_that_cannot_be_shown_do_not_matter(engine: Any) -> None:
    @task
    def fail(value: Any) -> None:
        raise ValueError(value.number)

    found = map_tasks(fail, [Odd(1), Odd(2)], errors="return", backend=engine)
    assert [each.args for each in found] == [(1,), (2,)]


@pytest.mark.parametrize("wrap", ["task", "settings"])
def test_wrapped_errors_are_wrapped_in_every_worker(engine: Any, wrap: str) -> None:
    hooks = RecordingHooks()
    failing = raises.options(wrap_errors=True) if wrap == "task" else raises
    settings = Settings(wrap_errors=True) if wrap == "settings" else None
    with session(plugins=[hooks], settings=settings):
        slots, caused, fine = map_tasks(failing, ["slots", "caused", "a"], errors="return", backend=engine)
    assert (type(slots), type(caused), fine) == (TaskError, TaskError, "a")
    assert slots.attempts == 1
    assert slots.metadata.map_index == 0
    assert slots.metadata.inputs == {"sort": "slots"}
    assert type(slots.__cause__) is SlotsError
    assert type(caused.__cause__) is FileNotFoundError
    errors = [event.error for event in hooks.events if event.hook == "on_node_error"]
    assert sorted(type(each).__name__ for each in errors) == ["FileNotFoundError", "SlotsError"]
    hooks.verify()


def test_results_that_cannot_travel_fail_alone(engine: Any) -> None:
    hooks = RecordingHooks()
    sorts = ["a", "lock", "b", "breaks", "c", "generator", "lambda", "error", "odd"]
    with session(plugins=[hooks]):
        found = map_tasks(give, sorts, errors="return", backend=engine, chunk=len(sorts))
    at = dict(zip(sorts, found, strict=True))
    assert [at[each] for each in "abc"] == ["a", "b", "c"]
    assert at["lambda"](1) == 2
    assert type(at["error"]) is ValueError
    assert at["odd"].number == 3
    hooks.verify()
    if far(engine):
        for sort in ("lock", "breaks", "generator"):
            assert type(at[sort]) is BackendError
            assert "its result" in str(at[sort]) or "the result" in str(at[sort])
        failed = [event.metadata.map_index for event in hooks.events if event.hook == "on_node_error"]
        assert sorted(failed) == [1, 3, 5]


def test_arguments_that_cannot_travel_fail_alone(engine: Any) -> None:
    hooks = RecordingHooks()
    arguments = [1, BreaksWhenRead(), "two", (x for x in ()), 3.0]
    with session(plugins=[hooks]):
        found = map_tasks(take, arguments, errors="return", backend=engine, chunk=5)
    assert found[0::2] == ["int", "str", "float"]
    hooks.verify()
    if far(engine):
        assert [type(each) for each in found[1::2]] == [BackendError, BackendError]
        assert "cannot be read there: ZeroDivisionError" in str(found[1])
        assert "cannot travel" in str(found[3])
        started = [event.metadata.map_index for event in hooks.events if event.hook == "before_node_execute"]
        assert sorted(started) == [0, 2, 4]


def test_a_value_that_is_an_error_is_a_result(engine: Any) -> None:
    (found,) = map_tasks(give, ["error"], backend=engine)
    assert type(found) is ValueError
    assert map_tasks(give, ["error"], backend=engine, errors="skip")[0].args == ("a result",)


def test_the_iterable_may_fail(engine: Any) -> None:
    def numbers() -> Any:
        yield from range(5)
        raise OSError("no more")

    got: list[int] = []
    with pytest.raises(OSError, match="no more"):
        got.extend(iter_tasks(square, numbers(), backend=engine))
    assert got == [0, 1, 4, 9, 16]


def test_values_that_end_programs_when_read_end_nothing_silently(engine: Any) -> None:
    """What a hostile pickle does concerns its item, or the program, and nothing hangs."""
    found = map_tasks(take, [1, ExitsWhenRead(), 2], backend=engine, errors="return")
    assert found[0::2] == ["int", "int"]
    assert isinstance(found[1], BackendError if far(engine) else str)
    with pytest.raises(SystemExit) if far(engine) else contextlib.nullcontext():
        map_tasks(give, ["exits"], backend=engine, errors="return")
    assert map_tasks(square, range(4), backend=engine) == [0, 1, 4, 9]


def test_the_first_error_by_time_is_raised(engine: Any, tmp_path: Path) -> None:
    """Item 1 fails first, and item 0 only when it is asked to stop, or sees that the other has failed."""
    from eagerly.backends._registry import resolve_backend

    backend = resolve_backend(engine)
    backend.open()
    if backend.capabilities.workers < 2:
        pytest.skip("one worker has one item at a time")
    with pytest.raises(TwoArguments if not far(engine) else RemoteError, match="line 1"):
        map_tasks(fail_after, range(2), itertools.repeat(str(tmp_path / "failed")), backend=engine, chunk=1)


def test_what_an_item_raises_is_free_of_our_frames(engine: Any) -> None:
    with pytest.raises(SlotsError) as caught:
        map_tasks(raises, ["slots"], backend=engine)
    assert len(frames_of_ours(caught.value)) <= 8
    notes = [each for each in caught.value.__notes__ if each.startswith("eagerly: raised for item")]
    assert len(notes) == 1
    assert "_remote.py" not in notes[0]
    assert "_item_run.py" not in notes[0]


def test_results_after_a_failure_in_the_same_chunk_stay_in_their_places(engine: Any) -> None:
    """Whatever has come in between: an error, an argument that cannot be read, a result that cannot be sent."""
    sorts = ["a", "b", "os error", "c", "d", "slots", "e"]
    found = map_tasks(raises, sorts, errors="return", backend=engine, chunk=7)
    assert [each if isinstance(each, str) else type(each).__name__ for each in found] == [
        *("a", "b", "FileNotFoundError", "c", "d", "SlotsError", "e")
    ]
    arguments = [1, 2, BreaksWhenRead(), 3, "x", BreaksWhenRead(), 4.0]
    found = map_tasks(take, arguments, errors="skip" if far(engine) else "raise", backend=engine, chunk=7)
    assert [each for each in found if each != "BreaksWhenRead"] == ["int", "int", "int", "str", "float"]
    found = map_tasks(give, ["a", "b", "lock", "c", "d"], errors="return", backend=engine, chunk=5)
    assert found[:2] + found[3:] == ["a", "b", "c", "d"]
