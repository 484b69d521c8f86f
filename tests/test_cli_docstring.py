"""What the help says about a parameter comes from the docstring, in any of three styles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eagerly.cli._docstring import Docstring, parse_docstring

if TYPE_CHECKING:
    from cli_project import Project

pytest_plugins = ["cli_project"]

GOOGLE = """Fetch a city.

    More about it.

    Args:
        city: Which city,
            by name.

        days (int, optional): How many: all, if not given.
        *rest: Others.
        **more (str): Even more.

    Returns:
        value: Not a parameter.
    """
NUMPY = """Fetch a city.

    More about it.

    Parameters
    ----------
    city : str
        Which city,
        by name.
    days : int, optional
        How many: all, if not given.
    *rest
        Others.
    **more : str
        Even more.

    Returns
    -------
    value : int
        Not a parameter.
    """
SPHINX = """Fetch a city.

    More about it.

    :param city: Which city,
        by name.
    :type city: str
    :param int days: How many: all, if not given.
    :param *rest: Others.
    :param str more: Even more.
    :returns: Not a parameter.
    :raises ValueError: never
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_styles_say_the_same(docstring: str) -> None:
    assert parse_docstring(docstring) == Docstring(
        "Fetch a city.\n\nMore about it.",
        {
            "city": "Which city, by name.",
            "days": "How many: all, if not given.",
            "rest": "Others.",
            "more": "Even more.",
        },
    )


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (None, Docstring("", {})),
        ("", Docstring("", {})),
        ("One line.", Docstring("One line.", {})),
        ("Args:", Docstring("", {})),
        ("Returns the args: nothing.", Docstring("Returns the args: nothing.", {})),
        ("Do.\n\nArgs:\n    a: A.\nMore text.", Docstring("Do.", {"a": "A."})),
        ("Do.\n\nParameters\n----------\na, b : int\n    Both.", Docstring("Do.", {"a": "Both.", "b": "Both."})),
        ("Do.\n\nNote:\n    Careful.\n\nArguments:\n    a: A.", Docstring("Do.", {"a": "A."})),
        ("Do.\n\nArgs:\n    a: See\n        b: not one.", Docstring("Do.", {"a": "See b: not one."})),
        ("Do.\n:param a: A.", Docstring("Do.", {"a": "A."})),
        ("Do.\n:param a: A.\nMore text.", Docstring("Do.", {"a": "A."})),
    ],
)
def test_what_is_incomplete_or_odd(docstring: str | None, expected: Docstring) -> None:
    assert parse_docstring(docstring) == expected


def test_the_help_shows_it(project: Project) -> None:
    project.write("flow.py", f'@workflow\ndef f(city, days=1, *rest, **more):\n    """{NUMPY}"""')
    text = " ".join(project.run("run", "flow", "--help").out.split())
    assert "Fetch a city. More about it. options:" in text
    assert "--days TEXT How many: all, if not given. (default: 1)" in text
    assert "[REST ...] Others." in text


def test_a_description_that_was_given_replaces_the_text_and_not_the_parameters(project: Project) -> None:
    project.write(
        "flow.py", '@workflow(description="Given.")\ndef f(a):\n    """Doc.\n\n    Args:\n        a: What."""'
    )
    text = project.run("describe", "flow").out
    assert "Given." in text
    assert "Doc." not in text
    assert "--a TEXT    What. (required)" in text
