"""The command line as people run it: in a process of its own, with pipes, signals and a bare environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli_project import Project

pytest_plugins = ["cli_project"]

EXAMPLES = Path(__file__).parent / "examples"
PATIENCE = 60
"""Seconds after which something hangs; nothing here takes more than two on an idle machine."""

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and pipes as POSIX has them")


def test_the_examples(project: Project, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        process = project.start(*words, cwd=EXAMPLES, env={"PYTHONDONTWRITEBYTECODE": "1"})
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    assert run("run", "weather:report", "--city", "Oslo", "--unit", "F", "--digits=2") == (0, "37.40 F\n", "")
    assert run("run", "weather.py:compare", "--cities", "Rome", "--cities", "Oslo", "--order=mean") == (
        0,
        "{'Oslo': 3.0, 'Rome': 20.0}\n",
        "",
    )
    target = tmp_path / "out.csv"
    assert run("run", "weather:export", "--target", str(target), "--limit", "1") == (0, f"{target}\n", "")
    assert target.read_text("utf-8") == "Oslo,3.5\nRome,18.0\n"
    code, out, err = run("run", "weather:report", "--city", "Bergen")
    assert (code, out) == (1, "")
    assert err.splitlines()[-2] == "KeyError: 'Bergen'"
    code, out, err = run("run", "weather:report", "--city", "Rome", "--unit", "K")
    assert (code, out) == (2, "")
    assert err.endswith("argument --unit: 'K' is not one of CELSIUS, FAHRENHEIT\n")


INTERRUPTED = {
    "sync": "@workflow\ndef f():\n    ready()\n    doze()",
    "sync task": "@task(retries=3)\ndef t():\n    ready()\n    doze()\n@workflow\ndef f(): t()",
    "sync timeout": "@task(timeout=600)\ndef t():\n    ready()\n    doze()\n@workflow\ndef f(): t()",
    "stream": "@task\ndef t():\n    yield 1\n    ready()\n    doze()\n@workflow\ndef f(): list(t())",
    "async": "@workflow\nasync def f():\n    ready()\n    await asyncio.Event().wait()",
    "async task": (
        "@task(timeout=600)\nasync def t():\n    ready()\n    await asyncio.Event().wait()\n"
        "@workflow\nasync def f(): await t()"
    ),
    "import": "ready()\ndoze()",
}


@posix_only
@pytest.mark.parametrize("kind", INTERRUPTED)
def test_ctrl_c_ends_with_130_and_one_line(project: Project, kind: str) -> None:
    # Not print(), whose lock on stdout the body of a timeout could still hold when the interpreter wants to close it.
    head = "import asyncio, os, time\ndef ready(): os.write(1, b'ready\\n')\n"
    # In slices: CPython sleeps through a signal that comes just before it sleeps.
    head += "def doze():\n    while True: time.sleep(0.05)\n"
    project.write("flow.py", head + INTERRUPTED[kind])
    process = project.start("run", "flow")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "eagerly: interrupted\n")


@posix_only
@pytest.mark.parametrize(
    "body",
    [
        "return 'small enough to stay in the buffer until the end'",
        "return 'x' * 1_000_000",
        "while True: print('x' * 1000)",
    ],
    ids=["small result", "large result", "printed"],
)
@pytest.mark.parametrize("head", ["def", "async def"])
def test_a_reader_who_leaves_is_no_reason_to_complain(project: Project, head: str, body: str) -> None:
    project.write("flow.py", f"import sys\n@workflow\n{head} f():\n    sys.stdin.read()\n    {body}")
    process = project.start("run", "flow", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()  # only now does it go on
    assert process.stderr.read() == ""
    assert process.wait(PATIENCE) == 141


@posix_only
def test_a_broken_pipe_of_the_workflows_own_is_its_failure(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import os
        @workflow
        def f():
            reader, writer = os.pipe()
            os.close(reader)
            os.write(writer, b"x")
        """,
    )
    process = project.start("run", "flow")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "BrokenPipeError" in err


def test_a_result_that_stdout_cannot_encode_is_escaped(project: Project) -> None:
    project.write("flow.py", "@workflow\ndef f(): return 'Ålesund \\u2713'")
    process = project.start("run", "flow", env={"PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "Ålesund \\u2713\n", "")


def test_sys_exit_in_a_workflow_sets_the_exit_code(project: Project) -> None:
    project.write("flow.py", "import sys\n@workflow\nasync def f(): sys.exit(7)")
    process = project.start("run", "flow")
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 7


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage imports modules of its own there")
def test_the_command_line_imports_little(project: Project) -> None:
    """What only some commands need is imported when they run."""
    late = ["asyncio", "cloudpickle", "eagerly.demo", "pprint", "rich", "sqlite3", "tomllib", "unittest"]
    code = f"import sys, eagerly.cli; print([name for name in {late} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "[]\n"


def test_a_module_in_the_current_folder_is_found_without_its_help(project: Project) -> None:
    """As by the console script, whose own folder is first on the path instead of the current one."""
    project.write("flow.py", "@workflow\ndef f(): return 'found'")
    code = (
        "import sys; sys.path = [p for p in sys.path if p]; from eagerly.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", "flow:f"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "found\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_without_a_traceback(project: Project) -> None:
    project.write("flows.py", "from eagerly import workflow\n@workflow\ndef answer() -> int:\n    return 42\n")
    with Path("/dev/full").open("w") as full:
        process = project.start("run", "flows.py:answer", stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "the output cannot be written" in err
    assert "Traceback" not in err
