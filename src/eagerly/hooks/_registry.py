"""Which plugins every session has: those that were registered by hand, and those that installed packages bring."""

from __future__ import annotations

import threading
from typing import Final

from eagerly.errors import PluginError
from eagerly.hooks._compile import plugin_name, validate_plugin

__all__ = ["ENTRY_POINTS", "global_plugins", "register_plugins", "unregister_plugins"]

ENTRY_POINTS: Final = "eagerly.plugins"

_lock = threading.RLock()  # re-entrant: the garbage collector may run a hook that opens a session
_registered: list[object] = []
_discovered: list[object] | None = None


def register_plugins(*plugins: object) -> None:
    """Make `plugins` listen in every session that is opened from now on in this process.

    Args:
        plugins: Instances with methods marked `hook_impl`. One that is registered already is not added twice.

    Raises:
        PluginError: One of them cannot be a plugin; then none is registered.
    """
    for plugin in plugins:
        validate_plugin(plugin)
    with _lock:
        _registered.extend(plugin for plugin in plugins if not _contains(_registered, plugin))


def unregister_plugins(*plugins: object) -> None:
    """Undo `register_plugins` for the sessions that are opened from now on, outside of one that has the plugin.

    Raises:
        PluginError: One of them is not registered.
    """
    with _lock:
        for plugin in plugins:
            if not _contains(_registered, plugin):
                raise PluginError(f"{plugin_name(plugin)} is not registered")
            _registered[:] = [other for other in _registered if other is not plugin]


def global_plugins(*, discover: bool) -> list[object]:
    """The plugins of every session: discovered first, so that those registered by hand are called before them.

    Args:
        discover: Whether to load what installed distributions declare under `ENTRY_POINTS`; loaded once per process.
    """
    with _lock:
        return [*(_discover() if discover else ()), *_registered]


def _discover() -> list[object]:
    global _discovered
    if _discovered is None:
        import importlib.metadata

        found: list[object] = []
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            source = f"{entry_point.name} = {entry_point.value}"
            if entry_point.dist is not None:
                source = f"{entry_point.dist.name}: {source}"
            try:
                plugin = entry_point.load()
                validate_plugin(plugin)
            except Exception as error:
                raise PluginError(
                    f"the installed plugin [{source}] cannot be used: {error}. Repair or uninstall it, or set "
                    "EAGERLY_DISCOVER_PLUGINS=0 to load no installed plugins"
                ) from error
            if not _contains(found, plugin):
                found.append(plugin)
        _discovered = found
    return _discovered


def _contains(plugins: list[object], plugin: object) -> bool:
    return any(other is plugin for other in plugins)
