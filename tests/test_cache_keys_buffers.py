"""Large buffers: one digest whatever the number of threads, none of the bytes left out, usable after a fork."""

from __future__ import annotations

import hashlib
import os
import threading
import tracemalloc

import numpy as np
import pytest

from eagerly.cache._encode import encode
from eagerly.cache._encode_buffers import FOLD_FROM, LEAF, bounded, tree_digest

MIB = 1 << 20


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def expected(data: bytes) -> bytes:
    """The digest as it is described, without threads."""
    leaves = [data[start : start + LEAF] for start in range(0, len(data), LEAF)]
    hashes = b"".join(hashlib.sha256(leaf).digest() for leaf in leaves)
    return hashlib.sha256(len(data).to_bytes(8, "little") + hashes).digest()


@pytest.mark.parametrize("size", [0, 1, FOLD_FROM, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 5 * LEAF + 17])
def test_the_digest_is_the_same_for_any_number_of_threads(size: int) -> None:
    data = noise(size)
    assert {tree_digest(memoryview(data), threads) for threads in (None, 1, 2, 3, 4, 7, 16)} == {expected(data)}


def test_the_digest_is_the_same_when_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    data = noise(3 * LEAF)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert tree_digest(memoryview(data), 4) == expected(data)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    tree_digest(memoryview(noise(4 * LEAF)), 4)
    assert threading.active_count() == before


@pytest.mark.parametrize("place", [0, LEAF - 1, LEAF, 2 * LEAF + 5, 3 * LEAF - 1])
def test_each_byte_counts(place: int) -> None:
    data = bytearray(noise(3 * LEAF))
    before = encode(data, "argument 'x'")
    data[place] ^= 1
    assert encode(data, "argument 'x'") != before


@pytest.mark.parametrize("size", [FOLD_FROM - 1, FOLD_FROM, FOLD_FROM + 1])
def test_kinds_of_bytes_stay_apart_when_only_their_digest_is_kept(size: int) -> None:
    data = bytes(size)
    values = [data, bytearray(data), memoryview(data), data.decode(), np.zeros(size, "u1"), np.zeros(size, "i1")]
    assert len({encode(value, "") for value in values}) == len(values)
    assert bounded(b"x", data) != bounded(b"y", data) != bounded(b"y", data + b"\0")


def test_a_digest_is_no_substitute_for_the_bytes_that_spell_it() -> None:
    data = noise(FOLD_FROM)
    spelled = len(data).to_bytes(8, "little") + tree_digest(memoryview(data))
    assert encode(data, "") != encode(spelled, "")


def test_an_array_is_hashed_where_it_lies() -> None:
    array = np.zeros(32 * MIB, "u1")
    encode(array, "")
    tracemalloc.start()
    try:
        encode(array, "")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MIB


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_finds_the_same_digest() -> None:
    data = noise(3 * LEAF)
    digest = tree_digest(memoryview(data), 4)
    child = os.fork()
    if child == 0:
        os._exit(0 if tree_digest(memoryview(data), 4) == digest else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_many_threads_find_the_same_digest_at_once() -> None:
    data = noise(3 * LEAF)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(tree_digest(memoryview(data)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(data)] * 6
