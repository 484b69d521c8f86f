"""Bytes that are too many to be copied: they are hashed where they lie, and their digest stands for them.

The digest is that of a two-level tree: leaves of 4 MiB, hashed by as many threads as there are processors, and the hash
of their hashes. It depends on the bytes alone. `hashlib` lets go of the interpreter lock while it hashes. Helper
threads live as long as one digest, which costs 0.1 ms of some ms and leaves nothing that a fork could break.

NaN is one value, but its sign and payload are bits that differ: 0.0 / 0.0 gives another NaN than a file that was read.
Where a buffer has floats, each leaf is looked through on the way, while it is in the processor's cache.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import sys
import threading
from collections import deque
from hashlib import sha256
from typing import Any, Final

from eagerly.cache._encode_walk import sized

__all__ = ["FOLD_FROM", "LEAF", "bounded", "tree_digest"]

LEAF: Final = 4 << 20
FOLD_FROM: Final = 64 << 10
"""From how many bytes on a digest stands for them."""

HALF_INFINITY: Final = 0x7C00
"""The bits of infinity in 16 bits; what is above is NaN."""

MAX_THREADS: Final = 8
"""More would wait for memory, not compute."""


def bounded(tag: bytes, data: Any, floats: str = "") -> bytes:
    """`data`, any contiguous buffer, under a one-byte tag: itself if it is small, else its length and digest.

    Args:
        tag: One byte.
        data: The buffer.
        floats: The format of its items as in `struct`, such as "<d", if they are floats; NaN is one value then.
    """
    view = memoryview(data)
    view = view.cast("B") if view.nbytes else memoryview(b"")  # a shape with a zero in it cannot be cast
    if len(view) < FOLD_FROM:
        return sized(tag, bytes(_with_one_nan(view, floats)) if floats else view.tobytes())
    return b"#" + sized(tag, len(view).to_bytes(8, "little") + tree_digest(view, floats=floats))


def tree_digest(view: memoryview, threads: int | None = None, floats: str = "") -> bytes:
    """32 bytes for the contents of `view`, which is contiguous and of format "B".

    Args:
        view: What to hash.
        threads: How many to use at most, this one included; None: as many as there are processors.
        floats: As for `bounded`.
    """
    leaves = -(-len(view) // LEAF)
    pending = deque(range(leaves))
    digests = [b""] * leaves

    def hash_leaves() -> None:
        with contextlib.suppress(IndexError):
            while True:
                number = pending.popleft()
                leaf = view[number * LEAF : (number + 1) * LEAF]
                digests[number] = sha256(_with_one_nan(leaf, floats) if floats else leaf).digest()

    helpers: list[threading.Thread] = []
    try:
        for _ in range(min(leaves, threads or _processors()) - 1):
            helper = threading.Thread(target=hash_leaves, name="eagerly-hash", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads to be had: at exit, or by a limit
                helper.start()
                helpers.append(helper)
        hash_leaves()
    finally:
        pending.clear()
        for helper in helpers:
            helper.join()
    if b"" in digests:
        raise MemoryError("a helper thread could not hash its part")
    return sha256(len(view).to_bytes(8, "little") + b"".join(digests)).digest()


def _with_one_nan(view: memoryview, floats: str) -> Any:
    """`view`, or a copy of it in which all NaNs have the same bits. Both ways give the same."""
    np: Any = sys.modules.get("numpy")
    if np is None:
        code = f"{floats[0]}{len(view) // struct.calcsize(floats)}{floats[1]}"
        values = struct.unpack(code, view)
        # Infinities of both signs give NaN too: then there may be nothing to replace.
        return struct.pack(code, *[math.nan if x != x else x for x in values]) if math.isnan(sum(values)) else view
    array = np.frombuffer(view, dtype=floats)
    if floats[1] == "e":  # the least of these is not found by vector instructions
        bits = np.frombuffer(view, dtype=f"{floats[0]}u2")
        found = len(bits) and int((bits & 0x7FFF).max()) > HALF_INFINITY
    else:
        with np.errstate(invalid="ignore"):
            found = len(array) and math.isnan(array.min())
    if not found:
        return view
    array = array.copy()
    array[np.isnan(array)] = np.nan
    return array.view("u1").data


def _processors() -> int:
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        count = os.cpu_count() or 1
    return min(count, MAX_THREADS)
