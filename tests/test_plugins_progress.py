"""`ProgressPlugin`: live on a terminal, plain lines elsewhere, with or without rich, and nothing left behind."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eagerly import ContextExecutor, current_task, session, task
from eagerly.cache import MemoryStore
from eagerly.errors import EagerlyError
from eagerly.plugins.progress import ProgressPlugin, RichMissingError
from kinds import Kind, TheirError, all_kinds
from screens import COLOUR, HIDE_CURSOR, SHOW_CURSOR, Screen, on_screen


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is the same wherever the tests run."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r" +[\d.]+ m?s\b", " TIME", line) for line in lines]


def plain(siblings: int = 20) -> tuple[ProgressPlugin, io.StringIO]:
    file = io.StringIO()
    return ProgressPlugin(file=file, siblings=siblings), file


@task
def leaf(x: int) -> int:
    if x == 3:
        raise TheirError("three")
    return x


@task
def branch(numbers: list[int]) -> str:
    for x in numbers:
        with contextlib.suppress(TheirError):
            leaf(x)
    return "done"


# Plain lines


@all_kinds
def test_a_line_for_each_retry_and_each_end(kind: Kind) -> None:
    plugin, file = plain()

    def flaky() -> int:
        if current_task().attempt == 1:
            raise TheirError("not yet")
        leaf(1)
        return 42

    with session(plugins=[plugin]):
        kind.run(kind.make(flaky, retries=1, name="flaky"))
    items, result = ("0 items, ", "1 item") if kind.is_stream else ("", "42")
    assert without_times(file.getvalue().splitlines()) == [
        f"↻ flaky  attempt 2: {items}after TheirError: not yet",
        "  ✓ leaf TIME  1",
        f"✓ flaky TIME  2 attempts: {result}, after TheirError: not yet",
    ]


@task(cache=True, cache_version="1")
def square(x: int) -> int:
    return x * x


@task
def squares(count: int) -> None:
    for _ in range(count):
        square(3)


@all_kinds
def test_a_hit_is_a_line(kind: Kind) -> None:
    plugin, file = plain()
    double = kind.make(lambda x: 2 * x, name="double", cache=True, cache_version="1")
    with session(plugins=[plugin], cache_store=MemoryStore()):
        kind.run(double, 21)
        kind.run(double, 21)
    ran, recalled = without_times(file.getvalue().splitlines())
    assert ran.startswith("✓ double TIME  ")
    assert recalled == ("○ double  cached" if kind.is_stream else "○ double  cached, 42")


def test_hits_are_counted_like_other_calls_that_did_not_fail() -> None:
    plugin, file = plain(siblings=2)
    with session(plugins=[plugin], cache_store=MemoryStore()):
        squares(100)
    assert without_times(file.getvalue().splitlines()) == [
        "  ✓ square TIME  9",
        "  ○ square  cached, 9",
        "✓ squares TIME  98 more calls without failure",
    ]


def test_a_saved_dataset_is_told_with_its_call(tmp_path: Path) -> None:
    plugin, file = plain()
    with session(plugins=[plugin], dataset_store=tmp_path):
        leaf.options(dataset="leaf.json")(1)
    assert without_times(file.getvalue().splitlines()) == ["✓ leaf TIME  1, saved leaf.json"]


def test_calls_of_no_interest_are_counted_and_failures_always_told() -> None:
    plugin, file = plain(siblings=2)
    with session(plugins=[plugin]):
        branch([0, 1, 2, 3, 4])
        for x in range(3):
            leaf(x)
    assert without_times(file.getvalue().splitlines()) == [
        "  ✓ leaf TIME  0",
        "  ✓ leaf TIME  1",
        "  ✗ leaf TIME  TheirError: three",
        "✓ branch TIME  'done', 2 more calls without failure",
        "✓ leaf TIME  0",
        "… 2 more calls without failure",
    ]


def test_lines_come_at_once_and_not_at_the_end() -> None:
    plugin, file = plain()
    with session(plugins=[plugin]):
        leaf(1)
        assert file.getvalue().startswith("✓ leaf")


def test_no_control_codes_outside_of_a_terminal() -> None:
    plugin, file = plain()
    with session(plugins=[plugin]):
        task(lambda: None, name="a\x1b[31mb")()
        branch([3])
    assert "\x1b" not in file.getvalue()


def test_a_terminal_gets_plain_lines_on_request() -> None:
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen, live=False)]):
        leaf(1)
    assert without_times(screen.getvalue().splitlines()) == ["✓ leaf TIME  1"]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)]):
        leaf(1)
        assert without_times(screen.getvalue().splitlines()) == ["✓ leaf TIME  1"]


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with session(plugins=[ProgressPlugin()]):
        leaf(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("✓ leaf")


def test_a_file_of_a_small_alphabet() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    with session(plugins=[ProgressPlugin(file=file, siblings=1)]):
        task(lambda: "é", name="café")()
        leaf(1)
        leaf(2)
    assert without_times(raw.getvalue().decode().splitlines()) == [
        "+ caf? TIME  '?'",
        "... 2 more calls without failure",
    ]


def test_a_file_that_is_closed_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    plugin, file = plain()
    with session(plugins=[plugin]):
        file.close()
        assert leaf(1) == 1
    assert caplog.records == []


def test_threads_and_asyncio_tasks_write_whole_lines() -> None:
    plugin, file = plain(siblings=1000)
    together = threading.Barrier(4, timeout=60)

    @task
    async def breathe() -> None:
        await asyncio.sleep(0)

    async def ten() -> None:
        await asyncio.gather(*(breathe() for _ in range(10)))

    @task
    def trunk(_: int) -> None:
        together.wait()
        asyncio.run(ten())

    with session(plugins=[plugin]), ContextExecutor(ThreadPoolExecutor(4)) as pool:
        list(pool.map(trunk, range(4)))
    lines = without_times(file.getvalue().splitlines())
    assert sorted(lines) == ["  ✓ breathe TIME"] * 40 + ["✓ trunk TIME"] * 4


# Live


def test_the_tree_is_drawn_while_it_grows_and_stays() -> None:
    screen, end = Screen(), threading.Event()

    @task
    def work() -> int:
        leaf(1)
        assert end.wait(60)
        return 2

    with session(plugins=[ProgressPlugin(file=screen)]), ContextExecutor(ThreadPoolExecutor()) as pool:
        future = pool.submit(work)
        screen.wait_for("● work")
        screen.wait_for("running")
        end.set()
        future.result()
    assert without_times(screen.last) == ["✓ work TIME  2", "└─ ✓ leaf TIME  1"]


def test_a_hit_alone_is_drawn_too() -> None:
    store = MemoryStore()
    with session(cache_store=store):
        squares(1)
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)], cache_store=store):
        square(3)
        screen.wait_for("square")
    assert screen.last == ["○ square    cached, 9"]


def test_failures_are_red_and_not_so_under_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured, colourless, empty = Screen(), Screen(), Screen()
    for screen, no_color in ((coloured, None), (colourless, "1"), (empty, "")):
        if no_color is not None:
            monkeypatch.setenv("NO_COLOR", no_color)
        with session(plugins=[ProgressPlugin(file=screen, siblings=1)]):
            branch([1, 2, 3])
    assert "\x1b[31m├─ ✗ leaf" in coloured.getvalue()
    assert not COLOUR.search(colourless.getvalue())
    assert without_times(colourless.last) == without_times(coloured.last)
    assert COLOUR.search(empty.getvalue())  # an empty NO_COLOR is none, by its definition


@pytest.mark.parametrize("error", [TheirError, KeyboardInterrupt, SystemExit])
def test_the_terminal_is_given_back_after_an_exception(error: type[BaseException]) -> None:
    screen = Screen()

    @task
    def stop() -> None:
        raise error

    stdout, stderr, threads = sys.stdout, sys.stderr, set(threading.enumerate())
    with pytest.raises(error), session(plugins=[ProgressPlugin(file=screen)]):
        stop()
    assert screen.getvalue().count(HIDE_CURSOR) == screen.getvalue().count(SHOW_CURSOR) == 1
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert screen.last[0].startswith("✗ stop" if error is TheirError else "– stop")  # noqa: RUF001
    for thread in threading.enumerate():
        if type(thread).__module__ == "rich.live":
            thread.join(60)  # has been told to stop
    assert set(threading.enumerate()) <= threads


def test_inner_sessions_share_the_display() -> None:
    screen = Screen()
    plugin = ProgressPlugin(file=screen)
    with session(plugins=[plugin]):
        with session():
            leaf(1)
        with session(plugins=[plugin]):
            leaf(2)
        assert SHOW_CURSOR not in screen.getvalue()
    assert screen.getvalue().count(SHOW_CURSOR) == 1
    assert without_times(screen.last) == ["✓ leaf TIME  1", "✓ leaf TIME  2"]


def test_one_plugin_serves_several_sessions() -> None:
    screen = Screen()
    plugin = ProgressPlugin(file=screen)
    for x in (1, 2):
        with session(plugins=[plugin]):
            leaf(x)
        assert without_times(screen.last)[-1] == f"✓ leaf TIME  {x}"
    assert len(screen.last) == 2
    assert plugin.calls == ()


def test_a_session_without_calls_draws_nothing() -> None:
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)]):
        pass
    assert screen.getvalue() == ""


def test_a_tall_tree_never_exceeds_the_terminal_while_it_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "10")
    screen, end = Screen(), threading.Event()

    @task
    def work() -> None:
        for x in range(50):
            if x != 3:
                leaf(x)
        assert end.wait(60)

    with session(plugins=[ProgressPlugin(file=screen, siblings=100)]), ContextExecutor(ThreadPoolExecutor()) as pool:
        future = pool.submit(work)
        screen.wait_for("… 42 lines above")
        end.set()
        future.result()
    assert len(screen.last) == 50


def test_long_lines_are_cut_and_not_wrapped() -> None:
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)]):
        task(lambda: "x" * 200, name="y" * 200)()
    (line,) = screen.last
    assert len(line) <= 80


def test_markup_of_rich_is_text_like_any_other() -> None:
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)]):
        task(lambda: "[red]:smile:[/nothing]", name="[bold]x[/bold]")()
    assert without_times(screen.last) == ["✓ [bold]x[/bold] TIME  '[red]:smile:[/nothing]'"]


def test_a_session_that_is_never_left_gives_the_cursor_back_at_exit() -> None:
    script = """
        import io, sys
        from eagerly import session, task
        from eagerly.plugins.progress import ProgressPlugin
        opened = session(plugins=[ProgressPlugin(file=sys.stdout, live=True)])
        opened.__enter__()
        task(lambda: 1, name="work")()
    """
    done = python(script, warnings="ignore")
    assert HIDE_CURSOR in done.stdout
    assert SHOW_CURSOR in done.stdout.rpartition(HIDE_CURSOR)[2]


def test_nothing_is_left_to_do_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    pending: list[object] = []
    monkeypatch.setattr(atexit, "register", pending.append)
    monkeypatch.setattr(atexit, "unregister", pending.remove)
    screen = Screen()
    with session(plugins=[ProgressPlugin(file=screen)]):
        leaf(1)
        assert len(pending) == 1
    assert pending == []


# Without rich, and in a process of its own

BLOCK_RICH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
sys.meta_path.insert(0, Block())
"""


def python(script: str, *, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def test_plain_lines_need_no_rich() -> None:
    script = BLOCK_RICH + textwrap.dedent("""
        from eagerly import session, task
        from eagerly.plugins import ProgressPlugin
        with session(plugins=[ProgressPlugin()]):
            task(lambda: 42, name="work")()
    """)
    done = python(script)
    assert done.returncode == 0, done.stderr
    assert without_times(done.stderr.splitlines()) == ["✓ work TIME  42"]


def test_a_live_display_without_rich_says_how_to_get_it() -> None:
    script = BLOCK_RICH + textwrap.dedent("""
        from eagerly.plugins import ProgressPlugin
        ProgressPlugin(live=True)
    """)
    done = python(script)
    assert done.returncode == 1
    assert 'run: pip install "eagerly[rich]"' in done.stderr.splitlines()[-1]
    assert issubclass(RichMissingError, EagerlyError)
    assert issubclass(RichMissingError, ImportError)


def test_rich_is_imported_late() -> None:
    done = python("""
        import sys
        from eagerly import session, task
        from eagerly.plugins import ProgressPlugin
        with session(plugins=[ProgressPlugin()]):
            task(lambda: 42, name="work")()
        print([name for name in sys.modules if name.partition(".")[0] == "rich"])
    """)
    assert done.stdout == "[]\n"


@pytest.fixture
def in_terminal() -> Callable[..., str]:
    """Runs a script with a real pseudo-terminal as its standard error (and output, unless told otherwise)."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

    def run(script: str, stdout: Path | None = None) -> str:
        ours, theirs = pty.openpty()
        with Path(stdout or os.devnull).open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
                stdin=theirs,
                stdout=file if stdout else theirs,
                stderr=theirs,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
            )
        os.close(theirs)
        seen = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # how Linux reports that the other side has been closed
                break
            if not block:
                break
            seen += block
        os.close(ours)
        assert process.wait(120) == 0, seen.decode()
        return seen.decode().replace("\r\n", "\n")

    return run


WORK = """
    from eagerly import session, task
    from eagerly.plugins import ProgressPlugin

    @task
    def work():
        print("printed")
        return 42

    with session(plugins=[ProgressPlugin()]):
        work()
    print("after")
"""


def test_a_real_terminal(in_terminal: Callable[..., str]) -> None:
    seen = in_terminal(WORK)
    assert HIDE_CURSOR in seen
    assert without_times(on_screen(seen)) == ["printed", "✓ work TIME  42", "after"]


def test_what_is_printed_into_a_pipe_stays_in_the_pipe(in_terminal: Callable[..., str], tmp_path: Path) -> None:
    seen = in_terminal(WORK, tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text("utf-8") == "printed\nafter\n"
    assert "printed" not in seen
    assert "✓ work" in seen
