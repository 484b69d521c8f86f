"""``eagerly datasets``: what has been saved, from what it was made, and whether it is still what was saved."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any, cast

import eagerly
from eagerly._settings import resolve_settings
from eagerly.cli._parser import CommandParser
from eagerly.cli._stores import add_action, place_of, reading, say, warnings_as_lines
from eagerly.cli._table import format_size, format_time, write_json, write_lines, write_rows
from eagerly.errors import DatasetError, DatasetKeyError

if TYPE_CHECKING:
    from eagerly.datasets import Dataset

__all__ = ["add_dataset_commands", "run_dataset_command"]


def add_dataset_commands(parser: CommandParser) -> None:
    """Add ``list``, ``show``, ``history`` and ``verify``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", prog=parser.prog)

    def action(name: str, summary: str, usage: str) -> CommandParser:
        made = add_action(actions, name, summary, usage)
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
        The exit code; 1 if ``verify`` has found a problem, there is no such dataset, or the store cannot be used.
    """
    try:
        with warnings_as_lines():
            store = eagerly.DatasetStore(place_of(options, resolve_settings()[0].dataset_store))
            match options.action:
                case "list":
                    _list(store, options.prefix, as_json=options.json)
                case "show":
                    _show(store, options.key, as_json=options.json)
                case "history":
                    _history(store, options.key, as_json=options.json)
                case _:
                    return _verify(store, options.key, as_json=options.json)
    except DatasetKeyError:
        raise  # the command cannot work as it was written
    except DatasetError as error:
        say(f"error: {error}")
        return 1
    return 0


def _list(store: eagerly.DatasetStore, prefix: str, *, as_json: bool) -> None:
    with reading(store, DatasetError):
        found: list[Dataset] = store.list(prefix)
    if as_json:
        write_json([dataclasses.asdict(each) for each in found])
    else:
        rows = [(format_time(each.saved_at), format_size(each.size), each.format, each.key) for each in found]
        write_rows(rows, ("saved", "size", "format", "key"))
    if not found:
        say(f"no key in {store.base} begins with {prefix!r}" if prefix else f"nothing has been saved in {store.base}")


def _show(store: eagerly.DatasetStore, key: str, *, as_json: bool) -> None:
    with reading(store, DatasetError):
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
    write_rows([row for row in rows if row[1]])
    if lineage.sources:
        lines = [line for source in lineage.sources for line in str(source).splitlines()]
        write_lines("", "made of", *(f"  {line}" for line in lines))


def _history(store: eagerly.DatasetStore, key: str, *, as_json: bool) -> None:
    with reading(store, DatasetError):
        saves = store.history(key)
        if not saves:
            store.lineage(key)  # raises, and names the nearest key
    if as_json:
        write_json([dataclasses.asdict(each) for each in saves])
        return
    rows = [(each.version, format_time(each.saved_at), format_size(each.size), each.sha256[:12]) for each in saves]
    write_rows(rows, ("version", "saved", "size", "sha256"))


def _verify(store: eagerly.DatasetStore, key: str | None, *, as_json: bool) -> int:
    with reading(store, DatasetError):
        problems = store.verify(key)
        count = 1 if key is not None else len(store.list())
    if as_json:
        write_json([problem._asdict() for problem in problems])
    else:
        kept = any(problem.version for problem in problems)
        rows = [(each.kind, each.key, *([each.version] if kept else []), each.detail) for each in problems]
        write_rows(rows, ("problem", "key", *(["version"] if kept else []), "what"))
    if not problems:
        all_is_well = f"{count:,} {'dataset is' if count == 1 else 'datasets are'} as saved"
        say(all_is_well if count else f"nothing has been saved in {store.base}")
    return 1 if problems else 0


def _one_line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name}={each!r}" for name, each in cast("dict[str, Any]", value).items())
