"""The transport of a worker's connection: kombu's with our acknowledgements, connections that follow the primary, and
messages that are gathered.

What upstream would have to change: a connection that waits for BRPOP's answer sends nothing, so nothing tells that its
primary froze until a timer sends a command or kombu's own check of 25 s, and each channel has a second pool that does
not learn of it.
"""

from functools import cache
from typing import Any

from kombu.transport.redis import SentinelChannel

from redis_topology.connections import PrimaryConnection, PrimaryTlsConnection
from worker import activity
from worker.gathering import gathered
from worker.qos import CreditFreeingQoS


def use_for(connection: Any) -> None:  # noqa: ANN401 - kombu's connection
    """For every transport that `connection` will make: it makes a new one for each Sentinel's URL."""
    transport_class = _ours(connection.get_transport_cls())
    connection.get_transport_cls = lambda: transport_class


@cache
def _ours(transport_class: type[Any]) -> type[Any]:
    channel_class = transport_class.Channel
    attributes: dict[str, Any] = {"QoS": CreditFreeingQoS}
    if issubclass(channel_class, SentinelChannel):
        attributes |= {"connection_class": PrimaryConnection, "connection_class_ssl": PrimaryTlsConnection}
    channel = type(f"Holdfast{channel_class.__name__}", (channel_class,), attributes)

    def _deliver(self: Any, message: dict[str, Any], queue: str) -> None:  # noqa: ANN401 - kombu's transport
        activity.count_pop()  # once, whatever is gathered: a pop is a sign of life, no count of jobs
        for consuming in self.channels:
            if queue in consuming._active_queues:
                message = gathered(consuming, message, queue)
                break
        transport_class._deliver(self, message, queue)

    return type(f"Holdfast{transport_class.__name__}", (transport_class,), {"Channel": channel, "_deliver": _deliver})
