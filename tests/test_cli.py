"""The commands of `eagerly`: what they print, on which stream, and how they end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import eagerly
from eagerly.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from cli_project import Project

pytest_plugins = ["cli_project"]

FLOWS = '''
    @task
    def step(): ...

    @workflow
    def report(city: str = "Oslo"):
        """Report on a city.

        At length.
        """
        return f"all is well in {city}"

    @workflow(name="nightly", description="Everything at once.")
    async def everything():
        return {"done": True}

    def plain(): ...

    class Thing: ...

    number = 3
'''


@pytest.fixture
def flows(project: Project) -> Project:
    project.write("flows.py", FLOWS)
    return project


class TestTarget:
    """`MODULE:NAME` means a workflow."""

    @pytest.mark.parametrize(
        "target",
        ["flows:report", "flows.py:report", "./flows.py:report", "{folder}/flows.py:report"],
    )
    def test_a_module_by_its_name_or_its_path(self, flows: Project, target: str) -> None:
        assert flows.run("run", target.format(folder=flows.folder)) == (0, "all is well in Oslo\n", "")

    @pytest.mark.parametrize("name", ["nightly", "everything"])
    def test_a_workflow_by_its_name_or_its_attribute(self, flows: Project, name: str) -> None:
        assert flows.run("run", f"flows:{name}").out == "{'done': True}\n"

    def test_the_name_of_one_wins_over_the_attribute_of_another(self, project: Project) -> None:
        project.write("flow.py", "a = workflow(lambda: 'a', name='b')\nb = workflow(lambda: 'b', name='a')")
        assert project.run("run", "flow:a").out == "b\n"

    def test_two_of_one_name_are_told_apart_by_attribute(self, project: Project) -> None:
        project.write("flow.py", "a = workflow(lambda: 'a', name='x')\nb = workflow(lambda: 'b', name='x')")
        outcome = project.run("run", "flow:x")
        assert outcome.code == 2
        assert "2 workflows of flow are called 'x'; say which by its attribute: a, b" in outcome.err
        assert project.run("run", "flow:b").out == "b\n"

    def test_a_module_in_a_package_has_its_own_imports_either_way(self, project: Project) -> None:
        project.write("pkg/__init__.py", "")
        project.write("pkg/sub/__init__.py", "")
        project.write("pkg/steps.py", "value = 5")
        project.write("pkg/sub/flow.py", "from ..steps import value\n@workflow\ndef f(): return value, __name__")
        for target in ("pkg.sub.flow", "pkg/sub/flow.py"):
            assert project.run("run", target).out == "(5, 'pkg.sub.flow')\n"

    def test_a_file_elsewhere_imports_its_neighbours(self, project: Project) -> None:
        project.write("elsewhere/neighbour.py", "value = 5")
        project.write("elsewhere/flow.py", "import neighbour\n@workflow\ndef f(): return neighbour.value")
        assert project.run("run", "elsewhere/flow.py:f") == (0, "5\n", "")

    @pytest.mark.parametrize("name", ["json.py", "my-flow.py", "2024.flow.py", "ordner mit ü/flow.py"])
    def test_a_file_whose_name_is_taken_or_no_identifier(self, project: Project, name: str) -> None:
        project.write(name, "import json\n@workflow\ndef f(): return json.dumps(1)")
        project.folder.joinpath("sub").mkdir()
        json = sys.modules["json"]
        assert project.run("run", f"{name}:f") == (0, "1\n", "")
        assert sys.modules["json"] is json

    def test_what_a_file_defines_can_be_pickled_by_name(self, project: Project) -> None:
        project.write(
            "flow.py",
            "import pickle\n@task\ndef t(): ...\n@workflow\ndef f(): return pickle.loads(pickle.dumps(t)) is t",
        )
        assert project.run("run", "flow.py").out == "True\n"

    def test_a_package_by_its_init_file(self, project: Project) -> None:
        project.write("pkg/__init__.py", "@workflow\ndef f(): return __name__")
        assert project.run("run", "pkg/__init__.py:f").out == "pkg\n"
        assert project.run("run", "pkg:f").out == "pkg\n"

    @pytest.mark.parametrize(
        ("target", "module"),
        [
            (r"C:\flows\etl.py:main", r"C:\\flows\\etl.py"),
            ("C:/flows/etl.py:main", "C:/flows/etl.py"),
            (r"C:\flows\etl.py", r"C:\\flows\\etl.py"),
            ("C:/flows/etl:main", "C:/flows/etl"),
        ],
    )
    def test_the_colon_of_a_windows_drive_separates_nothing(self, project: Project, target: str, module: str) -> None:
        outcome = project.run("run", target)
        assert outcome.code == 2
        assert "there is no file" in outcome.err
        assert f"{module}'" in outcome.err

    def test_a_module_of_one_letter(self, project: Project) -> None:
        project.write("c.py", "@workflow\ndef f(): return 1")
        assert project.run("run", "c:f").out == "1\n"

    def test_the_name_may_be_left_out_where_there_is_one(self, project: Project) -> None:
        project.write("steps.py", "@workflow\ndef other(): return 'other'")
        project.write(
            "flow.py", "import steps\nfrom steps import other\nagain = other\n@workflow\ndef f(): return 'own'"
        )
        assert project.run("run", "flow").out == "own\n"
        project.write("all.py", "from steps import other\nagain = other")
        assert project.run("run", "all").out == "other\n"

    @pytest.mark.parametrize(
        ("target", "complaint"),
        [
            ("flows", "flows has several workflows (there are report, nightly); say which, as in flows:report"),
            ("flows:", "flows has several workflows (there are report, nightly); say which, as in flows:report"),
            (
                "flows:raport",
                "no workflow 'raport' in flows (there are report, nightly); did you mean 'report'?",
            ),
            ("flows:zzz", "no workflow 'zzz' in flows (there are report, nightly)\n"),
            ("flows:step", "'step' of flows is a task, not a workflow; call it from a function that is marked with"),
            ("flows:plain", "'plain' of flows is a plain function, not a workflow; mark it: write @workflow above"),
            ("flows:Thing", "'Thing' of flows is a class, not a workflow\n"),
            ("flows:number", "'number' of flows is not a workflow but 3\n"),
            ("flwos:report", "there is no module 'flwos', neither installed nor in {folder}; did you mean 'flows'?"),
            ("flows.sub:report", "there is no module 'flows.sub', neither installed nor in {folder}"),
            ("flow.py:report", "there is no file '{folder}/flow.py'; did you mean 'flows.py'?"),
            ("./flows:report", "there is no file '{folder}/flows'; did you mean 'flows.py'?"),
            (":report", "'' is no name of a module; write MODULE:NAME"),
            (".flows:report", "'.flows' is no name of a module; write MODULE:NAME"),
            ("./script", "script' is no Python file; its name must end in .py"),
            ("empty", "empty has no workflows; mark a function with @workflow"),
            ("empty:x", "there is no workflow 'x' in empty (there are none)"),
        ],
    )
    @pytest.mark.parametrize("command", ["run", "describe"])
    def test_a_target_that_leads_nowhere(self, flows: Project, command: str, target: str, complaint: str) -> None:
        flows.write("empty.py", "")
        flows.write("script", "")
        outcome = flows.run(command, target)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("eagerly: error: ")
        assert complaint.format(folder=flows.folder) in outcome.err


class TestList:
    """`eagerly list MODULE`."""

    @pytest.mark.parametrize("module", ["flows", "flows.py"])
    def test_names_and_first_lines(self, flows: Project, module: str) -> None:
        assert flows.run("list", module) == (0, "report   Report on a city.\nnightly  Everything at once.\n", "")

    def test_a_line_fits_the_terminal(self, project: Project) -> None:
        project.write("flow.py", f"@workflow(description={'word ' * 40!r})\ndef f(): ...")
        (line,) = project.run("list", "flow").out.splitlines()
        assert len(line) <= 80
        assert line.endswith("word...")

    def test_no_workflows(self, project: Project) -> None:
        project.write("flow.py", "")
        assert project.run("list", "flow") == (
            0,
            "",
            "eagerly: there are no workflows in flow; mark a function with @workflow\n",
        )

    def test_it_takes_a_module_only(self, flows: Project) -> None:
        outcome = flows.run("list", "flows:report")
        assert outcome.code == 2
        assert "`list` takes a module; write `eagerly describe flows:report` for one workflow" in outcome.err


class TestDescribe:
    """`eagerly describe MODULE:NAME`."""

    def test_what_it_is_where_it_stands_and_what_it_takes(self, flows: Project) -> None:
        outcome = flows.run("describe", "flows:report")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == (
            "report, a workflow of flows (flows.py, line 6)\n"
            "\n"
            "usage: eagerly run flows:report [options]\n"
            "\n"
            "Report on a city.\n"
            "\n"
            "At length.\n"
            "\n"
            "options:\n"
            "  -h, --help   show this help message and exit\n"
            "\n"
            "parameters:\n"
            "  --city TEXT  (default: Oslo)\n"
        )

    def test_an_async_one_and_a_builtin(self, flows: Project) -> None:
        assert flows.run("describe", "flows:nightly").out.startswith("nightly, an async workflow of flows (flows.py, ")
        flows.write("builtin.py", "size = workflow(len, name='size')")
        assert flows.run("describe", "builtin").out.startswith("size, a workflow of builtins\n")

    def test_one_from_outside_of_the_current_folder(self, flows: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        (flows.folder / "inner").mkdir()
        monkeypatch.chdir(flows.folder / "inner")
        where = flows.folder / "flows.py"
        described = flows.run("describe", "../flows.py:report").out
        assert described.startswith(f"report, a workflow of flows ({where}, line 6)\n")


class TestResult:
    """What a workflow returns is printed."""

    @pytest.mark.parametrize(
        ("result", "printed"),
        [
            ("None", ""),
            ("''", "\n"),
            ("'two\\nlines'", "two\nlines\n"),
            ("3", "3\n"),
            ("True", "True\n"),
            ("Path('a/b')", "a/b\n"),
            ("Decimal('1.50')", "1.50\n"),
            ("Color.RED", "Color.RED\n"),
            ("['a', 1]", "['a', 1]\n"),
            ("{'b': 1, 'a': (2,)}", "{'b': 1, 'a': (2,)}\n"),
            ("Point(1, [2])", "Point(x=1, y=[2])\n"),
            ("Money(5)", "5 coins\n"),
            (
                "{'first': ['x' * 70], 'second': 'y' * 30}",
                f"{{'first': ['{'x' * 70}'],\n 'second': '{'y' * 30}'}}\n",
            ),
        ],
    )
    @pytest.mark.parametrize("head", ["def", "async def"])
    def test_shapes(self, project: Project, head: str, result: str, printed: str) -> None:
        project.write(
            "flow.py",
            f"""
            from dataclasses import dataclass
            from decimal import Decimal
            from enum import Enum
            from pathlib import Path
            Color = Enum("Color", "RED")
            @dataclass
            class Point:
                x: int
                y: list
            @dataclass
            class Money:
                amount: int
                def __str__(self): return f"{{self.amount}} coins"
            @workflow
            {head} f(): return {result}
            """,
        )
        assert project.run("run", "flow") == (0, printed, "")

    def test_what_a_workflow_prints_stays_where_it_was_printed(self, project: Project) -> None:
        project.write("flow.py", "import sys\n@workflow\ndef f():\n    print('out')\n    print('err', file=sys.stderr)")
        assert project.run("run", "flow") == (0, "out\n", "err\n")


class TestEnding:
    """Exit codes."""

    @pytest.mark.parametrize("head", ["def", "async def"])
    def test_a_failure_is_1(self, project: Project, head: str) -> None:
        project.write("flow.py", f"@workflow\n{head} f(): raise OSError('no luck')")
        outcome = project.run("run", "flow")
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.endswith("OSError: no luck\n")

    @pytest.mark.parametrize(
        "error", ["BrokenPipeError('of mine')", "BaseException('odd')", "WorkflowNotFoundError('x')"]
    )
    def test_errors_of_the_workflow_are_not_taken_for_ours(self, project: Project, error: str) -> None:
        project.write("flow.py", f"from eagerly.errors import *\n@workflow\ndef f(): raise {error}")
        outcome = project.run("run", "flow")
        assert outcome.code == 1
        assert "Traceback" in outcome.err

    @pytest.mark.parametrize("head", ["def", "async def"])
    def test_an_interruption_is_130_in_one_line(self, project: Project, head: str) -> None:
        project.write("flow.py", f"@workflow\n{head} f(): raise KeyboardInterrupt")
        assert project.run("run", "flow") == (130, "", "eagerly: interrupted\n")

    def test_an_interruption_while_a_module_is_imported(self, project: Project) -> None:
        project.write("flow.py", "raise KeyboardInterrupt")
        assert project.run("list", "flow") == (130, "", "eagerly: interrupted\n")

    def test_sys_exit_in_a_workflow_is_obeyed(self, project: Project) -> None:
        project.write("flow.py", "import sys\n@workflow\ndef f(): sys.exit(7)")
        with pytest.raises(SystemExit, match="7"):
            project.run("run", "flow")

    @pytest.mark.parametrize(
        ("words", "usage", "complaint"),
        [
            (
                ["runs", "list", "--stroe", "x"],
                "eagerly runs list [options]",
                "unrecognized arguments: --stroe x; did you mean --store?",
            ),
            (
                ["cache", "list", "--limt=3"],
                "eagerly cache list [options] [TASK]",
                "unrecognized arguments: --limt=3; did you mean --limit?",
            ),
            (["config", "extra"], "eagerly config", "unrecognized arguments: extra"),
            (["demo", "extra"], "eagerly demo", "unrecognized arguments: extra"),
            (["--foo", "config"], "eagerly [-h] [--version] COMMAND ...", "unrecognized arguments: --foo"),
        ],
    )
    def test_wrong_options_show_how_their_command_is_used(
        self, project: Project, words: list[str], usage: str, complaint: str
    ) -> None:
        outcome = project.run(*words)
        assert outcome == (2, "", f"usage: {usage}\n{usage.partition(' [')[0]}: error: {complaint}\n")

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["rnu"], "invalid choice: 'rnu'"),
            (["run"], "the following arguments are required: MODULE:NAME"),
            (["run", "--city", "flow:f"], "the following arguments are required: MODULE:NAME"),
            (["list"], "the following arguments are required: MODULE"),
            (["list", "a", "b"], "unrecognized arguments: b"),
            (["config", "x"], "unrecognized arguments: x"),
            (["runs", "list", "--foo"], "unrecognized arguments: --foo\n"),
        ],
    )
    def test_a_wrong_command_line_is_2(self, project: Project, words: list[str], complaint: str) -> None:
        outcome = project.run(*words)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("usage: eagerly")
        assert complaint in outcome.err

    @pytest.mark.parametrize("command", [[], ["list"], ["describe"], ["run"], ["config"], ["demo"]])
    def test_help_is_a_result(self, project: Project, command: list[str]) -> None:
        outcome = project.run(*command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith(" ".join(["usage: eagerly", *command]))
        assert max(map(len, outcome.out.splitlines())) <= 80

    def test_version(self, project: Project) -> None:
        assert project.run("--version") == (0, f"eagerly {eagerly.__version__}\n", "")

    def test_the_words_are_those_of_the_process_by_default(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["eagerly", "--version"])
        assert main() == 0
        assert capsys.readouterr().out == f"eagerly {eagerly.__version__}\n"


class TestConfig:
    """`eagerly config`."""

    def test_defaults(self, project: Project) -> None:
        table = (
            "wrap_errors        False             default\n"
            "strict_hooks       False             default\n"
            "discover_plugins   True              default\n"
            "cache_store        '.eagerly/cache'  default\n"
            "cache_mode         'on'              default\n"
            "cache_signing_key  None              default\n"
            "dataset_store      '.'               default\n"
            "backend            'inline'          default\n"
            "run_store          None              default\n"
        )
        assert project.run("config") == (0, table, "")

    def test_every_value_names_its_source(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        lines = ["[tool.eagerly]", "wrap_errors = true", "strict_hooks = true", "dataset_store = '/data'"]
        path = project.write("pyproject.toml", "\n".join(lines))
        monkeypatch.setenv("EAGERLY_STRICT_HOOKS", "0")
        monkeypatch.setenv("EAGERLY_CACHE_STORE", "s3://bucket")
        monkeypatch.setenv("EAGERLY_CACHE_MODE", "READ")
        assert project.run("config").out == (
            f"wrap_errors        True           {path} [tool.eagerly]\n"
            "strict_hooks       False          environment variable EAGERLY_STRICT_HOOKS\n"
            "discover_plugins   True           default\n"
            "cache_store        's3://bucket'  environment variable EAGERLY_CACHE_STORE\n"
            "cache_mode         'read'         environment variable EAGERLY_CACHE_MODE\n"
            "cache_signing_key  None           default\n"
            f"dataset_store      '/data'        {path} [tool.eagerly]\n"
            "backend            'inline'       default\n"
            "run_store          None           default\n"
        )

    def test_a_relative_place_is_shown_from_its_file(self, project: Project) -> None:
        path = project.write("pyproject.toml", "[tool.eagerly]\ndataset_store = 'data'\n")
        assert repr(str(path.parent / "data")) in project.run("config").out

    def test_the_secret_is_not_shown(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_CACHE_SIGNING_KEY", "never to be seen anywhere")
        out = project.run("config").out
        assert "never" not in out
        (line,) = (line for line in out.splitlines() if "signing" in line)
        assert line == "cache_signing_key  (set)             environment variable EAGERLY_CACHE_SIGNING_KEY"

    def test_a_bad_secret_is_not_shown_either(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EAGERLY_CACHE_SIGNING_KEY", "never seen")
        code, out, err = project.run("config")
        assert (code, out) == (2, "")
        assert "EAGERLY_CACHE_SIGNING_KEY" in err
        assert "never" not in err

    @pytest.mark.parametrize("words", [["config"], ["run", "flow"]])
    def test_a_bad_setting_is_2_without_a_traceback(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, words: list[str]
    ) -> None:
        project.write("flow.py", "@workflow\ndef f(): ...")
        monkeypatch.setenv("EAGERLY_WRAP_ERRORS", "perhaps")
        assert project.run(*words) == (
            2,
            "",
            "eagerly: error: environment variable EAGERLY_WRAP_ERRORS='perhaps' is not a truth value; write 1 or 0\n",
        )

    def test_a_bad_setting_in_the_users_code_is_a_failure_of_it(self, project: Project) -> None:
        project.write("flow.py", "from eagerly import Settings\n@workflow\ndef f(): Settings(wrap_errors=3)")
        outcome = project.run("run", "flow")
        assert outcome.code == 1
        assert "Traceback" in outcome.err


def test_demo(project: Project) -> None:
    outcome = project.run("demo")
    assert outcome.code == 0
    assert outcome.out


def test_workflows_see_the_settings_of_the_current_folder(project: Project) -> None:
    project.write("pyproject.toml", "[tool.eagerly]\nwrap_errors = true\n")
    project.write("flow.py", "@task\ndef bad(): raise KeyError\n@workflow\ndef f(): bad()")
    assert "TaskError" in project.run("run", "flow").err


def test_a_folder_that_was_there_before_is_not_added_to_the_path_again(project: Project, tmp_path: Path) -> None:
    project.write("flow.py", "")
    project.run("list", "flow")
    project.run("list", "flow.py")
    assert sys.path.count(str(tmp_path)) == 1
