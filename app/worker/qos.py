"""Acknowledgements that never wedge the worker.

What upstream would have to change: kombu's `QoS.ack` frees the message's credit only after Redis has removed it, and
the error of a failed removal is swallowed further up. When the acknowledgements of all prefetched messages fail, as in
a failover, no credit is left and the worker waits for ever over a healthy connection.

Here the credit is freed always; what Redis did not hear is told with the next acknowledgement or after the reconnect.
"""

import time
from collections import OrderedDict
from typing import Any, Final

import structlog
from kombu.transport import virtual
from kombu.transport.redis import QoS
from redis.exceptions import RedisError

_log = structlog.get_logger(__name__)

#: Seconds without a try after a failed one. Each try may take a whole discovery, and it holds the event loop.
RETRY_SECONDS: Final = 1.0

#: Remembered tags; beyond it the oldest are forgotten and come back once after the visibility timeout.
MOST_REMEMBERED: Final = 10_000


class _Acknowledgements:
    """Tags whose removal Redis has not confirmed, told through the newest channel: that of a message may be long
    closed, and a tag is good on any. For the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._newest: CreditFreeingQoS | None = None
        self._not_before = 0.0

    def add(self, delivery_tag: str) -> None:
        """Tells Redis now if it can be told; never raises for a fault of Redis."""
        self._waiting[delivery_tag] = None
        while len(self._waiting) > MOST_REMEMBERED:
            self._waiting.popitem(last=False)
        self._tell()

    def connected(self, qos: "CreditFreeingQoS") -> None:
        self._newest, self._not_before = qos, 0.0
        self._tell()

    def disconnected(self) -> None:
        self._newest = None

    def requeue(self, delivery_tag: str) -> None:
        """Puts a message back at the end of its queue. Raises RedisError; does nothing while disconnected."""
        if self._newest is not None:
            self._newest.restore_by_tag(delivery_tag, leftmost=True)  # type: ignore[no-untyped-call]

    def _tell(self) -> None:
        if self._newest is None or not self._waiting or time.monotonic() < self._not_before:
            return
        tags = list(self._waiting)
        try:
            self._newest.remove(tags)
        except (RedisError, OSError) as error:
            self._not_before = time.monotonic() + RETRY_SECONDS
            _log.warning("acknowledgements wait until Redis answers", error=repr(error), waiting=len(tags))
        else:
            self._waiting.clear()


_acknowledgements: Final = _Acknowledgements()


class CreditFreeingQoS(QoS):
    """See the module."""

    def ack(self, delivery_tag: str) -> None:
        """Never raises for a fault of Redis."""
        virtual.QoS.ack(self, delivery_tag)
        _acknowledgements.add(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """A message that could not be requeued stays unacknowledged until the visibility timeout."""
        if not requeue:
            self.ack(delivery_tag)
            return
        virtual.QoS.ack(self, delivery_tag)
        try:
            _acknowledgements.requeue(delivery_tag)
        except (RedisError, OSError) as error:
            _log.warning("message was not requeued, it comes back later", error=repr(error))

    def remove(self, delivery_tags: list[str]) -> None:
        """Takes tags off the list of unacknowledged messages; raises RedisError."""
        with self.channel.conn_or_acquire() as client, client.pipeline() as pipeline:
            pipeline.zrem(self.unacked_index_key, *delivery_tags).hdel(self.unacked_key, *delivery_tags).execute()


def connected(channel: Any) -> None:  # noqa: ANN401 - kombu's channel
    """A consumer is connected: `channel` carries acknowledgements from now on, those that waited first."""
    _acknowledgements.connected(channel.qos)


def disconnected() -> None:
    """The consumer's connection is gone: acknowledgements wait."""
    _acknowledgements.disconnected()
