"""Formats of others, registered by hand or found in installed distributions; and what a missing library is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import eagerly
from eagerly.datasets.formats import Format, format_for, formats, register_format, unregister_format
from eagerly.errors import DatasetFormatError, OptionTypeError, OptionValueError
from formats_cases import loaded, saved

SRC = str(Path(eagerly.__file__).parent.parent)


def run(code: str, *path: Path) -> str:
    """What a fresh process prints that runs `code`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SRC, *map(str, path)])}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# Missing libraries

BLOCKER = """
import io, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from eagerly.datasets.formats import *
from eagerly.errors import MissingExtraError
def load(name, data=b"", return_type=None):
    format_for(name=name, loading=True).load(io.BytesIO(data), return_type, {{}})
def save(name, value):
    format_for(name=name, value=value).save(value, io.BytesIO(), {{}})
try:
    {code}
except MissingExtraError as error:
    print(error.name, "|", error)
"""

MISSING = [
    ("pyarrow", "save('parquet', [{'a': 1}])", "the parquet format", "pyarrow", "parquet"),
    ("pyarrow", "load('parquet')", "the parquet format", "pyarrow", "parquet"),
    (
        "pyarrow",
        "format_for(name='parquet', loading=True).writer(io.BytesIO(), {})",
        "the parquet format",
        "pyarrow",
        "parquet",
    ),
    (
        "pyarrow",
        "format_for(name='feather', loading=True).writer(io.BytesIO(), {})",
        "the feather format",
        "pyarrow",
        "feather",
    ),
    ("pyarrow", "save('feather', [{'a': 1}])", "the feather format", "pyarrow", "feather"),
    ("pyarrow", "load('feather')", "the feather format", "pyarrow", "feather"),
    (
        "pyarrow",
        "import pandas; save('feather', pandas.DataFrame({'a': [1]}))",
        "the feather format",
        "pyarrow",
        "feather",
    ),
    (
        "pandas",
        "format_for(name='csv', loading=True).type_named('pandas.DataFrame')",
        "a pandas.DataFrame",
        "pandas",
        "pandas",
    ),
    (
        "polars",
        "format_for(name='csv', loading=True).type_named('polars.DataFrame')",
        "a polars.DataFrame",
        "polars",
        "polars",
    ),
    ("numpy", "load('npy')", "the npy format", "numpy", "numpy"),
    ("numpy", "load('npz')", "the npz format", "numpy", "numpy"),
    ("yaml", "save('yaml', {})", "the yaml format", "PyYAML", "yaml"),
    ("yaml", "load('yaml')", "the yaml format", "PyYAML", "yaml"),
    ("tomli_w", "save('toml', {})", "writing the toml format", "tomli-w", "toml"),
    ("PIL", "import numpy; save('png', numpy.zeros((2, 2), 'uint8'))", "the png format", "pillow", "image"),
    ("PIL", "load('jpeg')", "the jpeg format", "pillow", "image"),
    ("joblib", "save('joblib', 1)", "the joblib format", "joblib", "joblib"),
    ("joblib", "load('joblib')", "the joblib format", "joblib", "joblib"),
    (
        "safetensors",
        "import numpy; save('safetensors', {'a': numpy.zeros(1)})",
        "the safetensors format",
        "safetensors",
        "safetensors",
    ),
    ("safetensors", "load('safetensors')", "the safetensors format", "safetensors", "safetensors"),
]


@pytest.mark.parametrize(
    ("module", "code", "who", "distribution", "extra"), MISSING, ids=[f"{m[0]}-{m[1]}"[:40] for m in MISSING]
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    module: str, code: str, who: str, distribution: str, extra: str
) -> None:
    printed = run(BLOCKER.format(module=module, code=code)).strip()
    assert printed == (
        f"{module} | {who} needs {distribution}, which is not installed; run: pip install 'eagerly[{extra}]'"
    )


def test_what_needs_no_library_works_without_any() -> None:
    code = """
import sys
for name in "numpy pandas polars pyarrow yaml tomli_w PIL joblib safetensors pydantic".split():
    sys.modules[name] = None
import io
from eagerly.datasets.formats import *
values = {"csv": [{"a": "1"}], "json": {"a": 1}, "jsonl": [1], "text": "x", "bytes": b"x", "pickle": (1,)}
for name, value in values.items():
    file = io.BytesIO()
    format_for(name=name, value=value).save(value, file, {})
    file.seek(0)
    assert format_for(name=name, loading=True).load(file, None, {}) == value
    assert format_for(name=name, loading=True).versions() == {}
assert format_for(name="toml", loading=True).load(io.BytesIO(b"a = 1"), None, {}) == {"a": 1}
print([each.name for each in formats() if each.fits({"a": 1})])
"""
    assert run(code).strip() == "['json', 'yaml', 'toml', 'pickle', 'joblib']"


def test_polars_needs_no_pyarrow() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
import io, polars
from eagerly.datasets.formats import *
frame = polars.DataFrame({"a": [1, None], "s": ["x", "y"]})
for name in ("parquet", "feather", "csv"):
    file = io.BytesIO()
    format_for(name=name, value=frame).save(frame, file, {})
    file.seek(0)
    assert format_for(name=name, loading=True).load(file, polars.DataFrame, {}).equals(frame), name
print("good")
"""
    assert run(code).strip() == "good"


def test_no_library_is_imported_to_look_at_a_value() -> None:
    code = """
import sys
from eagerly.datasets.formats import *
from eagerly.errors import DatasetFormatError
for value in ({}, [], "x", b"x", [{"a": 1}], {"a": (1,)}):
    format_for(value=value)
try:
    format_for(value=object())
except DatasetFormatError:
    pass
try:
    format_for(extension=".parquet", value="x")
except DatasetFormatError:
    pass
print(sys.modules.keys() & set("numpy pandas polars pyarrow yaml PIL joblib safetensors".split()))
"""
    assert run(code).strip() == "set()"


def test_a_broken_installation_is_told_from_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise ImportError('libyaml.so.2: cannot open shared object file')", "utf-8")
    code = "from eagerly.datasets.formats import *; format_for(name='yaml', loading=True).load(None, None, {})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), SRC])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (
        "needs PyYAML, which cannot be imported (libyaml.so.2: cannot open shared object file); run: pip" in done.stderr
    )


# By hand


class Upper(Format):
    name = "upper"
    extensions = (".upper", ".csv")
    takes = "a complex number"

    def fits(self, value: Any, /) -> bool:
        return isinstance(value, complex)

    def save(self, value: Any, file: BinaryIO, options: Mapping[str, Any], /) -> None:
        file.write(str(value).upper().encode())

    def load(self, file: BinaryIO, return_type: Any, options: Mapping[str, Any], /) -> Any:
        return complex(file.read().decode().lower())


@pytest.fixture
def upper() -> Iterator[Format]:
    added = Upper()
    register_format(added)
    yield added
    unregister_format("upper")


def test_a_format_that_was_registered_goes_before_the_others(upper: Format) -> None:
    assert format_for(value=1j) is upper
    assert format_for(name="upper", value=1j) is upper
    assert format_for(extension=".csv", value=1j) is upper
    assert formats()[0] is upper
    assert loaded(upper, saved(upper, 1 + 2j)) == 1 + 2j
    with pytest.raises(
        DatasetFormatError, match="upper takes a complex number, not a str; a str fits text, json, yaml"
    ):
        format_for(extension=".upper", value="x")
    with pytest.raises(DatasetFormatError, match="upper cannot be written item by item; text,"):
        format_for(name="upper", streaming=True)


def test_one_that_is_registered_again_takes_the_place_of_the_first(upper: Format) -> None:
    register_format(Upper)
    assert format_for(name="upper", value=1j) is not upper
    assert [each.name for each in formats()].count("upper") == 1


def test_an_unsafe_one_is_never_chosen_by_a_value() -> None:
    register_format(variant(unsafe=True))
    try:
        with pytest.raises(DatasetFormatError, match="only pickle can hold a complex"):
            format_for(value=1j)
        with pytest.raises(DatasetFormatError, match="the format to load is not known"):
            format_for(return_type=complex, loading=True)
        assert format_for(name="upper", value=1j).unsafe
    finally:
        unregister_format("upper")


def test_what_was_not_registered_cannot_be_unregistered() -> None:
    for name in ("json", "nothing"):
        with pytest.raises(DatasetFormatError, match=f"no format '{name}' was registered"):
            unregister_format(name)


def variant(**given: Any) -> Any:
    return type("Variant", (Upper,), given)


@pytest.mark.parametrize(
    ("added", "kind", "message"),
    [
        (object(), OptionTypeError, "object is no format; derive it from eagerly.datasets.formats.Format"),
        (variant(name="json"), OptionValueError, "has the name 'json', which is that of a built-in format"),
        (variant(name=""), OptionValueError, "has the name ''; the name of a format is one word"),
        (variant(extensions=".x"), OptionTypeError, r"has the extensions '\.x'; they are a tuple"),
        (variant(extensions=("x",)), OptionValueError, r"has the extension 'x'; write it in lower case with its dot"),
        (variant(extensions=(".X",)), OptionValueError, r"has the extension '\.X'"),
        (variant(items=True), OptionTypeError, r"it does not define writer\(\)"),
        (variant(load=Format.load), OptionTypeError, r"it does not define load\(\)"),
    ],
)
def test_what_cannot_be_a_format_is_refused(added: Any, kind: type[Exception], message: str) -> None:
    before = formats()
    with pytest.raises(kind, match=message):
        register_format(added)
    assert formats() == before


# Installed

PLUGIN = """
from eagerly.datasets.formats import Format
class Dots(Format):
    name, extensions, takes = {name!r}, (".dots", ".json"), "a range"
    def fits(self, value): return type(value) is range
    def save(self, value, file, options): file.write(b"." * len(value))
    def load(self, file, return_type, options): return range(len(file.read()))
"""


def install(where: Path, distribution: str, module: str, source: str, entry: str) -> None:
    (where / f"{module}.py").write_text(source, "utf-8")
    info = where / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[eagerly.formats]\n{entry}\n", "utf-8")


USE = """
import io
from eagerly.datasets.formats import *
file = io.BytesIO()
chosen = format_for(value=range(3))
chosen.save(range(3), file, {})
file.seek(0)
print(chosen.name, chosen.load(file, None, {}), format_for(extension=".dots", loading=True).name,
      format_for(extension=".json", loading=True).name, [each.name for each in formats()][-1])
"""


@pytest.mark.parametrize("entry", ["dots = eagerly_dots:Dots", "dots = eagerly_dots:dots"])
def test_an_installed_format_is_found(tmp_path: Path, entry: str) -> None:
    install(tmp_path, "eagerly-dots", "eagerly_dots", PLUGIN.format(name="dots") + "dots = Dots()\n", entry)
    assert run(USE, tmp_path).strip() == "dots range(0, 3) dots json dots"


@pytest.mark.parametrize(
    ("source", "entry", "message"),
    [
        ("raise RuntimeError('out of order')", "broken = broken:Broken", "RuntimeError: out of order"),
        ("", "broken = broken:Broken", "has no attribute 'Broken'"),
        ("Broken = 3", "broken = broken:Broken", "int is no format"),
        (PLUGIN.format(name="json"), "broken = broken:Dots", "the name 'json', which is that of a built-in format"),
    ],
)
def test_a_broken_one_is_a_warning_that_names_it_and_the_others_work(
    tmp_path: Path, source: str, entry: str, message: str
) -> None:
    install(tmp_path, "a-broken-one", "broken", source, entry)
    install(tmp_path, "eagerly-dots", "eagerly_dots", PLUGIN.format(name="dots"), "dots = eagerly_dots:Dots")
    printed = run(USE, tmp_path)
    assert "dots range(0, 3) dots json dots" in printed
    assert f"EagerlyWarning: the installed format [a-broken-one: {entry}] cannot be used: " in printed
    assert message in printed
    assert printed.count("EagerlyWarning") == 1


def test_of_two_installed_formats_of_one_name_the_second_is_left_out(tmp_path: Path) -> None:
    for each in ("one", "two"):
        install(tmp_path, each, f"dots_{each}", PLUGIN.format(name="dots"), f"dots = dots_{each}:Dots")
    printed = run(USE, tmp_path)
    assert "dots range(0, 3)" in printed
    assert "another installed format has the name 'dots' already" in printed


def test_packages_are_only_asked_when_ours_do_not_do() -> None:
    code = """
import importlib.metadata
importlib.metadata.entry_points = None  # to call it is an error
from eagerly.datasets.formats import *
format_for(value={"a": 1}), format_for(extension=".json", value={}), format_for(name="text", value="")
print("good")
"""
    assert run(code).strip() == "good"
