"""`ThreadBackend` at the level of work: what the contract suite does not ask of every backend."""

from __future__ import annotations

import threading

from eagerly.backends import ThreadBackend
from works import PATIENCE, Piece, data_of, echo, submitted


def test_closed_by_two_threads_while_a_third_hands_in_work() -> None:
    """Every piece ends once, done or given up, and whoever closes comes back."""
    backend = ThreadBackend(workers=2)
    pieces: list[Piece] = []
    over = threading.Event()

    def close() -> None:
        while not over.is_set():
            backend.close()

    closers = [threading.Thread(target=close, daemon=True) for _ in range(2)]
    for each in closers:
        each.start()
    for number in range(3000):
        pieces += submitted(backend, Piece(echo, b"%d" % number))
    over.set()
    for each in closers:
        each.join(PATIENCE)
        assert not each.is_alive()
    assert data_of(submitted(backend, Piece(echo, b"on"))) == [b"spec|on"]
    backend.close()
    ends = [piece.wait().ends[0] for piece in pieces]
    assert all(crash is None or crash.asked for crash in ends)
