"""Links in a store: those that stay inside are followed, those that lead out are refused, also in a race."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eagerly.datasets import _rooted
from eagerly.datasets._store import DatasetStore
from eagerly.errors import DatasetError, DatasetKeyError, DatasetNotFoundError

pytestmark = pytest.mark.skipif(not hasattr(os, "symlink"), reason="a system without links")


@pytest.fixture(params=[True, False], ids=["relative", "resolved"])
def store(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DatasetStore:
    """In a folder beside one with a secret; both ways of opening files, with and without `dir_fd`."""
    monkeypatch.setattr(_rooted, "_RELATIVE", request.param)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.txt").write_text("secret")
    (tmp_path / "root").mkdir()
    return DatasetStore(tmp_path / "root")


USES: dict[str, Callable[[DatasetStore, str], Any]] = {
    "save": lambda store, key: store.save(key, "planted"),
    "writer": lambda store, key: store.writer(key),
    "load": lambda store, key: store.load(key),
    "exists": lambda store, key: store.exists(key),
    "delete": lambda store, key: store.delete(key),
    "verify": lambda store, key: store.verify(key),
}


def untouched(tmp_path: Path) -> bool:
    outside = tmp_path / "outside"
    return {path.name for path in outside.iterdir()} == {"secret.txt"} and (
        outside / "secret.txt"
    ).read_text() == "secret"


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("link", "target", "key"),
    [
        ("link", "../outside", "link/secret.txt"),
        ("link", "{tmp}/outside", "link/secret.txt"),
        ("link", "..", "link/outside/secret.txt"),
        ("link", ".", "link/link/secret.txt"),
        ("link", "a/../../outside", "link/secret.txt"),
        ("link", "{tmp}/root/../outside", "link/secret.txt"),
        ("link", "/", "link/etc/passwd"),
        ("link", "hop", "link/secret.txt"),
        ("link", "loop", "link/x.txt"),
    ],
)
def test_a_folder_that_is_a_link_to_the_outside(
    store: DatasetStore, tmp_path: Path, use: str, link: str, target: str, key: str
) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir()
    (root / link).symlink_to(target.format(tmp=tmp_path))
    (root / "hop").symlink_to("../outside")
    (root / "loop").symlink_to("link" if target == "loop" else "loop")
    if target == ".":  # stays inside: what is said is that there is no such file
        if use == "load":
            with pytest.raises(DatasetNotFoundError):
                USES[use](store, key)
        return
    with pytest.raises(DatasetError) as caught:
        USES[use](store, key)
    if target != "loop":
        assert isinstance(caught.value, DatasetKeyError)
        assert "leads out of the store" in str(caught.value)
    assert untouched(tmp_path)


@pytest.mark.parametrize("target", ["../outside/secret.txt", "{tmp}/outside/secret.txt", "../outside/new.txt"])
def test_a_file_that_is_a_link_to_the_outside(store: DatasetStore, tmp_path: Path, target: str) -> None:
    link = tmp_path / "root/x.txt"
    link.symlink_to(target.format(tmp=tmp_path))
    for use in ("save", "writer", "load", "exists", "verify"):
        with pytest.raises(DatasetKeyError):
            USES[use](store, "x.txt")
    assert untouched(tmp_path)
    assert link.is_symlink()
    assert store.delete("x.txt"), "the link itself can go"
    assert not link.is_symlink()
    assert untouched(tmp_path)


def test_links_that_stay_inside_are_followed(store: DatasetStore, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "real/deep").mkdir(parents=True)
    (root / "relative").symlink_to("real/deep")
    (root / "absolute").symlink_to(root / "real")
    (root / "real/up").symlink_to("../real/./deep/..")
    for key in ("relative/a.txt", "absolute/b.txt", "real/up/c.txt", "absolute/deep/d.txt"):
        store.save(key, key)
        assert store.load(key) == key
        assert store.verify(key) == []
    assert sorted(path.name for path in (root / "real").rglob("*.txt")) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    (root / "latest.txt").symlink_to("real/deep/a.txt")
    assert store.load("latest.txt") == "relative/a.txt"
    with pytest.raises(DatasetKeyError, match=r"'latest\.txt' is a link, and is not replaced"):
        store.save("latest.txt", "new")
    assert store.load("relative/a.txt") == "relative/a.txt"


def test_the_base_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "base").symlink_to("real")
    store = DatasetStore(tmp_path / "base")
    store.save("a/x.txt", "1")
    (tmp_path / "real/again").symlink_to(tmp_path / "real/a")
    assert store.load("again/x.txt") == "1"
    assert (tmp_path / "real/a/x.txt").read_text() == "1"


@pytest.mark.parametrize(
    "hidden",
    [
        ".eagerly",
        ".eagerly/datasets",
        ".eagerly/datasets/manifests",
        ".eagerly/datasets/locks",
        ".eagerly/datasets/writing",
    ],
)
def test_the_stores_own_folders_cannot_be_led_out_either(store: DatasetStore, tmp_path: Path, hidden: str) -> None:
    link = tmp_path / "root" / hidden
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetKeyError, match="leads out of the store"):
        store.save("x.txt", "1")
    assert untouched(tmp_path)
    assert not (tmp_path / "root/x.txt").exists()


def test_folders_and_files_do_not_replace_one_another(store: DatasetStore, tmp_path: Path) -> None:
    store.save("a", "file")
    store.save("b/c", "file")
    with pytest.raises(DatasetError):
        store.save("a/x", "1")
    with pytest.raises(DatasetKeyError, match="'b' is a folder"):
        store.save("b", "1")
    assert store.load("a") == store.load("b/c") == "file"
    with pytest.raises(DatasetNotFoundError):
        store.load("b")


def test_what_is_no_file_is_not_opened(store: DatasetStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/pipe.txt")
    with pytest.raises(DatasetError):
        store.load("pipe.txt")  # which would wait for ever
    with pytest.raises(DatasetKeyError, match="is no file"):
        store.save("pipe.txt", "1")


SWAP = """
import contextlib, itertools, os, sys
root, outside = sys.argv[1:]
print("ready", flush=True)
for number in itertools.count():
    with contextlib.suppress(OSError):
        os.rename(root + "/d", f"{root}/was-{number}")
    with contextlib.suppress(OSError):
        os.symlink(outside, root + "/d")
    with contextlib.suppress(OSError):
        os.unlink(root + "/d")
"""


def test_a_link_that_is_planted_between_check_and_use(tmp_path: Path) -> None:
    """Another process keeps putting a link to the outside where the folder of the datasets was."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x.txt").write_text("secret")
    (tmp_path / "outside/secret.txt").write_text("secret")
    store = DatasetStore(tmp_path / "root")
    store.save("d/x.txt", "mine")
    refused = done = missed = 0
    with subprocess.Popen(
        [sys.executable, "-c", SWAP, str(tmp_path / "root"), str(tmp_path / "outside")], stdout=subprocess.PIPE
    ) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            while (refused < 8 or done < 8) and refused + done + missed < 5000:
                try:
                    store.save("d/x.txt", "mine")
                    done += 1
                    assert store.load("d/x.txt") == "mine"
                    store.delete("d/secret.txt")
                except DatasetKeyError as error:
                    refused += "leads out of the store" in str(error)
                except DatasetError:  # the folder was on its way
                    missed += 1
        finally:
            swapper.kill()
    assert refused, "the race took place"
    assert done
    assert {path.name: path.read_text() for path in (tmp_path / "outside").iterdir()} == {
        "x.txt": "secret",
        "secret.txt": "secret",
    }
