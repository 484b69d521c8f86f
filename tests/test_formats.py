"""Every format: what is saved comes back with its types, what cannot is refused, a bad file is an error."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pyarrow as pa
import pytest

from eagerly.datasets.formats import Format, format_for, formats, type_name
from eagerly.errors import DatasetError, DatasetFormatError
from formats_cases import WriteOnly, loaded, round_trip, saved

UTC = dt.UTC
ARRAY = np.arange(12, dtype="int16").reshape(3, 4)
PHOTO = np.random.default_rng(3).integers(0, 255, (16, 20, 3), dtype="uint8")
ROWS = [{"name": "Ada", "age": 36, "height": 1.65}, {"name": "Grâce\r\n", "age": 85, "height": None}]
TREE = {"b": [1, 2.5, None, True, "é\n"], "a": {"": [], "x": {}}, "big": 2**80, "tiny": 5e-324}
PANDAS = pd.DataFrame({"n": [1, 2], "s": ["x", None], "t": pd.to_datetime(["2024-01-01", "2024-02-01"])})
POLARS = pl.DataFrame({"n": [1, None], "s": ["x", "y"], "l": [[1], [2, 3]]}, schema_overrides={"n": pl.Int32})
TABLE = pa.table({"n": pa.array([1, 2], pa.int8()), "d": pa.array(["x", "y"]).dictionary_encode()})

CASES: list[tuple[str, Any, Any]] = [
    ("text", "Straße\r\n\ufeff\x00end", None),
    ("text", "", str),
    ("bytes", bytes(range(256)), None),
    ("bytes", bytearray(b"\x00x"), bytearray),
    ("json", TREE, None),
    ("json", None, None),
    ("json", -0.0, float),
    ("jsonl", [TREE, 1, "a\nb\u2028c", None, []], None),
    ("jsonl", [], list),
    ("csv", [{"a": "1", "b": 'x"y,\r\nz'}, {"a": "", "b": "\r"}], None),
    ("csv", [["a", "b"], ["", "d"]], list[list[str]]),
    ("csv", [("a",), ("",)], list[tuple[str, ...]]),
    ("csv", [], None),
    ("tsv", [{"a": "1\t2", "b": ","}], list[dict[str, str]]),
    ("csv", pd.DataFrame({"n": [1, 2], "f": [0.1, 1e-300], "s": ["x", "y"]}), pd.DataFrame),
    ("tsv", pd.DataFrame({"n": [1, 2], "s": ["x\ty", "y"]}), pd.DataFrame),
    ("csv", pl.DataFrame({"n": [1, 2], "f": [0.1, 1e-300], "s": ["x", "y"]}), pl.DataFrame),
    ("csv", pa.table({"n": [1, 2], "s": ["x", "y\nz"]}), pa.Table),
    *((name, value, type(value)) for name in ("parquet", "feather") for value in (PANDAS, POLARS, TABLE, ROWS)),
    *((name, [], list) for name in ("parquet", "feather")),
    ("parquet", PANDAS, None),
    ("feather", PANDAS, None),
    ("parquet", TABLE, None),
    ("npy", ARRAY, None),
    ("npy", np.asfortranarray(ARRAY), np.ndarray),
    ("npy", np.array(3.5), None),
    ("npy", np.array(["2024-01-01", "NaT"], "M8[D]"), None),
    ("npy", np.zeros(2, [("a", "i4"), ("b", "U3")]), None),
    ("npy", np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)), None),
    ("npz", {"file": ARRAY, "a": ARRAY.T, "a.npy": np.array(True), "": ARRAY[:0]}, None),
    ("safetensors", {"w": ARRAY.T, "b": np.array(2.5, "float32"), "e": np.zeros((0, 3), "uint8")}, None),
    ("yaml", {**TREE, 3: b"\x00\xff", "d": dt.date(2024, 2, 29), "inf": float("inf")}, None),
    ("yaml", {"t": dt.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "yes": "yes", "no": "1e3", "o": "0o7"}, None),
    ("toml", {"t": {"x": [1, 2.5, "é"]}, "d": dt.datetime(2024, 1, 2, 3, tzinfo=UTC), "h": dt.time(1, 2)}, None),
    ("png", PHOTO, np.ndarray),
    ("png", PHOTO[:, :, 0], np.ndarray),
    ("png", PIL.Image.fromarray(PHOTO).convert("RGBA"), None),
    ("png", PIL.Image.fromarray(PHOTO).convert("1"), None),
    ("tiff", PIL.Image.fromarray(PHOTO).convert("CMYK"), None),
    ("tiff", PIL.Image.fromarray(PHOTO[:, :, 0].astype("float32")), None),
    ("bmp", PHOTO, np.ndarray),
    ("gif", PIL.Image.fromarray(PHOTO).convert("P"), None),
    ("pickle", {(1, 2): {3}, "o": complex(1, 2)}, None),
    ("joblib", {"w": ARRAY, "t": (1, 2)}, dict),
]


def same(one: Any, other: Any) -> bool:
    assert type_name(type(one)) == type_name(type(other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, PIL.Image.Image):  # what a file says of itself, its info, is not part of the picture
        mode = "RGBA" if one.mode == "P" else one.mode
        return one.mode == other.mode and one.convert(mode).tobytes() == other.convert(mode).tobytes()
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return True
    if isinstance(one, pl.DataFrame | pa.Table):
        return one.equals(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(each, other[key]) for key, each in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(each, another) for each, another in zip(one, other, strict=True))
    return repr(one) == repr(other) or one == other


@pytest.mark.parametrize(
    ("name", "value", "return_type"), CASES, ids=lambda each: None if each is None else str(each)[:30]
)
def test_what_is_saved_comes_back_with_its_types(name: str, value: Any, return_type: Any) -> None:
    assert same(value, round_trip(name, value, return_type))


@pytest.mark.parametrize("name", sorted({each.name for each in formats()} - {"jpeg", "webp"}))
def test_every_format_has_a_round_trip(name: str) -> None:
    assert name in {case[0] for case in CASES}


@pytest.mark.parametrize(("name", "options"), [("jpeg", {"quality": 95}), ("webp", {"quality": 95})])
def test_lossy_images_come_back_nearly(name: str, options: dict[str, Any]) -> None:
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype("uint8")
    back = round_trip(name, smooth, np.ndarray, **options)
    assert back.shape == smooth.shape
    assert np.abs(back.astype(int) - smooth).mean() < 4


def test_webp_without_loss_comes_back_exactly() -> None:
    assert same(PHOTO, round_trip("webp", PHOTO, np.ndarray, lossless=True))


@pytest.mark.parametrize("name", ["npy", "png", "parquet"])
def test_what_is_loaded_can_be_written_to(name: str) -> None:
    value = {"npy": ARRAY, "png": PHOTO, "parquet": PANDAS}[name]
    back = round_trip(name, value, type(value))
    if name == "parquet":
        back.loc[0, "n"] = 7
    else:
        back[0] = 7


# Choosing

USUAL = [
    ("x", "text"),
    (b"x", "bytes"),
    (bytearray(b"x"), "bytes"),
    ({"a": ARRAY}, "npz"),
    ({}, "json"),
    ({"a": 1}, "json"),
    (ROWS, "json"),
    (None, "json"),
    (1.5, "json"),
    (ARRAY, "npy"),
    (PANDAS, "parquet"),
    (POLARS, "parquet"),
    (TABLE, "parquet"),
    (PIL.Image.fromarray(PHOTO), "png"),
    (PHOTO, "npy"),
]


@pytest.mark.parametrize(("value", "name"), USUAL, ids=lambda each: str(each)[:20])
def test_a_value_has_a_usual_format(value: Any, name: str) -> None:
    assert format_for(value=value).name == name
    assert format_for(value=value, extension=".d7").name == name


@pytest.mark.parametrize("value", [(1,), {1}, object(), 1j, pd.Series([1]), print, np.float64(1)], ids=str)
def test_what_only_a_pickle_can_hold_needs_to_be_asked_for(value: Any) -> None:
    with pytest.raises(DatasetFormatError, match=r'only pickle can hold .* format="pickle" or an extension \.pkl'):
        format_for(value=value)
    assert format_for(value=value, name="pickle").name == "pickle"
    assert format_for(value=value, extension=".PKL").name == "pickle"


@pytest.mark.parametrize("each", formats(), ids=lambda each: each.name)
def test_extension_and_name_choose(each: Format) -> None:
    assert format_for(name=each.name, loading=True) is each
    for extension in each.extensions:
        assert format_for(extension=extension, loading=True) is each
        assert format_for(extension=extension.upper(), loading=True) is each
    assert format_for(name="bytes", extension=each.extensions[0], loading=True).name == "bytes"


def test_no_two_built_in_formats_share_a_name_or_an_extension() -> None:
    names = [each.name for each in formats()]
    extensions = [extension for each in formats() for extension in each.extensions]
    assert len(set(names)) == len(names)
    assert len(set(extensions)) == len(extensions)


@pytest.mark.parametrize(
    ("name", "near"), [("prquet", "parquet"), ("JSON", "json"), ("yml", "yaml"), (".pkl", "pickle")]
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(
        DatasetFormatError, match=rf"no format '{name}'; did you mean '{near}'\? there are bmp, bytes, csv,"
    ):
        format_for(name=name, value=1)


@pytest.mark.parametrize(
    ("extension", "near"), [(".jsno", ".json"), (".parqet", ".parquet"), (".pickel", ".pickle"), (".yamll", ".yaml")]
)
def test_a_slip_in_an_extension_is_found(extension: str, near: str) -> None:
    with pytest.raises(DatasetFormatError, match=f"did you mean '{near}'"):
        format_for(extension=extension, value={})


@pytest.mark.parametrize("extension", [".v2", ".01", ".html", ".xml", ".sql", ".docx", ".webm"])
def test_other_extensions_say_nothing(extension: str) -> None:
    assert format_for(extension=extension, value="x").name == "text"


def test_a_compressed_extension_is_no_promise_that_can_be_kept() -> None:
    with pytest.raises(DatasetFormatError, match="nothing is compressed here"):
        format_for(extension=".gz", value={"a": 1})
    assert format_for(extension=".gz", value=b"\x1f\x8b").name == "bytes"


def test_a_wrong_value_for_the_extension_is_refused_with_what_fits() -> None:
    with pytest.raises(DatasetFormatError) as caught:
        format_for(extension=".json", value=PANDAS)
    assert "not a pandas.DataFrame" in str(caught.value)
    assert str(caught.value).endswith("fits csv, tsv, parquet, feather, pickle, joblib")


@pytest.mark.parametrize(
    ("return_type", "name"),
    [
        (str, "text"),
        (bytes, "bytes"),
        (dict, "json"),
        (list[int], "json"),
        (pd.DataFrame, "parquet"),
        (np.ndarray, "npy"),
    ],
)
def test_without_an_extension_the_return_type_chooses(return_type: Any, name: str) -> None:
    assert format_for(loading=True, return_type=return_type).name == name


@pytest.mark.parametrize("return_type", [None, Any, set])
def test_what_cannot_be_known_is_asked_for(return_type: Any) -> None:
    with pytest.raises(
        DatasetFormatError, match=r"the format to load is not known: the extension '\.v2' is of no format"
    ):
        format_for(loading=True, extension=".v2", return_type=return_type)


def test_an_unsafe_format_is_never_a_guess() -> None:
    assert {each.name for each in formats() if each.unsafe} == {"pickle", "joblib"}
    for each in formats():
        if each.unsafe:
            assert "Warning:" in (type(each).__doc__ or "")


# Wrong values, options, files, types

WRONG: dict[str, Any] = {
    "text": b"x",
    "bytes": "x",
    "json": ARRAY,
    "jsonl": {"a": 1},
    "csv": {"a": 1},
    "tsv": "a\tb",
    "parquet": {"a": 1},
    "feather": [1],
    "npy": [1],
    "npz": ARRAY,
    "safetensors": {},
    "yaml": ARRAY,
    "toml": [1],
    **dict.fromkeys(("png", "jpeg", "webp", "tiff", "gif", "bmp"), ARRAY),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_value_is_refused(name: str) -> None:
    value = WRONG[name]
    with pytest.raises(DatasetFormatError, match=rf"^{name} takes .*, not .*; .* fits .*pickle"):
        format_for(name=name, value=value)
    chosen = format_for(name=name, loading=True)
    file = WriteOnly()
    with pytest.raises(DatasetFormatError):
        chosen.save(value, file, {})
    assert file.data == b""


@pytest.mark.parametrize("name", sorted(set(WRONG) | {"pickle", "joblib"}))
def test_an_unknown_option_is_refused(name: str) -> None:
    value = next(case[1] for case in [*CASES, ("jpeg", PHOTO), ("webp", PHOTO)] if case[0] == name)
    chosen = format_for(name=name, value=value)
    with pytest.raises(DatasetFormatError, match=f"{name} has no option 'speling'"):
        saved(chosen, value, speling=1)
    with pytest.raises(DatasetFormatError, match=f"{name} has no option 'speling'"):
        loaded(chosen, b"", speling=1)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        DatasetFormatError, match=r"no option 'sortkeys'; did you mean 'sort_keys'\? there are allow_nan, "
    ):
        saved(format_for(name="json", value={}), {}, sortkeys=True)


CORRUPT: dict[str, bytes] = {
    "text": b"\xff\xfe\xff",
    "json": b'{"a": ',
    "jsonl": b'{"a": 1}\n{"a"\n',
    "csv": b'a,b\n"x',
    "tsv": b"a\tb\nx\n",
    "yaml": b"a: [1",
    "toml": b"a = ",
}


DAMAGES = [
    (each.name, damage)
    for each in formats()
    for damage in ("garbage", "empty", "cut")
    if each.name != "bytes" and (damage == "garbage" or each.name not in CORRUPT)  # the beginning of a text is a text
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_file_is_an_error_that_names_the_format(name: str, damage: str) -> None:
    value = next(case[1] for case in [("jpeg", PHOTO), ("webp", PHOTO), ("png", PHOTO), *CASES] if case[0] == name)
    chosen = format_for(name=name, value=value)
    if damage == "garbage":
        data = CORRUPT.get(name, b"\x00garbage that is nothing at all" * 9)
    else:
        data = b"" if damage == "empty" else saved(chosen, value)[:-40]
    with pytest.raises(DatasetError, match=f"this cannot be read as {name}: ") as caught:
        loaded(chosen, data)
    assert not isinstance(caught.value, DatasetFormatError)


@pytest.mark.parametrize(
    "name", ["text", "bytes", "jsonl", "csv", "parquet", "feather", "npy", "npz", "safetensors", "png"]
)
def test_a_type_that_the_format_does_not_give_is_refused(name: str) -> None:
    with pytest.raises(DatasetFormatError, match=rf"{name} cannot be loaded as complex; it gives \w+"):
        loaded(format_for(name=name, loading=True), b"", complex)


@pytest.mark.parametrize("name", ["json", "yaml", "toml", "pickle", "joblib"])
def test_a_type_that_the_file_does_not_hold_is_refused(name: str) -> None:
    chosen = format_for(name=name, value={"a": 1})
    with pytest.raises(DatasetFormatError, match="a dict"):
        loaded(chosen, saved(chosen, {"a": 1}), list)
    with pytest.raises(DatasetFormatError, match=r"a dict"):
        loaded(chosen, saved(chosen, {"a": 1}), pd.DataFrame)


def test_trouble_with_the_file_is_not_blamed_on_the_value() -> None:
    class Full(WriteOnly):
        def write(self, data: Any, /) -> int:
            raise OSError(28, "No space left on device")

    for name, value, _ in CASES:
        chosen = format_for(name=name, value=value)
        if saved(chosen, value):
            with pytest.raises(OSError, match="No space left") as caught:
                chosen.save(value, Full(), {})
            assert not isinstance(caught.value, DatasetError)


@pytest.mark.parametrize("each", formats(), ids=lambda each: each.name)
def test_versions_are_of_the_libraries_in_use(each: Format) -> None:
    assert set(each.versions()) == set(each.libraries)
    assert all(version[0].isdigit() for version in each.versions().values())


@pytest.mark.parametrize(
    ("name", "recorded", "expected"),
    [
        ("parquet", "polars.DataFrame", pl.DataFrame),
        ("csv", "list", list),
        ("parquet", "Iterator[dict]", list),
        ("parquet", "Iterator[pandas.DataFrame]", pd.DataFrame),
        ("text", "Iterator[str]", str),
        ("jsonl", "Iterator[int]", None),
        ("bytes", "bytearray", bytearray),
        ("png", "numpy.ndarray", np.ndarray),
        ("png", "PIL.PngImagePlugin.PngImageFile", None),
        ("json", "os.PathLike", None),
        ("parquet", "somebodys.Class", None),
    ],
)
def test_a_recorded_type_leads_back_to_the_type(name: str, recorded: str, expected: Any) -> None:
    assert format_for(name=name, loading=True).type_named(recorded) is expected


@pytest.mark.parametrize(
    "value", [PANDAS, POLARS, TABLE, ARRAY, ROWS, {}, "x", PIL.Image.fromarray(PHOTO)], ids=type_name
)
def test_the_type_of_a_value_is_recorded_under_the_name_that_leads_back(value: Any) -> None:
    chosen = format_for(value=value)
    recorded = type_name(type(value))
    assert chosen.type_named(recorded) in (type(value), None if chosen.name == "json" else type(value))


# Binary formats: what they must not do


def test_arrays_of_objects_are_neither_written_nor_read() -> None:
    trap = np.array([{"a": 1}], dtype=object)
    for name, value in (("npy", trap), ("npz", {"a": trap})):
        with pytest.raises(DatasetFormatError, match=r"dtype object: objects would have to be pickled\. Convert it"):
            saved(format_for(name=name, value=value), value)
    file = io.BytesIO()
    np.save(file, trap, allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read as npy: ValueError: Object arrays cannot be loaded"):
        loaded(format_for(name="npy", loading=True), file.getvalue())
    file = io.BytesIO()
    np.savez(file, a=trap, allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read as npz: ValueError: Object arrays cannot be loaded"):
        loaded(format_for(name="npz", loading=True), file.getvalue())


def test_subclasses_of_arrays_are_not_flattened() -> None:
    masked = np.ma.masked_array([1, 2], mask=[True, False])
    for value in (masked, np.rec.array([(1, 2)]), np.float64(1)):
        with pytest.raises(DatasetFormatError, match=r"npy takes a numpy.ndarray"):
            format_for(name="npy", value=value)


def test_numpy_reads_what_was_saved() -> None:
    chosen = format_for(name="npz", value={"a": ARRAY})
    for options in ({}, {"compressed": True}):
        with np.load(io.BytesIO(saved(chosen, {"a": ARRAY}, **options))) as archive:
            assert same(archive["a"], ARRAY)
    assert len(saved(chosen, {"a": np.zeros(9999)}, compressed=True)) < 1000


@pytest.mark.parametrize("key", [1, "a\0b"])
def test_names_that_a_zip_cannot_hold_are_refused(key: Any) -> None:
    with pytest.raises(DatasetFormatError, match="named by text without NUL"):
        saved(format_for(name="npz", value={key: ARRAY}), {key: ARRAY})


def test_safetensors_keeps_strides_straight_and_refuses_the_other_byte_order() -> None:
    chosen = format_for(name="safetensors", value={"a": ARRAY})
    view = np.arange(24.0).reshape(4, 6)[::2, ::-1]
    assert np.array_equal(loaded(chosen, saved(chosen, {"a": view}))["a"], view)
    with pytest.raises(DatasetFormatError, match="one byte order, and 'a' another: >f8"):
        saved(chosen, {"a": np.zeros(2, ">f8")})


def test_an_image_that_would_change_its_mode_is_refused() -> None:
    photo = PIL.Image.fromarray(PHOTO)
    with pytest.raises(DatasetFormatError, match=r"jpeg cannot hold this image of mode 'RGBA'.*convert\('RGB'\)"):
        saved(format_for(name="jpeg", value=photo), photo.convert("RGBA"))
    with pytest.raises(DatasetFormatError, match="gif would make mode 'P' of mode 'RGB'"):
        saved(format_for(name="gif", value=photo), photo)
    with pytest.raises(DatasetFormatError, match="webp would make mode 'RGB' of mode 'L'"):
        saved(format_for(name="webp", value=photo), photo.convert("L"))


def test_frames_of_an_image_are_kept_when_asked_for_and_never_lost_in_silence() -> None:
    first, second = (PIL.Image.new("RGB", (4, 4), colour).convert("P") for colour in ("red", "blue"))
    chosen = format_for(name="gif", value=first)
    moving = loaded(chosen, saved(chosen, first, save_all=True, append_images=[second]))
    assert moving.n_frames == 2
    with pytest.raises(DatasetFormatError, match="has 2 frames, of which gif would keep one"):
        saved(chosen, moving)
    assert loaded(chosen, saved(chosen, moving, save_all=True)).n_frames == 2


def test_one_kind_of_image_is_not_read_as_another() -> None:
    png = saved(format_for(name="png", value=PHOTO), PHOTO)
    with pytest.raises(DatasetError, match="cannot be read as jpeg"):
        loaded(format_for(name="jpeg", loading=True), png)


def test_joblib_compresses() -> None:
    zeros = np.zeros(100_000)
    chosen = format_for(name="joblib", value=zeros)
    data = saved(chosen, zeros, compress=("zlib", 3))
    assert len(data) < 10_000
    assert same(loaded(chosen, data), zeros)


def test_what_pickle_cannot_pickle_is_an_error_with_the_reason() -> None:
    for name in ("pickle", "joblib"):
        with pytest.raises(DatasetFormatError, match=rf"{name} cannot hold this"):
            saved(format_for(name=name, value=print), lambda: None)
