"""The worker pools and the priorities: one table that workers, dispatchers and the sweeper read.

To change a pool's size or limits, edit `POOLS` and the worker's `command:` in compose.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Priority(IntEnum):
    """Priority class of a job. The number is kombu's priority step: the lower, the earlier."""

    HIGH = 0
    NORMAL = 3
    LOW = 6

    @property
    def word(self) -> str:
        """The word the API uses: high, normal or low."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> "Priority":
        """The class that `word` names. Raises ValueError that lists the words."""
        try:
            return cls[word.upper()]
        except KeyError:
            words = ", ".join(member.word for member in cls)
            raise ValueError(f"priority: {word!r} is not one of {words}") from None


#: kombu keeps one Redis list per step and queue, and pops them in this order.
PRIORITY_STEPS: Final = tuple(int(priority) for priority in Priority)


class Shape(StrEnum):
    """How a pool runs its attempts."""

    PREFORK = "prefork"  #: child processes; Celery enforces the limits by signal and kill
    THREADS = "threads"  #: threads; Celery drops the limits, so they are deadlines on each I/O call and the lease


@dataclass(frozen=True, slots=True)
class Pool:
    """One worker pool. All times in seconds."""

    name: str
    queue: str  #: Celery queue = Redis list
    shape: Shape
    concurrency: int  #: attempts that run at once in one worker process
    lease_seconds: int  #: a claim is valid this long without a heartbeat
    soft_limit_seconds: int  #: an attempt is asked to stop
    hard_limit_seconds: int  #: an attempt is stopped, or counts as failed and leaked

    @property
    def heartbeat_seconds(self) -> float:
        """Interval of lease renewals: three may fail before the lease ends."""
        return self.lease_seconds / 4


POOLS: Final[Mapping[str, Pool]] = MappingProxyType(
    {
        pool.name: pool
        for pool in (
            Pool("fast", "fast", Shape.PREFORK, 8, lease_seconds=10, soft_limit_seconds=30, hard_limit_seconds=45),
            Pool("cpu", "cpu", Shape.PREFORK, 2, lease_seconds=30, soft_limit_seconds=540, hard_limit_seconds=600),
            Pool("io", "io", Shape.THREADS, 20, lease_seconds=20, soft_limit_seconds=120, hard_limit_seconds=150),
        )
    }
)

#: Seconds until kombu restores an unacknowledged message. A second chance only, so it outlasts every hard limit:
#: a shorter one would start a second concurrent copy.
VISIBILITY_TIMEOUT_SECONDS: Final = max(pool.hard_limit_seconds for pool in POOLS.values()) + 300
