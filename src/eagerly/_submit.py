"""`submit`: starts a call in the background, and gives the handle on its run."""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from eagerly._distant_run import DistantRun
from eagerly._engines import engines_of, open_engine_for_run
from eagerly._item import MapScope
from eagerly._live_run import LiveRun
from eagerly._once import nothing
from eagerly._packing import Packer, Unpackable
from eagerly._replica import is_reachable
from eagerly._run_host import OUTSIDE_ENGINES, host_of
from eagerly._run_port import recorded_above
from eagerly._run_store import active_run_store
from eagerly._scope import OUTSIDE, here, open_session
from eagerly._share import unwrapped
from eagerly._wire import shown
from eagerly._worker_run import RunSpec
from eagerly.backends._inline import InlineBackend
from eagerly.backends._registry import check_backend_name
from eagerly.errors import BackendError, OutputNotSerializable
from eagerly.runs._limits import MAX_SUMMARY, clean
from eagerly.runs._payload import OBJECT, as_json
from eagerly.runs._record import RunRecord, now
from eagerly.runs._run import Run
from eagerly.runs._status import RunStatus

if TYPE_CHECKING:
    from eagerly._scope import SessionContext
    from eagerly._task import Task
    from eagerly.backends._protocol import Backend, Message
    from eagerly.runs._protocol import RunStore

__all__ = ["submit"]

DEFAULT: Final = "thread"
LONGEST_ARGUMENT: Final = 200
"""Characters that are shown of one argument."""


def submit(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run[Any]:
    """Start a call of `task` in the background.

    Raises:
        TypeError: The arguments are wrong.
        BackendError: The backend cannot be used, or the arguments cannot travel to its workers.
        RunsError: The store cannot be written to.
    """
    task.check(*args, **kwargs)
    scope = here.get()
    session = open_session(scope)
    store = active_run_store()
    loop = _running_loop()
    wanted = _wanted(task, session)
    host = host_of(store)
    base = uuid4().int
    parent = recorded_above(scope, store)
    run_id = f"run_{base:032x}"[:28]
    record = _record(task, args, kwargs, run_id, session)
    if parent is not None:
        record = record._replace(parent_id=parent.id, root_id=parent.root_id)
    on_loop = wanted is None and loop is not None and task.is_async
    engine: Backend | None = None
    if not on_loop:
        wanted = DEFAULT if wanted is None else wanted
        check_backend_name(f"submit() on backend={wanted!r}", wanted)
        engine = open_engine_for_run(wanted, session, OUTSIDE_ENGINES)
    inline = isinstance(engine, InlineBackend)
    if inline and loop is not None and (task.is_async or store.blocking):
        raise BackendError(
            f"task {task.name!r} is to run inline, which would block the event loop that runs here; leave backend out,"
            " or write task.options(backend='thread').submit(...)"
        )
    backend = "inline" if engine is None else engine.capabilities.name
    made = MapScope(session, scope._call, base=base, backend=backend, engine=engine, wanted=wanted, around=session)
    options: dict[str, Any] = {
        "record": record,
        "scope": made,
        "context": contextvars.copy_context(),
        "lane": None if engine is None or inline else host.lane_of(engine),
    }
    if engine is None or engine.capabilities.in_process:
        args, kwargs = unwrapped(args), dict(zip(kwargs, unwrapped(tuple(kwargs.values())), strict=True))
        run = LiveRun(host, task, args, kwargs, **options)
    else:
        row = None if engine.capabilities.live_events or not is_reachable(store) else store
        spec = RunSpec(run_id, record.root_id, _form(task, store), row)
        packer = Packer(task, False, made, session, engine, spec)
        message = _packed(packer, args, kwargs)
        run = DistantRun(host, task, args, kwargs, packer=packer, message=message, **options)
    run.register()
    if session is not OUTSIDE:
        engines_of(session).add_run(run)
    if on_loop:
        _start_on_loop(run, loop, store)
    elif inline:
        run.write_now()
        run.run()
        if run.interrupted is not None:
            raise run.interrupted
    elif loop is not None and store.blocking:
        lane = run.lane
        assert lane is not None
        run.write_soon(lambda: lane.add(run))
    else:
        run.write_now()
        assert run.lane is not None
        run.lane.add(run)
    return Run(store, run.record, run)


def _packed(packer: Packer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message:
    """The arguments as they are here and now, as bytes."""
    try:
        return packer.message(0, [(args, kwargs)], None)
    except Unpackable as unpackable:
        packer.close()
        raise unpackable.error from unpackable.error.__cause__


def _start_on_loop(run: LiveRun, loop: Any, store: RunStore) -> None:
    if store.blocking:
        run.write_soon(nothing, begin=True)
    else:
        run.write_now()
        run.begin()
    started = loop.create_task(
        run.run_on_loop(), name=f"{run.task.name} ({run.id})", context=contextvars.copy_context()
    )
    run.host.tasks.add(started)
    started.add_done_callback(run.host.tasks.discard)
    run.loop = loop


def _wanted(task: Task[..., Any], session: SessionContext) -> Any:
    """What the task, the session or the settings ask for; None if nobody has asked for anything."""
    wanted = _asked_for(task, session)
    if task.stays_here and wanted is not None and wanted not in ("thread", "inline"):
        capabilities = getattr(wanted, "capabilities", None)
        return wanted if capabilities is not None and capabilities.in_process else DEFAULT
    return wanted


def _asked_for(task: Task[..., Any], session: SessionContext) -> Any:
    if task.declaration.backend is not None:
        return task.declaration.backend
    if session is not OUTSIDE and session.backend is not None:
        return session.backend
    settled = session.settings.backend
    return None if settled == "inline" else settled


def _running_loop() -> Any:
    """The event loop that runs in this thread, or None. Without asyncio there is none."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _form(task: Task[..., Any], store: RunStore) -> str:
    return OBJECT if getattr(store, "keeps_objects", False) else task.run_output or "json"


def _record(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], run_id: str, session: SessionContext
) -> RunRecord:
    """The record of the run, which is pending."""
    inputs = task.bind(*args, **kwargs)
    if not task.stays_here:
        inputs = {name: value for name, value in inputs.items() if name in task.signature.parameters}
    at = now()
    return RunRecord(
        seq=0,
        id=run_id,
        task=clean(task.name),
        status=RunStatus.PENDING,
        created_at=at,
        updated_at=at,
        root_id=run_id,
        session_id=None if session is OUTSIDE else str(session.session_id),
        task_version=task.declaration.version,
        name=_rendered(task, inputs),
        inputs=_as_json(inputs),
        input_summary=_summary(inputs),
        tags=tuple(sorted(map(clean, task.tags))),
    )


def _rendered(task: Task[..., Any], inputs: dict[str, Any]) -> str:
    try:
        return clean(task.declaration.template.render(inputs, None))
    except Exception:  # an argument that cannot be formatted like this
        return clean(task.name)


def _as_json(inputs: dict[str, Any]) -> str | None:
    try:
        return as_json(inputs, "inputs")
    except OutputNotSerializable:
        return None


def _summary(inputs: dict[str, Any]) -> str:
    parts = [f"{name}={_cut(shown(value), LONGEST_ARGUMENT)}" for name, value in inputs.items()]
    return clean(_cut(", ".join(parts), MAX_SUMMARY))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
