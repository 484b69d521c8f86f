"""`Packer`: the items of a map as bytes, for workers in other processes."""

from __future__ import annotations

import hashlib
import pickle
import sys
from typing import TYPE_CHECKING, Any

from eagerly._records import LIVELY
from eagerly._relay import listened
from eagerly._remote import OfOneMap, Spec, is_worker, run_chunk
from eagerly._replica import SessionFacts, calls_around, is_reachable, log_levels, unix_deadline
from eagerly._share import Shared, packing, parts_of
from eagerly._stored import mode_of
from eagerly._wire import all_plain, dump, reason
from eagerly.backends._protocol import Message
from eagerly.errors import BackendError
from eagerly.hooks._compile import NO_HOOKS, CompiledHooks, compile_hooks

if TYPE_CHECKING:
    from eagerly._item import MapScope
    from eagerly._scope import Scope, SessionContext
    from eagerly._task import Task
    from eagerly._worker_run import RunSpec
    from eagerly.backends._protocol import Backend

__all__ = ["Packer", "Unpackable"]


class Unpackable(Exception):  # noqa: N818 - it says what is the matter, within this package
    """One of the items cannot travel."""

    def __init__(self, place: int, error: Exception) -> None:
        self.place = place
        self.error = error


class Packer:
    """Packs what all items of a map have in common, once, and their arguments.

    Args:
        task: The task.
        unary: Whether each item is one argument.
        scope: The map, as this process sees it.
        around: Where the map was called.
        engine: Whose workers are to read it.
        run: For what is no map but a submitted call: the run.

    Attributes:
        hooks: Those that are called here.
        saves_here: Whether the workers cannot reach where results are saved, so that this process does it.

    Raises:
        BackendError: The task cannot travel, a store that it needs cannot be reached from the workers, or they would
            never end to start workers.
    """

    def __init__(
        self,
        task: Task[..., Any],
        unary: bool,
        scope: MapScope,
        around: Scope,
        engine: Backend,
        run: RunSpec | None = None,
    ) -> None:
        self._unary = unary
        self._backend = scope.backend
        self._engine = engine
        self._handles: list[Any] = []
        self._numbers: dict[str, int] = {}
        session = scope.session
        _refuse_workers_without_end(task.declaration.module, scope.backend)
        _refuse_unreachable_stores(task, session, scope.backend)
        saved = task.declaration.dataset
        self.saves_here = saved is not None and not is_reachable(saved.store or session.dataset_place)
        beside = tuple(plugin for plugin in session.plugins if getattr(plugin, "runs_on_worker", False))
        self.hooks: CompiledHooks = session.hooks
        if beside:
            here = [plugin for plugin in session.plugins if plugin not in beside]
            self.hooks = compile_hooks((*here, *session.recording), strict=session.settings.strict_hooks)
        spec = Spec(
            task=task,
            unary=unary,
            backend=scope.backend,
            session=SessionFacts.of(session),
            hooks=() if self.hooks is NO_HOOKS else tuple(sorted(listened(self.hooks))),
            plugins=beside,
        )
        with packing(self._hand_over):
            self.spec = dump((sys.path, log_levels(), _packed_spec(spec, beside)))
        self.key = hashlib.blake2b(self.spec, digest_size=16).digest()
        above = session.recording[0].above(around) if session.recording else None
        root = None if above is None else above.root_id
        self._of_this_map = dump(OfOneMap(scope.base, unix_deadline(around), calls_around(scope.call), run, root))

    def message(
        self,
        first: int,
        rows: list[Any],
        resume: tuple[int, float] | None,
        patience: float = 0.0,
        lively: float = LIVELY,
    ) -> Message:
        """The items as bytes.

        Args:
            first: The index of the first one.
            rows: Their arguments.
            resume: As in `ItemScope`.
            patience: Seconds after which the worker leaves the rest to others.
            lively: Seconds after which it tells of results although others are to follow.

        Raises:
            Unpackable: One of them cannot travel.
        """
        plain = all_plain(rows) if self._unary else all(map(all_plain, rows))
        packed: list[Any] = rows if plain else [self._pack(place, row) for place, row in enumerate(rows)]
        body = pickle.dumps((self._of_this_map, first, resume, patience, lively, not plain, packed), 5)
        return Message(run_chunk, self.key, self.spec, body, tuple(self._handles))

    def close(self) -> None:
        """The workers need the shared objects no more."""
        while self._handles:
            self._engine.unshare(self._handles.pop())

    def _pack(self, place: int, row: Any) -> bytes:
        try:
            with packing(self._hand_over):
                return dump(row)
        except Exception as error:
            refused = BackendError(
                f"an argument of this item cannot travel to the workers of backend {self._backend!r}: {reason(error)}; "
                "pass what it is made from, or use the backend 'thread'"
            )
            refused.__cause__ = error
            raise Unpackable(place, refused) from error

    def _hand_over(self, shared: Shared[Any]) -> int:
        number = self._numbers.get(shared.token)
        if number is None:
            self._handles.append(self._engine.share(parts_of(shared)))
            number = self._numbers[shared.token] = len(self._handles) - 1
        return number


def _packed_spec(spec: Spec, beside: tuple[object, ...]) -> bytes:
    try:
        return dump(spec)
    except Exception as error:
        for plugin in beside:
            try:
                dump(plugin)
            except Exception as why:
                raise BackendError(
                    f"the plugin {type(plugin).__qualname__} has runs_on_worker = True and cannot travel to the "
                    f"workers of backend {spec.backend!r} ({reason(why)}); leave out of its pickle what it does not "
                    "need there"
                ) from why
        raise BackendError(
            f"task {spec.task.name!r} cannot travel to the workers of backend {spec.backend!r} ({reason(error)}); it, "
            "or what it refers to, cannot be pickled: move it to a module, pass what it needs as an argument, or use "
            "the backend 'thread'"
        ) from error


def _refuse_workers_without_end(module: str | None, backend: str) -> None:
    """A module that has its tasks run by workers as it is imported: they import it, and do the same."""
    spec = getattr(sys.modules.get(module or ""), "__spec__", None)
    if is_worker() and getattr(spec, "_initializing", False):
        raise BackendError(
            f"the module {module} calls its own tasks on {backend!r} while it is imported, and each worker imports it "
            "too, and would do the same without end; put these calls into a function, or below "
            "if __name__ == '__main__':"
        )


def _refuse_unreachable_stores(task: Task[..., Any], session: SessionContext, backend: str) -> None:
    declaration = task.declaration
    options = declaration.caching
    stores: list[tuple[str, object, str]] = []
    if options is not None and mode_of(options, session) != "off":
        stores.append(("cache", options.store or session.cache_place, "a path or a URL"))
    if declaration.dataset is not None and not isinstance(declaration.dataset.store, str):
        stores.append(("dataset", declaration.dataset.store, "a path or a URL"))
    for sort, place, instead in stores:
        if not is_reachable(place):
            raise BackendError(
                f"task {task.name!r} uses the {sort} store {place!r}, which lives in this process, and the workers of "
                f"backend {backend!r} are others; give the store as {instead}, or use the backend 'thread'"
            )
