"""How a tree of calls becomes lines of text. Decides what is shown and in which column, not in which colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

from eagerly.plugins.text import format_duration, shorten

if TYPE_CHECKING:
    from eagerly.plugins.tree import Call

__all__ = ["Row", "describe", "draw", "duration_of", "mark_of", "needs_ascii", "rows_of", "to_ascii"]

WIDEST_NAME: Final = 40
"""Characters that the column of names has at most, where lines are limited; what goes beyond is shortened."""

_MARKS: Final = {
    False: {"running": "●", "retrying": "↻", "ok": "✓", "cached": "○", "failed": "✗", "cancelled": "–"},  # noqa: RUF001  # a dash is meant
    True: {"running": ">", "retrying": "~", "ok": "+", "cached": "o", "failed": "x", "cancelled": "-"},
}
_URGENCY: Final = {"running": 0, "retrying": 0, "failed": 1, "ok": 2, "cached": 2, "cancelled": 2}
_BRANCHES: Final = {False: ("├─ ", "└─ ", "│  ", "   "), True: ("|- ", "`- ", "|  ", "   ")}


class Row(NamedTuple):
    """One line of the tree, in columns. `state` is that of its call, or ``""`` where it stands for several."""

    state: str
    label: str
    duration: str
    note: str


def mark_of(state: str, *, ascii: bool = False) -> str:  # noqa: A002  # as in builtins
    """The character that stands for a state."""
    return _MARKS[ascii][state]


def duration_of(call: Call) -> str:
    """How long a call took, or has been running; nothing where nothing ran."""
    return "" if call.state == "cached" else format_duration(call.elapsed)


def describe(call: Call) -> str:
    """Everything about a call that has no column of its own: attempts, items, outcome, setback, notes."""
    facts = [
        call.state if call.state in ("running", "cached") else "",
        "" if call.items is None else "1 item" if call.items == 1 else f"{call.items:,} items",
        call.outcome,
        f"after {call.setback}" if call.setback and call.state != "failed" else "",
        *call.notes,
        f"{call.more_notes:,} more notes" if call.more_notes > 1 else "1 more note" if call.more_notes else "",
    ]
    text = ", ".join(filter(None, facts))
    if call.attempts == 1:
        return text
    attempts = f"attempt {call.attempts}" if call.state in ("running", "retrying") else f"{call.attempts} attempts"
    return f"{attempts}: {text}" if text else attempts


def rows_of(root: Call, *, siblings: int, ascii: bool = False) -> list[Row]:  # noqa: A002 - as in builtins
    """The calls below `root`, callers before those they called, at most `siblings` of each caller."""
    fork, corner, bar, blank = _BRANCHES[ascii]
    rows: list[Row] = []
    # No recursion: tasks may call each other deeper than Python lets us follow.
    waiting: list[tuple[Call | str, str, str]] = [(each, "", "") for each in reversed(_shown(root, siblings))]
    while waiting:
        entry, before, below = waiting.pop()
        if isinstance(entry, str):
            rows.append(Row("", before + entry, "", ""))
            continue
        label = f"{before}{mark_of(entry.state, ascii=ascii)} {entry.name}"
        rows.append(Row(entry.state, label, duration_of(entry), describe(entry)))
        inner = _shown(entry, siblings)
        waiting += [
            (each, below + corner, below + blank) if number == 0 else (each, below + fork, below + bar)
            for number, each in enumerate(reversed(inner))
        ]
    return rows


def _shown(caller: Call, siblings: int) -> list[Call | str]:
    """The calls to show below `caller`, and a remark about the others. What runs or failed goes first."""
    calls = list(caller.children.values())
    chosen = sorted(calls, key=lambda call: _URGENCY[call.state])[:siblings]  # in its stable way
    kept = {id(call) for call in chosen}
    left_out = [call for call in calls if id(call) not in kept]
    count = caller.forgotten + len(left_out)
    failed = caller.forgotten_failed + sum(call.state == "failed" for call in left_out)
    cached = caller.forgotten_cached + sum(call.state == "cached" for call in left_out)
    entries: list[Call | str] = [call for call in calls if id(call) in kept]
    if count:
        remark = f"… {count:,} more {'call' if count == 1 else 'calls'}"
        remark += f", {cached:,} cached" if cached else ""
        remark += f", {failed:,} failed" if failed else ""
        entries.append(remark)
    return entries


def draw(rows: list[Row], *, width: int | None = None, ascii: bool = False) -> list[str]:  # noqa: A002 - as in builtins
    """`rows` as lines with aligned columns, none longer than `width`."""
    calls = [row for row in rows if row.state]
    names = max((len(row.label) for row in calls), default=0)
    if width is not None:
        names = min(names, max(WIDEST_NAME, width // 2))
    times = max((len(row.duration) for row in calls), default=0)
    lines: list[str] = []
    for row in rows:
        line = row.label
        if row.state:
            line = f"{shorten(row.label, names):<{names}}  {row.duration:>{times}}  {row.note}".rstrip()
        line = to_ascii(line) if ascii else line
        lines.append(line if width is None else shorten(line, width))
    return lines


def needs_ascii(file: TextIO) -> bool:
    """Whether the characters of our drawings are too much for the encoding of `file`."""
    try:
        "".join([*_MARKS[False].values(), *_BRANCHES[False], "…"]).encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return True
    return False


def to_ascii(line: str) -> str:
    """`line` for those who cannot write more than ASCII."""
    return line.replace("…", "...").encode("ascii", "replace").decode()
