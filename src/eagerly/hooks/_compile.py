"""From registered plugins to one plain function per hook, or None where nobody listens.

pluggy validates and orders; it is not on the path of a call. A compiled hook takes the call (or the session) and the
moment's own values, computes only the facts that some implementation asked for, and calls the implementations in turn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import pluggy

from eagerly.errors import PluginError
from eagerly.hooks._marker import PROJECT
from eagerly.hooks._spec import HOOKS, EagerlySpec

__all__ = ["NO_HOOKS", "CompiledHooks", "compile_hooks", "validate_plugin"]

CompiledHook = Callable[..., None]


class _Moment(NamedTuple):
    """How a compiled hook is called.

    Attributes:
        given: Its parameters. The first, `call`, is the call, which is its own metadata and reporter.
        mid_life: Whether the call is still to end. If such a hook raises (Ctrl-C, strict hooks), that is its end.
    """

    given: tuple[str, ...]
    mid_life: bool = False


MOMENTS: Final[dict[str, _Moment]] = {
    "before_session_start": _Moment(("session_id",)),
    "before_node_execute": _Moment(("call",), mid_life=True),
    "node_iteration": _Moment(("call", "index", "item"), mid_life=True),
    "before_node_retry": _Moment(("call", "attempt", "error", "delay"), mid_life=True),
    "after_node_execute": _Moment(("call", "result")),
    "after_node_retry": _Moment(("call", "attempt", "succeeded")),
    "on_node_error": _Moment(("call", "error")),
    "on_node_cancel": _Moment(("call", "reason")),
    "on_event": _Moment(("name", "data", "metadata")),
    "after_session_end": _Moment(("session_id", "duration")),
}
_OF_THE_CALL: Final = {"metadata": "call", "reporter": "call"}


class CompiledHooks:
    """One attribute per hook: a plain function, or None when no plugin implements it."""

    __slots__ = HOOKS

    before_session_start: CompiledHook | None
    before_node_execute: CompiledHook | None
    node_iteration: CompiledHook | None
    before_node_retry: CompiledHook | None
    after_node_execute: CompiledHook | None
    after_node_retry: CompiledHook | None
    on_node_error: CompiledHook | None
    on_node_cancel: CompiledHook | None
    on_event: CompiledHook | None
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
    _manager([plugin])


def compile_hooks(plugins: Sequence[object], *, strict: bool) -> CompiledHooks:
    """The hooks of `plugins`, in pluggy's order: later plugins first, ``tryfirst`` and ``trylast`` respected.

    Args:
        plugins: Plugin instances, none twice.
        strict: Raise what an implementation raises, after all of them ran, instead of logging it.
    """
    if not plugins:
        return NO_HOOKS
    manager = _manager(plugins)
    hooks = {}
    for name in HOOKS:
        implementations = getattr(manager.hook, name).get_hookimpls()
        if implementations:
            hooks[name] = _compile(name, implementations[::-1], strict)
    return CompiledHooks(hooks)


def _manager(plugins: Sequence[object]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(EagerlySpec)
    for plugin in plugins:
        _refuse_misuse(plugin)
        try:
            # The name makes two equal plugins two plugins, and speaks in pluggy's messages.
            manager.register(plugin, name=f"{plugin_name(plugin)} at {id(plugin):#x}")
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(_explain(plugin, error)) from None
    return manager


def _refuse_misuse(plugin: object) -> None:
    if isinstance(plugin, type):
        raise PluginError(
            f"{plugin.__qualname__} is a plugin class, and a plugin is an instance; write {plugin.__qualname__}()"
        )
    if plugin is None or isinstance(plugin, str | bytes | int | float):
        raise PluginError(f"{plugin!r} is not a plugin; pass an object with methods marked @hook_impl")
    marked = False
    for name in dir(plugin):
        # On the type first: a property must not run because somebody registers its object.
        method = inspect.getattr_static(plugin, name, None)
        options = getattr(method, f"{PROJECT}_impl", None)
        if options is None and isinstance(method, staticmethod | classmethod):
            options = getattr(method.__func__, f"{PROJECT}_impl", None)
        if options is not None:
            marked = True
            target = getattr(plugin, name)
            if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
                raise PluginError(
                    f"{plugin_name(plugin)}.{name} is async, and hooks are called synchronously; write `def {name}` "
                    "and hand slow work to a queue or a thread"
                )
            if inspect.isgeneratorfunction(target):
                raise PluginError(
                    f"{plugin_name(plugin)}.{name} is a generator function and would never run; hooks observe a call, "
                    "they cannot surround it"
                )
        elif name in HOOKS and callable(getattr(plugin, name)):
            raise PluginError(
                f"{plugin_name(plugin)}.{name} has the name of a hook but is not marked as one; write @hook_impl "
                "above it"
            )
    if not marked:
        raise PluginError(
            f"{plugin_name(plugin)} has no hooks; mark its methods with @hook_impl. The hooks are {', '.join(HOOKS)}"
        )


def _explain(plugin: object, error: pluggy.PluginValidationError) -> str:
    """pluggy's complaint with the plugin named as its owner knows it, and the nearest hook or argument."""
    import difflib

    for name in dir(plugin):
        method = getattr(plugin, name, None)
        if getattr(method, f"{PROJECT}_impl", None) is None:
            continue
        who = f"{plugin_name(plugin)}.{name}"
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"the hooks are {', '.join(HOOKS)}"
            return f"{who}: there is no hook of that name; {hint}"
        arguments = [p for p in inspect.signature(getattr(EagerlySpec, name)).parameters if p != "self"]
        assert callable(method)
        for argument in inspect.signature(method).parameters:
            if argument not in arguments:
                near = difflib.get_close_matches(argument, arguments, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}? " if near else ""
                return f"{who} asks for {argument!r}; {hint}this hook offers {', '.join(arguments)}"
    return f"{plugin_name(plugin)}: {error}"


def _compile(hook: str, implementations: Sequence[pluggy.HookImpl], strict: bool) -> CompiledHook:
    moment = MOMENTS[hook]
    namespace: dict[str, Any] = {"failed": _hook_failed}
    lines = []
    if "duration" not in moment.given and any("duration" in each.argnames for each in implementations):
        lines.append("duration = call.elapsed")
    if strict:
        lines.append("first = None")
    for number, implementation in enumerate(implementations):
        namespace[f"run_{number}"] = implementation.function
        namespace[f"plugin_{number}"] = implementation.plugin
        arguments = ", ".join(
            name if name in moment.given else _OF_THE_CALL.get(name, name) for name in implementation.argnames
        )
        caught = (
            "first = error_ if first is None else first" if strict else f"failed(plugin_{number}, {hook!r}, error_)"
        )
        lines += ["try:", f"    run_{number}({arguments})", "except Exception as error_:", f"    {caught}"]
    if strict:
        lines += ["if first is not None:", "    raise first"]
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


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _hook_failed(plugin: object, hook: str, error: Exception) -> None:
    import logging

    logging.getLogger("eagerly.hooks").error(
        "the hook %s of plugin %s raised %s; the task goes on",
        hook,
        plugin_name(plugin),
        type(error).__name__,
        exc_info=error,
    )


def plugin_name(plugin: object) -> str:
    """How a plugin is called in messages: by its class, or by its own name when it is a module."""
    name = getattr(plugin, "__name__", None)
    return name if inspect.ismodule(plugin) and isinstance(name, str) else type(plugin).__qualname__
