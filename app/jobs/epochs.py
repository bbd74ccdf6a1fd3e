"""Which Redis the hints went to. A new one may have lost them: they are sent again at once, at a bounded rate."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from django.db import connection, transaction

from dispatch import POOLS, broker_epoch
from jobs import sql
from metrics.catalogue import BROKER_EPOCH_CHANGES
from postgres_deadline.budget import paused

#: Seconds without an answer after which the same Redis counts as a new one.
OUTAGE_SECONDS: Final = 1.0
#: Hints per second and pool that a new epoch makes due.
EPOCH_RATE: Final = 2000

log = structlog.get_logger()


class EpochWatch:
    """The broker epoch as this sweeper knows it. The agreement between sweepers is the row `broker_state`."""

    def __init__(self, read: Callable[[], str | None] = broker_epoch) -> None:
        self._read = read
        self.current = ""
        self._answered_at = time.monotonic()
        self._was_silent = False
        self._catching_up_until = 0.0

    @property
    def is_catching_up(self) -> bool:
        """Whether hints of an older epoch are being sent again."""
        return time.monotonic() < self._catching_up_until

    def watch(self, grace: Mapping[str, int]) -> bool:
        """Reads the epoch once. True = this sweeper was the first to see a new one and made the older hints due."""
        with paused():
            seen = self._read()
        if seen is None:
            self._was_silent = True
            return False
        outage = self._end_silence(time.monotonic())
        if seen == self.current and not outage:
            return False
        entered = self._enter(seen, outage, grace)
        if entered:
            BROKER_EPOCH_CHANGES.labels(reason=self._reason(seen, outage)).inc()
        self.current = seen
        return entered

    def _reason(self, seen: str, outage: float) -> str:
        if self.current.partition(":")[0] != seen.partition(":")[0]:
            return "missing"  # the key is random and has no TTL: it goes only with the data set
        return "outage" if outage else "replaced"

    def _end_silence(self, now: float) -> float:
        """Seconds of the outage that this answer ends; 0 = there was none, or a short one."""
        silence = now - self._answered_at if self._was_silent else 0.0
        self._answered_at, self._was_silent = now, False
        return silence if silence > OUTAGE_SECONDS else 0.0

    def _enter(self, epoch: str, outage: float, grace: Mapping[str, int]) -> bool:
        """One transaction: whoever wins the row has made the hints due, or nobody has entered."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.ENTER_EPOCH, {"epoch": epoch, "outage": outage})
            if cursor.fetchone() is None:
                return False
            due = 0
            for pool in POOLS:
                cursor.execute(sql.EPOCH_DUE, {"pool": pool, "grace": grace[pool], "rate": EPOCH_RATE})
                due = max(due, cursor.rowcount)
        self._catching_up_until = time.monotonic() + due / EPOCH_RATE + 2.0
        log.warning("Redis is a new one: hints are sent again", epoch=epoch, hints=due, outage_seconds=round(outage, 1))
        return True
