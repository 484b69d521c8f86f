"""The moments in the life of a call, in the order in which they happen. Reading this class is reading that life.

Nothing here is ever called; it declares names and arguments, and its docstrings are the manual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from eagerly.hooks._marker import hook_spec

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._metadata import TaskMetadata
    from eagerly.runs._run import Run
    from eagerly.runs._status import RunStatus
    from eagerly.typing import Reporter

__all__ = ["EagerlySpec"]


class EagerlySpec:
    """Every hook, with its arguments. An implementation takes any subset of them by name.

    "node" stands for one execution of one task. Hooks run synchronously in the thread that makes the call, outside
    the `try` that leads to a retry, and observe only: what they return is ignored, and what they raise is logged
    (logger ``eagerly.hooks``) while the task goes on; with ``Settings(strict_hooks=True)`` it is raised instead.
    A hook must not keep `result`, `item` or `metadata.inputs` longer than it needs them, and must not change them.
    """

    @hook_spec
    def before_session_start(self, session_id: UUID) -> None:
        """A session has been entered; no task has run in it yet.

        Args:
            session_id: Identifies the session here, in `after_session_end` and in `metadata.session_id`.
        """

    @hook_spec
    def on_cache_hit(self, metadata: TaskMetadata, key: str, value: Any, reporter: Reporter) -> None:
        """The result of a call was found in the cache and is about to be returned. Nothing else fires for this call.

        Also when another thread or process has just computed it while this call waited.

        Args:
            metadata: The facts about the call.
            key: Its key, as `Task.cache_key` gives it.
            value: The result; None for a stream, whose items are replayed as they are asked for.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def on_cache_miss(self, metadata: TaskMetadata, key: str, reporter: Reporter) -> None:
        """The result of a call is not taken from the cache; `before_node_execute` follows at once.

        Args:
            metadata: The facts about the call.
            key: Its key, as `Task.cache_key` gives it.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def on_cache_error(self, metadata: TaskMetadata, key: str, error: Exception, reporter: Reporter) -> None:
        """The cache could not be read or written. The call goes on as if there were no cache.

        Before `on_cache_miss` if reading failed; before the ending if storing did.

        Args:
            metadata: The facts about the call.
            key: Its key, as `Task.cache_key` gives it.
            error: What went wrong.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def before_node_execute(self, metadata: TaskMetadata, reporter: Reporter) -> None:
        """A call has started and its first attempt is about to begin; for a stream: its first item was asked for.

        Not called when the arguments are wrong: that is a `TypeError` for the caller and no call at all. Exactly one of
        `after_node_execute`, `on_node_error` and `on_node_cancel` follows, however the call ends.

        Args:
            metadata: The facts about the call; the same object in every hook of this call.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def node_iteration(self, metadata: TaskMetadata, index: int, item: Any, reporter: Reporter) -> None:
        """A stream task has produced an item, which is about to be handed to the consumer.

        Args:
            metadata: The facts about the call.
            index: Number of the item, from 0.
            item: The item itself.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def before_node_retry(
        self, metadata: TaskMetadata, attempt: int, error: Exception, delay: float, reporter: Reporter
    ) -> None:
        """An attempt has failed and another will follow, after the delay. `after_node_retry` tells how it went.

        Args:
            metadata: The facts about the call.
            attempt: Number of the attempt that is about to be made; the first retry is 2.
            error: Why the attempt before it failed.
            delay: Seconds until it starts.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def after_node_execute(self, metadata: TaskMetadata, result: Any, duration: float, reporter: Reporter) -> None:
        """The call has succeeded and its result is about to be returned; for a stream: it is exhausted.

        Args:
            metadata: The facts about the call.
            result: What the function returned; None for a stream, whose items went to `node_iteration`.
            duration: Seconds from the start of the first attempt, waits between attempts included.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def after_node_retry(self, metadata: TaskMetadata, attempt: int, succeeded: bool, reporter: Reporter) -> None:
        """The attempt that `before_node_retry` announced has ended.

        After `after_node_execute` when it succeeded; before the next `before_node_retry`, `on_node_error` or
        `on_node_cancel` when it did not.

        Args:
            metadata: The facts about the call.
            attempt: Number of the attempt; the first retry is 2.
            succeeded: Whether it returned.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def on_node_error(self, metadata: TaskMetadata, error: Exception, duration: float, reporter: Reporter) -> None:
        """The call has failed for good; the error is about to be raised.

        Args:
            metadata: The facts about the call.
            error: What the last attempt raised, never wrapped.
            duration: Seconds from the start of the first attempt.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def on_node_cancel(
        self,
        metadata: TaskMetadata,
        reason: Literal["cancelled", "interrupted", "closed"],
        duration: float,
        reporter: Reporter,
    ) -> None:
        """The call has ended without a result and without having failed.

        It may run in the garbage collector, in whichever thread that works, when an abandoned stream is cleared away.

        Args:
            metadata: The facts about the call.
            reason: ``"cancelled"``: its asyncio task was cancelled. ``"closed"``: a stream was closed or dropped before
                its end. ``"interrupted"``: `KeyboardInterrupt`, `SystemExit` or another `BaseException`.
            duration: Seconds from the start of the first attempt.
            reporter: Sends events of your own to `on_event`.
        """

    @hook_spec
    def before_dataset_save(
        self, key: str, value: Any, format: str | None, options: dict[str, Any], metadata: TaskMetadata | None
    ) -> None:
        """A dataset is about to be saved: the result of a task with ``dataset=``, or by `save_dataset`.

        Args:
            key: Its key, with placeholders filled in.
            value: What is saved; None for a stream, whose items are written as they pass.
            format: The format that was asked for by name, or None.
            options: The format's options.
            metadata: The call on whose behalf it is saved; None outside of a task.
        """

    @hook_spec
    def after_dataset_save(
        self, key: str, value: Any, format: str, options: dict[str, Any], metadata: TaskMetadata | None, path: str
    ) -> None:
        """A dataset has been saved. Not called when that failed: then a `DatasetError` is raised.

        Args:
            key: Its key.
            value: What was saved; None for a stream.
            format: The format it has.
            options: The format's options.
            metadata: The call on whose behalf it was saved; None outside of a task.
            path: Path or URL of the file.
        """

    @hook_spec
    def before_dataset_load(
        self, key: str, return_type: Any, format: str | None, options: dict[str, Any], metadata: TaskMetadata | None
    ) -> None:
        """A dataset is about to be loaded by `load_dataset`.

        Args:
            key: Its key, with placeholders filled in.
            return_type: The type that was asked for, or None.
            format: The format that was asked for by name, or None.
            options: The format's options.
            metadata: The call on whose behalf it is loaded; None outside of a task.
        """

    @hook_spec
    def after_dataset_load(
        self,
        key: str,
        return_type: Any,
        format: str | None,
        options: dict[str, Any],
        metadata: TaskMetadata | None,
        result: Any,
        duration: float,
    ) -> None:
        """A dataset has been loaded and is about to be returned. Not called when that failed.

        Args:
            key: Its key.
            return_type: The type that was asked for, or None.
            format: The format that was asked for by name, or None.
            options: The format's options.
            metadata: The call on whose behalf it was loaded; None outside of a task.
            result: What was loaded.
            duration: Seconds that it took.
        """

    @hook_spec
    def on_event(self, name: str, data: dict[str, Any], metadata: TaskMetadata) -> None:
        """Somebody called ``reporter.report(name, **data)``, in a hook or through ``current_task().reporter``.

        Args:
            name: The event's name, as given.
            data: Its data, as given.
            metadata: The call on whose behalf it was sent.
        """

    @hook_spec
    def on_run_status(self, run: Run[Any], previous: RunStatus | None) -> None:
        """A run that was submitted in this session has become something else, whoever has done that; or code in this
        session has made or changed one that another program executes.

        Not for calls that are recorded in a run store: for them there are the hooks above.

        Of runs that were submitted, called in a thread of its own, one change after another, in the order of the
        changes. All of them have been told when the session has been left. Of others, called where they are changed.

        Runs that a body submits in another process are executed there, and told of if they are in a store that this
        process can open. Once that body has ended their rows are watched, so changes that follow one another within
        50 ms may be told as one: ``previous`` is always what was told before. The session does not wait for those that
        go on when it is left, on a backend of yours.

        Args:
            run: The run as it was then; ``run.status`` is what it has become.
            previous: What it was before; None for a new one.
        """

    @hook_spec
    def after_session_end(self, session_id: UUID, duration: float) -> None:
        """A session has been left, whether by its end or by an exception.

        The last hook of a session, except for those of calls that outlive it: a stream that is still open, or a call in
        another thread or asyncio task. They fire when they happen, and each such call still gets its one ending.

        Args:
            session_id: As in `before_session_start`.
            duration: Seconds since the session was entered.
        """


HOOKS: tuple[str, ...] = tuple(name for name in vars(EagerlySpec) if not name.startswith("_"))
"""The names of all hooks, in the order of the class."""
