"""What a consumer of a stream must offer to be run through the traps, and what a test may do to its stream.

A test speaks of items: names of pieces of work. What stands in the stream for one is the consumer's own affair.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import redis

from tests.servers.process import ServerProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until

#: Seconds a consumer gets for what it has to do; and where it is recorded not to do it, several of its claim intervals.
PATIENCE_SECONDS = 90.0
RECORDED_PATIENCE_SECONDS = 3.0


class NotOffered(Exception):
    """The consumer has nothing for what the trap is about, and so nothing to fall into."""


class NotArranged(RuntimeError):
    """A test could not make its situation: no verdict on the consumer."""


class Consumer(ABC):
    """One consumer under test with its producer, on one Redis node. Times in seconds."""

    stream: ClassVar[str]
    group: ClassVar[str]
    claim_idle_ms = 500
    batch_size = 10

    def __init__(self, node: RedisProcess, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.patience = PATIENCE_SECONDS
        self._processes: dict[str, ServerProcess] = {}
        self.operator: Any = node.operator()
        # Some formats are binary: their entries are read for their ids.
        self.operator.connection_pool.connection_kwargs["encoding_errors"] = "replace"

    # -- what a consumer says about itself ----------------------------------------------------------------------------
    @abstractmethod
    def process(self, name: str) -> ServerProcess:
        """The consumer called `name`, not started."""

    @abstractmethod
    def send(self, items: Sequence[str]) -> None:
        """Produces, as a service that uses this consumer does it, in any order."""

    @abstractmethod
    def send_in_a_request(self, item: str) -> None:
        """Sends while somebody waits for the answer."""

    @abstractmethod
    def send_again(self, item: str) -> None:
        """The producer had no answer to its first try."""

    @abstractmethod
    def send_at(self, item: str, due: datetime) -> None:
        """Produces work that is to begin at `due`."""

    @abstractmethod
    def in_work(self, items: Sequence[str]) -> AbstractContextManager[None]:
        """Sends items and begins when a consumer has the first. Until it ends, none gets done with what it has."""

    @abstractmethod
    def begun(self) -> Counter[str]:
        """item -> how often its work was begun."""

    @abstractmethod
    def applied(self, *, with_sweeper: bool = False) -> Counter[str]:
        """item -> how often its effect was applied. `with_sweeper`: whatever else of the product looks for lost work
        runs once before."""

    @abstractmethod
    def lost_and_told(self, entry_ids: Sequence[str]) -> int:
        """How many of these vanished entries the running consumer reports, in its log or as a metric."""

    @abstractmethod
    def set_aside(self) -> Collection[str]:
        """Ids of entries that were kept elsewhere because they cannot be worked on."""

    @abstractmethod
    def backlog(self) -> list[int | None]:
        """Each number that is shown for "entries to be read"; None where it says that it does not know."""

    # -- processes ----------------------------------------------------------------------------------------------------
    def start(self, name: str = "first") -> ServerProcess:
        """Starts the consumer called `name`, again if it ran before."""
        process = self._processes.get(name) or self.process(name)
        self._processes[name] = process
        process.start()
        return process

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{process.log_tail(40)}" for name, process in self._processes.items())

    # -- the stream ---------------------------------------------------------------------------------------------------
    def have_run_before(self) -> None:
        """The group exists and has read what there was."""
        self.operator.xgroup_create(self.stream, self.group, id="0", mkstream=True)

    def left_by_a_dead_consumer(
        self, items: Sequence[str], *, idle_ms: int = 600_000, deliveries: int = 1
    ) -> list[str]:
        """Sends items while nobody runs; a consumer that will never return reads them. Returns the entries' ids."""
        self.send(items)
        [(_, entries)] = self.operator.xreadgroup(self.group, "dead", {self.stream: ">"}, count=len(items))
        ids = [entry_id for entry_id, _ in entries]
        if len(ids) != len(items):
            raise NotArranged(f"{len(ids)} of {len(items)} entries were there to be read")
        self.make_stale(ids, idle_ms=idle_ms, deliveries=deliveries)
        return ids

    def make_stale(self, ids: Sequence[str], *, idle_ms: int = 600_000, deliveries: int = 1) -> None:
        """Entries are pending for `idle_ms`, and were delivered so often."""
        self.operator.xclaim(
            self.stream, self.group, "dead", 0, list(ids), idle=idle_ms, retrycount=deliveries, justid=True
        )

    def pending(self) -> int:
        return int(self.operator.xpending(self.stream, self.group)["pending"])

    def unread(self) -> bool:
        """Whether entries wait for their first delivery."""
        [group] = self.operator.xinfo_groups(self.stream)
        return bool(self.operator.xrange(self.stream, f"({group['last-delivered-id']}", count=1))

    # -- waits --------------------------------------------------------------------------------------------------------
    def arranged(self, check: Any, sentence: str) -> None:  # noqa: ANN401 - a condition
        """Waits for what a test needs before it can judge."""
        try:
            wait_until(check, sentence, seconds=PATIENCE_SECONDS)
        except AssertionError as error:
            raise NotArranged(str(error)) from None

    def await_applied(self, items: Collection[str], *, with_sweeper: bool = False) -> None:
        """Fails with the items whose effect was never applied."""

        def missing() -> set[str]:
            return set(items) - set(self.applied(with_sweeper=with_sweeper))

        until = time.monotonic() + self.patience
        while (left := missing()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left, f"{len(left)} of {len(items)} items are lost: {sorted(left)[:5]}"

    def await_quiet(self) -> None:
        """Everything was read and acknowledged."""
        wait_until(
            lambda: not (self.pending() or self.unread()), "entries stay unread or pending", seconds=self.patience
        )

    @contextmanager
    def _taken(self) -> Iterator[None]:
        """Ends when a consumer has something of what the block sends."""
        before = self.pending()
        yield
        self.arranged(lambda: self.pending() > before, "no consumer took what was sent")


def plain_client(node: RedisProcess) -> redis.Redis:
    """As an application makes it: redis-py's defaults."""
    return redis.Redis.from_url(node.url, decode_responses=True)
