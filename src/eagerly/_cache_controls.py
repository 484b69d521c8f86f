"""`CacheControls`: what people ask a task about its cache, and tell it. Calls themselves are no business of this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self

from eagerly._scope import here, open_session
from eagerly._stores import explain
from eagerly.errors import OptionValueError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eagerly._cache_options import CacheHash, CacheOptions
    from eagerly._declaration import Declaration
    from eagerly._storing import Storing
    from eagerly.cache._client import CacheClient
    from eagerly.cache._explain import Explanation
    from eagerly.cache._key import CallKey
    from eagerly.cache._protocol import CacheStore

__all__ = ["CacheControls", "P"]

P = ParamSpec("P")


class CacheControls(Generic[P]):
    """The part of `Task` that concerns its cache. Each method takes the arguments of a call, and uses the store that
    the call would use. All are synchronous and may wait for the store; `refresh` runs the task.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        declaration: Declaration
        bind: Callable[..., dict[str, Any]]

        def _with_declaration(self, declaration: Declaration) -> Self: ...

    @property
    def cache(self) -> bool:
        """Whether results are cached, where there is a store."""
        return self.declaration.caching is not None

    @property
    def cache_store(self) -> str | CacheStore | None:
        """Where results go: a path, a URL or a store; None: where the session says."""
        return None if self.declaration.caching is None else self.declaration.caching.store

    @property
    def cache_ttl(self) -> float | None:
        """Seconds that a result is good for, or None."""
        return None if self.declaration.caching is None else self.declaration.caching.ttl

    @property
    def cache_hash(self) -> CacheHash | None:
        """The function that makes the keys, or None."""
        return None if self.declaration.caching is None else self.declaration.caching.hash

    @property
    def cache_version(self) -> str | None:
        """What stands for the version of the code, or None."""
        return None if self.declaration.caching is None else self.declaration.caching.version

    @property
    def cache_ignore(self) -> frozenset[str]:
        """The parameters that are no part of the key."""
        return frozenset() if self.declaration.caching is None else self.declaration.caching.ignore

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call with these arguments: 40 hexadecimal digits, or what ``cache_hash`` returns.

        Raises:
            TypeError: The arguments are wrong.
            UnkeyableArgument: One of them cannot be part of a key.
            OptionValueError: The task is not cached.
        """
        return self._key("cache_key", args, kwargs).text

    def is_cached(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a call with these arguments would be a hit here and now.

        Raises:
            As for `cache_key`; and what the store raises if it cannot be read.
        """
        key = self._key("is_cached", args, kwargs)
        client, now = self._client()
        mode = self._storing.mode_of(self._caching("is_cached"), open_session(here.get()))
        return client is not None and mode in ("on", "read") and client.holds(key.digest, now)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of a call with these arguments; whether there was one.

        Raises:
            As for `cache_key`; and what the store raises if it cannot be written.
        """
        key = self._key("invalidate", args, kwargs)
        client, _ = self._client()
        return client is not None and client.discard(key.digest)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the task without looking into the cache, and store the result there. Gives what a call gives.

        Whatever ``cache_mode`` the session has: who asks for this wants it.
        """
        caching = self._caching("refresh")
        self._storing.keys_of(
            self.declaration
        )  # which the copy is to share: what counts as first seen is not to be seen anew
        refreshing: Any = self._with_declaration(self.declaration.with_caching(caching._replace(mode="refresh")))
        return refreshing(*args, **kwargs)

    def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Whether a call with these arguments would be a hit, and if not, what is different from what is stored.

        Raises:
            As for `cache_key`.
        """
        caching = self._caching("explain")
        key = self._key("explain", args, kwargs)
        client, now = self._client()
        mode = self._storing.mode_of(caching, open_session(here.get()))
        return explain(client, self._storing.keys_of(self.declaration), key, now, mode)

    @property
    def _storing(self) -> Storing:
        return self.declaration.storing  # type: ignore[no-any-return]  # there is one, as the task is cached

    def _caching(self, method: str) -> CacheOptions:
        if self.declaration.caching is None:
            raise OptionValueError(
                f"{self.declaration.plain}.{method}(): the task is not cached; write @task(cache=True)"
            )
        return self.declaration.caching

    def _key(self, method: str, args: Any, kwargs: Any) -> CallKey:
        self._caching(method)
        return self._storing.keys_of(self.declaration).key(self.bind(*args, **kwargs))

    def _client(self) -> tuple[CacheClient | None, float]:
        session = open_session(here.get())
        return self._storing.cache_of(self.declaration, session), session.clock.time()
