"""``eagerly datasets``: what has been saved, from what it was made, and whether it is still what was saved."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import eagerly
from eagerly._cache_options import absolute
from eagerly._settings import resolve_settings
from eagerly.cli._parser import CommandParser
from eagerly.cli._table import format_size, format_time, write_json, write_rows
from eagerly.errors import DatasetError

if TYPE_CHECKING:
    from eagerly.datasets import Dataset

__all__ = ["add_dataset_commands", "run_dataset_command"]


def add_dataset_commands(parser: CommandParser) -> None:
    """Add ``list``, ``show``, ``history`` and ``verify``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, summary: str, usage: str) -> CommandParser:
        made: CommandParser = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            usage=f"eagerly datasets {name} {usage}",
        )
        made.add_argument("--store", metavar="PLACE", help="path or URL of the store; by default what the settings say")
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    listing = action("list", "show what has been saved", "[options] [PREFIX]")
    listing.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="only keys that begin with this")
    for name, summary in (
        ("show", "show what is known of a dataset, and what it was made of"),
        ("history", "show the saves of a dataset, newest first"),
    ):
        action(name, summary, "[options] KEY").add_argument("key", metavar="KEY", help="as in reports/monday.csv")
    verify = action("verify", "read the files and compare them with what was saved", "[options] [KEY]")
    verify.add_argument("key", nargs="?", metavar="KEY", help="only this one")


def run_dataset_command(options: argparse.Namespace) -> int:
    """Do what was asked for.

    Returns:
        The exit code; 1 if ``verify`` has found a problem, or there is no such dataset.
    """
    place = resolve_settings()[0].dataset_store if options.store is None else options.store
    store = eagerly.DatasetStore(absolute(place))
    try:
        match options.action:
            case "list":
                _list(store.list(options.prefix), as_json=options.json)
            case "show":
                _show(store, options.key, as_json=options.json)
            case "history":
                _history(store, options.key, as_json=options.json)
            case _:
                return _verify(store, options.key, as_json=options.json)
    except DatasetError as error:
        sys.stderr.write(f"eagerly: error: {error}\n")
        return 1
    return 0


def _list(found: list[Dataset], *, as_json: bool) -> None:
    if as_json:
        write_json([dataclasses.asdict(each) for each in found])
        return
    rows = [(format_time(each.saved_at), format_size(each.size), each.format, each.key) for each in found]
    write_rows(rows, ("saved", "size", "format", "key"))


def _show(store: eagerly.DatasetStore, key: str, *, as_json: bool) -> None:
    lineage = store.lineage(key)
    dataset = lineage.dataset
    assert dataset is not None
    about: dict[str, Any] = dataclasses.asdict(dataset)
    if as_json:
        write_json(about)
        return
    about["saved_at"] = format_time(dataset.saved_at)
    about["size"] = f"{dataset.size:,} bytes"
    origin = about.pop("provenance")
    origin.pop("sources", None)
    rows = [(name, _one_line(value)) for name, value in {**about, **origin}.items()]
    write_rows(rows)
    if lineage.sources:
        sys.stdout.write(f"\nmade of\n{_indented(str(lineage))}\n")


def _history(store: eagerly.DatasetStore, key: str, *, as_json: bool) -> None:
    saves = store.history(key)
    if as_json:
        write_json([dataclasses.asdict(each) for each in saves])
        return
    rows = [(each.version, format_time(each.saved_at), format_size(each.size), each.sha256[:12]) for each in saves]
    write_rows(rows, ("version", "saved", "size", "sha256"))
    if not saves:
        store.lineage(key)  # raises, and names the nearest key


def _verify(store: eagerly.DatasetStore, key: str | None, *, as_json: bool) -> int:
    problems = store.verify(key)
    if as_json:
        write_json([problem._asdict() for problem in problems])
    else:
        write_rows([(problem.kind, problem.key, problem.version, problem.detail) for problem in problems])
        if not problems:
            sys.stderr.write("eagerly: everything is as it was saved\n")
    return 1 if problems else 0


def _one_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    parts: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
    return ", ".join(f"{name}={each!r}" for name, each in parts.items())


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
