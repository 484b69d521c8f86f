"""``eagerly runs``: look at runs of whatever process, wait for them, end them, remove them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from eagerly._run_ending import EXIT
from eagerly._sentinel import UNSET
from eagerly._settings import resolve_settings
from eagerly._stores import run_store
from eagerly.cli._moment import age, moment_or_age, number
from eagerly.cli._parser import CommandParser
from eagerly.cli._runs_shown import facts_of, lines_of, rows_of, session_facts, tail_line, tree_of
from eagerly.cli._stores import add_action, place_of, say
from eagerly.cli._table import json_text, write_json, write_lines, write_rows
from eagerly.errors import AmbiguousName, OptionValueError, RunNotFound, RunsError, RunTimeout
from eagerly.runs._actions import cancel_run, must_get, output_of, stop_run
from eagerly.runs._change import Moved
from eagerly.runs._limits import MAX_REASON, size, so_long_ago, text, whole_number
from eagerly.runs._listing import make_query, page_behind
from eagerly.runs._protocol import RunStore
from eagerly.runs._query import Query
from eagerly.runs._record import RunRecord
from eagerly.runs._run import Run
from eagerly.runs._status import RunStatus
from eagerly.runs._waiting import wait_for

__all__ = ["add_run_commands", "run_run_command"]

NOT_ENDED: Final = 3
"""The exit code of ``wait`` when the time is up."""

_SESSION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

LAST: Final = "@last"
ID: Final = f"id of a run, or as much of it as is needed, or {LAST} for the one made last"
WAIT_EPILOG: Final = """\
exit codes:
  0  the run has completed
  1  it has failed or was cancelled, or there is no such run
  3  it has not ended in time
"""


def add_run_commands(parser: CommandParser) -> None:
    """Add ``list``, ``show``, ``tail``, ``wait``, ``stop``, ``cancel``, ``output`` and ``prune``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions", prog=parser.prog)

    def action(name: str, summary: str, usage: str) -> CommandParser:
        made = add_action(actions, name, summary, usage)
        made.add_argument("--store", metavar="PLACE", help="path or URL of the store; by default what the settings say")
        lines = ", an object on each line" if name == "tail" else ""
        made.add_argument("--json", action="store_true", help=f"print JSON{lines}")
        return made

    listing = action("list", "show runs, the last one first", "[options]")
    listing.add_argument("--task", metavar="NAME", help="only of this task")
    listing.add_argument("--status", metavar="STATUS", action="append", help="only with this one; may be repeated")
    listing.add_argument("--tag", metavar="TAG", action="append", help="only with this one; may be repeated")
    listing.add_argument("--all", action="store_true", help="also what was made by others")
    listing.add_argument("--parent", metavar="RUN", help="only made by that one")
    listing.add_argument("--session", metavar="ID", help="only of that session")
    listing.add_argument("--since", metavar="WHEN", help="only created since then: 90s, 30m, 2h, 7d, or 2024-05-01")
    listing.add_argument("--until", metavar="WHEN", help="only created before; written as for --since")
    listing.add_argument("--limit", metavar="N", default="20", help="at most so many (default: 20)")
    for name, summary in (
        ("show", "show what is known of a run, and what it has made; or what a session has"),
        ("tail", "show how a run goes on, until it has ended"),
        ("wait", "wait until a run has ended"),
        ("output", "print what a run has given, as JSON"),
    ):
        made = action(name, summary, "[options] RUN")
        made.add_argument("run", metavar="RUN", help=f"{ID}; or id of a session" if name == "show" else ID)
        if name == "wait":
            made.add_argument("--timeout", metavar="SECONDS", help="wait so long at most; also 30m, 2h")
            made.epilog = WAIT_EPILOG
    for name, summary in (
        ("stop", "ask runs to stop"),
        ("cancel", "make runs cancelled, whatever they do"),
    ):
        made = action(name, summary, "[options] RUN ...")
        made.add_argument("runs", metavar="RUN", nargs="+", help=ID)
        if name == "cancel":
            made.add_argument("--reason", metavar="TEXT", help="why")
    prune = action(
        *("prune", "remove runs that have ended, and their outputs"),
        "[options] (--older-than AGE | --keep N | --older-than AGE --keep N)",
    )
    prune.add_argument("--older-than", metavar="AGE", help="only those that ended so long ago: 30m, 12h, 7d")
    prune.add_argument("--keep", metavar="N", help="all but those that were created last")


def run_run_command(options: argparse.Namespace) -> int:
    """Do what was asked for.

    Returns:
        The exit code; 1 if there is no such run, it has not completed, or the store cannot be used.
    """
    store = _store(options)
    act: Callable[[RunStore, argparse.Namespace], int] = {
        "list": _list,
        "show": _show,
        "tail": _tail,
        "wait": _wait,
        "stop": _stop,
        "cancel": _cancel,
        "output": _output,
        "prune": _prune,
    }[options.action]
    try:
        return act(store, options)
    except RunsError as error:
        say(f"error: {error}")
        return 1
    finally:
        store.close()


def _store(options: argparse.Namespace) -> RunStore:
    place = resolve_settings()[0].run_store
    if place is None and options.store is None:
        raise OptionValueError(
            "there is no run store; write --store PATH, or set EAGERLY_RUN_STORE or run_store in pyproject.toml"
        )
    return run_store(place_of(options, place or ""))


def _list(store: RunStore, options: argparse.Namespace) -> int:
    parent = make_query().parent if options.all or options.session is not None else None
    query = make_query(
        task=options.task,
        statuses=options.status,
        parent=_found(store, options.parent).id if options.parent is not None else parent,
        session=options.session,
        tags=options.tag,
        since=moment_or_age("--since", options.since),
        until=moment_or_age("--until", options.until),
        descending=True,
    )
    page = page_behind(store, query, size("--limit", number("--limit", options.limit)), None)
    if options.json:
        write_json([run.to_dict() for run in page])
    else:
        write_rows(rows_of(page), ("run", "status", "done", "took", "created", "task"))
    if not page:
        _say_nothing_found(store, query)
    elif page.cursor is not None:
        say(f"there are more; write --limit {min(len(page) * 5, 1000)}")
    return 0


def _say_nothing_found(store: RunStore, query: Query) -> None:
    if query in (Query(descending=True), Query(parent=None, descending=True)):
        say(f"no runs in {store.place}")
        return
    others = query.parent is None and store.find(query._replace(parent=UNSET, limit=1))
    say(f"no run in {store.place} matches{'; some made by others do: write --all' if others else ''}")


def _show_session(store: RunStore, options: argparse.Namespace) -> bool:
    """Show what was called in a session; False if it has made nothing."""
    made = store.find(Query(session=options.run, limit=1000))
    if not made:
        return False
    here = {record.id for record in made}
    roots = [record for record in made if record.parent_id not in here]
    if options.json:
        write_json([Run[Any](store, record).to_dict() for record in made])
        return True
    write_rows(session_facts(made, options.run, store.count(Query(session=options.run))))
    write_lines("", *lines_of(store, roots, f"--session {options.run}"))
    return True


def _show(store: RunStore, options: argparse.Namespace) -> int:
    if _SESSION.fullmatch(options.run) and _show_session(store, options):
        return 0
    run = Run[Any](store, _found(store, options.run))
    if options.json:
        write_json(run.to_dict())
        return 0
    write_rows(facts_of(run))
    if run.error is not None and run.error.traceback:
        what = ["the end of its standard error"] if run.error.kind == EXIT else []
        write_lines("", *what, *run.error.traceback.rstrip().splitlines())
    below = list(tree_of(store, run.id))
    if below:
        write_lines("", "has made", *below)
    return 0


def _tail(store: RunStore, options: argparse.Namespace) -> int:
    def show(record: RunRecord) -> None:
        if options.json:
            write_json(Run[Any](store, record).to_dict(), indent=None)
        else:
            write_lines(tail_line(record))

    record = _found(store, options.run)
    show(record)
    while not record.status.final:
        sys.stdout.flush()  # whoever reads a pipe follows it too
        record = wait_for(store, record.id, None, partial(_differs, record))
        show(record)
    return _code(record)


def _differs(before: RunRecord, record: RunRecord) -> bool:
    return record != before


def _wait(store: RunStore, options: argparse.Namespace) -> int:
    limit = None if options.timeout is None else age("--timeout", options.timeout, unit="s").total_seconds()
    try:
        record = wait_for(store, _found(store, options.run).id, limit)
    except RunTimeout as error:
        say(str(error))
        return NOT_ENDED
    _tell(store, [record], options)
    return _code(record)


def _stop(store: RunStore, options: argparse.Namespace) -> int:
    return _each(store, options, stop_run)


def _cancel(store: RunStore, options: argparse.Namespace) -> int:
    reason = None if options.reason is None else text("--reason", options.reason, longest=MAX_REASON)
    return _each(store, options, partial(cancel_run, reason=reason))


def _each(store: RunStore, options: argparse.Namespace, act: Callable[[RunStore, str], Moved]) -> int:
    """Do it to each of the runs, and tell which it was done to; 1 if it could not be done to all of them."""
    found = dict.fromkeys(_found(store, word).id for word in options.runs)  # all of them, before one is changed
    changed: dict[str, RunRecord] = {}
    refused: list[RunsError] = []
    for run_id in found:
        if run_id in changed:  # it was made by one before it, and went with that
            continue
        try:
            moved = act(store, run_id)
        except RunsError as error:
            refused.append(error)
        else:
            changed |= {each.after.id: each.after for each in (moved, *moved.family)}
    _tell(store, [changed[run_id] for run_id in found if run_id in changed], options)
    for why in refused:
        say(f"error: {why}")
    return 1 if refused else 0


def _output(store: RunStore, options: argparse.Namespace) -> int:
    record = _found(store, options.run)
    value = output_of(store, record)
    try:
        shown = json_text(value)
    except Exception as error:  # a pickle may have anything, and say of itself what it likes
        raise RunsError(
            f"the output of run {record.id} is {type(value).__name__}, which JSON does not have: {error}; read it with"
            f" runs.output({record.id!r})",
            run_id=record.id,
        ) from error
    sys.stdout.write(f"{shown}\n")
    return 0


def _prune(store: RunStore, options: argparse.Namespace) -> int:
    if options.older_than is None and options.keep is None:
        raise OptionValueError("prune removes what you say; write --older-than 30d, or --keep 1000, or both")
    before = None
    if options.older_than is not None:
        before = so_long_ago(f"--older-than={options.older_than}", age("--older-than", options.older_than))
    keep = None if options.keep is None else whole_number("--keep", number("--keep", options.keep))
    removed = store.prune(before=before, keep=keep)
    if options.json:
        write_json({"removed": removed})
    else:
        say(f"{removed:,} {'run' if removed == 1 else 'runs'} removed from {store.place}")
    return 0


def _tell(store: RunStore, records: list[RunRecord], options: argparse.Namespace) -> None:
    runs = [Run[Any](store, record) for record in records]
    if options.json:
        write_json([run.to_dict() for run in runs])
    else:
        write_lines(*(tail_line(record) for record in records))


def _code(record: RunRecord) -> int:
    return 0 if record.status is RunStatus.COMPLETED else 1


def _found(store: RunStore, word: str) -> RunRecord:
    """The run that `word` means.

    Raises:
        RunNotFound: There is none.
        AmbiguousName: There are several.
    """
    if word == LAST:
        last = store.find(Query(parent=None, descending=True, limit=1))
        if not last:
            raise RunNotFound(f"there are no runs in {store.place}")
        return last[0]
    beginning = word if word.startswith("run_") else f"run_{word}"
    ids = store.ids(beginning, 4)
    if len(ids) > 1 and beginning not in ids:
        shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise AmbiguousName(f"several runs begin with {word!r}: {shown}; write more of the id")
    return must_get(store, ids[0] if ids and beginning not in ids else beginning)
