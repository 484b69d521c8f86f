"""Names are templates, checked when the task is declared and rendered when somebody asks."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eagerly import current_task, session, task
from eagerly.errors import EagerlyError
from eagerly.testing import RecordingHooks
from kinds import Kind, all_kinds


def name_of_call(template: str, *args: Any, **kwargs: Any) -> str:
    """The name of a call of ``body(city, year=2000, *more, unit="C", **rest)``."""

    @task(name=template)
    def body(city: Any, year: Any = 2000, *more: Any, unit: Any = "C", **rest: Any) -> str:
        return current_task().name  # type: ignore[union-attr]

    return body(*args, **kwargs)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("plain", "plain"),
        ("fetch_{city}", "fetch_Oslo"),
        ("{city}{city}", "OsloOslo"),
        ("{city} {year} {unit}", "Oslo 2000 C"),
        ("{city!r}", "'Oslo'"),
        ("{city:>6}", "  Oslo"),
        ("{year:06d}", "002000"),
        ("{year:{unit}>6}", "CC2000"),
        ("{more} {rest}", "() {}"),
        ("set {{x}}", "set {x}"),
        ("{{{city}}}", "{Oslo}"),
        ("with a space, ünïcödé and [brackets]", "with a space, ünïcödé and [brackets]"),
    ],
)
def test_placeholders_stand_for_arguments(template: str, name: str) -> None:
    assert name_of_call(template, "Oslo") == name


def test_arguments_may_be_given_in_any_way() -> None:
    assert name_of_call("{city}-{year}-{unit}", "Rome", 1999, unit="F") == "Rome-1999-F"
    assert name_of_call("{city}-{year}", year=1999, city="Rome") == "Rome-1999"
    assert name_of_call("{more}", "Rome", 1, 2, 3) == "(2, 3)"


@all_kinds
def test_hooks_see_the_rendered_name_and_the_task_shows_the_template(kind: Kind) -> None:
    made = kind.make(lambda *args: args, name="for {args}")
    hooks = RecordingHooks()
    with session(plugins=[hooks]):
        kind.run(made, 1)
    assert hooks.names("for (1,)")[0] == "before_node_execute"
    assert made.name == "for {args}"


def test_the_self_of_a_method_is_an_argument() -> None:
    class City:
        def __init__(self, name: str) -> None:
            self.name = name

        def __str__(self) -> str:
            return self.name

        @task(name="{self}:{key}")
        def get(self, key: str) -> str:
            return current_task().name  # type: ignore[union-attr]

        @task(name="{cls}")
        @classmethod
        def make(cls) -> str:
            return current_task().name  # type: ignore[union-attr]

    assert City("Oslo").get("rain") == "Oslo:rain"
    assert City.make() == str(City)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{town}", r"references the unknown placeholder \{town\}; available: \{city\}, \{year\}, .*\{map_index\}"),
        ("{}", "unknown placeholder"),
        ("{0}", "unknown placeholder"),
        ("{city[0]}", "unknown placeholder"),
        ("{city:{width}}", r"unknown placeholder \{width\}"),
        ("{city", "not a valid template"),
        ("city}", "write {{ and }} for literal braces"),
        ("a.b", "may not contain a period, and 'a.b' does; write 'a_b'"),
        ("{city}.csv", "may not contain a period"),
        ("{city.name}", "period|unknown placeholder"),
        ("", "must not be empty"),
        ("  ", "must not be empty"),
    ],
)
def test_what_cannot_work_is_refused_at_decoration(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        name_of_call(template, "Oslo")
    assert isinstance(caught.value, EagerlyError)
    assert "task(name=...)" in str(caught.value)


@pytest.mark.parametrize("name", [5, b"name", ["name"], True, str], ids=repr)
def test_what_is_no_string_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match=r"task\(name=\.\.\.\) takes a string, not") as caught:
        task(lambda: 1, name=name)
    assert isinstance(caught.value, EagerlyError)


def test_a_period_in_a_format_spec_is_none_in_the_name() -> None:
    assert name_of_call("{year:.0f}", "Oslo", 1999.4) == "1999"
    assert name_of_call("{city:.2}", "Oslo") == "Os"


class Broken:
    def __format__(self, spec: str) -> str:
        raise RuntimeError("cannot be shown")


def test_a_name_never_fails_a_call() -> None:
    assert name_of_call("{city}", Broken()) == "{city}"
    assert name_of_call("{city:d}", "Oslo") == "{city:d}"


def test_a_name_that_nobody_asks_for_is_not_made() -> None:
    shown: list[str] = []

    class Shy:
        def __format__(self, spec: str) -> str:
            shown.append(spec)
            return "shy"

    @task(name="{value}")
    def body(value: Any, ask: bool) -> str | None:
        return current_task().name if ask else None  # type: ignore[union-attr]

    with session():
        body(Shy(), ask=False)
        assert shown == []
        assert body(Shy(), ask=True) == "shy"


def test_names_by_default_are_those_of_functions() -> None:
    class Scorer:
        def __call__(self) -> str:
            return current_task().name  # type: ignore[union-attr]

    def nested() -> str:
        return current_task().name  # type: ignore[union-attr]

    odd = task(nested)
    nested.__name__ = "a.b{c}"
    assert odd() == "nested"
    assert task(nested)() == "a_b(c)"
    assert task(Scorer())() == "Scorer"
    assert task(lambda: current_task().name)() == "<lambda>"  # type: ignore[union-attr]


PIECES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="{}."), max_size=5),
    st.sampled_from(["{city}", "{year}", "{unit}", "{{", "}}", "{city!r}", "{year:>8}"]),
)


@given(st.lists(PIECES, min_size=1).map("".join).filter(str.strip), st.text(max_size=5), st.integers())
def test_every_template_renders_as_str_format_does(template: str, city: str, year: int) -> None:
    assert name_of_call(template, city, year) == template.format(city=city, year=year, unit="C")


@given(st.text(string.printable + "{}{}{}", max_size=12))
def test_any_text_is_refused_with_a_reason_or_renders(text: str) -> None:
    try:
        made = name_of_call(text, "Oslo")
    except ValueError as error:
        assert "task(name=...)" in str(error)  # noqa: PT017 - whether it raises depends on the text
    else:
        assert isinstance(made, str)
