"""`eagerly run`: from the words of a command line to the arguments of a workflow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli_project import Project

pytest_plugins = ["cli_project"]

TYPES = """
    import collections, datetime, decimal, enum, fractions, typing, uuid
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path, PurePosixPath
    from typing import Annotated, Any, List, Literal, NewType, Optional, TypeVar, Union

    class Color(enum.Enum):
        RED = "r"
        GREEN = "g"
        CRIMSON = "r"

    class Level(enum.IntEnum):
        LOW = 1
        HIGH = 2

    class Options(typing.TypedDict):
        size: int

    class Celsius(float):
        pass

    UserId = NewType("UserId", int)
    Number = TypeVar("Number", int, float)
    Bound = TypeVar("Bound", bound=int)
"""


def show(project: Project, annotation: str, *, future: bool = False) -> None:
    """Make a workflow that prints its one argument."""
    body = "".join(line[4:] + "\n" for line in TYPES.splitlines())
    source = f"{body}\n@workflow\ndef show(value: {annotation}):\n    print(repr(value))\n"
    path = project.write("flow.py", source)
    if future:
        path.write_text("from __future__ import annotations\n" + path.read_text("utf-8"), "utf-8")


@pytest.mark.parametrize("future", [False, True], ids=["objects", "strings"])
@pytest.mark.parametrize(
    ("annotation", "words", "expected"),
    [
        ("str", ["x"], "'x'"),
        ("str", [""], "''"),
        ("Any", ["1"], "'1'"),
        ("int", ["7"], "7"),
        ("int", ["-7"], "-7"),
        ("float", ["-1e-5"], "-1e-05"),
        ("float", ["-inf"], "-inf"),
        ("Celsius", ["3"], "3.0"),
        ("bool", ["true"], "True"),
        ("bool", ["No"], "False"),
        ("Path", ["a/b.txt"], "PosixPath('a/b.txt')"),
        ("PurePosixPath", ["a"], "PurePosixPath('a')"),
        ("bytes", ["é"], "b'\\xc3\\xa9'"),
        ("Color", ["RED"], "<Color.RED: 'r'>"),
        ("Color", ["g"], "<Color.GREEN: 'g'>"),
        ("Color", ["green"], "<Color.GREEN: 'g'>"),
        ("Color", ["CRIMSON"], "<Color.RED: 'r'>"),
        ("Level", ["2"], "<Level.HIGH: 2>"),
        ("Literal['a', 1, None, True]", ["a"], "'a'"),
        ("Literal['a', 1, None, True]", ["1"], "1"),
        ("Literal['a', 1, None, True]", ["none"], "None"),
        ("Literal['a', 1, None, True]", ["true"], "True"),
        ("Literal[Color.RED]", ["RED"], "<Color.RED: 'r'>"),
        ("int | None", ["3"], "3"),
        ("int | None", ["none"], "None"),
        ("Optional[int]", ["null"], "None"),
        ("Optional[str]", ["none"], "'none'"),
        ("str | int", ["3"], "3"),
        ("Union[int, str]", ["x"], "'x'"),
        ("bool | None", ["false"], "False"),
        ("list[int]", ["1"], "[1]"),
        ("list[int]", ["1", "2"], "[1, 2]"),
        ("list[int]", ["[1, 2]"], "[1, 2]"),
        ("list[int]", ["[]"], "[]"),
        ("list", ["[1, null]"], "[1, None]"),
        ("list", ["1", "x"], "['1', 'x']"),
        ("List[Path]", ['["a"]'], "[PosixPath('a')]"),
        ("list[str]", ["[a-z]+"], "['[a-z]+']"),
        ("list['int']", ["5"], "[5]"),
        ("list[list[int]]", ["[[1], [2]]"], "[[1], [2]]"),
        ("list[list[int]]", ["[1]", "[2, 3]"], "[[1], [2, 3]]"),
        ("list[Color]", ['["r", "GREEN"]'], "[<Color.RED: 'r'>, <Color.GREEN: 'g'>]"),
        ("list[Level]", ["[1]"], "[<Level.LOW: 1>]"),
        ("list[Literal[1, 'a']]", ['[1, "a"]'], "[1, 'a']"),
        ("list[int | str]", ['[1, "1"]'], "[1, '1']"),
        ("list[int | None]", ["[1, null]"], "[1, None]"),
        ("list[int | str]", ["1", "x"], "[1, 'x']"),
        ("list[float]", ["[1, 2.5]"], "[1.0, 2.5]"),
        ("list[bool]", ["[true]"], "[True]"),
        ("list[int] | None", ["1", "2"], "[1, 2]"),
        ("list[int] | None", ["none"], "None"),
        ("Sequence[int]", ["1"], "[1]"),
        ("Iterable[int]", ["1"], "[1]"),
        ("AbstractSet[int]", ["1", "1"], "{1}"),
        ("set[int]", ["[1, 1]"], "{1}"),
        ("frozenset[str]", ["a"], "frozenset({'a'})"),
        ("collections.deque[int]", ["1"], "deque([1])"),
        ("tuple[int, ...]", ["1", "2", "3"], "(1, 2, 3)"),
        ("tuple", ["a", "b"], "('a', 'b')"),
        ("tuple[int, str]", ["1", "2"], "(1, '2')"),
        ("tuple[int, str]", ['[1, "2"]'], "(1, '2')"),
        ("tuple[()]", ["[]"], "()"),
        ("dict", ['{"a": [1]}'], "{'a': [1]}"),
        ("dict[int, Path]", ['{"1": "x"}'], "{1: PosixPath('x')}"),
        ("Mapping[str, list[float]]", ['{"a": [1]}'], "{'a': [1.0]}"),
        ("dict[str, decimal.Decimal]", ['{"a": 1.5}'], "{'a': Decimal('1.5')}"),
        ("Options", ['{"size": 1}'], "{'size': 1}"),
        ("Annotated[int, 'positive']", ["3"], "3"),
        ("list[Annotated[int, 'positive']]", ["3"], "[3]"),
        ("UserId", ["3"], "3"),
        ("Number", ["2.5"], "2.5"),
        ("Bound", ["2"], "2"),
        ("decimal.Decimal", ["1.10"], "Decimal('1.10')"),
        ("fractions.Fraction", ["1/3"], "Fraction(1, 3)"),
        ("uuid.UUID", ["00000000-0000-0000-0000-000000000001"], "UUID('00000000-0000-0000-0000-000000000001')"),
        ("datetime.date", ["2024-02-29"], "datetime.date(2024, 2, 29)"),
        ("datetime.datetime", ["2024-02-29T12:00"], "datetime.datetime(2024, 2, 29, 12, 0)"),
        ("datetime.time", ["12:30"], "datetime.time(12, 30)"),
        ("datetime.timedelta", ["90"], "datetime.timedelta(seconds=90)"),
    ],
)
def test_words_become_what_the_annotation_says(
    project: Project, annotation: str, words: list[str], expected: str, future: bool
) -> None:
    show(project, annotation, future=future)
    words = [part for word in words for part in ("--value", word)]
    outcome = project.run("run", "flow:show", *words)
    assert outcome == (0, expected + "\n", "")


@pytest.mark.parametrize(
    ("annotation", "words", "complaint"),
    [
        ("int", ["three"], "'three' is not an integer"),
        ("int", ["1.5"], "'1.5' is not an integer"),
        ("float", ["x"], "'x' is not a number"),
        ("Color", ["blue"], "'blue' is not one of RED, GREEN"),
        ("Literal['a', 'b']", ["c"], "'c' is not one of a, b"),
        ("int | None", ["x"], "'x' is not an integer or none"),
        ("int | Literal['auto']", ["x"], "'x' is not an integer or one of auto"),
        ("list[int]", ["1", "x"], "'x' is not an integer"),
        ("list[int]", ["[1,"], "'[1,' is not valid JSON: Expecting value"),
        ("list[int]", ['["1"]'], "'1' is not an integer"),
        ("list[int]", ["[true]"], "True is not an integer"),
        ("list[bool]", ["[1]"], "1 is not true or false"),
        ("list[str]", ["[1]"], "1 is not a string"),
        ("list[list[int]]", ["[1]"], "1 is not a list"),
        ("tuple[int, int]", ["1"], "1 value given, and it is a tuple of 2 values"),
        ("set[list[int]]", ["[[1]]"], "unhashable type"),
        ("dict", ["a=1"], "'a=1' is not a JSON object"),
        ("dict", ["[1]"], "[1] is not a JSON object"),
        ("dict[int, int]", ['{"a": 1}'], "'a' is not an integer"),
        ("dict[str, int]", ['{"a": null}'], "None is not an integer"),
        ("datetime.date", ["tomorrow"], "'tomorrow' is not a date in ISO format"),
        ("decimal.Decimal", ["x"], "'x' is not a decimal number"),
        ("object", [], "required and not given: --value"),
        ("Callable[[], int]", ["x"], "--value: cannot be given here: no word of a command line can be turned into"),
        ("Callable[[], int]", [], "parameter 'value' is required, and cannot be given here: no word"),
        ("typing.LiteralString", ["x"], "no word of a command line can be turned into"),
        ("[int]", ["x"], "no word of a command line can be turned into [<class 'int'>]"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_what_would(
    project: Project, annotation: str, words: list[str], complaint: str
) -> None:
    show(project, annotation)
    outcome = project.run("run", "flow:show", *(f"--value={word}" for word in words))
    assert (outcome.code, outcome.out) == (2, "")
    assert complaint in outcome.err
    assert outcome.err.startswith("usage: eagerly run flow:show --value ")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type X = ...` is new in Python 3.12")
def test_a_type_alias(project: Project) -> None:
    project.write("flow.py", "type Ids = list[int]\n@workflow\ndef f(ids: Ids): return ids")
    assert project.run("run", "flow", "--ids", "1").out == "[1]\n"


def test_a_final_parameter(project: Project) -> None:
    show(project, "typing.Final[int]")
    assert project.run("run", "flow", "--value", "1").out == "1\n"


def test_an_annotation_that_only_type_checkers_can_read(project: Project) -> None:
    project.write(
        "flow.py",
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from pathlib import Path
        @workflow
        def save(to: "Path | None" = None, count: "int" = 1): return to, count
        """,
    )
    assert project.run("run", "flow", "--count", "2").out == "(None, 2)\n"
    outcome = project.run("run", "flow", "--to", "x")
    assert outcome.code == 2
    assert "its annotation 'Path | None' cannot be evaluated: name 'Path' is not defined" in outcome.err
    assert "import what it names at run time" in outcome.err


class TestFlags:
    """Parameters that are true or false."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], "None"),
            (["--dry-run"], "True"),
            (["--no-dry-run"], "False"),
            (["--dry-run", "false"], "False"),
            (["--dry-run", "TRUE"], "True"),
            (["--dry-run=off"], "False"),
            (["--dry_run"], "True"),
            (["--no-dry-run", "--dry-run"], "True"),
        ],
    )
    @pytest.mark.parametrize("annotation", ["bool", "bool | None"])
    def test_every_spelling(self, project: Project, annotation: str, words: list[str], expected: str) -> None:
        project.write("flow.py", f"@workflow\ndef f(dry_run: {annotation} = None): print(dry_run)")
        assert project.run("run", "flow", *words) == (0, f"{expected}\n", "")

    def test_what_is_neither_true_nor_false(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(dry_run: bool): ...")
        assert "--dry-run: 'maybe' is not true or false" in project.run("run", "flow", "--dry-run=maybe").err
        assert "--dry-run: 'maybe' is not true or false" in project.run("run", "flow", "--dry-run", "maybe").err

    def test_the_negation_takes_no_value(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(loud: bool): ...")
        outcome = project.run("run", "flow", "--no-loud=false")
        assert outcome.code == 2
        assert "takes no value; write --loud=false" in outcome.err

    def test_a_parameter_that_has_the_name_of_a_negation(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(cache: bool = True, no_cache: int = 0): return cache, no_cache")
        assert project.run("run", "flow", "--no-cache", "3", "--cache", "no").out == "(False, 3)\n"
        assert project.run("run", "flow", "--help").code == 0


class TestForms:
    """How words and parameters come together."""

    def test_values_are_given_in_one_word_or_two_and_the_last_wins(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(n: int): return n")
        assert project.run("run", "flow", "--n=1", "--n", "2").out == "2\n"

    def test_a_value_may_start_with_a_dash_or_hold_what_looks_like_an_option(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a, b): return [a, b]")
        assert project.run("run", "flow", "--a", "-x", "--b=--n=1 2").out == "['-x', '--n=1 2']\n"

    def test_an_option_without_a_value(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a, b=1): ...")
        for words in (["--a"], ["--a", "--b"]):
            outcome = project.run("run", "flow", *words)
            assert outcome.code == 2
            assert "argument --a: expected a value; one that starts with -- is written --a=--..." in outcome.err

    def test_defaults_are_those_of_the_function(self, project: Project) -> None:
        project.write("flow.py", "it = object()\n@workflow\ndef f(x=it, *, y=it): return x is it and y is it")
        assert project.run("run", "flow").out == "True\n"

    def test_parameters_that_are_positional_only(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a: int, b: int = 2, /, c: int = 3): return a, b, c")
        assert project.run("run", "flow", "1").out == "(1, 2, 3)\n"
        assert project.run("run", "flow", "--c", "5", "-1", "4").out == "(-1, 4, 5)\n"
        assert "required and not given: a" in project.run("run", "flow").err
        assert "'3' belongs to no parameter" in project.run("run", "flow", "1", "2", "3").err

    def test_args_take_the_words_that_stand_alone(self, project: Project) -> None:
        project.write(
            "flow.py", "@workflow\ndef f(first: str = '', *rest: int, last: int = 9): return first, rest, last"
        )
        assert project.run("run", "flow").out == "('', (), 9)\n"
        assert project.run("run", "flow", "1", "--last", "3", "2").out == "('', (1, 2), 3)\n"
        assert project.run("run", "flow", "--first", "x", "--", "-4").out == "('x', (-4,), 9)\n"
        assert "argument rest: 'x' is not an integer" in project.run("run", "flow", "x").err

    def test_words_after_two_dashes_are_no_options(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(*words): return words")
        assert project.run("run", "flow", "--", "--a", "--", "--help").out == "('--a', '--', '--help')\n"

    def test_kwargs_take_every_other_name(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a: int = 0, **others: int): return a, others")
        assert (
            project.run("run", "flow", "--x", "1", "--a", "2", "--max-size=3").out == "(2, {'x': 1, 'max_size': 3})\n"
        )
        assert "argument --x: 'y' is not an integer" in project.run("run", "flow", "--x", "y").err

    def test_names_with_underscores(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(max_items: int = 0, class_: str = ''): return max_items, class_")
        assert project.run("run", "flow", "--max-items", "1", "--class", "a").out == "(1, 'a')\n"
        assert project.run("run", "flow", "--max_items", "1", "--class_", "a").out == "(1, 'a')\n"

    def test_names_that_differ_in_underscores_only(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a: int, a_: int): return a, a_")
        assert project.run("run", "flow", "--a", "1", "--a_", "2").out == "(1, 2)\n"

    def test_a_parameter_called_help(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(help: int = 0): return help")
        assert project.run("run", "flow", "--help", "4").out == "4\n"
        assert "--help INT" in project.run("run", "flow", "-h").out

    def test_an_option_is_not_abbreviated(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(verbosity: int = 0): ...")
        outcome = project.run("run", "flow", "--verb", "1")
        assert outcome.code == 2
        assert "there is no parameter --verb; did you mean --verbosity?" in outcome.err

    @pytest.mark.parametrize(
        ("parameters", "hint"),
        [
            ("city, days=1", "did you mean --city?"),
            ("days=1, hours=1", "there are --days, --hours"),
            ("", "it takes none"),
        ],
    )
    def test_an_option_that_does_not_exist(self, project: Project, parameters: str, hint: str) -> None:
        project.write("flow.py", f"@workflow\ndef f({parameters}): ...")
        outcome = project.run("run", "flow", "--citty", "Oslo")
        assert outcome.code == 2
        assert f"there is no parameter --citty; {hint}" in outcome.err

    def test_a_word_that_stands_alone(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(city): ...")
        outcome = project.run("run", "flow", "Oslo")
        assert outcome.code == 2
        assert "'Oslo' belongs to no parameter; parameters are given by name, as in --city Oslo" in outcome.err

    @pytest.mark.parametrize(
        "definition",
        [
            "f = workflow(functools.partial(g, a=1))",
            "f = workflow(Callable(), name='f')",
            "f = workflow(task(g))",
            "f = workflow(Callable().method)",
        ],
    )
    def test_annotations_of_what_is_no_plain_function(self, project: Project, definition: str) -> None:
        project.write(
            "flow.py",
            f"""
            import functools
            def g(a: 'int' = 1, b: 'int' = 2): return a + b
            class Callable:
                def __call__(self, a: 'int' = 1, b: 'int' = 2): return a + b
                def method(self, a: 'int' = 1, b: 'int' = 2): return a + b
            {definition}
            """,
        )
        assert project.run("run", "flow:f", "--b", "5") == (0, "6\n", "")

    def test_annotations_of_a_function_under_a_decorator_from_elsewhere(self, project: Project) -> None:
        project.write(
            "decorators.py",
            """
            import functools
            def plain(func):
                @functools.wraps(func)
                def call(*args, **kwargs): return func(*args, **kwargs)
                return call
            """,
        )
        project.write(
            "flow.py",
            """
            from decimal import Decimal
            from decorators import plain
            @workflow
            @plain
            def f(price: "Decimal"): return price + 1
            """,
        )
        assert project.run("run", "flow", "--price", "1.5") == (0, "2.5\n", "")


class TestHelp:
    """`eagerly run MODULE:NAME --help`."""

    def test_it_shows_the_description_the_parameters_and_their_defaults(self, project: Project) -> None:
        project.write(
            "flow.py",
            '''
            import enum
            from pathlib import Path
            class Color(enum.Enum):
                RED = 1
                BLUE = 2
            @workflow
            def paint(what: str, color: Color = Color.RED, *others: str, to: Path = Path("x"), layers: list[int] = [1],
                      glossy: bool = False, name: str = "", n: int | None = None, **more: int):
                """Paint something,
                100% of it.

                    kept as it is

                Args:
                    what: What to paint.
                    color: With which color, e.g.
                        red.
                    more: More numbers.

                Returns:
                    Nothing.
                """
            ''',
        )
        outcome = project.run("run", "flow:paint", "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out == (
            "usage: eagerly run flow:paint --what TEXT [options] [OTHERS ...]\n"
            "\n"
            "Paint something, 100% of it.\n"
            "\n"
            "    kept as it is\n"
            "\n"
            "options:\n"
            "  -h, --help            show this help message and exit\n"
            "\n"
            "parameters:\n"
            "  --what TEXT           What to paint. (required)\n"
            "  --color {RED,BLUE}    With which color, e.g. red. (default: RED)\n"
            "  [OTHERS ...]\n"
            "  --to PATH             (default: x)\n"
            "  --layers INT          (default: [1]; may be repeated)\n"
            "  --glossy, --no-glossy\n"
            "                        (default: False)\n"
            "  --name TEXT           (default: '')\n"
            "  --n INT|none\n"
            "  --NAME INT            More numbers.\n"
        )

    def test_it_wins_over_what_is_wrong(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a: int, b): ...")
        assert project.run("run", "flow", "--a", "x", "-h").code == 0

    def test_it_tells_what_cannot_be_given(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(a: type = int): return a.__name__")
        text = " ".join(project.run("run", "flow", "--help").out.split())
        assert "not available here: no word of a command line can be turned into type" in text
        assert project.run("run", "flow").out == "int\n"

    def test_a_workflow_without_parameters(self, project: Project) -> None:
        project.write("flow.py", "@workflow\ndef f(): ...")
        assert "parameters" not in project.run("run", "flow", "--help").out


def test_a_flag_takes_none_or_says_what_a_word_behind_it_is_not(project: Project) -> None:
    project.write(
        "flags.py",
        "from eagerly import workflow\n@workflow\ndef f(*, on: bool | None = True, off: bool = False) -> str:\n"
        "    return repr((on, off))\n",
    )
    assert project.run("run", "flags.py:f", "--on", "none", "--off").out == "(None, True)\n"
    assert "'maybe'" in (outcome := project.run("run", "flags.py:f", "--on", "maybe")).err
    assert outcome.code == 2
