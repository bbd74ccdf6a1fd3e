"""The bridge's process: rounds until it is told to stop, whatever Redis and Postgres do."""

import time
from threading import Event
from typing import Final

import django.db
import redis
import structlog
from django.conf import settings

import postgres_deadline
import redis_topology.clients
from bridge.bridge import Bridge
from bridge.consumer_group import ConsumerGroup
from metrics import liveness
from metrics.catalogue import STREAM_CONSUMER_FAILURES, STREAM_CONSUMER_HEARTBEAT
from redis_topology import timeouts, watcher

_log = structlog.get_logger(__name__)

#: Seconds between rounds after a failure: first and most; doubled in between. A move of the primary ends them.
BACKOFF_START: Final = 0.05
BACKOFF_MAX: Final = 1.0

#: Seconds without a read after a round that was not full: a round costs some milliseconds of CPU however little it
#: carries, and what arrives meanwhile shares the next one's statements and messages.
GATHER_SECONDS: Final = 0.005

#: Seconds between looks for consumers to retire.
RETIRE_INTERVAL: Final = 60.0


class Service:
    """Runs a Bridge as the environment says, until `stopping` is set."""

    def __init__(self, stopping: Event) -> None:
        environment = settings.HOLDFAST
        self._stopping = stopping
        self._stream = environment.ndvi_stream_name
        self._block_ms = environment.ndvi_stream_block_ms
        self._batch_size = environment.ndvi_stream_batch_size
        self._loop_seconds = environment.database_loop_seconds
        self._group = ConsumerGroup(
            redis_topology.clients.primary(
                settings.REDIS_TOPOLOGY, socket_timeout=self._block_ms / 1000 + timeouts.COMMAND
            ),
            stream=self._stream,
            group=environment.ndvi_stream_group,
            consumer=environment.bridge_consumer_name,
            batch_size=self._batch_size,
            claim_idle_ms=environment.ndvi_stream_claim_idle_ms,
        )
        self._bridge = Bridge(self._group)
        self._next_retire_at = time.monotonic() + RETIRE_INTERVAL

    def run(self) -> None:
        """Returns when told to stop, after the round in hand."""
        _log.info("bridge started", stream=self._stream, consumer=self._group.consumer)
        backoff = BACKOFF_START
        while not self._stopping.is_set():
            liveness.touch()
            moves = watcher.moves()
            if self._round():
                backoff = BACKOFF_START
            else:
                has_moved = watcher.await_move(since=moves, seconds=backoff)
                backoff = BACKOFF_START if has_moved else min(2 * backoff, BACKOFF_MAX)
        self._hand_back()
        _log.info("bridge stopped")

    def _hand_back(self) -> None:
        try:
            self._bridge.hand_back()
        except redis.RedisError as error:
            _log.warning("unfinished entries wait until they are claimed", error=repr(error))

    def _round(self) -> bool:
        """One round; False when it failed."""
        try:
            with postgres_deadline.deadline(self._block_ms / 1000 + self._loop_seconds):
                done = self._bridge.run_once(block_ms=self._block_ms)
            self._retire()
        except Exception as error:
            STREAM_CONSUMER_FAILURES.labels(_reason(error)).inc()
            _log.warning("bridge round failed", reason=_reason(error), error=repr(error))
            return False
        finally:
            django.db.connections.close_all()
        STREAM_CONSUMER_HEARTBEAT.labels(self._stream).set_to_current_time()
        if 0 < done.published < self._batch_size:
            self._stopping.wait(GATHER_SECONDS)
        return True

    def _retire(self) -> None:
        if time.monotonic() >= self._next_retire_at:
            self._next_retire_at = time.monotonic() + RETIRE_INTERVAL
            for name in self._group.retire_idle_consumers():
                _log.info("idle consumer retired", consumer=name)


def _reason(error: Exception) -> str:
    match error:
        case redis.exceptions.TimeoutError() | redis.exceptions.ConnectionError():
            return "redis_unreachable"
        case redis.exceptions.OutOfMemoryError():
            return "redis_memory"
        case redis.exceptions.RedisError():
            return "redis_refused"
        case django.db.Error() | postgres_deadline.PostgresDeadlineError():
            return "postgres"
        case _:
            return "unexpected"
