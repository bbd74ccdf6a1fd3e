"""Celery's consumer with six differences: it reconnects at once, restarts as often as it takes, survives its own
teardown, closes what it could not use, frees the credit of messages whose acknowledgement failed, and shows that it is
alive.

What upstream would have to change: `Consumer.ensure_connected` calls `ensure_connection` with kombu's fixed back-off of
2, 4, 6 … 30 s, so that a worker sleeps on while Redis has long been back. A primary that refuses writes until its first
replica is there makes it restart at full speed, and after five restarts sleep for a second. The teardown of a broken
connection closes its channels twice; the second time they restore unacknowledged messages over a transport without a
client, and the AttributeError ends the process. `Consumer.connect` forgets a connection that Redis refuses while the
event loop takes it: its sockets stay until the garbage collector comes by. For the credit see `worker.qos`, for a
primary that freezes `worker.transport`.
"""

import random
import time
from typing import Any, Final

import structlog
from billiard.common import restart_state
from celery import bootsteps
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown

from metrics import liveness
from redis_topology import watcher
from worker import qos, transport

_log = structlog.get_logger(__name__)

#: Seconds between attempts to connect: first, growth, most.
RECONNECT_START: Final = 0.02
RECONNECT_STEP: Final = 0.05
RECONNECT_MAX: Final = 0.5

#: Restarts a second above which Celery sleeps: never reached.
MOST_RESTARTS: Final = 1000
#: Seconds without a restart after which the next one is the first again.
CALM_SECONDS: Final = 5.0

#: Seconds between two touches of the heartbeat file by the event loop.
TOUCH_SECONDS: Final = 2.0


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's
        super().__init__(*args, **kwargs)
        self._restart_state = restart_state(maxR=MOST_RESTARTS, maxT=1)
        self._restarted_at = 0.0
        self._restart_pause = self._retry_pause = RECONNECT_START
        self._moves = 0

    def connect(self) -> Any:  # noqa: ANN401 - kombu's connection
        connection = self.connection_for_read(heartbeat=self.amqheartbeat)
        try:
            if self.hub:
                connection.transport.register_with_event_loop(connection.connection, self.hub)
        except Exception:
            connection.collect()
            raise
        return connection

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - kombu's connection
        transport.use_for(conn)
        self._moves, self._retry_pause = watcher.moves(), RECONNECT_START
        # kombu itself pauses not at all: it would sleep on when Redis is back.
        connected = conn.ensure_connection(
            self._pause_retry, None, interval_start=0, interval_step=0, interval_max=0, callback=_while_waiting
        )
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return connected

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Also while a step that follows on connecting is refused."""
        super().on_connection_error_before_connected(exc)
        self._pause_restart()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        qos.disconnected()
        broken: Any = self.connection  # type: ignore[has-type]
        for channel in getattr(broken.transport, "channels", None) or ():
            # The sweeper hints again what was prefetched; restoring over a broken connection blocks or raises.
            channel.do_restore = False
            channel._in_poll = None
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:
            _log.warning("teardown of the broken connection failed and is left", error=repr(error))
            self.connection = None
        self._pause_restart()

    def _pause_restart(self) -> None:
        """Restarts in a row come ever slower, up to twice a second: each costs some ten milliseconds of CPU."""
        is_first = time.monotonic() > self._restarted_at + CALM_SECONDS
        self._restart_pause = RECONNECT_START if is_first else min(2 * self._restart_pause, RECONNECT_MAX)
        time.sleep(self._restart_pause * random.uniform(0.8, 1.2))
        self._restarted_at = time.monotonic()

    def _pause_retry(self, error: Exception, _interval: float) -> None:
        """Ends early when the primary moves."""
        self.broker_connection_retry_attempt += 1
        _log_retry(self.broker_connection_retry_attempt, error, self._retry_pause)
        has_moved = watcher.await_move(since=self._moves, seconds=self._retry_pause * random.uniform(0.8, 1.2))
        self._retry_pause = RECONNECT_START if has_moved else min(self._retry_pause + RECONNECT_STEP, RECONNECT_MAX)
        self._moves = watcher.moves()


class Liveness(bootsteps.StartStopStep):  # type: ignore[misc]
    """Touches the heartbeat file from the event loop, so that a loop that hangs is seen."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._entry: Any = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        liveness.touch()
        qos.connected(consumer.connection.default_channel)
        self._entry = consumer.timer.call_repeatedly(TOUCH_SECONDS, liveness.touch)

    def stop(self, consumer: Any) -> None:  # noqa: ANN401, ARG002
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None


def _while_waiting() -> None:
    """A worker without Redis is alive, and can be stopped."""
    liveness.touch()
    maybe_shutdown()


def _log_retry(attempt: int, error: Exception, interval: float) -> None:
    # Every attempt of an outage would be two lines a second; the powers of two tell as much.
    if attempt & (attempt - 1) == 0:
        _log.warning("no connection to Redis yet", attempt=attempt, error=repr(error), next_in_seconds=interval)
