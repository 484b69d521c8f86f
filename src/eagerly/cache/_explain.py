"""Why a call would be a hit or not: what is different from the nearest entry that is stored."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eagerly.cache._key import PYTHON, argument_digest, read_description
from eagerly.cache._protocol import ListsEntries
from eagerly.errors import CacheError, CorruptEntryError, UntrustedEntryError

if TYPE_CHECKING:
    from eagerly.cache._client import CacheClient
    from eagerly.cache._key import CallKey, KeyMaker
    from eagerly.cache._protocol import StoredEntry

__all__ = ["Difference", "Explanation", "explain"]

LOOKED_AT: Final = 200
"""How many entries of the task are looked at, newest first."""


class Difference(NamedTuple):
    """One thing that is not as it was when the nearest entry was stored.

    Attributes:
        kind: ``"argument"``, ``"code"``, ``"version"``, ``"python"`` or ``"expired"``.
        name: Which argument, or whose code.
        what: What about it, for people.
    """

    kind: str
    name: str
    what: str

    def __str__(self) -> str:
        return self.what


class Explanation(NamedTuple):
    """What `Task.explain` says; ``print`` it.

    Attributes:
        hit: Whether the call would be found.
        key: Its key.
        reason: In one sentence.
        differences: What is different from the nearest entry; empty on a hit, and where nothing is stored of the task.
        code: What the version of the code covers, each part with a digest.
        skipped: What it reaches but cannot cover, each part with the reason.
    """

    hit: bool
    key: str
    reason: str
    differences: tuple[Difference, ...]
    code: Mapping[str, str]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{'hit' if self.hit else 'miss'}: {self.reason}", f"key: {self.key}"]
        lines += [f"  - {difference}" for difference in self.differences]
        if self.code:
            lines.append(f"code: {', '.join(self.code)}")
        lines += [f"not covered: {name} ({why})" for name, why in self.skipped.items()]
        return "\n".join(lines)


def explain(client: CacheClient | None, keys: KeyMaker, key: CallKey, now: float, mode: str) -> Explanation:
    """Whether the call of `key` would be found, and if not, why.

    Args:
        client: Its cache, or None where nothing is cached.
        keys: What made the key.
        key: The key of the call.
        now: Unix time in seconds.
        mode: How the session uses its cache.
    """
    hit, reason, differences = _verdict(client, keys, key, now, mode)
    code = keys.code
    return Explanation(
        hit,
        key.text,
        reason,
        tuple(differences),
        {} if code is None else code.parts,
        {} if code is None else code.skipped,
    )


def _verdict(  # noqa: C901 - one question after the other
    client: CacheClient | None, keys: KeyMaker, key: CallKey, now: float, mode: str
) -> tuple[bool, str, list[Difference]]:
    if client is None:
        return False, "there is no cache store here: open a session, or give the task one with cache_store=", []
    if mode == "off":
        return False, "caching is off here (cache_mode='off')", []
    try:
        data = client.store.get(key.digest)
    except UntrustedEntryError as error:  # of its folder, whatever is in there
        return False, f"the store cannot be used: {error}", []
    except CorruptEntryError as error:
        return False, f"a result is stored, but cannot be used: {error}", []
    except CacheError as error:
        return False, f"the store cannot be asked whether a result is stored: {error}", []
    try:
        if data is not None and client.is_usable(key.digest, data, now):
            if mode == "refresh":
                return False, "a result is stored, but the session has cache_mode='refresh'", []
            return True, f"a result is stored in {client.store!r}", []
    except CacheError as error:
        return False, f"a result is stored, but cannot be used: {error}", []
    entries = _entries(client, keys.tag)
    for entry in entries:
        if entry.key == key.digest and entry.expires is not None and entry.expires <= now:
            when = datetime.datetime.fromtimestamp(entry.expires).astimezone().isoformat(" ", "seconds")
            return False, "a result was stored", [Difference("expired", "", f"it expired on {when}")]
    stored = list(_descriptions(client, entries))
    if not stored and keys.script_tag != keys.tag and (others := _entries(client, keys.script_tag)):
        count = "1 result is" if len(others) == 1 else f"{len(others)} results are"
        return False, f"nothing of {keys.tag} is stored; {count} of {keys.script_tag}, the script", []
    if not stored:
        return False, f"nothing of {keys.tag} is stored in {client.store!r}", []
    nearest = min((_differences(keys, key, about) for about in stored), key=len)
    if not nearest:
        return False, "a result is stored that is not found: it has another cache_ttl, or eagerly has changed since", []
    return False, f"the nearest of {len(stored)} stored results differs in {len(nearest)}:", nearest


def _entries(client: CacheClient, tag: str) -> list[StoredEntry]:
    store = client.store
    return list(itertools.islice(store.entries(tag), LOOKED_AT)) if isinstance(store, ListsEntries) else []


def _descriptions(client: CacheClient, entries: list[StoredEntry]) -> Iterator[Mapping[str, Any]]:
    """What was noted with these entries."""
    for entry in entries:
        try:
            data = client.store.get(entry.key)
            if data is not None:
                yield read_description(client.peek(data).meta)
        except CacheError:
            continue


def _differences(keys: KeyMaker, key: CallKey, about: Mapping[str, Any]) -> list[Difference]:
    was: dict[str, str] = about.get("arguments") or {}
    now_is = {name: argument_digest(encoded) for name, encoded in key.arguments}
    found = [
        Difference("argument", name, f"{name if ' ' in name else f'argument {name!r}'} has another value")
        for name in {**now_is, **was}
        if was.get(name) != now_is.get(name)
    ]
    python = about.get("python")
    if python != PYTHON:
        found.append(Difference("python", PYTHON, f"it was stored by Python {python}, and this is {PYTHON}"))
    version = keys.version
    if about.get("version") != version:
        found.append(Difference("version", "", f"cache_version was {about.get('version')!r}, and is {version!r}"))
    else:
        found += _code_differences(about.get("code") or {}, {} if keys.code is None else keys.code.parts)
    return found


def _code_differences(was: Mapping[str, str], now_is: Mapping[str, str]) -> Iterator[Difference]:
    for name in {**now_is, **was}:
        if name not in was:
            yield Difference("code", name, f"{name} is used now")
        elif name not in now_is:
            yield Difference("code", name, f"{name} is not used any more")
        elif was[name] != now_is[name]:
            yield Difference("code", name, f"the code or value of {name} has changed")
