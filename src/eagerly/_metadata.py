"""`TaskMetadata`: the facts about one call, computed when somebody asks and the same ever after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uuid import UUID

    from eagerly._context import TaskContext
    from eagerly._item import ItemScope
    from eagerly._scope import SessionContext
    from eagerly._task import Task

__all__ = ["FACTS", "Identity", "MetadataSnapshot", "TaskMetadata"]


class Identity:
    """A random id that costs nothing until somebody asks for it. Needs a ``__dict__``."""

    __slots__ = ()

    _id: UUID | None = None

    def _identify(self) -> UUID:
        if self._id is not None:
            return self._id
        # Atomic and without a lock: the garbage collector may run a hook that asks for the same id at any allocation.
        identity: UUID = vars(self).setdefault("_id", self._new_id())
        return identity

    def _new_id(self) -> UUID:
        import uuid

        return uuid.uuid4()


class TaskMetadata(Identity):
    """The facts about one call of one task, as hooks get them. Read-only.

    Attributes:
        id: Identifies the call.
        attempt: Number of the attempt that is being made, or was the last one; the first is 1.
        name: The task's name with its placeholders filled in, for example ``fetch_oslo``.
        qualified_name: Module and qualified name of the function, for example ``shop.orders.fetch``.
        description: The task's description.
        inputs: The arguments by parameter name, defaults included.
        tags: The task's tags.
        is_async: Whether the function is async (also for async streams).
        is_generator: Whether the function is a generator function, sync or async.
        backend: Where the body runs; ``"inline"``: in the calling thread.
        map_index: Position in a map, or None for a call of its own.
        parent_id: `id` of the call on whose behalf this one was made, or None.
        session_id: Identifies the session, or None outside of one.
    """

    __slots__ = ("_args", "_kwargs", "_outer", "_session", "_task", "attempt", "ended", "started")

    _task: Task[..., Any]
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _outer: SessionContext | TaskContext | ItemScope
    _session: SessionContext
    attempt: int
    _inputs: dict[str, Any] | None = None
    _entry: Any = None  # what is recorded of the call, once it has begun
    _digits: str | None = None  # of its id, where they are recorded before somebody asks for it

    @property
    def id(self) -> UUID:
        return self._identify()

    @property
    def name(self) -> str:
        template = self._task.declaration.template
        return template.render(self.inputs if template.fields else {}, self.map_index)

    @property
    def inputs(self) -> dict[str, Any]:
        if self._inputs is None:
            self._inputs = self._task.bind(*self._args, **self._kwargs)  # type: ignore[misc]  # TaskContext has a __dict__
        return self._inputs

    @property
    def qualified_name(self) -> str:
        return self._task.declaration.qualified_name

    @property
    def description(self) -> str:
        return self._task.declaration.description

    @property
    def tags(self) -> frozenset[str]:
        return self._task.declaration.tags

    @property
    def is_async(self) -> bool:
        return self._task.declaration.is_async

    @property
    def is_generator(self) -> bool:
        return self._task.declaration.is_generator

    @property
    def backend(self) -> str:
        item = self._outer._item
        return "inline" if item is None else item.map.backend

    @property
    def map_index(self) -> int | None:
        item = self._outer._item
        return None if item is None or item.map.run is not None else item.map_index

    def _new_id(self) -> UUID:
        if self._digits is not None:
            from uuid import UUID

            return UUID(hex=self._digits)
        item = self._outer._item
        return super()._new_id() if item is None else item.call_id()

    @property
    def parent_id(self) -> UUID | None:
        parent = self._outer._call
        return None if parent is None else parent.id

    @property
    def session_id(self) -> UUID | None:
        return None if self._session.is_outside else self._session.session_id

    def __reduce__(self) -> tuple[Any, ...]:
        return MetadataSnapshot, (self._facts(),)

    def _facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in FACTS}
        import pickle

        try:
            pickle.dumps(facts["inputs"])
        except Exception:  # whatever the user's objects raise: the facts must travel without them
            facts["inputs"] = {name: repr(value) for name, value in facts["inputs"].items()}
        return facts


FACTS: Final = (
    "attempt",
    "backend",
    "description",
    "id",
    "inputs",
    "is_async",
    "is_generator",
    "map_index",
    "name",
    "parent_id",
    "qualified_name",
    "session_id",
    "tags",
)


class MetadataSnapshot(TaskMetadata):
    """The facts about a call as they were when they were pickled; inputs that do not pickle are their reprs."""

    __slots__ = tuple(name for name in FACTS if name != "attempt")

    def __init__(self, facts: dict[str, Any]) -> None:
        for name, value in facts.items():
            setattr(self, name, value)

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FACTS}

    def __repr__(self) -> str:
        return f"<facts about a call of task {self.name!r}, attempt {self.attempt}, id={self.id}>"
