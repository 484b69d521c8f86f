"""Bytes that are too many to be copied: they are hashed where they lie, and their digest stands for them.

The digest is that of a two-level tree: leaves of 4 MiB, hashed by as many threads as there are processors, and the hash
of their hashes. It depends on the bytes alone. `hashlib` lets go of the interpreter lock while it hashes. Helper
threads live as long as one digest, which costs 0.1 ms of some ms and leaves nothing that a fork could break.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from hashlib import sha256
from typing import Any, Final

from eagerly.cache._encode_walk import sized

__all__ = ["FOLD_FROM", "LEAF", "bounded", "tree_digest"]

LEAF: Final = 4 << 20
FOLD_FROM: Final = 64 << 10
"""From how many bytes on a digest stands for them."""

MAX_THREADS: Final = 8
"""More would wait for memory, not compute."""


def bounded(tag: bytes, data: Any) -> bytes:
    """`data`, any contiguous buffer, under a one-byte tag: itself if it is small, else its length and digest."""
    view = memoryview(data).cast("B") if data else memoryview(b"")
    if len(view) < FOLD_FROM:
        return sized(tag, view.tobytes())
    return b"#" + sized(tag, len(view).to_bytes(8, "little") + tree_digest(view))


def tree_digest(view: memoryview, threads: int | None = None) -> bytes:
    """32 bytes for the contents of `view`, which is contiguous and of format "B".

    Args:
        view: What to hash.
        threads: How many to use at most, this one included; None: as many as there are processors.
    """
    leaves = -(-len(view) // LEAF)
    pending = deque(range(leaves))
    digests = [b""] * leaves

    def hash_leaves() -> None:
        with contextlib.suppress(IndexError):
            while True:
                number = pending.popleft()
                digests[number] = sha256(view[number * LEAF : (number + 1) * LEAF]).digest()

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


def _processors() -> int:
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        count = os.cpu_count() or 1
    return min(count, MAX_THREADS)
