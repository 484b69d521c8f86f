"""`CallRecording`: what sessions with a run store have in the place of a plugin: it notes each call for the recorder.

It is compiled into the hooks when a session opens, so that calls elsewhere pay nothing for it. It never raises: a call
does not fail because it could not be noted.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from eagerly._wire import in_words
from eagerly.errors import WorkerCrashed
from eagerly.hooks._marker import hook_impl
from eagerly.runs._entry import CLOSED, Entry
from eagerly.runs._limits import clean
from eagerly.runs._record import WORKFLOW, RunError
from eagerly.runs._recorder import Recorder, lost_message, recorder_of
from eagerly.runs._recovery import LOST
from eagerly.runs._status import RunStatus
from eagerly.runs._summary import inputs_summary, summary

if TYPE_CHECKING:
    from eagerly.runs._protocol import RunStore

__all__ = ["CallRecording", "recording_of"]

_UNSHOWN: Final = "?"


class CallRecording:
    """The plugin that records the calls of sessions in one store.

    Args:
        recorder: Who writes them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.store: RunStore = recorder.store

    @hook_impl(tryfirst=True)
    def before_node_execute(self, metadata: Any) -> None:
        try:
            entry = metadata._entry = self._entry_of(metadata)
            if entry is not None:
                self.recorder.begin(entry)
        except Exception:
            _unnoted()

    @hook_impl(tryfirst=True)
    def before_node_retry(self, metadata: Any, attempt: int) -> None:
        entry = metadata._entry
        if entry is not None:
            entry.attempt = attempt
            self.recorder.retry(entry)

    @hook_impl(tryfirst=True)
    def after_node_execute(self, metadata: Any, result: Any) -> None:
        entry = self._ending(metadata, RunStatus.COMPLETED)
        if entry is not None:
            if not metadata.is_generator:
                try:
                    entry.output = summary(result)
                except Exception:  # a container that another thread changes
                    entry.output = _UNSHOWN
            self._end(entry, metadata)

    @hook_impl(tryfirst=True)
    def on_node_error(self, metadata: Any, error: Exception) -> None:
        entry = self._ending(metadata, RunStatus.FAILED)
        if entry is not None:
            entry.error = _described(error)
            self._end(entry, metadata)

    @hook_impl(tryfirst=True)
    def on_node_cancel(self, metadata: Any, reason: str) -> None:
        entry = self._ending(metadata, RunStatus.CANCELLED)
        if entry is not None:
            entry.reason = _why(reason)
            self._end(entry, metadata)

    @hook_impl(tryfirst=True)
    def on_cache_hit(self, metadata: Any, value: Any) -> None:
        try:
            entry = self._entry_of(metadata)
            if entry is None:
                return
            entry.status = RunStatus.COMPLETED
            entry.attempt, entry.cached, entry.ended = 0, True, entry.started
            if not metadata.is_generator:
                entry.output = summary(value)
            self.recorder.add(entry)
        except Exception:
            _unnoted()

    def begin_workflow(self, scope: Any, name: str, session: str) -> Entry:
        """Note that a workflow begins, called in `scope` and as part of that session."""
        run_id = f"run_{_random_id()[:24]}"
        entry = Entry(self.store, run_id, self.above(scope), name, None, session, "", frozenset(), kind=WORKFLOW)
        self.recorder.begin(entry)
        return entry

    def end_workflow(self, entry: Entry, error: BaseException | None) -> None:
        """Note that a workflow has ended."""
        if error is None:
            entry.status = RunStatus.COMPLETED
        elif isinstance(error, Exception):
            entry.status, entry.error = RunStatus.FAILED, _described(error)
        else:
            entry.status, entry.reason = RunStatus.CANCELLED, _why_of(error)
        entry.ended = _now(entry)
        self.recorder.end(entry)

    @property
    def busy(self) -> bool:
        """Whether `finish` may have to wait."""
        return self.store.blocking and (self.recorder.pending or self.recorder.in_trouble)

    def finish(self) -> str | None:
        """The session is left: wait until all is written; what to say of calls that could not be."""
        lost = self.recorder.finish()
        return None if lost is None else lost_message(*lost, self.store)

    def _ending(self, call: Any, status: RunStatus) -> Entry | None:
        """What is noted of a call that ends like this, or None."""
        entry: Entry | None = call._entry
        if entry is None:
            self._forget(call)
        else:
            entry.status = status
        return entry

    def _entry_of(self, call: Any) -> Entry | None:
        """What is to be noted of a call; None if that is the business of its run, or of another store."""
        try:
            outer = call._outer
        except AttributeError:
            return self._relayed(call)
        item = outer._item
        if item is None:
            index = None
            identity = call._id
            if identity is None:
                call._digits = digits = _random_id()  # what its id is made of, if somebody asks for it
            else:
                digits = identity.hex
        elif item.map.run is not None:
            return None
        else:
            index = call.map_index
            digits = call.id.hex
        above = outer._entry
        if above is None or above.store is not self.store:
            above = self.above(outer)
        task = call._task
        declaration = task.declaration
        try:
            inputs = task.bind(*call._args, **call._kwargs)
            shown = inputs_summary(inputs)
        except Exception:  # arguments that are wrong, for whom nobody has looked; a container that somebody changes
            inputs, shown = {}, _UNSHOWN
        template = declaration.template
        label = None
        if template.fields or item is not None:
            label = template.render(inputs if template.fields else {}, index)
        session = call._session
        return Entry(
            self.store,
            f"run_{digits[:24]}",
            above,
            declaration.name,
            label,
            session.id_text,
            shown,
            declaration.tags,
            declaration.version,
        )

    def _relayed(self, call: Any) -> Entry | None:
        """As above, of a call that a worker has told of, made by the body of an item or of a run there."""
        if not call.recorded:
            return None
        above = call.around.nested.get(call.parent_id) or call.around._entry or self.above(call.around._outer)
        run_id = f"run_{call.id.hex[:24]}"
        session = None if call.session_id is None else str(call.session_id)
        shown = inputs_summary(call.inputs)
        entry = Entry(self.store, run_id, above, call.task_name, call.name, session, shown, call.tags, call.version)
        entry.started = call.began
        call.around.nested[call.id] = entry
        return entry

    def above(self, scope: Any) -> Any:
        """What a call in `scope` was called by and is in this store: another call, a workflow, a run; or None."""
        while scope is not None:
            entry = getattr(scope, "_entry", None)
            if entry is not None and entry.store is not None and entry.store.place == self.store.place:
                return entry
            scope = scope.outer
        return None

    def _end(self, entry: Entry, call: Any) -> None:
        entry.attempt = call.attempt
        if call._reckon is None:
            entry.ended = _now(entry)
        else:
            entry.started, entry.ended = call._reckon(entry.started)
            self._forget(call)
        self.recorder.end(entry)

    def _forget(self, call: Any) -> None:
        """A call has ended that was made in a worker, of which nothing more is told."""
        if call._reckon is None:
            return
        for entry in call.take_nested():
            entry.status = RunStatus.FAILED
            entry.error = RunError("RunLost", "its worker has ended, or goes on without it", "", LOST)
            entry.ended = _now(entry)
            self.recorder.end(entry)


def recording_of(store: RunStore) -> CallRecording:
    """The plugin that records calls in `store`."""
    recorder = recorder_of(store)
    assert recorder is not None
    if recorder.recording is None:
        recorder.recording = CallRecording(recorder)
    return recorder.recording  # type: ignore[no-any-return]  # a CallRecording


def _random_id() -> str:
    """The digits of a version 4 UUID."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}a{digits[17:]}"


def _now(entry: Entry) -> int:
    return max(time.time_ns() // 1000, entry.started)  # the clock may have been set back


def _described(error: BaseException) -> RunError:
    message, text = in_words(error)
    kind = "crashed" if isinstance(error, WorkerCrashed) else "error"
    return RunError(type(error).__name__, clean(message), clean(text), kind)


def _why(reason: str) -> str:
    if reason == "closed":
        return CLOSED
    if reason == "cancelled":
        return "its asyncio task was cancelled"
    error = sys.exc_info()[1]
    return "interrupted" if error is None else _why_of(error)


def _why_of(error: BaseException) -> str:
    return f"interrupted by {type(error).__name__}"


def _unnoted() -> None:
    logging.getLogger("eagerly.runs").exception("a call could not be noted, and is not recorded")
