"""Requests per minute and key, counted in Redis over all web replicas, or in this process while Redis is away.

Fixed windows of one minute by the wall clock, so that every replica counts in the same one. Counting in Redis is
bounded in time and given up at the first failure: limits may then be generous by the number of replicas, but no
request waits for Redis and none is refused because of it.
"""

import math
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Final, Protocol

import redis
import structlog
from django.conf import settings

import redis_topology.clients
from dispatch import breaker_is_open

log = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = 60
#: Seconds that counting in Redis may take.
REDIS_SECONDS: Final = 0.1
#: Seconds between two attempts of the background thread to reach Redis again.
_PROBE_PAUSE_SECONDS: Final = 1.0


class Counter(Protocol):
    """Adds one to a key's count in a window and returns the new count."""

    def add(self, key_id: str, window: int) -> int: ...


class LocalCounter:
    """Counts of the current window, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}

    def add(self, key_id: str, window: int) -> int:
        with self._lock:
            if window != self._window:
                self._window, self._counts = window, {}
            self._counts[key_id] = self._counts.get(key_id, 0) + 1
            return self._counts[key_id]


class RedisCounter:
    """Counts in Redis, each with a TTL of two windows. Raises redis.RedisError within REDIS_SECONDS or so."""

    def __init__(self, client: redis.Redis, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def add(self, key_id: str, window: int) -> int:
        name = f"{self._prefix}:rate:{key_id}:{window}"
        with self._client.pipeline(transaction=True) as pipe:
            pipe.incr(name)
            pipe.expire(name, 2 * WINDOW_SECONDS)
            count, _ = pipe.execute()
        return int(count)

    def probe(self) -> None:
        """Raises redis.RedisError while Redis does not serve."""
        self._client.ping()


class Limiter:
    """Takes one request from a key's budget. Thread-safe; never raises because of Redis."""

    def __init__(self, shared: RedisCounter, *, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._local = LocalCounter()
        self._clock = clock
        self._lock = threading.Lock()
        self._redis_is_away = False

    def take(self, key_id: str, *, limit: int) -> int:
        """0 when the request may pass, else the whole seconds until the next window."""
        now = self._clock()
        window = int(now // WINDOW_SECONDS)
        # Both are counted always: when Redis goes away, the local count is already right for this process.
        local = self._local.add(key_id, window)
        count = max(local, self._count_in_redis(key_id, window))
        return 0 if count <= limit else max(1, math.ceil((window + 1) * WINDOW_SECONDS - now))

    def _count_in_redis(self, key_id: str, window: int) -> int:
        if self._redis_is_away or breaker_is_open():
            return 0
        try:
            return self._shared.add(key_id, window)
        except redis.RedisError as error:
            self._leave_redis(error)
            return 0

    def _leave_redis(self, error: redis.RedisError) -> None:
        with self._lock:
            if self._redis_is_away:
                return
            self._redis_is_away = True
        log.warning("rate limits are counted in this process while redis is away", error=str(error))
        threading.Thread(target=self._return_when_redis_serves, name="rate-limit-probe", daemon=True).start()

    def _return_when_redis_serves(self) -> None:
        while self._redis_is_away:
            time.sleep(_PROBE_PAUSE_SECONDS)
            try:
                self._shared.probe()
            except redis.RedisError:
                continue
            self._redis_is_away = False
            log.info("rate limits are counted in redis again")


@cache
def limiter() -> Limiter:
    """The process's limiter; web does not fork after its first request."""
    topology = settings.REDIS_TOPOLOGY
    client = redis_topology.clients.primary(
        topology, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, db=topology.cache_db
    )
    return Limiter(RedisCounter(client, prefix=settings.HOLDFAST.cache_key_prefix))
