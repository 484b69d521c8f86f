"""What `map_tasks` hears while a chunk goes on: results nobody looks at before all are there, but at all else."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import map_bodies as bodies
from eagerly import hook_impl, map_tasks, session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals")


@pytest.fixture(scope="module")
def process() -> Iterator[Any]:
    with bodies.engine("process", 1) as backend:
        yield backend


class Listener:
    """Says in a file that it has heard something."""

    def __init__(self, folder: Path) -> None:
        self.heard = folder / "heard"

    @hook_impl
    def on_event(self, name: str) -> None:
        assert name == "said"
        self.heard.touch()


class Handler(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.heard = folder / "heard"

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.touch()


def test_results_that_were_sent_before_a_crash_are_not_made_again(process: Any, tmp_path: Path) -> None:
    items = [(str(tmp_path), number) for number in range(4)]
    assert map_tasks(bodies.busy_then_die, items, backend=process, chunk=4, on_crash="retry") == [0, 1, 2, 3]
    assert [bodies.attempts_at(tmp_path, number) for number in range(4)] == [1, 1, 2, 1]


def test_what_threads_tell_meanwhile_has_no_item_done_again(process: Any, tmp_path: Path) -> None:
    """They send what there is, also while a result is added to it."""

    class Listens:
        @hook_impl
        def on_event(self, name: str) -> None:
            assert name == "beat"

    items = [(str(tmp_path), number) for number in range(1500)]
    with session(plugins=[Listens()]):
        assert map_tasks(bodies.talk_on, items, backend=process, chunk=500) == [*range(1500)]
    assert Counter((tmp_path / "bodies").read_text().split()).most_common(1)[0][1] == 1


def test_an_error_is_heard_of_at_once(process: Any, tmp_path: Path) -> None:
    with pytest.raises(bodies.RefusedError):
        map_tasks(bodies.fail_and_go_on, [(str(tmp_path), number) for number in range(3)], backend=process, chunk=3)
    assert not (tmp_path / "never heard").exists()


def test_an_event_is_heard_of_at_once(process: Any, tmp_path: Path) -> None:
    items = [(str(tmp_path), how) for how in ("event", "wait")]
    with session(plugins=[Listener(tmp_path)]):
        assert map_tasks(bodies.report_and_wait, items, backend=process, chunk=2) == ["event", "wait"]


def test_a_log_record_is_heard_of_at_once(process: Any, tmp_path: Path) -> None:
    logger, handler = logging.getLogger("mapped"), Handler(tmp_path)
    logger.addHandler(handler)
    try:
        items = [(str(tmp_path), how) for how in ("log", "wait")]
        assert map_tasks(bodies.report_and_wait, items, backend=process, chunk=2) == ["log", "wait"]
    finally:
        logger.removeHandler(handler)
