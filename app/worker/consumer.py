"""Celery's consumer with four differences: it reconnects at once, survives its own teardown, frees the credit of
messages whose acknowledgement failed, and shows that it is alive.

What upstream would have to change: `Consumer.ensure_connected` calls `ensure_connection` with kombu's fixed back-off of
2, 4, 6 … 30 s, so that a worker sleeps on while Redis has long been back. The teardown of a broken connection closes
its channels twice; the second time they restore unacknowledged messages over a transport without a client, and the
AttributeError ends the process. For the credit see `worker.qos`, for a primary that freezes `worker.transport`.
"""

from typing import Any, Final

import structlog
from celery import bootsteps
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown

from metrics import liveness
from worker import qos, transport

_log = structlog.get_logger(__name__)

#: Seconds between attempts to connect: first, growth, most.
RECONNECT_START: Final = 0.02
RECONNECT_STEP: Final = 0.05
RECONNECT_MAX: Final = 0.5

#: Seconds between two touches of the heartbeat file by the event loop.
TOUCH_SECONDS: Final = 2.0


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """See the module."""

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - kombu's connection
        transport.use_for(conn)
        connected = conn.ensure_connection(
            self._log_retry,
            None,
            interval_start=RECONNECT_START,
            interval_step=RECONNECT_STEP,
            interval_max=RECONNECT_MAX,
            callback=_while_waiting,
        )
        self.first_connection_attempt = False
        self.broker_connection_retry_attempt = 0
        return connected

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

    def _log_retry(self, error: Exception, interval: float) -> None:
        self.broker_connection_retry_attempt += 1
        _log_retry(self.broker_connection_retry_attempt, error, interval)


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
