"""Whether a pool takes another job, and whether its hint may go to Redis now.

Both are read from the rows that the sweeper writes each tick, at most once per second and process. A row older than
5 s decides nothing: then every job is accepted and none is hinted; the sweeper hints when it is back.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings
from django.db import connection

from dispatch.dispatcher import breaker_is_open
from jobs import sql
from jobs.errors import Overloaded

CACHE_SECONDS: Final = 1.0
STALE_AFTER_SECONDS: Final = 5.0
RETRY_AFTER_SECONDS: Final = 5
#: Seconds until the second hint of a job when no sweeper has said better.
DEFAULT_GRACE_SECONDS: Final = 5


@dataclass(slots=True)
class PoolView:
    """A pool as the sweeper saw it, and what this process added since."""

    open: int
    hinted: int
    behind: bool
    grace_seconds: int
    seen_at: float  #: monotonic seconds of the sweeper's tick, on this machine's clock
    accepted_here: int = 0
    hinted_here: int = 0

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.seen_at <= STALE_AFTER_SECONDS


@dataclass(slots=True)
class _Seen:
    pools: Mapping[str, PoolView] = field(default_factory=dict)
    epoch: str = ""
    read_again_at: float = 0.0


_seen = _Seen()


@dataclass(frozen=True, slots=True)
class Room:
    """What a submit may do. `hints` = how many of its jobs may be hinted at once."""

    hints: int
    grace_seconds: int
    epoch: str


def admit(pool: str, jobs: int, *, gated: bool = True) -> Room:
    """Takes `jobs` more jobs into the pool's count. Raises Overloaded, when gated, at the admission limit."""
    view = _current().pools.get(pool)
    if view is None or not view.is_fresh:
        return Room(0, DEFAULT_GRACE_SECONDS, "")
    if gated and view.open + view.accepted_here + jobs > settings.HOLDFAST.admission_limit:
        raise Overloaded(pool, retry_after=RETRY_AFTER_SECONDS)
    hints = _hints(view, jobs)
    view.accepted_here += jobs
    view.hinted_here += hints
    return Room(hints, view.grace_seconds, _seen.epoch)


def _hints(view: PoolView, jobs: int) -> int:
    # Rows that wait for the sweeper come first: a submit that hinted itself would overtake them.
    if view.behind or breaker_is_open():
        return 0
    room = settings.HOLDFAST.dispatch_window - view.hinted - view.hinted_here
    return max(0, min(jobs, room))


def forget() -> None:
    """Drops what was read, so that the next submit reads again."""
    _seen.read_again_at = 0.0
    _seen.pools = {}


def _current() -> _Seen:
    now = time.monotonic()
    if now >= _seen.read_again_at:
        _seen.read_again_at = now + CACHE_SECONDS  # first, so that one thread reads and the others go on
        with connection.cursor() as cursor:
            cursor.execute(sql.READ_POOLS)
            rows = cursor.fetchall()
        _seen.pools = {
            pool: PoolView(open_jobs, hinted, behind, grace, seen_at=now - float(age))
            for pool, open_jobs, hinted, behind, grace, age, _ in rows
        }
        _seen.epoch = rows[0][6] if rows else ""
    return _seen
