"""``eagerly config``: every setting, the value that holds here, and which of the places it came from."""

from __future__ import annotations

from eagerly._settings import SECRETS, resolve_settings

__all__ = ["settings_table"]


def settings_table() -> str:
    """One line per setting: name, value, source.

    Raises:
        SettingsError: The environment or pyproject.toml has an unknown name or a bad value.
    """
    settings, sources = resolve_settings()
    rows = [(name, _shown(name, getattr(settings, name)), source) for name, source in sources.items()]
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    return "".join(f"{name:<{names}}  {value:<{values}}  {source}\n" for name, value, source in rows)


def _shown(name: str, value: object) -> str:
    return "(set)" if name in SECRETS and value is not None else repr(value)
