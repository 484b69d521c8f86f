"""The door to what calls do with stores: loaded by the first task whose results are stored, and by no other program.

A task asks once, when it is made, so that a call pays nothing for the door.
"""

from __future__ import annotations

import functools

__all__ = ["Storing", "storing"]


class Storing:
    """What drivers and controls ask of the modules behind the door, each function under its own name."""

    def __init__(self) -> None:
        from eagerly._look_up import look_up, recall
        from eagerly._steps import carry_out, carry_out_async
        from eagerly._stored import cache_of, keep, keep_here, keys_of, mode_of
        from eagerly._stored_stream import exhausted, passing, replayed, replayed_async, steered, stream_keeper

        self.look_up, self.recall = look_up, recall
        self.carry_out, self.carry_out_async = carry_out, carry_out_async
        self.keep, self.keep_here = keep, keep_here
        self.cache_of, self.keys_of, self.mode_of = cache_of, keys_of, mode_of
        self.stream_keeper, self.passing, self.exhausted, self.steered = stream_keeper, passing, exhausted, steered
        self.replayed, self.replayed_async = replayed, replayed_async


storing = functools.cache(Storing)
"""What there is for all tasks that store results."""
