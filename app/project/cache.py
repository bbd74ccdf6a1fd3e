"""Django's cache on the Redis that also carries queues: nothing in it may outlive its TTL, block, or fail a request."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Never

import structlog
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django_redis.cache import RedisCache
from django_redis.client import DefaultClient
from django_redis.client.default import glob_escape
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = structlog.get_logger(__name__)

#: Seconds that a key without a timeout lives. volatile-lru evicts only what has a TTL.
MAXIMUM_TTL: Final = 30 * 86_400

#: Keys looked at per SCAN step and unlinked per call.
SCAN_COUNT: Final = 500

#: Seconds during which a Redis that did not answer is not asked again: one caller pays a timeout, the others a miss.
PAUSE: Final = 1.0

#: django-redis's additions that make or leave keys without a TTL, or hold Redis up.
REFUSED: Final = (
    *("persist", "sadd", "smove", "sdiffstore", "sinterstore", "sunionstore", "hset", "zadd", "zincrby"),
    "keys",
)


class Client(DefaultClient):  # type: ignore[misc]  # django-redis ships no types
    """django-redis's client, unable to store a value without a TTL."""

    def set(self, key: str, value: object, timeout: object = DEFAULT_TIMEOUT, *args: object, **kwargs: object) -> bool:
        """As django-redis's; a timeout of None is `MAXIMUM_TTL`."""
        return bool(super().set(key, value, self._bounded(timeout), *args, **kwargs))

    def touch(self, key: str, timeout: object = DEFAULT_TIMEOUT, *args: object, **kwargs: object) -> bool:
        """As django-redis's; a timeout of None is `MAXIMUM_TTL`."""
        return bool(super().touch(key, self._bounded(timeout), *args, **kwargs))

    def _bounded(self, timeout: object) -> object:
        if timeout is DEFAULT_TIMEOUT:
            timeout = self._backend.default_timeout
        return MAXIMUM_TTL if timeout is None else timeout


class Pause:
    """Until when this process leaves Redis alone. Threads share it; a lost race costs one more timeout."""

    _until: ClassVar[float] = 0.0

    @classmethod
    def active(cls) -> bool:
        return time.monotonic() < cls._until

    @classmethod
    def begin(cls) -> None:
        cls._until = time.monotonic() + PAUSE

    @classmethod
    def end(cls) -> None:
        cls._until = 0.0


def _degrading(method: Callable[..., Any], *, to: Callable[..., Any]) -> Callable[..., Any]:
    """`method`; while Redis cannot be asked, `to` called with the same arguments (without the cache itself)."""

    @functools.wraps(method)
    def guarded(cache: "Cache", *args: object, **kwargs: object) -> object:
        if Pause.active():
            return to(*args, **kwargs)
        try:
            return method(cache, *args, **kwargs)
        except (RedisError, ConnectionInterrupted, OSError) as error:
            _record(error.__cause__ or error)
            return to(*args, **kwargs)

    return guarded


def _record(error: BaseException) -> None:
    silent = isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)
    if silent:
        Pause.begin()
    log.warning(
        "Cache did not answer; taken as a miss",
        error=f"{type(error).__name__}: {error}",  # redis-py's repr drops the message
        pause_seconds=PAUSE if silent else 0,
    )


def _miss(make: Callable[[], object]) -> Callable[..., object]:
    return lambda *_args, **_kwargs: make()


def _default(_key: str, default: object = None, *_args: object, **_kwargs: object) -> object:
    return default


def _absent(key: str, *_args: object, **_kwargs: object) -> Never:
    raise ValueError(f"Key '{key}' not found")


def _all_failed(data: Mapping[str, object], *_args: object, **_kwargs: object) -> list[str]:
    return list(data)


def _refused(name: str) -> Callable[..., Never]:
    def refuse(*_args: object, **_kwargs: object) -> Never:
        raise NotImplementedError(f"cache.{name}: makes keys without a TTL or walks the whole database; use set()")

    return refuse


class Cache(RedisCache):  # type: ignore[misc]  # django-redis ships no types
    """Django's cache API over django-redis.

    - Every key has a TTL (`timeout=None` means `MAXIMUM_TTL`), so that eviction can take it and never a job.
    - `clear` removes what carries our prefix and nothing else.
    - With Redis down every method of Django's API answers as for an absent key; a process waits for one timeout per
      `PAUSE`. `add` then answers False ("somebody has it"): a lock built on it is refused, never granted twice.
      `incr` and `decr` raise ValueError. Only `lock` raises Redis's own error: a lock nobody keeps must not look taken.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._client_cls = Client

    def _clear(self) -> int:
        """Unlink every key with our prefix, in steps that never hold Redis up. Returns how many."""
        redis = self.client.get_client(write=True)
        pattern = glob_escape(f"{self.key_prefix}:") + "*"
        removed, cursor = 0, 0
        while True:
            cursor, keys = redis.scan(cursor, match=pattern, count=SCAN_COUNT)
            removed += redis.unlink(*keys) if keys else 0
            if cursor == 0:
                return removed

    def _set_many(self, *args: object, **kwargs: object) -> list[str]:
        """Django's API wants the keys that failed; django-redis answers nothing."""
        super().set_many(*args, **kwargs)
        return []

    def _incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return int(self.client.incr(key, delta=delta, version=version))

    def _decr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return int(self.client.decr(key, delta=delta, version=version))

    get = _degrading(RedisCache.get, to=_default)
    get_many = _degrading(RedisCache.get_many, to=_miss(dict))
    has_key = _degrading(RedisCache.has_key, to=_miss(bool))
    set = _degrading(RedisCache.set, to=_miss(bool))
    set_many = _degrading(_set_many, to=_all_failed)
    add = _degrading(RedisCache.add, to=_miss(bool))
    touch = _degrading(RedisCache.touch, to=_miss(bool))
    incr = _degrading(_incr, to=_absent)
    decr = _degrading(_decr, to=_absent)
    incr_version = _degrading(RedisCache.incr_version, to=_absent)
    delete = _degrading(RedisCache.delete, to=_miss(bool))
    delete_many = _degrading(RedisCache.delete_many, to=_miss(int))
    delete_pattern = _degrading(RedisCache.delete_pattern, to=_miss(int))
    clear = _degrading(_clear, to=_miss(int))


for _name in REFUSED:
    setattr(Cache, _name, _refused(_name))
