"""A failing workflow shows the user's traceback: without our frames, and with all that Python shows besides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import eagerly

if TYPE_CHECKING:
    from cli_project import Project

pytest_plugins = ["cli_project"]

OURS = str(Path(eagerly.__file__).parent)

KINDS = {
    "sync": ("def", "return step()"),
    "async": ("async def", "return await step()"),
    "stream": ("def", "return list(step())"),
    "async stream": ("async def", "return [item async for item in step()]"),
}


def functions_in(traceback: str) -> list[str]:
    """The names of the functions that a traceback shows, in order."""
    return [line.rpartition(" in ")[2] for line in traceback.splitlines() if line.startswith('  File "')]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, options) for kind in KINDS for options in ("", "(retries=1)")),
        *((kind, "(timeout=60)") for kind in ("sync", "async")),
    ],
)
def test_only_the_frames_of_the_user_are_shown(project: Project, kind: str, options: str) -> None:
    head, body = KINDS[kind]
    last = "yield" if "stream" in kind else ""
    flow = "async def" if "async" in kind else "def"
    project.write(
        "flow.py",
        f"""
        @task{options}
        {head} step():
            inner()
            {last}

        def inner():
            raise ValueError("no luck")

        @workflow
        {flow} main():
            {body}
        """,
    )
    outcome = project.run("run", "flow")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("Traceback (most recent call last):\n")
    shown = [name for name in functions_in(outcome.err) if "comp>" not in name]
    assert shown == ["main", "step", "inner"]
    assert OURS not in outcome.err
    attempts = "2 attempts" if "retries" in options else "1 attempt"
    *_, error, note = outcome.err.splitlines()
    assert error == "ValueError: no luck"
    assert note.startswith(f"eagerly: task 'step' failed after {attempts} in ")


def test_the_chain_of_causes_contexts_and_groups_is_cleaned_too(project: Project) -> None:
    project.write(
        "flow.py",
        """
        @task
        def bad(name):
            raise KeyError(name)

        @task
        def cause():
            try:
                bad("cause")
            except KeyError as error:
                raise ValueError("from") from error

        @task
        def context():
            try:
                bad("context")
            except KeyError:
                raise TypeError("while")

        @workflow
        def main():
            errors = []
            for step in (cause, context):
                try:
                    step()
                except Exception as error:
                    errors.append(error)
            raise ExceptionGroup("all", errors)
        """,
    )
    outcome = project.run("run", "flow")
    assert outcome.code == 1
    assert OURS not in outcome.err
    for expected in (
        "ExceptionGroup: all (2 sub-exceptions)",
        "KeyError: 'cause'",
        "The above exception was the direct cause of the following exception:",
        "ValueError: from",
        "KeyError: 'context'",
        "During handling of the above exception, another exception occurred:",
        "TypeError: while",
        "eagerly: task 'cause' failed after 1 attempt",
    ):
        assert expected in outcome.err


def test_a_wrapped_error_shows_the_users_as_its_cause(project: Project) -> None:
    project.write(
        "flow.py",
        """
        @task(wrap_errors=True)
        def bad():
            raise KeyError("x")
        @workflow
        def main():
            bad()
        """,
    )
    outcome = project.run("run", "flow")
    assert outcome.code == 1
    assert OURS not in outcome.err
    assert "KeyError: 'x'" in outcome.err
    assert "eagerly.errors.TaskError: task 'bad' failed after 1 attempt" in outcome.err


def test_asyncio_is_shown_where_the_users_code_calls_it(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import asyncio
        async def inner():
            raise ValueError("no luck")
        @workflow
        def main():
            asyncio.run(inner())
        """,
    )
    assert functions_in(project.run("run", "flow").err)[:2] == ["main", "run"]


def test_a_task_that_took_too_long(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import threading
        released = threading.Event()
        @task(timeout=0.5)
        def slow():
            released.wait()
        @workflow
        def main():
            slow()
        """,
    )
    with pytest.warns(eagerly.errors.EagerlyWarning):  # the body cannot be interrupted in a wait
        outcome = project.run("run", "flow")
    sys.modules["flow"].released.set()
    assert outcome.code == 1
    assert functions_in(outcome.err) == ["main"]
    assert "TaskTimeoutError: task 'slow'" in outcome.err


@pytest.mark.parametrize("target", ["flow", "flow.py", "my-flow.py", "pkg.flow", "pkg/flow.py"])
def test_a_module_that_fails_shows_its_traceback(project: Project, target: str) -> None:
    project.write("pkg/__init__.py", "")
    for name in ("flow.py", "my-flow.py", "pkg/flow.py"):
        project.write(name, "def load():\n    return {}['key']\nload()\n")
    for command in ("run", "list", "describe"):
        outcome = project.run(command, target)
        assert (outcome.code, outcome.out) == (1, "")
        assert functions_in(outcome.err) == ["<module>", "load"]
        assert outcome.err.splitlines()[-1] == "KeyError: 'key'"


def test_a_module_that_misses_another(project: Project) -> None:
    project.write("flow.py", "import no_such_package\n")
    outcome = project.run("list", "flow")
    assert outcome.code == 1
    assert functions_in(outcome.err) == ["<module>"]
    assert "ModuleNotFoundError: No module named 'no_such_package'" in outcome.err


@pytest.mark.parametrize("target", ["flow", "flow.py"])
def test_a_module_with_a_syntax_error(project: Project, target: str) -> None:
    project.write("flow.py", "def (:\n")
    outcome = project.run("list", target)
    assert outcome.code == 1
    assert "SyntaxError: invalid syntax" in outcome.err
    assert "importlib" not in outcome.err


def test_deep_recursion_stays_readable(project: Project) -> None:
    project.write(
        "flow.py",
        """
        @task
        def deeper(n):
            return deeper(n + 1)
        @workflow
        def main():
            deeper(0)
        """,
    )
    outcome = project.run("run", "flow")
    assert outcome.code == 1
    assert "RecursionError" in outcome.err
    assert "[Previous line repeated" in outcome.err
    assert OURS not in outcome.err


def test_what_we_have_called_of_the_standard_library_is_not_shown(project: Project) -> None:
    project.write("store", "a file where the folder of the store would be")
    project.write(
        "flow.py",
        """
        @task(dataset="report.json", dataset_store="store")
        def report():
            return 1
        @workflow
        def main():
            report()
        """,
    )
    outcome = project.run("run", "flow")
    assert outcome.code == 1
    assert "DatasetError" in outcome.err
    assert set(functions_in(outcome.err)) == {"main"}


def test_what_the_user_has_called_of_the_standard_library_is_shown(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import json
        @task
        def read():
            return json.loads("{")
        @workflow
        def main():
            return read()
        """,
    )
    outcome = project.run("run", "flow")
    assert functions_in(outcome.err)[:3] == ["main", "read", "loads"]
