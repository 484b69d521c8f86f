"""``eagerly cache``: what is in a cache, what it takes, and why a call would or would not be found."""

from __future__ import annotations

import argparse
import datetime
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eagerly import cache, session
from eagerly._settings import resolve_settings
from eagerly.cache import CacheStore, ListsEntries, StoredEntry
from eagerly.cli._arguments import read_arguments
from eagerly.cli._loading import find_task
from eagerly.cli._parser import CommandParser
from eagerly.cli._stores import add_action, nearest_task, place_of, reading, say, warnings_as_lines
from eagerly.cli._table import format_size, format_time, format_wait, write_json, write_lines, write_rows
from eagerly.errors import CacheError, OptionTypeError, OptionValueError

if TYPE_CHECKING:
    from eagerly.cache import Explanation

__all__ = ["add_cache_commands", "own_words", "run_cache_command"]

SHOWN: Final = 50
"""How many entries `list` shows to people, unless told otherwise."""


def add_cache_commands(parser: CommandParser) -> None:
    """Add ``stats``, ``list``, ``clear`` and ``explain``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", prog=parser.prog)
    stats = add_action(actions, "stats", "show how much is stored, for each task", "[options]")
    listing = add_action(actions, "list", "show the stored results, newest first", "[options] [TASK]")
    clear = add_action(actions, "clear", "remove stored results", "[options] [TASK]")
    explain = add_action(
        *(actions, "explain", "say whether a call would be a hit, and why not"),
        "[options] MODULE:TASK [--PARAMETER VALUE ...]",
    )
    for each in (stats, listing, clear, explain):
        each.add_argument("--store", metavar="PLACE", help="path or URL of the cache; by default what the settings say")
    for each in (stats, listing, explain):
        each.add_argument("--json", action="store_true", help="print JSON")
    for each in (listing, clear):
        each.add_argument("task", nargs="?", metavar="TASK", help="only those of this task, as `stats` shows its name")
    listing.add_argument(
        *("--limit",), type=_limit, metavar="N", help=f"show so many (default: {SHOWN}; with --json: all)"
    )
    explain.add_argument("target", metavar="MODULE:TASK", help="as in shop/orders.py:fetch or shop.orders:fetch")


def own_words(words: Sequence[str]) -> int:
    """How many of the words behind ``cache explain`` are its own; the others are arguments of the task."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] == "--store" else 1
    return place + 1


def run_cache_command(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Do what was asked for.

    Args:
        options: What the parser made of the words.
        words: Those behind the target of ``explain``, which are arguments of the task.

    Returns:
        The exit code; 1 if the store cannot be used.
    """
    try:
        with warnings_as_lines():
            if options.action == "explain":
                return _explain(options, words)
            store = _open(options)
            try:
                _look(store, options)
            finally:
                store.close()
    except CacheError as error:
        say(f"error: {error}")
        return 1
    return 0


def _look(store: CacheStore, options: argparse.Namespace) -> None:
    if options.action == "stats":
        _stats(store, as_json=options.json)
    elif options.action == "list":
        _list(store, options.task, options.limit, as_json=options.json)
    else:
        _clear(store, options.task)


def _open(options: argparse.Namespace) -> CacheStore:
    settings, _ = resolve_settings()
    place = place_of(options, settings.cache_store)
    if "://" not in place and not Path(place).exists():
        say(f"there is nothing at {place} yet")
    return cache.open_store(place, settings.cache_signing_key)


def _entries(store: CacheStore, task: str | None = None) -> Iterator[StoredEntry]:
    if not isinstance(store, ListsEntries):
        raise OptionTypeError(f"{store!r} cannot tell what it holds")
    with reading(store, CacheError):
        yield from store.entries(task)


def _stats(store: CacheStore, *, as_json: bool) -> None:
    sizes: dict[str, list[int]] = {}
    for entry in _entries(store):
        sizes.setdefault(entry.tag, []).append(entry.size)
    with reading(store, CacheError):
        total = store.stats()
    tasks = {tag: {"entries": len(each), "bytes": sum(each)} for tag, each in sorted(sizes.items())}
    if as_json:
        write_json({"store": repr(store), "entries": total.entries, "bytes": total.bytes, "tasks": tasks})
        return
    write_rows([("store", repr(store)), ("entries", f"{total.entries:,}"), ("size", format_size(total.bytes))])
    if tasks:
        write_lines("")
        rows = [(f"{about['entries']:,}", format_size(about["bytes"]), tag) for tag, about in tasks.items()]
        write_rows(rows, ("entries", "size", "task"))


def _list(store: CacheStore, task: str | None, limit: int | None, *, as_json: bool) -> None:
    if limit is None and not as_json:
        limit = SHOWN
    found = list(itertools.islice(_entries(store, task), None if limit is None else limit + 1))
    shown = found[:limit]
    if as_json:
        write_json([_facts(entry) for entry in shown])
    else:
        now = time.time()
        rows = [
            (
                entry.key.hex()[:12],
                format_time(entry.stored_at),
                "never" if entry.expires is None else format_wait(entry.expires - now) or "expired",
                format_size(entry.size),
                entry.tag,
            )
            for entry in shown
        ]
        write_rows(rows, ("key", "stored", "expires", "size", "task"))
    if not found:
        _say_nothing_is_stored(store, task)
    elif len(found) > len(shown):
        say(f"these are the newest {len(shown):,}; --limit N shows more")


def _facts(entry: StoredEntry) -> dict[str, Any]:
    stored, expires = (
        None if moment is None else datetime.datetime.fromtimestamp(moment, datetime.UTC)
        for moment in (entry.stored_at, entry.expires)
    )
    return {"key": entry.key.hex(), "task": entry.tag, "size": entry.size, "stored_at": stored, "expires": expires}


def _clear(store: CacheStore, task: str | None) -> None:
    found = [] if task is None else list(_entries(store, task))
    with reading(store, CacheError):
        count = store.clear() if task is None else sum(store.delete(entry.key) for entry in found)
    write_lines(f"removed {count:,} {'entry' if count == 1 else 'entries'}")
    if task is not None and not found:
        _say_nothing_is_stored(store, task)


def _say_nothing_is_stored(store: CacheStore, task: str | None) -> None:
    if task is None:
        say(f"nothing is stored in {store!r}")
        return
    tasks = sorted({entry.tag for entry in _entries(store)})
    near = nearest_task(task, tasks)
    hint = (
        f"; did you mean {near!r}?" if near else "; `eagerly cache stats` shows the tasks that there are" * bool(tasks)
    )
    say(f"nothing of a task {task!r} is stored in {store!r}{hint}")


def _explain(options: argparse.Namespace, words: Sequence[str]) -> int:
    task = find_task(options.target)
    if not task.cache:
        raise OptionValueError(f"task {task.name!r} is not cached; write @task(cache=True)")
    arguments = read_arguments(task, options.target, words, command="cache explain", unneeded=task.cache_ignore)
    with session() if options.store is None else session(cache_store=place_of(options, "")):
        explanation: Explanation = task.explain(*arguments.args, **arguments.kwargs)
    if options.json:
        differences = [difference._asdict() for difference in explanation.differences]
        write_json({**explanation._asdict(), "differences": differences})
    else:
        write_lines(*str(explanation).splitlines())
    return 0


def _limit(word: str) -> int:
    # Of more digits than a size can have: all that there are.
    number = 0 if not word.isdecimal() else int(word) if len(word) < 19 else sys.maxsize - 1
    if not number:
        raise argparse.ArgumentTypeError(f"takes a number from 1, not {word!r}")
    return number
