"""A client beside the jobs that writes numbered stream entries throughout and reads all back: jobs alone would hide a
write that Redis acknowledged and lost, because the sweeper hints them again.

It is what an application with redis-py and a watcher is: short time-outs, every attempt a new number, at an error it
asks the Sentinels again, and a `+switch-master` makes it drop its connection.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.resp import RespClient, RespError
from scripts.stack.waiting import wait_until

#: Seconds between two writes, for one answer, also of a Sentinel, and between two tries to connect.
_PACE: Final = 0.01
_ANSWER: Final = 0.5
_SENTINEL_ANSWER: Final = 0.2
_RETRY: Final = 0.02
_PAGE: Final = "5000"


class NumberedWrites:
    """Start, stop, then ask what was lost. `key` is deleted by `lost`."""

    def __init__(self, nodes: RedisNodes, *, key: str) -> None:
        self._nodes, self._key = nodes, key
        self._acknowledged: list[tuple[int, float]] = []  #: number, Unix time of the answer
        self._stopping = threading.Event()
        self._client: RespClient | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def moved(self) -> None:
        """The primary is another one: wakes the writer where it waits for the former."""
        if client := self._client:
            client.interrupt()

    @property
    def acknowledged(self) -> list[float]:
        """When each write was acknowledged, Unix time."""
        return [at for _, at in self._acknowledged]

    def lost(self) -> int:
        """Acknowledged writes that the primary does not have. Raises StackError when it does not tell."""
        numbers = wait_until(self._read_back, within=60, otherwise="the primary does not tell what was written")
        return len({number for number, _ in self._acknowledged} - numbers)

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(_PACE):
            try:
                client = self._connected()
                number += 1
                client.command("XADD", self._key, "*", "n", str(number))
            except (OSError, RespError, ValueError):
                self._drop()
                self._stopping.wait(_RETRY)
            else:
                self._acknowledged.append((number, time.time()))
        self._drop()

    def _connected(self) -> RespClient:
        if self._client is None:
            leader = self._nodes.elected(timeout=_SENTINEL_ANSWER)
            if not leader:
                raise ConnectionError("the Sentinels do not agree on a primary")
            self._client = self._nodes.client(leader, timeout=_ANSWER)
        return self._client

    def _drop(self) -> None:
        if self._client is not None:
            with suppress(OSError):
                self._client.close()
        self._client = None

    def _read_back(self) -> set[int] | None:
        try:
            with self._nodes.client(self._nodes.elected(), timeout=10.0) as client:
                numbers, after = set[int](), "-"
                while page := client.command("XRANGE", self._key, after, "+", "COUNT", _PAGE):
                    assert isinstance(page, list)
                    numbers |= {_number(entry) for entry in page}
                    after = f"({_id(page[-1])}"
                client.command("DEL", self._key)
        except (OSError, RespError, KeyError):
            return None
        return numbers


def longest_silence(times: Sequence[float], *, after: float) -> float:
    """Seconds between two neighbours of which the second comes after `after`."""
    return max((later - earlier for earlier, later in pairwise(times) if later > after), default=0.0)


def _number(entry: object) -> int:
    """Of `[id, [field, number]]`."""
    assert isinstance(entry, list)
    assert isinstance(entry[1], list)
    return int(str(entry[1][1]))


def _id(entry: object) -> str:
    assert isinstance(entry, list)
    return str(entry[0])
