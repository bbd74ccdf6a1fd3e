"""The only door out of the process: hands hints to the broker the environment names, within one deadline.

Everything here is per process and made on first use: a fork starts with a courier of its own and inherits only whether
the breaker is open.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final, Protocol

import redis
import structlog
from django.conf import settings
from redis.exceptions import ResponseError

import redis_topology.clients
from dispatch import announcements, messages
from dispatch.announcements import Announcement
from dispatch.breaker import Breaker
from dispatch.celery_dispatcher import CeleryDispatcher
from dispatch.courier import Courier
from dispatch.errors import DispatchRefused, Reason
from dispatch.hints import Hint
from dispatch.pools import POOLS
from dispatch.stream_dispatcher import StreamDispatcher
from metrics.catalogue import JOBS_DISPATCH_ERRORS

_log = structlog.get_logger(__name__)

#: Seconds for one question or probe: discovery past two silent Sentinels, connect and answer.
QUESTION_BUDGET_SECONDS: Final = 1.0

#: Written by every probe, because a node without enough replicas or memory still answers PING. It expires.
_PROBE_KEY: Final = "holdfast:dispatch-probe"
_PROBE_TTL_MS: Final = 10_000

#: Random value without a TTL: its absence means that this Redis lost what it held.
EPOCH_KEY: Final = "holdfast:broker-epoch"


class Dispatcher(Protocol):
    """Hands hints to the broker."""

    def dispatch(self, hints: Sequence[Hint], *, budget_seconds: float) -> None:
        """One deadline over discovery, connect and write. Raises DispatchRefused."""


class Process:
    """What dispatch holds in one process."""

    def __init__(self, *, breaker: Breaker | None = None, dispatcher: Dispatcher | None = None) -> None:
        self.courier = Courier(_connect)
        self.dispatcher = dispatcher or _build(self.courier)
        self.breaker = breaker or Breaker(probe_broker)


_lock = Lock()
_process: Process | None = None


def get_dispatcher() -> Dispatcher:
    """This process's dispatcher: celery or stream as NDVI_QUEUE_BACKEND says."""
    return _this_process().dispatcher


def try_dispatch(hints: Sequence[Hint], *, budget_seconds: float | None = None) -> bool:
    """Whether the broker took all hints. Never raises for a fault of Redis and never waits past the budget.

    The default budget is DISPATCH_BUDGET_MS. False means not taken as far as we know: the row stays due and the sweeper
    hints again.
    """
    try:
        _dispatch_or_trip(
            hints, settings.HOLDFAST.dispatch_budget_ms / 1000 if budget_seconds is None else budget_seconds
        )
    except DispatchRefused as refused:
        JOBS_DISPATCH_ERRORS.labels(refused.reason.value).inc()
        return False
    return True


def ensure_dispatched(hints: Sequence[Hint], *, timeout_seconds: float) -> None:
    """Waits until the broker took all hints, through any outage that ends in time.

    Hints may be sent twice. Raises the last DispatchRefused once `timeout_seconds` are over.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        remaining = deadline - time.monotonic()
        try:
            _dispatch_or_trip(hints, max(0.0, min(remaining, QUESTION_BUDGET_SECONDS)))
        except DispatchRefused as refused:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise
            if refused.reason is Reason.STREAM_FULL:
                time.sleep(min(remaining, 0.1))
            else:
                _this_process().breaker.wait_closed(remaining)
        else:
            return


def announce(letters: Sequence[Announcement], *, budget_seconds: float = QUESTION_BUDGET_SECONDS) -> bool:
    """Whether the dead-letter stream took all letters. Never raises for a fault of Redis, nor opens the breaker."""
    process = _this_process()
    if process.breaker.is_open():
        return False
    commands = announcements.render(settings.HOLDFAST.ndvi_stream_dlq_name, letters)
    try:
        process.courier.send(commands, budget_seconds=budget_seconds)
    except DispatchRefused as refused:
        _log.warning("dead letters were not announced", reason=refused.reason.value, letters=len(letters))
        return False
    return True


def breaker_is_open() -> bool:
    """Whether dispatch is suspended. Never probes: a background thread does, and only while it is open."""
    return _this_process().breaker.is_open()


def await_broker(timeout_seconds: float) -> bool:
    """Waits until dispatch is no longer suspended, at most so long; says whether it is not."""
    return _this_process().breaker.wait_closed(timeout_seconds)


def ready_depth(pool: str, *, budget_seconds: float = QUESTION_BUDGET_SECONDS) -> int | None:
    """Hints that wait for a consumer of `pool`: its ready lists plus what no bridge has read of the stream.

    What consumers hold (`unacked`, pending) is not counted: entries of dead consumers would count for ever.
    None when Redis does not tell.
    """
    lists = messages.ready_lists(POOLS[pool].queue)
    stream, group = settings.HOLDFAST.ndvi_stream_name, settings.HOLDFAST.ndvi_stream_group

    def read(client: redis.Redis) -> int:
        with client.pipeline(transaction=False) as pipeline:
            for name in lists:
                pipeline.llen(name)
            pipeline.xlen(stream)
            pipeline.xpending(stream, group)
            *lengths, in_stream, pending = pipeline.execute(raise_on_error=False)
        return sum(_count(length) for length in lengths) + max(0, _count(in_stream) - _pending_count(pending))

    return _asked(read, budget_seconds)


def broker_epoch(*, budget_seconds: float = QUESTION_BUDGET_SECONDS) -> str | None:
    """`<key>:<master_replid>` of the primary: hints sent in another epoch may be lost. None when Redis does not tell.

    The key is random, has no TTL and lives as long as the data set; a missing one is written anew. The replid changes
    with every failover and restart of the primary.
    """
    return _asked(_read_epoch, budget_seconds)


def probe_broker() -> None:
    """Writes one expiring key through the courier. Raises DispatchRefused."""

    def write(client: redis.Redis) -> None:
        client.set(_PROBE_KEY, os.getpid(), px=_PROBE_TTL_MS)

    _this_process().courier.ask(write, budget_seconds=QUESTION_BUDGET_SECONDS)


def _dispatch_or_trip(hints: Sequence[Hint], budget_seconds: float) -> None:
    process = _this_process()
    if not hints:
        return
    if process.breaker.is_open():
        raise DispatchRefused(Reason.BREAKER)
    try:
        process.dispatcher.dispatch(hints, budget_seconds=budget_seconds)
    except DispatchRefused as refused:
        if refused.is_broker_fault:
            process.breaker.trip(refused.reason)
            process.courier.fail_waiting(DispatchRefused(Reason.BREAKER, str(refused)))
        _log.info("hints were not taken", reason=refused.reason.value, hints=len(hints), detail=str(refused))
        raise


def _asked[T](question: Callable[[redis.Redis], T], budget_seconds: float) -> T | None:
    try:
        return _this_process().courier.ask(question, budget_seconds=budget_seconds)
    except DispatchRefused as refused:
        _log.info("redis did not answer", reason=refused.reason.value, detail=str(refused))
        return None


def _read_epoch(client: redis.Redis) -> str:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get(EPOCH_KEY)
        pipeline.info("replication")
        key, replication = pipeline.execute()
    if key is None:
        client.set(EPOCH_KEY, secrets.token_hex(8), nx=True)
        key = client.get(EPOCH_KEY)
    return f"{_text(key)}:{replication['master_replid']}"


def _count(reply: Any) -> int:  # noqa: ANN401 - a reply or the error in its place
    if isinstance(reply, ResponseError):
        return 0
    if isinstance(reply, Exception):
        raise reply
    return int(reply)


def _pending_count(reply: Any) -> int:  # noqa: ANN401 - a reply or the error in its place
    return _count(reply if isinstance(reply, Exception) else reply["pending"])


def _text(value: Any) -> str:  # noqa: ANN401 - bytes, or str where the client decodes
    return value.decode() if isinstance(value, bytes) else str(value)


def _connect() -> redis.Redis:
    return redis_topology.clients.primary(settings.REDIS_TOPOLOGY)


def _build(courier: Courier) -> Dispatcher:
    environment = settings.HOLDFAST
    if environment.ndvi_queue_backend == "stream":
        return StreamDispatcher(
            courier, stream=environment.ndvi_stream_name, max_entries=environment.ndvi_stream_maxlen
        )
    return CeleryDispatcher(courier)


def _this_process() -> Process:
    global _process
    if _process is None:
        with _lock:
            _process = _process or Process()
    return _process


def replace_process(process: Process | None) -> Process | None:
    """Puts `process` in the place of what dispatch holds, and returns that. For tests; None starts anew."""
    global _process
    with _lock:
        before, _process = _process, process
    return before


def _renew_after_fork() -> None:
    global _process, _lock
    _lock = Lock()
    if _process is not None:
        _process.breaker.after_fork()
        _process = Process(breaker=_process.breaker)


os.register_at_fork(after_in_child=_renew_after_fork)
