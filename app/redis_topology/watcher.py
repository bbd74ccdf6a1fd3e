"""Follows failovers: connections that lead to a former primary are shut down, so that whoever waits on one wakes up.

A primary that freezes or is cut off closes no connection: a blocked read waits for its own time-out, and a worker whose
event loop reads without one waits for ever. Here one thread per process listens for `+switch-master` on every Sentinel.
When one speaks, it is asked who leads; so it is after every (re)subscription, for what was missed meanwhile, and in
turn every POLL_SECONDS. The newest configuration epoch wins.

A connection follows by itself: `redis_topology.connections.PrimaryConnection` registers when it connects, which starts
the thread of its process. No thread survives a fork, and none is needed before the child's own first connection.
"""

import itertools
import logging
import os
import select
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from redis_topology import timeouts
from redis_topology.topologies import Address

_log = logging.getLogger(__name__)

#: Seconds without a word from any Sentinel after which the next one is asked.
POLL_SECONDS: Final = 2.0

#: Seconds until a Sentinel that did not answer is tried again: first and most; doubled in between. Each try of a silent
#: one keeps the thread from hearing the others for as long as its time-outs allow.
RETRY_START: Final = 1.0
RETRY_MAX: Final = 8.0

#: Seconds for which an older configuration epoch is taken for a Sentinel that lags. Later it is believed: Sentinels
#: that lost their state count from 0 again.
STALE_SECONDS: Final = 30.0

_EVENT: Final = "+switch-master"

#: Connection arguments towards a Sentinel. redis-py inherits none of them from the data connection, and by its defaults
#: a refused Sentinel costs 4 s and a silent one 59 s.
IMPATIENT: Final[dict[str, Any]] = {
    "socket_connect_timeout": timeouts.SENTINEL_CONNECT,
    "socket_timeout": timeouts.SENTINEL_COMMAND,
    "retry": Retry(NoBackoff(), 0),
}


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as one Sentinel says."""

    address: Address
    epoch: int  #: grows with every failover


class _Ear:
    """One Sentinel: a subscription, and a client to ask it. For the watcher's thread."""

    def __init__(self, client: redis.Redis, primary_name: str) -> None:
        pool = client.connection_pool
        # Of our own: whoever made `client` may close its pool, and may wait long for a Sentinel that is frozen, which
        # here would keep the others from being heard.
        settings = {**pool.connection_kwargs, **IMPATIENT}
        own = redis.ConnectionPool(connection_class=pool.connection_class, **settings)
        self._client = redis.Redis.from_pool(own)
        self._primary_name = primary_name
        self._subscription: Any = None
        self._retry_at = 0.0
        self._retry_after = RETRY_START

    @property
    def socket(self) -> socket.socket | None:
        """None while not subscribed."""
        connection = self._subscription and self._subscription.connection
        return connection._sock if connection else None

    def subscribe(self) -> bool:
        """Whether it has just subscribed: what happened before went unheard."""
        if self.socket is not None or time.monotonic() < self._retry_at:
            return False
        try:
            self._subscription = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            self._subscription.subscribe(_EVENT)
        except (RedisError, OSError) as error:
            self.lose(error)
            return False
        self._retry_after = RETRY_START
        return True

    def hear(self) -> bool:
        """Whether a switch of our primary is among what has arrived. Raises RedisError, OSError."""
        heard = False
        # To the end: what the client has buffered does not make the socket readable again.
        while self._subscription.connection.can_read(timeout=0):
            message = self._subscription.get_message(timeout=0)
            if message and _text(message["data"]).split(" ")[0] == self._primary_name:
                heard = True
        return heard

    def ask(self) -> Leader:
        """Raises RedisError, OSError."""
        # The Sentinel that carries a failover out has the new epoch beside the former address until all replicas
        # follow; this other answer is right from the promotion on. In this order what is read is at worst a new address
        # with the former epoch.
        state: Any = self._client.sentinel_master(self._primary_name)
        address: Any = self._client.sentinel_get_master_addr_by_name(self._primary_name)
        if address is None:
            raise ResponseError(f"the Sentinel watches no {self._primary_name}")
        host, port = address
        return Leader((_text(host), int(port)), int(state["config-epoch"]))

    def lose(self, error: Exception) -> None:
        """Closes everything; tried again later."""
        _log.debug("Sentinel does not answer: %r", error)
        self.close()
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, RETRY_MAX)

    def close(self) -> None:
        with suppress(RedisError, OSError):
            if self._subscription is not None:
                self._subscription.close()
            self._client.connection_pool.disconnect()
        self._subscription = None


class Watcher:
    """Follows one primary name. `connections` are those that connected in this process."""

    def __init__(self, sentinels: Iterator[redis.Redis], primary_name: str) -> None:
        self._name = primary_name
        self._ears = [_Ear(client, primary_name) for client in sentinels]
        self._turns = itertools.cycle(self._ears)
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = Lock()
        self._stopped = False
        self._leader: Leader | None = None
        self._former: Address | None = None
        self._believed_at = 0.0
        Thread(target=self._run, name="redis-watcher", daemon=True).start()

    @property
    def leader(self) -> Leader | None:
        """None until a Sentinel has answered."""
        return self._leader

    def add(self, connection: Any) -> None:  # noqa: ANN401 - redis-py's connection
        """Follows `connection`, whose `host` and `port` tell where it leads."""
        with self._lock:
            self._connections.add(connection)

    def stop(self) -> None:
        """Ends the thread within POLL_SECONDS."""
        self._stopped = True

    def learn(self, seen: Leader) -> None:
        """Takes one Sentinel's word and shuts down what leads elsewhere."""
        known, now = self._leader, time.monotonic()
        if known and self._lags(seen, known) and now < self._believed_at + STALE_SECONDS:
            return
        self._leader, self._believed_at = seen, now
        if known is None or known.address != seen.address:
            self._former = known.address if known else None
            closed = self._shut_down(lambda address: address != seen.address)
            if known:
                _log.warning(
                    "Redis primary %s moved to %s:%d: %d connections follow", self._name, *seen.address, closed
                )
                _count_move()
        elif self._former is not None:
            # Connected late, on the word of a Sentinel that lagged.
            self._shut_down(lambda address: address == self._former)

    def _lags(self, seen: Leader, known: Leader) -> bool:
        # The new address may have been read with the former epoch; see `_Ear.ask`.
        back = seen.address == self._former and seen.address != known.address
        return seen.epoch < known.epoch or (seen.epoch == known.epoch and back)

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._round()
            except Exception:
                _log.exception("watching for failovers failed and goes on")
                time.sleep(RETRY_START)
        for ear in self._ears:
            ear.close()

    def _round(self) -> None:
        for ear in self._ears:
            if ear.subscribe():
                self._look(ear)
        listening = {one: ear for ear in self._ears if (one := ear.socket)}
        if not listening:
            time.sleep(RETRY_START / 2)
            return
        ready, _, _ = select.select(list(listening), [], [], POLL_SECONDS)
        for one in ready:
            self._attend(listening[one])
        if not ready:
            self._look(next(self._turns))

    def _attend(self, ear: _Ear) -> None:
        try:
            heard = ear.hear()
        except (RedisError, OSError) as error:
            ear.lose(error)
            return
        if heard:
            self._look(ear)

    def _look(self, ear: _Ear) -> None:
        if ear.socket is None:
            return
        try:
            seen = ear.ask()
        except (RedisError, OSError) as error:
            ear.lose(error)
            return
        self.learn(seen)

    def _shut_down(self, leads_elsewhere: Callable[[Address], bool]) -> int:
        """Wakes every thread and event loop that waits on such a connection; redis-py reconnects on its next use."""
        with self._lock:
            followed = list(self._connections)
        closed = 0
        for connection in followed:
            if connection._sock is not None and leads_elsewhere((connection.host, connection.port)):
                # Between the look and the call its own thread may have closed it.
                with suppress(OSError, AttributeError):
                    connection._sock.shutdown(socket.SHUT_RDWR)
                    closed += 1
        return closed


_watchers: dict[tuple[str, frozenset[Address]], Watcher] = {}
_lock = Lock()
_moves = 0
_moved = Condition()


def follow(connection: Any) -> None:  # noqa: ANN401 - a redis.sentinel.SentinelManagedConnection that has connected
    """Follows it from now on; the first of its primary in this process starts the watcher."""
    pool = connection.connection_pool
    clients = pool.sentinel_manager.sentinels
    key = (pool.service_name, frozenset(_address(client) for client in clients))
    with _lock:
        watcher = _watchers.get(key)
        if watcher is None:
            watcher = _watchers[key] = Watcher(clients, pool.service_name)
    watcher.add(connection)


def moves() -> int:
    """How often a primary has moved since this process began."""
    return _moves


def await_move(*, since: int, seconds: float) -> bool:
    """Waits until `moves()` is no longer `since`, at most so long; whether it is not.

    For who has failed and is about to try again: a pause that ends with the outage may be long and makes nobody late.
    """
    with _moved:
        return _moved.wait_for(lambda: _moves != since, seconds)


def _count_move() -> None:
    global _moves
    with _moved:
        _moves += 1
        _moved.notify_all()


def current() -> list[Watcher]:
    """The watchers of this process."""
    with _lock:
        return list(_watchers.values())


def stop() -> None:
    """Ends the watchers of this process; the next connection starts anew."""
    with _lock:
        for watcher in _watchers.values():
            watcher.stop()
        _watchers.clear()


def _address(client: redis.Redis) -> Address:
    arguments = client.connection_pool.connection_kwargs
    return arguments["host"], int(arguments["port"])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _renew_after_fork() -> None:
    global _lock, _moved
    _lock, _moved = Lock(), Condition()
    _watchers.clear()


os.register_at_fork(after_in_child=_renew_after_fork)
