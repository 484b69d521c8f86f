"""``progress=`` of the four maps: on a terminal, elsewhere, in a plugin's display, and nowhere when not asked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import io
import os
import pty
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eagerly import aiter_tasks, gather_tasks, hook_impl, iter_tasks, map_tasks, session, task
from eagerly.plugins import ProgressPlugin
from eagerly.testing import instant_clock
from eagerly.typing import ProgressLine
from kinds import Kind, TheirError
from screens import COLOUR, HIDE_CURSOR, SHOW_CURSOR, Screen, on_screen
from works import readable


async def _collect(task: Any, *iterables: Any, **options: Any) -> list[Any]:
    return [result async for result in aiter_tasks(task, *iterables, **options)]


MAPS: dict[str, tuple[Callable[..., Any], tuple[Kind, ...]]] = {
    "map_tasks": (map_tasks, (Kind.SYNC, Kind.STREAM, Kind.ASYNC, Kind.ASYNC_STREAM)),
    "iter_tasks": (lambda *items, **options: list(iter_tasks(*items, **options)), (Kind.SYNC, Kind.STREAM)),
    "gather_tasks": (
        lambda *items, **options: asyncio.run(gather_tasks(*items, **options)),
        (Kind.ASYNC, Kind.ASYNC_STREAM),
    ),
    "aiter_tasks": (
        lambda *items, **options: asyncio.run(_collect(*items, **options)),
        (Kind.ASYNC, Kind.ASYNC_STREAM),
    ),
}
every_map = pytest.mark.parametrize(
    ("run", "kind"),
    [pytest.param(run, kind, id=f"{name}-{kind.value}") for name, (run, kinds) in MAPS.items() for kind in kinds],
)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is the same wherever the tests run."""
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


@pytest.fixture
def file() -> io.StringIO:
    """What is written to the standard error stream, which is no terminal."""
    return io.StringIO()


@pytest.fixture
def screen() -> Screen:
    """What is written to the standard error stream, which is a terminal."""
    return Screen()


def redirected(test: Any) -> Any:
    """Puts `file` or `screen` in the place of the standard error stream, after pytest has put its own there."""
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def run_async(**fixtures: Any) -> None:
            with contextlib.redirect_stderr(fixtures["screen"]):
                await test(**fixtures)

        return run_async

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with contextlib.redirect_stderr(fixtures["file"] if "file" in fixtures else fixtures["screen"]):
            test(**fixtures)

    return run


def lines(text: str) -> list[str]:
    """Without times and rates, which depend on the machine."""
    return [
        re.sub(r"  [\d,.]+/(s|min|h)\b|(in|after) [\d.]+ s", r"\2", line).replace("  in", "")
        for line in text.splitlines()
    ]


def odd_ones_fail(x: int) -> int:
    if x % 2:
        raise TheirError(x)
    return x


# Anywhere


@every_map
def test_nothing_is_shown_when_not_asked(run: Any, kind: Kind, capfd: pytest.CaptureFixture[str]) -> None:
    for progress in (None, False):
        run(kind.make(odd_ones_fail), range(3), errors="skip", progress=progress)
    assert capfd.readouterr() == ("", "")


# In files and pipes


@every_map
@redirected
def test_a_line_at_the_beginning_and_one_at_the_end(run: Any, kind: Kind, file: io.StringIO) -> None:
    run(kind.make(odd_ones_fail), range(5), errors="skip", progress=True)
    assert lines(file.getvalue()) == ["odd_ones_fail  0/5", "odd_ones_fail  5/5  2 failed"]


@every_map
@redirected
def test_a_label_and_a_total_that_is_known_later(run: Any, kind: Kind, file: io.StringIO) -> None:
    run(kind.make(lambda x: x), iter(range(1200)), progress="the items")
    assert lines(file.getvalue()) == ["the items  0", "the items  1,200/1,200  none failed"]


@every_map
@redirected
def test_a_map_that_ends_with_an_error_says_that_it_was_stopped(run: Any, kind: Kind, file: io.StringIO) -> None:
    with pytest.raises(TheirError):
        run(kind.make(odd_ones_fail), range(5), progress=True)
    last = lines(file.getvalue())[-1]
    assert re.fullmatch(r"odd_ones_fail  [123]/5  stopped after  [12] failed", last), last


@redirected
def test_a_consumer_that_stops_says_so_too(file: io.StringIO) -> None:
    results = iter_tasks(task(lambda x: x), iter(int, 1), progress="zeros")
    for _ in range(3):
        next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert lines(file.getvalue()) == ["zeros  0", "zeros  3  stopped after  none failed"]


@redirected
def test_lines_come_now_and_then(file: io.StringIO) -> None:
    """Told by the clock of the session: one item takes a second."""
    clock = instant_clock()

    @task
    def second(x: int) -> None:
        clock.advance(1)

    with session(clock=clock):
        map_tasks(second, range(100), progress="seconds")
    assert file.getvalue().splitlines() == [
        "seconds  0/100",
        *[
            f"seconds  {done}/100  1.0/s  {f'{float(100 - done)} s' if done > 90 else f'{_minutes(100 - done)}'} left"
            for done in range(5, 100, 5)
        ],
        "seconds  100/100  in 1 min 40 s  1.0/s  none failed",
    ]


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"1 min {seconds - 60:02} s"


@redirected
def test_a_tenth_is_worth_a_line_but_not_more_than_one_a_second(file: io.StringIO) -> None:
    clock = instant_clock()

    @task
    def quick(x: int) -> None:
        clock.advance(0.125)

    with session(clock=clock):
        map_tasks(quick, range(40), progress="quick")
    told = [int(line.split("  ")[1].partition("/")[0]) for line in file.getvalue().splitlines()]
    assert told == [0, 8, 16, 24, 32, 40]


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.0004, "2,500/s"), (0.01, "100/s"), (0.5, "2.0/s"), (5, "12/min"), (40, "1.5/min"), (1200, "3.0/h")],
)
@redirected
def test_slow_and_fast(seconds: float, says: str, file: io.StringIO) -> None:
    clock = instant_clock()

    @task
    def slow(x: int) -> None:
        clock.advance(seconds)

    with session(clock=clock):
        map_tasks(slow, range(10), progress="slow")
    assert file.getvalue().splitlines()[-1].split("  ")[3] == says


@redirected
def test_hours_are_told_as_hours(file: io.StringIO) -> None:
    clock = instant_clock()
    with session(clock=clock):
        map_tasks(task(lambda x: clock.advance(x)), [11225], progress="long")
    assert "in 3 h 07 min" in file.getvalue()


@redirected
def test_labels_neither_break_lines_nor_steer_terminals(file: io.StringIO) -> None:
    map_tasks(task(lambda x: x), [1], progress="two\nlines \x1b[2J" + 50 * "x")
    first, *_ = file.getvalue().splitlines()
    assert first == "two lines ?[2Jxxxxxxxxxxxxxxx…  0/1"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_more_than_the_encoding_has(encoding: str) -> None:
    raw = io.BytesIO()
    with contextlib.redirect_stderr(io.TextIOWrapper(raw, encoding=encoding)):
        map_tasks(task(lambda x: x), [1], progress="é" * 50)
    assert raw.getvalue().startswith(b"?" * 29 + b"...  0/1\n")


@redirected
def test_a_closed_file_is_no_reason_to_fail(file: io.StringIO) -> None:
    @task
    def close(x: int) -> int:
        file.close()
        return x

    assert map_tasks(close, [1, 2], progress=True) == [1, 2]


def test_no_file_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert map_tasks(task(lambda x: x), [1, 2], progress=True) == [1, 2]


def test_a_broken_pipe_is_no_reason_to_fail() -> None:
    script = """
    import sys
    from eagerly import map_tasks, task
    sys.stdin.readline()  # until nobody reads what is written to the standard error stream
    print(sum(map_tasks(task(lambda x: x), range(4), progress=True)))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    output, _ = process.communicate("go\n", timeout=60)
    assert output == "6\n"
    assert process.returncode in (0, 120)  # 120: Python itself cannot flush the stream when it ends


# On a terminal


@every_map
@redirected
def test_the_last_line_stays(run: Any, kind: Kind, screen: Screen) -> None:
    run(kind.make(odd_ones_fail), range(5), errors="skip", progress=True)
    assert lines("\n".join(screen.last)) == ["odd_ones_fail  5/5  2 failed"]
    assert screen.getvalue().count(HIDE_CURSOR) == screen.getvalue().count(SHOW_CURSOR) == 1


@redirected
def test_while_it_runs_there_is_a_bar(screen: Screen) -> None:
    @task
    def look(x: int) -> None:
        if x == 2:
            screen.wait_for("━─")

    map_tasks(look, range(4), progress="the map")
    shown = COLOUR.sub("", screen.getvalue())
    assert re.search(r"the map  ━{10,}─{10,}  2/4", shown)


@redirected
def test_without_a_total_there_is_no_bar(screen: Screen) -> None:
    @task
    def look(x: int) -> None:
        if x == 2:
            screen.wait_for("the map  2")

    map_tasks(look, iter(range(4)), progress="the map")
    assert "━" not in screen.getvalue()


@redirected
def test_what_the_program_prints_goes_above(screen: Screen) -> None:
    @task
    def speak(x: int) -> None:
        sys.stderr.write(f"item {x}\n")

    map_tasks(speak, range(2), progress="the map")
    assert lines("\n".join(screen.last)) == ["item 0", "item 1", "the map  2/2  none failed"]


@redirected
async def test_several_at_once_share_the_place(screen: Screen) -> None:
    both = asyncio.Barrier(2)

    @task
    async def look(x: int) -> None:
        await both.wait()
        await asyncio.to_thread(screen.wait_for, "second")

    await asyncio.gather(gather_tasks(look, [1], progress="first"), gather_tasks(look, [1], progress="second"))
    assert sorted(lines("\n".join(screen.last))) == ["first  1/1  none failed", "second  1/1  none failed"]
    assert screen.getvalue().count(HIDE_CURSOR) == 1


@redirected
def test_a_map_within_a_map(screen: Screen) -> None:
    @task
    def inner(x: int) -> int:
        return x

    @task
    def outer(x: int) -> list[int]:
        return map_tasks(inner, range(x), progress=f"inner {x}")

    map_tasks(outer, [1, 2], progress="outer")
    assert lines("\n".join(screen.last)) == [
        "inner 1  1/1  none failed",
        "inner 2  2/2  none failed",
        "outer  2/2  none failed",
    ]


@pytest.mark.parametrize("colour", [True, False])
@redirected
def test_colours_unless_they_are_not_wanted(colour: bool, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    map_tasks(task(odd_ones_fail), range(2), errors="skip", progress=True)
    assert bool(COLOUR.search(screen.getvalue())) == colour


@pytest.mark.parametrize("why", ["TERM", "CI", "no rich"])
@redirected
def test_terminals_that_get_plain_lines(why: str, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "no rich":
        for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "rich", None)
    else:
        monkeypatch.setenv(why, {"TERM": "dumb", "CI": "true"}[why])
    map_tasks(task(odd_ones_fail), range(2), errors="skip", progress=True)
    assert lines(screen.getvalue()) == ["odd_ones_fail  0/2", "odd_ones_fail  2/2  1 failed"]


def run_in_terminal(script: str, **environment: str) -> str:
    """What a program writes to a real terminal of 80 columns."""
    own, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "COLUMNS": "80", "LINES": "24", **environment},
    )
    os.close(its)
    output = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open any more
        while readable(own, 60) and (part := os.read(own, 4096)):
            output += part
    os.close(own)
    assert process.wait(60) == 0, output
    return output.decode()


def test_a_real_terminal() -> None:
    output = run_in_terminal(
        """
        from eagerly import map_tasks, task

        @task
        def work(x):
            print("item", x)
            if x == 2:
                raise ValueError

        map_tasks(work, range(4), progress=True, errors="skip")
        print("after")
        """
    )
    *above, last, after = on_screen(output)
    assert above == [f"item {x}" for x in range(4)]
    assert lines(last) == ["work  4/4  1 failed"]
    assert after == "after"


def test_a_program_that_leaves_a_map_unread_gets_its_cursor_back() -> None:
    output = run_in_terminal(
        """
        import ctypes
        from eagerly import iter_tasks, task

        results = iter_tasks(task(lambda x: x), range(4), progress=True)
        next(results)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(results))  # so that not even the end of the process closes it
        """
    )
    assert output.count(HIDE_CURSOR) == output.count(SHOW_CURSOR) == 1


# In the display of a plugin


@every_map
@redirected
def test_the_progress_plugin_shows_maps_too(run: Any, kind: Kind, screen: Screen) -> None:
    with session(plugins=[ProgressPlugin(siblings=1)]):
        run(kind.make(odd_ones_fail), range(4), errors="skip", progress="the map")
    last = screen.last
    assert lines(last[0]) == ["the map  4/4  2 failed"]
    assert any("odd_ones_fail[1]" in line for line in last[1:])
    assert screen.getvalue().count(HIDE_CURSOR) == 1


@redirected
def test_the_line_is_below_the_tree_while_the_map_runs(screen: Screen) -> None:
    @task
    def look(x: int) -> None:
        screen.wait_for("the map  ─")

    with session(plugins=[ProgressPlugin()]):
        map_tasks(look, range(1), progress="the map")


@redirected
def test_a_plugin_that_writes_lines_leaves_maps_alone(file: io.StringIO) -> None:
    elsewhere = io.StringIO()
    with session(plugins=[ProgressPlugin(file=elsewhere)]):
        map_tasks(task(odd_ones_fail), [2], progress="the map")
    assert lines(file.getvalue()) == ["the map  0/1", "the map  1/1  none failed"]
    assert "the map" not in elsewhere.getvalue()


class Shows:
    """A plugin of somebody's, which needs a hook to be one."""

    def __init__(self, *, broken: bool = False) -> None:
        self.started: list[ProgressLine] = []
        self.ended: list[str] = []
        self.broken = broken

    @hook_impl
    def after_session_end(self) -> None: ...

    def shows_maps(self) -> bool:
        return True

    def map_started(self, line: ProgressLine, /) -> None:
        self.started.append(line)
        if self.broken:
            raise TheirError

    def map_ended(self, line: ProgressLine, /) -> None:
        self.ended.append(line.text())
        if self.broken:
            raise TheirError


@every_map
def test_a_plugin_of_your_own(run: Any, kind: Kind, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = Shows()
    with session(plugins=[plugin]):
        run(kind.make(odd_ones_fail), range(3), errors="skip", progress=True)
    assert len(plugin.started) == 1
    assert lines("\n".join(plugin.ended)) == ["odd_ones_fail  3/3  1 failed"]
    assert capfd.readouterr() == ("", "")


async def test_a_total_is_shown_as_soon_as_it_is_known() -> None:
    plugin, known = Shows(), asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def body(x: int) -> str:
        await known.wait()
        return plugin.started[0].text()

    async with session(plugins=[plugin]):
        running = asyncio.create_task(gather_tasks(body, items(), progress="the map"))
        while "the map  0/2" not in [line.text() for line in plugin.started]:
            await asyncio.sleep(0)
        known.set()
        await running


def test_a_plugin_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with session(plugins=[Shows(broken=True)]):
        assert map_tasks(task(odd_ones_fail), [2], progress=True) == [2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{method}() of plugin Shows raised, which is ignored" for method in ("map_started", "map_ended")
    ]


@given(
    label=st.text(min_size=1).filter(str.strip),
    total=st.integers(0, 5),
    width=st.integers(1, 100),
    ascii=st.booleans(),
)
def test_a_line_is_never_too_long(label: str, total: int, width: int, ascii: bool) -> None:  # noqa: A002 - as in builtins
    plugin = Shows()

    def items() -> Iterator[int]:
        for each in range(total):
            for line in plugin.started:
                text = line.text(width, ascii=ascii)
                assert len(text) <= width
                assert text.isprintable()
                assert not ascii or text.isascii()
            yield each

    with session(plugins=[plugin]):
        map_tasks(task(lambda x: x), items(), progress=label)
        map_tasks(task(lambda x: x), [*items()], progress=label)
