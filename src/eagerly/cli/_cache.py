"""``eagerly cache``: what is in a cache, what it takes, and why a call would or would not be found."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eagerly import cache, session
from eagerly._cache_options import absolute
from eagerly._settings import resolve_settings
from eagerly.cache import CacheStore, ListsEntries, StoredEntry
from eagerly.cli._arguments import read_arguments
from eagerly.cli._loading import find_task
from eagerly.cli._parser import CommandParser
from eagerly.cli._table import format_size, format_time, write_json, write_rows
from eagerly.errors import CacheError, OptionTypeError

__all__ = ["add_cache_commands", "run_cache_command"]

SHOWN = 50
"""How many entries `list` shows, unless told otherwise."""


def add_cache_commands(parser: CommandParser) -> None:
    """Add ``stats``, ``list``, ``clear`` and ``explain``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, summary: str, usage: str = "[options]") -> CommandParser:
        made: CommandParser = actions.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", usage=f"eagerly cache {name} {usage}"
        )
        return made

    stats = action("stats", "show how much is stored, for each task")
    listing = action("list", "show the stored results, newest first", "[options] [TASK]")
    clear = action("clear", "remove stored results", "[options] [TASK]")
    explain = action("explain", "say whether a call would be a hit, and why not", "MODULE:TASK [--PARAMETER VALUE ...]")
    for each in (stats, listing, clear):
        each.add_argument("--store", metavar="PLACE", help="path or URL of the cache; by default what the settings say")
    for each in (stats, listing):
        each.add_argument("--json", action="store_true", help="print JSON")
    for each in (listing, clear):
        each.add_argument("task", nargs="?", metavar="TASK", help="only those of this task, as in shop.orders.fetch")
    listing.add_argument("--limit", type=int, default=SHOWN, metavar="N", help=f"show so many (default: {SHOWN})")
    explain.add_argument("target", metavar="MODULE:TASK", help="as in shop/orders.py:fetch")


def run_cache_command(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Do what was asked for.

    Args:
        options: What the parser made of the words.
        words: Those behind the target of ``explain``, which are arguments of the task.

    Returns:
        The exit code.
    """
    if options.action == "explain":
        return _explain(options.target, words)
    store = _open(options.store)
    try:
        if options.action == "stats":
            _stats(store, as_json=options.json)
        elif options.action == "list":
            _list(store, options.task, options.limit, as_json=options.json)
        else:
            _clear(store, options.task)
    finally:
        store.close()
    return 0


def _open(place: str | None) -> CacheStore:
    settings, _ = resolve_settings()
    chosen = absolute(settings.cache_store if place is None else place)
    if "://" not in chosen and not Path(chosen).is_dir():
        sys.stderr.write(f"eagerly: there is nothing at {chosen} yet\n")
    return cache.open_store(chosen, settings.cache_signing_key)


def _entries(store: CacheStore, task: str | None = None) -> Any:
    if not isinstance(store, ListsEntries):
        raise OptionTypeError(f"{store!r} cannot tell what it holds")
    return store.entries(task)


def _stats(store: CacheStore, *, as_json: bool) -> None:
    sizes: dict[str, list[int]] = {}
    for entry in _entries(store):
        sizes.setdefault(entry.tag, []).append(entry.size)
    total = store.stats()
    tasks = {tag: {"entries": len(each), "bytes": sum(each)} for tag, each in sorted(sizes.items())}
    if as_json:
        write_json({"store": repr(store), "entries": total.entries, "bytes": total.bytes, "tasks": tasks})
        return
    write_rows([("store", repr(store)), ("entries", f"{total.entries:,}"), ("size", format_size(total.bytes))])
    if tasks:
        sys.stdout.write("\n")
        rows = [(f"{about['entries']:,}", format_size(about["bytes"]), tag) for tag, about in tasks.items()]
        write_rows(rows, ("entries", "size", "task"))


def _list(store: CacheStore, task: str | None, limit: int, *, as_json: bool) -> None:
    found: list[StoredEntry] = list(itertools.islice(_entries(store, task), limit))
    if as_json:
        write_json([entry._asdict() for entry in found])
        return
    now = time.time()
    rows = [
        (
            entry.key.hex()[:12],
            format_time(entry.stored_at),
            ("expired" if entry.expires <= now else format_time(entry.expires))
            if entry.expires is not None
            else "never",
            format_size(entry.size),
            entry.tag,
        )
        for entry in found
    ]
    write_rows(rows, ("key", "stored", "expires", "size", "task"))
    if len(found) == limit:
        sys.stderr.write(f"eagerly: the newest {limit}; write --limit N for more\n")


def _clear(store: CacheStore, task: str | None) -> None:
    count = store.clear() if task is None else sum(store.delete(entry.key) for entry in list(_entries(store, task)))
    sys.stdout.write(f"removed {count:,} {'entry' if count == 1 else 'entries'}\n")


def _explain(target: str, words: Sequence[str]) -> int:
    task = find_task(target)
    arguments = read_arguments(task, target, words, command="cache explain")
    try:
        with session():
            sys.stdout.write(f"{task.explain(*arguments.args, **arguments.kwargs)}\n")
    except CacheError as error:
        sys.stderr.write(f"eagerly: error: {error}\n")
        return 1
    return 0
