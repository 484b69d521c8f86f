"""The row that a command attaches to: that of its run, where another process can open the store; else one of its own.

One of its own is for commands that are called and not submitted, and for runs in the memory of this process. It is in a
file that belongs to this process, and what the command says there is passed on to the run around, if there is one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from eagerly._sentinel import UNSET
from eagerly.errors import EagerlyError
from eagerly.runs._actions import must_get, new_record, output_of
from eagerly.runs._change import Change
from eagerly.runs._open import address_of
from eagerly.runs._record import RunRecord, now
from eagerly.runs._sqlite import SqliteRunStore
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._run_port import RunPort
    from eagerly.runs._protocol import RunStore

__all__ = ["LARGEST_INPUT", "CommandRow", "PrivateRow", "row_for"]

LARGEST_INPUT: Final = 100_000
"""Characters of JSON that go into the environment: on Linux a variable has 131,071 at most. The row has all of them."""


class CommandRow:
    """The row of a run that this process executes, as a command sees it.

    Args:
        store: Where it is.
        run_id: Which.
        address: What the command says to open the store.
        inputs: As JSON.
    """

    def __init__(self, store: RunStore, run_id: str, address: str, inputs: str) -> None:
        self._store = store
        self._id = run_id
        self.variables = {"EAGERLY_RUN_ID": run_id, "EAGERLY_RUN_STORE": address}
        if len(inputs) <= LARGEST_INPUT:
            self.variables["EAGERLY_RUN_INPUT"] = inputs

    def ask(self) -> None:
        """The command is to stop. Its own run says so already."""

    @property
    def stopping(self) -> bool:
        """Whether the command was asked to stop, or has asked for that itself."""
        record = self._store.get(self._id)
        return record is not None and record.stop_requested_at is not None

    def output(self) -> Any:
        """What the command has given with ``set_output``, or `UNSET`."""
        record = must_get(self._store, self._id)
        return UNSET if record.output_form is None else output_of(self._store, record)

    def close(self) -> None:
        """The command has ended."""


class PrivateRow(CommandRow):
    """A row that nobody else knows of.

    Args:
        task: The name of the task.
        inputs: What it is given.
        port: The run on whose behalf the command runs, or None.
        own: Whether the command is that run, and not something that it calls.
    """

    def __init__(self, task: str, inputs: Mapping[str, Any], port: RunPort | None, *, own: bool) -> None:
        store = _private_store()
        record = new_record(store, task, inputs)._replace(owner=store.owner())
        store.write([record, Change(record.id, now(), RunStatus.RUNNING, {"attempt": 1})])  # which tells no hook
        self._last = must_get(store, record.id)
        super().__init__(store, record.id, store.place, record.inputs or "{}")
        self._port, self._own = port, own
        self._lock = threading.Lock()
        self._end = None if port is None else store.watch(record.id, self._heard)

    def ask(self) -> None:
        self._store.write([Change(self._id, now(), stop=True)])

    def close(self) -> None:
        if self._end is not None:
            self._end()
        record = self._store.get(self._id)
        if record is not None:
            self._pass_on(record, last=True)
            if not record.status.final:
                self._store.write([Change(self._id, now(), RunStatus.COMPLETED)])
        self._store.prune(before=None, keep=0)

    def _heard(self, news: RunRecord | EagerlyError | None) -> bool:
        if isinstance(news, RunRecord):
            self._pass_on(news)
        return False

    def _pass_on(self, record: RunRecord, *, last: bool = False) -> None:
        """Tell the run around what is new in `record`; of the last also an output that looks like the one before."""
        port = self._port
        with self._lock:
            before, self._last = self._last, max(self._last, record, key=lambda each: each.updated_at)
            if port is None or (self._last is not record and not last):
                return
            values = {name: getattr(record, name) for name in _SAID if getattr(record, name) != getattr(before, name)}
            with contextlib.suppress(EagerlyError):
                if values:
                    port.progress(values)
                if self._own and record.status is not before.status and not record.status.final:
                    port.become(record.status)
                if self._own and record.output_form is not None and (last or _output(record) != _output(before)):
                    port.give(output_of(self._store, record), record.output_summary)
                if self._own and record.stop_requested_at is not None and before.stop_requested_at is None:
                    port.ask_to_stop()


_SAID: Final = ("progress", "step", "steps", "message", "progress_data")


def _output(record: RunRecord) -> tuple[str | None, ...]:
    """What its row tells of its output."""
    return record.output_form, record.output_blob, record.output_summary


def row_for(task: str, inputs: Mapping[str, Any], port: RunPort | None, *, own: bool) -> CommandRow:
    """The row for a command that is about to be started. Close it when the command has ended.

    Raises:
        OutputNotSerializable: JSON does not have something that is in `inputs`.
    """
    store = getattr(port, "store", None)  # in a worker, which has none, the run is out of reach
    if port is not None and own and store is not None:
        address = address_of(store)
        if address is not None:
            from_row = must_get(store, port.id).inputs
            return CommandRow(store, port.id, address, from_row or "{}")
    return PrivateRow(task, inputs, port, own=own)


_private: list[tuple[int, SqliteRunStore, str]] = []
_lock = threading.Lock()


def _private_store() -> SqliteRunStore:
    with _lock:
        if not _private or _private[0][0] != os.getpid():
            folder = tempfile.mkdtemp(prefix="eagerly-runs-")
            _private[:] = [(os.getpid(), SqliteRunStore(os.path.join(folder, "runs.db")), folder)]
            atexit.register(_remove, os.getpid(), folder)
        return _private[0][1]


def _remove(pid: int, folder: str) -> None:
    if pid == os.getpid():
        for _, store, _ in _private:
            store.close()
        shutil.rmtree(folder, ignore_errors=True)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
