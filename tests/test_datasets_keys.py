"""Keys of datasets: what cannot be one is refused with the part at fault, and never made to fit."""

from __future__ import annotations

import os
from datetime import date
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagerly.datasets._key import KeyTemplate, check_key
from eagerly.errors import DatasetKeyError, OptionTypeError, OptionValueError

PARAMETERS = ("day", "name", "n")


def render(template: str, **inputs: Any) -> str:
    return KeyTemplate(template, PARAMETERS).render(inputs)


@pytest.mark.parametrize(
    ("template", "inputs", "key"),
    [
        ("reports/all.csv", {}, "reports/all.csv"),
        ("reports/{day}.csv", {"day": date(2024, 1, 2)}, "reports/2024-01-02.csv"),
        ("{day:%Y/%m/%d}.csv", {"day": date(2024, 1, 2)}, "2024/01/02.csv"),
        ("{n:03d}/{name}", {"n": 7, "name": "x"}, "007/x"),
        ("{name:path}.json", {"name": "a/b"}, "a/b.json"),
        ("{name:path}", {"name": PurePosixPath("a/b")}, "a/b"),
        ("{name:path}", {"name": PureWindowsPath(r"a\b")}, "a/b"),
        ("{{{n}}}", {"n": 1}, "{1}"),
        ("{name}", {"name": "münchen é 東京"}, "münchen é 東京"),
        ("{name}.txt", {"name": "...x"}, "...x.txt"),
        ("{name}", {"name": "12:30"}, "12:30"),
    ],
)
def test_a_template_is_filled_with_arguments(template: str, inputs: dict[str, Any], key: str) -> None:
    assert render(template, **inputs) == key


def test_fields_are_known_beforehand() -> None:
    assert KeyTemplate("{day}/{name:path}/{map_index}", PARAMETERS).fields == {"day", "name", "map_index"}
    assert KeyTemplate("plain", PARAMETERS).fields == frozenset()


def test_the_map_index_is_there_in_maps_only() -> None:
    template = KeyTemplate("part-{map_index:04d}", ())
    assert template.render({}, 12) == "part-0012"
    with pytest.raises(DatasetKeyError, match="no call of a map"):
        template.render({})


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{unknown}", "{unknown}"),
        ("{}", "{}"),
        ("{0}", "{0}"),
        ("{name.__class__}", "{name.__class__}"),
        ("{name[0]}", "{name[0]}"),
        ("{name!r}", "!r"),
        ("{name:{n}}", "{n}"),
        ("{name", "not a valid template"),
        ("../{name}", "'..'"),
        ("/data/{name}", "absolute"),
        ("C:/{name}", "'C:'"),
        ("a\\{name}", "'\\\\\\\\'"),
        ("a//{name}", "empty part"),
        ("{name}/", "empty part"),
        ("a\0{name}", "control character"),
        (".eagerly/{name}", "'.eagerly'"),
        ("x/.EAGERLY-tmp/{name}", "'.EAGERLY-tmp'"),
        (" ", "must not be empty"),
    ],
)
def test_what_no_call_could_use_is_refused_when_the_task_is_declared(template: str, part: str) -> None:
    with pytest.raises(OptionValueError, match="dataset=") as caught:
        KeyTemplate(template, PARAMETERS)
    assert part.replace("\\\\\\\\", "\\\\") in str(caught.value)


def test_unknown_placeholders_are_told_what_there_is() -> None:
    with pytest.raises(OptionValueError, match=r"\{date\}; available: \{day\}, \{name\}, \{n\}, \{map_index\}"):
        KeyTemplate("{date}", PARAMETERS)


def test_a_template_is_text() -> None:
    with pytest.raises(OptionTypeError, match="takes a string, not 3"):
        KeyTemplate(3, PARAMETERS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "value", "part"),
    [
        ("{name}", "a/b", "'/'"),
        ("{name}", "a\\b", "'\\\\'"),
        ("x/{name}", "../etc/passwd", "'/'"),
        ("{name:/>5}", "a/b", "'/'"),
        ("x/{name:path}", "../../etc", "'..'"),
        ("{name:path}", "/etc/passwd", "absolute"),
        ("x/{name:path}", "/etc/passwd", "empty part"),
        ("{name:path}", "a\\b", "'\\\\'"),
        ("x/{name}", "..", "'..'"),
        ("x/{name}", "", "empty part"),
        ("x/{name}/y", ".", "'.'"),
        ("{name}{name}", ".", "'..'"),
        ("{name}/x", ".eagerly", "'.eagerly'"),
        ("{name}:/x", "C", "'C:'"),
        ("{name}", "a\0b", "'\\x00'"),
        ("{name}", "a\nb", "'\\n'"),
        ("{name}", "x" * 300, "300 bytes"),
        ("{name}", object(), "has an address"),
        ("{name}", len, None),
        ("{name}", lambda: 0, "has an address"),
        ("{name:%Y}", 3, "does not fit"),
        ("{name:d}", "3", "does not fit"),
    ],
)
def test_what_a_value_may_not_bring(template: str, value: Any, part: str | None) -> None:
    if part is None:
        assert render(template, name=value) == "<built-in function len>"
        return
    with pytest.raises(DatasetKeyError) as caught:
        render(template, name=value)
    assert part in str(caught.value)
    assert template in str(caught.value), "the message has the template"


def test_a_value_that_cannot_be_shown_is_refused_with_its_reason() -> None:
    class Odd:
        def __format__(self, spec: str) -> str:
            raise RuntimeError("no text")

        def __repr__(self) -> str:
            return "Odd()"

    with pytest.raises(DatasetKeyError, match=r"Odd\(\) does not fit \{name\}: no text"):
        render("{name}", name=Odd())


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("", "empty"),
        ("/etc/x", "'/'"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("a/./b", "'.'"),
        ("a/.../b", "'...'"),
        ("a/.. /b", "'.. '"),
        ("a/ /b", "' '"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("C:\\x", "'C:'"),
        ("c:x", "'c:'"),
        ("\\\\server\\share", "'\\\\'"),
        ("a\\..\\b", "'\\\\'"),
        ("a\0b", "'\\x00'"),
        ("a\rb", "'\\r'"),
        ("a\x7fb", "'\\x7f'"),
        ("a\x85b", "'\\x85'"),
        ("a\u2028b", "'\\u2028'"),
        ("a\u202eb", "'\\u202e'"),
        ("a\ud800b", "'\\ud800'"),
        ("a/\uff0e\uff0e/b", "'\uff0e\uff0e'"),
        ("a/\u2025/b", "'\u2025'"),
        ("a/\u2024\u2024/b", "'\u2024\u2024'"),
        ("a/.\u200b./b", "'.\\u200b.'"),
        ("a\uff0fb", "separator"),
        ("a\uff3cb", "separator"),
        (".eagerly/datasets/x", "'.eagerly'"),
        (".Eagerly", "'.Eagerly'"),
        ("a/.eagerly-1.tmp", "'.eagerly-1.tmp'"),
        (".eager\u200bly/x", "'.eager\\u200bly'"),
        ("\uff0eeagerly/x", "'\uff0eeagerly'"),
        ("a" * 241, "241 bytes"),
        ("é" * 121, "242 bytes"),
        ("/".join(["a" * 200] * 5), "1004 bytes"),
    ],
)
def test_keys_that_cannot_be(key: str, part: str) -> None:
    with pytest.raises(DatasetKeyError) as caught:
        check_key(key)
    assert part in str(caught.value)
    assert caught.value.key == key


@pytest.mark.parametrize("key", [None, 3, b"x", ("a",)])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(DatasetKeyError, match="is a string, not"):
        check_key(key)


def test_what_windows_cannot_have_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("con", "aux.txt", "a/COM1", "nul .x", "x?", "a*b", "x.", "x "):
        assert check_key(key) == key
    monkeypatch.setattr("eagerly.datasets._key._WINDOWS", True)
    for key in ("con", "aux.txt", "a/COM1", "nul .x", "x?", "a*b", "x.", "x "):
        with pytest.raises(DatasetKeyError, match="Windows"):
            check_key(key)
    assert check_key("console/auxiliary.txt") == "console/auxiliary.txt"


NASTY = st.text(st.sampled_from("ab./\\:~ .\0\n\u2025\uff0e\uff0f\u200b\u202ecC-{}$é"), max_size=12) | st.text(
    max_size=20
)


@settings(derandomize=True, max_examples=1500, deadline=None)
@given(key=NASTY)
def test_a_key_is_refused_or_stays_what_it_is_inside_the_store(key: str) -> None:
    try:
        checked = check_key(key)
    except DatasetKeyError as error:
        assert error.key == key  # noqa: PT017
        return
    assert checked is key
    joined = os.path.normpath(os.path.join("/root/of/store", checked))  # noqa: PTH118
    assert joined == "/root/of/store/" + checked, "it means the file of exactly this name, below the root"
    assert not any(part.casefold().startswith(".eagerly") for part in checked.split("/"))
    checked.encode()


@settings(derandomize=True, max_examples=1000, deadline=None)
@given(value=NASTY)
def test_a_value_adds_no_folder_and_is_there_as_it_is(value: str) -> None:
    try:
        key = render("in/{name}.csv", name=value)
    except DatasetKeyError:
        return
    assert key == f"in/{value}.csv"
    assert key.count("/") == 1


@settings(derandomize=True, max_examples=500, deadline=None)
@given(first=st.text(max_size=8), second=st.text(max_size=8))
def test_different_values_of_one_placeholder_give_different_keys(first: str, second: str) -> None:
    keys = []
    for value in (first, second):
        try:
            keys.append(render("x/{name}", name=value))
        except DatasetKeyError:
            return
    assert (keys[0] == keys[1]) == (first == second)
