"""Listens to every Sentinel, and hands on all that one says."""

import threading
from collections.abc import Callable

from scripts.stack.redis_nodes import SENTINELS, RedisNodes
from scripts.stack.resp import RespClient, RespError

#: Sentinel, event, message.
Heard = Callable[[str, str, str], None]


class SentinelEars:
    """One thread for each Sentinel, between `start` and `stop`. `heard` is called from any of them."""

    def __init__(self, nodes: RedisNodes, heard: Heard) -> None:
        """Raises OSError or RespError when a Sentinel does not answer."""
        self._heard = heard
        self._clients = {sentinel: nodes.client(sentinel) for sentinel in SENTINELS}
        self._stopping = False
        self.deaf: list[str] = []  #: Sentinels whose connection ended before `stop`

    def start(self) -> None:
        for sentinel, client in self._clients.items():
            threading.Thread(target=self._listen, args=(sentinel, client), daemon=True).start()

    def stop(self) -> None:
        self._stopping = True
        for client in self._clients.values():
            client.interrupt()

    def _listen(self, sentinel: str, client: RespClient) -> None:
        try:
            for event, message in client.listen("*"):
                self._heard(sentinel, event, message)
        except (OSError, RespError, ValueError):  # stopped, or its Sentinel is gone
            if not self._stopping:
                self.deaf.append(sentinel)
