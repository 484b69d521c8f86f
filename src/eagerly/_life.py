"""The life of a call as data: which hook may follow which.

Read by `eagerly.testing.RecordingHooks.verify`, by the tests and by the picture in the documentation.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["ENDINGS", "LIFE", "START", "Reason", "check_life", "mermaid", "reason_of"]

START: Final = "called"
ENDINGS: Final = frozenset({"recalled", "returned", "failed", "cancelled"})

LIFE: Final[dict[str, dict[str, str]]] = {
    "called": {"on_cache_hit": "recalled", "on_cache_miss": "missed", "before_node_execute": "running"},
    "missed": {"before_node_execute": "running", "on_node_cancel": "cancelled"},
    "running": {
        "node_iteration": "streaming",
        "before_node_retry": "waiting",
        "after_node_execute": "returned",
        "on_node_error": "failed",
        "on_node_cancel": "cancelled",
    },
    "streaming": {
        "node_iteration": "streaming",
        "after_node_execute": "returned",
        "on_node_error": "failed",
        "on_node_cancel": "cancelled",
    },
    "waiting": {
        "node_iteration": "retried",
        "after_node_retry": "running",
        "after_node_execute": "succeeded",
    },
    "retried": {
        "node_iteration": "retried",
        "after_node_retry": "streaming",
        "after_node_execute": "succeeded",
    },
    "succeeded": {"after_node_retry": "returned"},
    "recalled": {},
    "returned": {},
    "failed": {},
    "cancelled": {},
}
"""State -> hook -> next state. ``waiting`` lasts from the announcement of a retry to its outcome (or first item)."""


Reason: TypeAlias = Literal["cancelled", "interrupted", "closed"]
"""Why a call has ended with neither a result nor a failure."""


def reason_of(error: BaseException) -> Reason:
    """How a call ends that is left with `error`, which is no failure of its function."""
    if isinstance(error, GeneratorExit):
        return "closed"
    # By name: asyncio may not be imported, and other event loops have a class of their own.
    if any(cls.__name__ in ("CancelledError", "Cancelled") for cls in type(error).__mro__):
        return "cancelled"
    return "interrupted"


def check_life(hooks: list[str]) -> str:
    """Follow `hooks` through the table and return the state they lead to.

    Raises:
        ValueError: A hook came that the table does not allow there.
    """
    state = START
    for position, hook in enumerate(hooks):
        following = LIFE[state].get(hook)
        if following is None:
            allowed = ", ".join(LIFE[state]) or "nothing"
            raise ValueError(
                f"hook {position} of this call is {hook}, but after {state!r} there may come {allowed}: {hooks}"
            )
        state = following
    return state


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {START}"]
    for state, moves in LIFE.items():
        by_target: dict[str, list[str]] = {}
        for hook, target in moves.items():
            by_target.setdefault(target, []).append(hook)
        lines += [f"    {state} --> {target}: {', '.join(hooks)}" for target, hooks in by_target.items()]
        if state in ENDINGS:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
