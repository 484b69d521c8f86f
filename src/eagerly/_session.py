"""Opening and leaving a session. What a session *is* stands in `_scope.SessionContext`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Never, NoReturn

from eagerly._backend_options import BackendSpec, backend_spec
from eagerly._cache_options import MODES, CacheMode, StoreSpec, store_spec
from eagerly._clock import SYSTEM_CLOCK, Clock
from eagerly._dataset_options import DatasetSpec, dataset_spec
from eagerly._declaration import only_given
from eagerly._needs_call import needs_call
from eagerly._options import nearest, refuse_unknown
from eagerly._paths import absolute
from eagerly._run_options import RunStoreSpec, run_store_spec
from eagerly._scope import OUTSIDE, SessionContext, here, open_session, without_closed
from eagerly._sentinel import UNSET, UnsetType
from eagerly._settings import NAMES, SECRETS, Settings, resolve_settings
from eagerly._steps import Access
from eagerly._stores import recording_of, run_store
from eagerly._warnings import user_frame, warn
from eagerly.errors import OptionTypeError, OptionValueError, SessionError
from eagerly.hooks._compile import compile_hooks, validate_plugin
from eagerly.hooks._registry import global_plugins

__all__ = ["Session", "async_session", "session"]

OPTIONS = ("backend", "cache_store", "cache_mode", "dataset_store", "run_store", "plugins", "settings", "clock", "name")


class Session:
    """A session that can be entered, once, with ``with`` or ``async with``. Made by `session`."""

    __slots__ = (
        *("_context", "_finished", "_opened_at", "_token"),
        *("clock", "name", "plugins", "settings", "stores", "workflow"),
    )

    def __init__(
        self,
        stores: dict[str, Any],
        plugins: tuple[object, ...],
        settings: Settings | None,
        clock: Clock | UnsetType | None,
        name: str | None,
    ) -> None:
        self.stores = stores
        self._context: SessionContext | None = None
        self._opened_at = ""
        self.plugins = plugins
        self.settings = settings
        self.clock = clock
        self.name = name
        self.workflow: str | None = None  # the name of the one whose session it is
        self._finished = False

    def __enter__(self) -> SessionContext:
        if self._context is not None:
            raise SessionError("a session can be entered once; call session() again for another one")
        frame, _ = user_frame()
        if frame is not None:
            self._opened_at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        context = self._context = self._open()
        self._token = here.set(context)
        if (hook := context.hooks.before_session_start) is not None:
            try:
                hook(context.session_id)
            except BaseException as error:  # strict hooks, Ctrl-C: what has heard of the start hears of the end
                self.__exit__(type(error), error, error.__traceback__)
                raise
        return context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context = self._context
        if context is None:
            raise SessionError("a session was left that had not been entered; write `with session():`")
        if context.closed:
            raise SessionError("this session has been left already")
        try:
            if context.engines is not None:
                context.engines.close(error)
        finally:
            self._leave()
            if context.recording:
                self._finish_recording(context, error)
            if (hook := context.hooks.after_session_end) is not None:
                hook(context.session_id, context.elapsed)

    async def __aenter__(self) -> SessionContext:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context = self._context
        try:
            if context is not None and context.engines is not None and not context.closed:
                await context.engines.give_up_maps()
                await context.engines.end_runs(error)
            if context is not None and context.recording and not context.closed:
                self._end_workflow(context, error)
                recording = context.recording[0]
                lost = await Access(recording.finish, recording.busy).do_async()
                self._finished = True
                _tell(lost)
        finally:
            self.__exit__(kind, error, traceback)

    def _open(self) -> SessionContext:
        scope = without_closed(here.get())
        outer = open_session(scope)
        explicit = {**outer.explicit, **(self.settings.given if self.settings is not None else {})}
        settings, _ = resolve_settings(self.settings, outer.explicit)
        known = () if outer.is_replica else global_plugins(discover=settings.discover_plugins)  # where the original is
        plugins = _without_repeats((*outer.plugins, *known, *self.plugins))
        run_place = self._choose("run_store", outer, outer.run_place, settings)
        recording = self._recording(outer, run_place)
        same = plugins == outer.plugins and recording == outer.recording and settings == outer.settings
        same = same and outer is not OUTSIDE
        context = SessionContext(
            outer=scope,
            name=self.name,
            clock=outer.clock if self.clock is UNSET else self.clock or SYSTEM_CLOCK,
            plugins=plugins,
            hooks=outer.hooks if same else compile_hooks((*plugins, *recording), strict=settings.strict_hooks),
            settings=settings,
            explicit=explicit,
            cache_place=self._choose("cache_store", outer, outer.cache_place, settings),
            cache_mode=self._choose("cache_mode", outer, outer.cache_mode, settings),
            dataset_place=self._choose("dataset_store", outer, outer.dataset_place, settings),
            backend=self._backend(outer),
            is_replica=outer.is_replica,
            run_place=run_place,
            recording=recording,
        )
        if isinstance(context.cache_place, str) and "://" in context.cache_place:
            context.cache_client  # noqa: B018 - made now, so that what is wrong with a URL is told here, not by a task
        if recording and self.workflow is not None:
            node_of = context if outer is OUTSIDE else outer  # it is part of the session that it is called in
            context._entry = recording[0].begin_workflow(scope, self.workflow, node_of.id_text)
        return context

    def _recording(self, outer: SessionContext, place: Any) -> tuple[Any, ...]:
        """What records the calls of this session, if that is done here: what a worker makes is told elsewhere."""
        if place is None or (outer.is_replica and place == outer.run_place):
            return ()
        return (recording_of(run_store(place)),)

    def _end_workflow(self, context: SessionContext, error: BaseException | None) -> None:
        if context._entry is not None and not context._entry.ended:
            context.recording[0].end_workflow(context._entry, error)

    def _finish_recording(self, context: SessionContext, error: BaseException | None) -> None:
        """Wait until the store has what was recorded, and say what it could not take."""
        self._end_workflow(context, error)
        if self._finished:
            context.recording[0].recorder.flush()  # what has ended since
        else:
            _tell(context.recording[0].finish())

    def _choose(self, name: str, outer: SessionContext, inherited: Any, settings: Settings) -> Any:
        """An argument of this session; else what its own settings say; else that of the session around it."""
        chosen = self.settings is not None and name in self.settings.given
        value = getattr(settings, name) if chosen or outer is OUTSIDE else inherited
        value = self.stores.get(name, value)
        return absolute(value) if name != "cache_mode" and isinstance(value, str) else value

    def _backend(self, outer: SessionContext) -> Any:
        """What maps run on: an argument of this session, else what its own settings say, else as around it."""
        if "backend" in self.stores:
            return self.stores["backend"]
        if self.settings is not None and "backend" in self.settings.given:
            return None
        return outer.backend

    def _leave(self) -> None:
        """Close the session, and step out of it if this is the context it was entered in or a copy of that."""
        context = self._context
        assert context is not None
        context.close()
        if here.get() is not context:
            return  # left from elsewhere, or an inner session is still open: calls there skip closed sessions
        try:
            here.reset(self._token)
        except ValueError:  # a copy of the context, in another thread or asyncio task
            assert context.outer is not None
            here.set(context.outer)

    def __del__(self) -> None:
        context = getattr(self, "_context", None)
        if context is not None and not context.closed:
            warnings.warn(
                f"a session was never closed; it was opened at {self._opened_at}. Write `with session():`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __call__(self, *_: object) -> NoReturn:
        _refuse_positional(self)

    def __repr__(self) -> str:
        state = "not entered" if self._context is None else "closed" if self._context.closed else "open"
        return f"<session {self.name or ''}{' ' if self.name else ''}{state}>"


@needs_call("with session():")
def session(
    *args: Never,
    backend: BackendSpec | UnsetType | None = UNSET,
    cache_store: StoreSpec | UnsetType | None = UNSET,
    cache_mode: CacheMode | UnsetType = UNSET,
    dataset_store: DatasetSpec | UnsetType | None = UNSET,
    run_store: RunStoreSpec | UnsetType | None = UNSET,
    plugins: Iterable[object] = (),
    settings: Settings | None = None,
    clock: Clock | UnsetType | None = UNSET,
    name: str | None = None,
    **unknown: Never,
) -> Session:
    """A session: what the calls made inside it share. Enter it with ``with`` or ``async with``.

    That gives the `SessionContext`. A session inside another inherits what it is not given; its plugins are added to
    those of the outer one.

    Args:
        backend: What `map_tasks` uses where neither the map nor its task says: a name, a `Backend`, an executor, or a
            Dask client. Workers that maps start are kept until the session is left. Default: that of the session
            around, else what the settings say, which by default is ``"inline"``.
        cache_store: Where the results of cached tasks go: a path, a URL or a `CacheStore`. None: nowhere, which
            switches caching off. Default: that of the session around, else what the settings say.
        cache_mode: ``"on"``; ``"off"``: tasks run as if they were not cached; ``"read"``: nothing is stored;
            ``"refresh"``: nothing is looked up, results are stored anew.
        dataset_store: Where datasets are saved: a path, a URL or a `DatasetStore`. None: tasks save none.
        run_store: Where runs are recorded: the path of a SQLite file, a ``postgresql://`` URL or a
            `eagerly.runs.RunStore`. Then calls are recorded there as well. None: only runs are, in the memory of this
            process. Default: as for `cache_store`.
        plugins: Objects with methods marked `hook_impl`, which observe the calls made in this session.
        settings: What to set differently; see `Settings`.
        clock: How to tell the time and how to wait between attempts; see `Clock` and `eagerly.testing.instant_clock`.
            None: the real clock, whatever the session around has.
        name: A name for people.

    Raises:
        OptionTypeError: An argument has the wrong type.
        PluginError: A plugin cannot be one; the message names plugin and hook.
        SettingsError: The environment or pyproject.toml has a setting that does not exist or a bad value.

    Example:
        >>> from eagerly import current_session, session
        >>> with session(name="nightly") as outer:
        ...     current_session() is outer
        True
    """
    if args:
        _refuse_positional(args[0])
    for setting in NAMES:
        if setting in unknown and setting not in OPTIONS:
            raise OptionTypeError(
                f"session() has no option {setting!r}, which is a setting; write "
                f"session(settings=Settings({setting}={'...' if setting in SECRETS else repr(unknown[setting])}))"
            )
    refuse_unknown("session", unknown, OPTIONS)
    if isinstance(plugins, str) or not isinstance(plugins, Iterable):
        raise OptionTypeError(
            f"session(plugins=...) takes a list of plugins, not {plugins!r}; write plugins=[MyPlugin()]"
        )
    plugins = tuple(plugins)
    for plugin in plugins:
        validate_plugin(plugin)
    if settings is not None and not isinstance(settings, Settings):
        raise OptionTypeError(
            f"session(settings=...) takes a Settings, not {settings!r}; write settings=Settings(strict_hooks=True)"
        )
    if clock is not UNSET and clock is not None and not isinstance(clock, Clock):
        raise OptionTypeError(f"session(clock=...) takes a Clock, not {clock!r}; {_clock_hint(clock)}")
    if name is not None and not isinstance(name, str):
        raise OptionTypeError(f"session(name=...) takes a string, not {name!r}")
    stores = only_given(
        backend=_place(backend_spec, "backend", backend),
        cache_store=_place(store_spec, "cache_store", cache_store),
        cache_mode=_mode(cache_mode),
        dataset_store=_place(dataset_spec, "dataset_store", dataset_store),
        run_store=_place(run_store_spec, "run_store", run_store),
    )
    return Session(stores, plugins, settings, clock, name)


async_session = session
"""`session` under the name that people look for: ``async with async_session():``."""


def _refuse_positional(value: object) -> NoReturn:
    if callable(value):
        raise OptionTypeError(
            "session is not a decorator; open it around the call: `with session(): ...`, or use @workflow for a "
            "function that opens a session of its own"
        )
    spelling = f"name={value!r}" if isinstance(value, str) else "plugins=[...]"
    raise OptionTypeError(f"session() takes keyword arguments only, not {value!r}; write session({spelling})")


def _tell(lost: str | None) -> None:
    if lost is not None:
        warn(lost)


def _place(check: Callable[[str, object], Any], name: str, value: object) -> Any:
    return value if value is None or value is UNSET else check(f"session({name}=...)", value)


def _mode(value: object) -> object:
    if value is not UNSET and value not in MODES:
        modes = ", ".join(map(repr, MODES))
        near = nearest(value, MODES) if isinstance(value, str) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise OptionValueError(f"session(cache_mode=...) takes one of {modes}, not {value!r}{hint}")
    return value


def _clock_hint(value: object) -> str:
    name = getattr(value, "__name__", "")
    module = str(getattr(value, "__module__", ""))
    if module.startswith("eagerly.") or (isinstance(value, type) and issubclass(value, Clock)):
        return f"write clock={name}()"
    if callable(value):  # pyright: ignore[reportUnknownArgumentType]  # whatever class it may be
        return f"write clock=Clock(now={name or '...'})"
    return "leave it out for the clock of the session around it, or write clock=None for the real one"


def _without_repeats(plugins: tuple[object, ...]) -> tuple[object, ...]:
    return tuple({id(plugin): plugin for plugin in plugins}.values())
