"""From registered plugins to one plain function per hook, or None where nobody listens.

pluggy validates and orders; it is not on the path of a call. A compiled hook takes the call (or the session) and the
moment's own values, computes only the facts that some implementation asked for, and calls the implementations in turn.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, Final, NamedTuple

import pluggy

from eagerly._callables import WRAPPERS
from eagerly._options import nearest
from eagerly.errors import PluginError
from eagerly.hooks._marker import PROJECT
from eagerly.hooks._spec import HOOKS, EagerlySpec

__all__ = ["NO_HOOKS", "CompiledHooks", "compile_hooks", "validate_plugin"]

CompiledHook = Callable[..., None]
_MARK: Final = f"{PROJECT}_impl"


class _Moment(NamedTuple):
    """How a compiled hook is called.

    Attributes:
        given: Its parameters. The first, `call`, is the call, which is its own metadata and reporter.
        ending: Whether this is the end of the call.
        mid_life: Whether the call is still to end. If such a hook raises (Ctrl-C, strict hooks), that is its end.
    """

    given: tuple[str, ...]
    mid_life: bool = False
    ending: bool = False


MOMENTS: Final[dict[str, _Moment]] = {
    "before_session_start": _Moment(("session_id",)),
    "on_cache_hit": _Moment(("call", "key", "value")),
    "on_cache_miss": _Moment(("call", "key"), mid_life=True),
    "on_cache_error": _Moment(("call", "key", "error")),
    "before_node_execute": _Moment(("call",), mid_life=True),
    "node_iteration": _Moment(("call", "index", "item"), mid_life=True),
    "before_node_retry": _Moment(("call", "attempt", "error", "delay"), mid_life=True),
    "after_node_execute": _Moment(("call", "result"), ending=True),
    "after_node_retry": _Moment(("call", "attempt", "succeeded")),
    "on_node_error": _Moment(("call", "error"), ending=True),
    "on_node_cancel": _Moment(("call", "reason"), ending=True),
    "before_dataset_save": _Moment(("key", "value", "format", "options", "metadata")),
    "after_dataset_save": _Moment(("key", "value", "format", "options", "metadata", "path")),
    "before_dataset_load": _Moment(("key", "return_type", "format", "options", "metadata")),
    "after_dataset_load": _Moment(("key", "return_type", "format", "options", "metadata", "result", "duration")),
    "on_event": _Moment(("name", "data", "metadata")),
    "on_run_status": _Moment(("run", "previous")),
    "after_session_end": _Moment(("session_id", "duration")),
}
_OF_THE_CALL: Final = {"metadata": "call", "reporter": "call"}


class CompiledHooks:
    """One attribute per hook: a plain function, or None when no plugin implements it."""

    __slots__ = HOOKS

    before_session_start: CompiledHook | None
    on_cache_hit: CompiledHook | None
    on_cache_miss: CompiledHook | None
    on_cache_error: CompiledHook | None
    before_node_execute: CompiledHook | None
    node_iteration: CompiledHook | None
    before_node_retry: CompiledHook | None
    after_node_execute: CompiledHook | None
    after_node_retry: CompiledHook | None
    on_node_error: CompiledHook | None
    on_node_cancel: CompiledHook | None
    before_dataset_save: CompiledHook | None
    after_dataset_save: CompiledHook | None
    before_dataset_load: CompiledHook | None
    after_dataset_load: CompiledHook | None
    on_event: CompiledHook | None
    on_run_status: CompiledHook | None
    after_session_end: CompiledHook | None

    def __init__(self, hooks: dict[str, CompiledHook] | None = None) -> None:
        for name in HOOKS:
            setattr(self, name, (hooks or {}).get(name))


NO_HOOKS: Final = CompiledHooks()


def validate_plugin(plugin: object) -> None:
    """Refuse what cannot be a plugin.

    Raises:
        PluginError: It is a class, has no hooks, or has one that is unknown, asks for unknown arguments or is async.
    """
    _hooks_of(plugin)


def compile_hooks(plugins: Sequence[object], *, strict: bool) -> CompiledHooks:
    """The hooks of `plugins`, in pluggy's order: later plugins first, ``tryfirst`` and ``trylast`` respected.

    Args:
        plugins: Plugin instances, none twice.
        strict: Raise what an implementation raises, after all of them ran, instead of logging it.
    """
    if not plugins:
        return NO_HOOKS
    manager = _manager(plugins)
    hooks: dict[str, CompiledHook] = {}
    for name in HOOKS:
        implementations = getattr(manager.hook, name).get_hookimpls()
        if implementations:
            hooks[name] = _compile(name, implementations[::-1], strict)
    return CompiledHooks(hooks)


class _Marked:
    """What pluggy sees of a plugin: its hooks, and no more. It would compare plugins with ``==`` and run properties."""

    def __init__(self, plugin: object, hooks: dict[str, Callable[..., Any]]) -> None:
        self.plugin = plugin
        vars(self).update(hooks)


def _manager(plugins: Sequence[object]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(EagerlySpec)
    for plugin in plugins:
        manager.register(_Marked(plugin, _hooks_of(plugin)), name=f"{plugin_name(plugin)} at {id(plugin):#x}")
    return manager


def _hooks_of(plugin: object) -> dict[str, Callable[..., Any]]:
    _refuse_what_is_no_plugin(plugin)
    hooks = _marked_methods(plugin)
    for name, method in hooks.items():
        _refuse_misuse(f"{plugin_name(plugin)}.{name}", name, method)
    return hooks


def _refuse_what_is_no_plugin(plugin: object) -> None:
    if isinstance(plugin, type):
        raise PluginError(
            f"{plugin.__qualname__} is a plugin class, and a plugin is an instance; write {plugin.__qualname__}()"
        )
    if isinstance(plugin, list | tuple | set | frozenset | dict):
        raise PluginError(
            f"a {type(plugin).__name__} is not a plugin: "  # pyright: ignore[reportUnknownArgumentType]  # list of what?
            "give its plugins one by one, as in register_plugins(A(), B()) "
            "and session(plugins=[A(), B()])"
        )
    if plugin is None or isinstance(plugin, str | bytes | int | float):
        raise PluginError(f"{plugin!r} is not a plugin; pass an object with methods marked @hook_impl")
    if isinstance(plugin, EagerlySpec):
        name = type(plugin).__qualname__
        raise PluginError(
            f"{name} derives from EagerlySpec, which only documents the hooks; write `class {name}:` and in it the "
            "hooks you need, each with @hook_impl above it"
        )


def _marked_methods(plugin: object) -> dict[str, Callable[..., Any]]:
    """The methods of `plugin` that are marked as hooks, found without running its properties."""
    hooks: dict[str, Callable[..., Any]] = {}
    for name in dir(plugin):
        attribute = inspect.getattr_static(plugin, name, None)
        function = attribute.__func__ if isinstance(attribute, WRAPPERS) else attribute
        if getattr(function, _MARK, None) is not None:
            hooks[name] = getattr(plugin, name)
        elif name in HOOKS and callable(function):
            raise PluginError(
                f"{plugin_name(plugin)}.{name} has the name of a hook but is not marked as one; write @hook_impl above "
                "it"
            )
    if not hooks:
        raise PluginError(
            f"{plugin_name(plugin)} has no hooks; mark its methods with @hook_impl. The hooks are {', '.join(HOOKS)}"
        )
    return hooks


def _refuse_misuse(who: str, hook: str, method: Callable[..., Any]) -> None:
    """Refuse a marked method that could not be called, or not with what it asks for."""
    if hook not in HOOKS:
        raise PluginError(f"{who}: there is no hook of that name; {_nearest(hook, HOOKS, 'the hooks are')}")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise PluginError(
            f"{who} is async, and hooks are called synchronously; write `def {hook}` and hand slow work to a queue "
            "or a thread"
        )
    if inspect.isgeneratorfunction(method):
        raise PluginError(
            f"{who} is a generator function and would never run; hooks observe a call, they cannot surround it"
        )
    offered = [name for name in inspect.signature(getattr(EagerlySpec, hook)).parameters if name != "self"]
    if isinstance(method, MethodType):
        first = next(iter(inspect.signature(method.__func__).parameters), None)
        if first is None or first in offered:
            raise PluginError(f"{who} has no `self`; write def {hook}(self, ...), or @staticmethod above it")
    for parameter in inspect.signature(method).parameters.values():
        _refuse_parameter(who, parameter, offered)


def _refuse_parameter(who: str, parameter: inspect.Parameter, offered: Sequence[str]) -> None:
    """Refuse what a hook could never be given."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise PluginError(
            f"{who} takes {parameter}, which would stay empty: a hook gets the arguments it names. This one offers "
            f"{', '.join(offered)}"
        )
    if parameter.kind is parameter.KEYWORD_ONLY:
        raise PluginError(
            f"{who} takes {parameter.name!r} by keyword only, and hooks are called by position; remove the `*`"
        )
    if parameter.name in offered and parameter.default is not parameter.empty:
        raise PluginError(
            f"{who}: {parameter.name!r} has a default value, and would always have that; remove the default"
        )
    if parameter.name not in offered and parameter.default is parameter.empty:
        raise PluginError(f"{who} asks for {parameter.name!r}; {_nearest(parameter.name, offered, 'this hook offers')}")


def _nearest(name: str, names: Sequence[str], otherwise: str) -> str:
    near = nearest(name, names)
    everything = f"{otherwise} {', '.join(names)}"
    return f"did you mean {near!r}? ({everything})" if near else everything


def _compile(hook: str, implementations: Sequence[pluggy.HookImpl], strict: bool) -> CompiledHook:
    """One function that calls `implementations` in turn, all of them whatever one raises.

    What is logged and what is raised is decided here: an `Exception` is logged (raised if `strict`), anything else
    (Ctrl-C) is raised, when every implementation has been called.
    """
    moment = MOMENTS[hook]
    namespace: dict[str, Any] = {"failed": _hook_failed, "mark": _mark_as_from_hook}
    lines = ["first = None"]
    if "duration" not in moment.given and any("duration" in each.argnames for each in implementations):
        lines.append("duration = call.elapsed")
    if moment.ending:
        lines.append("call.ended = True")  # here, as what interrupts the line above must still find a call to end
    for number, implementation in enumerate(implementations):
        namespace[f"run_{number}"] = implementation.function
        namespace[f"plugin_{number}"] = implementation.plugin.plugin  # type: ignore[attr-defined]  # a _Marked
        arguments = ", ".join(
            name if name in moment.given else _OF_THE_CALL.get(name, name) for name in implementation.argnames
        )
        log = f"failed(plugin_{number}, {hook!r}, error_)"
        lines += ["try:", f"    run_{number}({arguments})"]
        if not strict:
            lines += ["except Exception as error_:", f"    {log}"]
        lines += ["except BaseException as error_:", "    if first is None:", "        first = error_", "    else:"]
        lines += [f"        {log}"]
    lines += ["if first is not None:", "    try:", "        raise mark(first)", "    finally:", "        first = None"]
    if moment.mid_life:
        lines = [
            "try:",
            *_indented(lines),
            "except BaseException as error_:",
            "    call.interrupt(error_)",
            "    raise",
        ]
    exec("\n".join([f"def {hook}({', '.join(moment.given)}):", *_indented(lines)]), namespace)
    return namespace[hook]  # type: ignore[no-any-return]  # exec gives Any


def _mark_as_from_hook(error: BaseException) -> BaseException:
    with contextlib.suppress(Exception):  # a class of errors may refuse attributes
        error._eagerly_hook = True  # type: ignore[attr-defined]  # for is_from_hook
    return error


def is_from_hook(error: BaseException) -> bool:
    """Whether a hook raised it: it may pass through a body on its way, but is no failure of that function."""
    return getattr(error, "_eagerly_hook", False)


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _hook_failed(plugin: object, hook: str, error: BaseException) -> None:
    import logging

    logging.getLogger("eagerly.hooks").error(
        "the hook %s of plugin %s raised %s, which is ignored",
        hook,
        plugin_name(plugin),
        type(error).__name__,
        exc_info=error,
    )


def plugin_name(plugin: object) -> str:
    """How a plugin is called in messages: by its class, or by its own name when it is a module."""
    name = getattr(plugin, "__name__", None)
    return name if inspect.ismodule(plugin) and isinstance(name, str) else type(plugin).__qualname__
