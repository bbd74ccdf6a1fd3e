"""The sweeper: hints again what is open and due, fails what cannot be tried again, and says how full the pools are.

Any number of sweepers may run: rows are taken with SKIP LOCKED and leave the due range before anything is published.
A backlog slows hints down, and nothing ever stops them.
"""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection, transaction

import history
from dispatch import POOLS, Hint, Pool, Priority, breaker_is_open, ready_depth
from dispatch.messages import MOST_JOBS
from jobs import announcing, schedules, sql
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.clock import StepWatch
from jobs.epochs import EpochWatch
from jobs.finish import known_kind
from jobs.hinting import Via, make_due, make_hint, send
from jobs.kind_breaker import HOLD_SECONDS, KindBreakers
from jobs.kinds import batchable_kinds
from jobs.states import Reason, State
from jobs.webhooks.creation import Ended, create_webhooks
from metrics.catalogue import JOBS_DEAD_LETTERED, JOBS_FINISHED
from postgres_deadline.budget import paused

#: Rows of one statement and hints of one publish.
BATCH: Final = 500
#: Seconds one publish may take.
PUBLISH_BUDGET_SECONDS: Final = 2.0
#: Share of a tick that feeding may use; the rest of the backlog waits for the next tick.
FEED_SHARE: Final = 0.8
#: Hints per second and pool while the ready lists hold more than twice the window. Never 0.
TRICKLE_PER_SECOND: Final = 10
#: Of each feed at least this share goes to the lowest priority that is not empty.
LOWEST_SHARE: Final = 0.1
#: A tick that comes this many times its interval late was a gap: workers may have been unable to renew, too.
GAP_FACTOR: Final = 3.0
#: Seconds. However slow a pool is, a first hint that is lost is repeated after this: what still stands in Redis is not
#: repeated (see `_are_still_queued`), so a longer grace would save nothing and cost the lost ones minutes.
LONGEST_FIRST_GRACE_SECONDS: Final = 30
#: Seconds between two looks at how long hints take to be claimed.
GRACE_EVERY_SECONDS: Final = 10.0
#: Share of the time that counting open jobs may take.
COUNT_SHARE: Final = 0.02

_PRIORITIES: Final = tuple(sorted(Priority))

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PoolLook:
    """One pool before the feed."""

    pool: Pool
    hinted: int  #: inside their grace
    unclaimed: int  #: hinted at all
    due: frozenset[int]  #: priorities with due rows
    has_expired_lease: bool


@dataclass(slots=True)
class Tick:
    """What one tick did; the numbers a test and the log ask for."""

    hinted: int = 0
    refused: int = 0
    failed_lost: int = 0
    fired: int = 0
    behind: set[str] = field(default_factory=set)
    new_epoch: bool = False
    breaker_open: bool = False

    @property
    def is_eventful(self) -> bool:
        """Whether there is anything to log."""
        return bool(self.hinted or self.refused or self.failed_lost or self.fired or self.new_epoch)


class Sweeper:
    """One sweeper process. `tick()` does one round and may raise what Postgres raises; the next tick goes on."""

    def __init__(self, *, epochs: EpochWatch | None = None) -> None:
        self.epochs = epochs or EpochWatch()
        self.grace: dict[str, int] = dict.fromkeys(POOLS, DEFAULT_GRACE_SECONDS)
        self._ready: dict[str, int | None] = dict.fromkeys(POOLS)
        self._trickle: dict[str, float] = dict.fromkeys(POOLS, 0.0)
        self._trickle_again: dict[str, float] = dict.fromkeys(POOLS, 0.0)
        self._trust_leases_at: dict[str, float] = dict.fromkeys(POOLS, 0.0)
        self._breakers = KindBreakers()
        self._held: list[str] = []
        self._last_tick: float | None = None
        self._steps = StepWatch()
        self._grace_at = 0.0
        self._open: dict[str, int] = dict.fromkeys(POOLS, 0)
        self._count_at = 0.0

    def tick(self) -> Tick:
        """One round over all pools."""
        started = time.monotonic()
        elapsed = self._notice_gap(started)
        tick = Tick(new_epoch=self.epochs.watch(self.grace))
        tick.fired = schedules.fire_due()
        self._measure_grace(started)
        self._held = self._breakers.watch()
        looks = _look()
        for look in looks:
            self._fail_lost(look, tick)
        # As late as can be: it may have closed meanwhile, and whoever waits for Redis waits for this feed.
        tick.breaker_open = breaker_is_open()
        if tick.breaker_open:
            tick.behind |= {look.pool.name for look in looks if look.due}
        else:
            if self._held:
                self._publish(self._breakers.probes(self.epochs.current), tick)
            self._feed_all(looks, tick, elapsed, started)
        self._count_open()
        # After the feed, so that a submit sees the room that is really left.
        self._write_pools(_look() if tick.is_eventful else looks, tick)
        announcing.announce_letters()
        # Only a tick that went through counts: after an outage of Postgres the gap is as long as the outage.
        self._last_tick = time.monotonic()
        return tick

    # -- leases -------------------------------------------------------------------------------------------------------
    def _notice_gap(self, now: float) -> float:
        """Seconds since the last whole tick. After a gap every pool gets one heartbeat to renew its leases first, and
        after a step of Postgres's clock, by which they end.
        """
        interval = settings.HOLDFAST.sweeper_tick_seconds
        elapsed = math.inf if self._last_tick is None else now - self._last_tick
        if self._steps.has_stepped() or elapsed > GAP_FACTOR * interval:
            self._trust_leases_at = {
                name: max(self._trust_leases_at[name], now + pool.heartbeat_seconds) for name, pool in POOLS.items()
            }
        return min(elapsed, interval)

    def _trusts_leases(self, pool: Pool) -> bool:
        return time.monotonic() >= self._trust_leases_at[pool.name]

    def _fail_lost(self, look: PoolLook, tick: Tick) -> None:
        if not (look.has_expired_lease and self._trusts_leases(look.pool)):
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.FAIL_LOST, {"pool": look.pool.name, "limit": BATCH})
            rows = cursor.fetchall()
            create_webhooks(Ended(*rest) for _, *rest in rows)
        if rows and history.recorder is not None:
            lost = [{"job": job_id, "reason": Reason.WORKER_LOST} for _, job_id, *_ in rows]
            history.recorder.note("ok", "fail", ({**event, "state": State.FAILED} for event in lost))
            history.recorder.note("ok", "dead_letter", lost)
        kinds = [known_kind(row[0]) for row in rows]
        for kind in kinds:
            JOBS_FINISHED.labels(kind=kind, state=State.FAILED.value).inc()
            JOBS_DEAD_LETTERED.labels(kind=kind, reason=Reason.WORKER_LOST.value).inc()
        tick.failed_lost += len(kinds)

    # -- feed ---------------------------------------------------------------------------------------------------------
    def _feed_all(self, looks: Sequence[PoolLook], tick: Tick, elapsed: float, started: float) -> None:
        deadline = started + FEED_SHARE * settings.HOLDFAST.sweeper_tick_seconds
        # In another order each tick: a slow pool must not always starve the same neighbour.
        for look in random.sample(looks, len(looks)):
            self._feed(look, tick, elapsed, deadline)

    def _feed(self, look: PoolLook, tick: Tick, elapsed: float, deadline: float) -> None:
        """Hints expired leases first, then due rows into the room that is left."""
        self._look_for_lost_hints(look)
        if look.has_expired_lease and self._trusts_leases(look.pool):
            self._publish(self._take(sql.TAKE_EXPIRED, look.pool, BATCH)[1], tick)
        if not look.due:
            return
        room = self._room(look, elapsed)
        still_queued = self._are_still_queued(look)
        if still_queued and (again := self._allowance(self._trickle_again, look.pool, elapsed)):
            self._publish(self._take(sql.TAKE_HINTED, look.pool, again)[1], tick)
        for hints in self._batches(look, room, defer=still_queued):
            if not self._publish(hints, tick):
                break
            room -= len(hints)
            if time.monotonic() > deadline:
                break
        else:
            if room > 0:
                return  # everything due found room
        tick.behind.add(look.pool.name)

    def _room(self, look: PoolLook, elapsed: float) -> int:
        """Hints that this tick may send for the pool."""
        window = settings.HOLDFAST.dispatch_window
        room = max(0, window - look.hinted)
        ready = self._ready[look.pool.name]
        if ready is None:
            return room  # the publish will tell
        if ready <= 2 * window:
            self._trickle[look.pool.name] = 0.0
            return room
        return self._allowance(self._trickle, look.pool, elapsed)

    def _are_still_queued(self, look: PoolLook) -> bool:
        """Whether Redis, or a worker that is about to claim, holds a message for each unclaimed hint.

        Then none is lost as far as can be seen, and all of them again would only double the backlog: repetitions come
        at a trickle. What is lost all the same is found by it, or in full once the lists are short or empty. How many
        jobs a message names is not seen: where kinds are batchable it counts for the most it may.
        """
        jobs = MOST_JOBS if any(kind.pool == look.pool.name for kind in batchable_kinds()) else 1
        ready, in_hand = jobs * (self._ready[look.pool.name] or 0), 2 * jobs * look.pool.concurrency
        return ready > 0 and look.unclaimed - in_hand <= ready and not self.epochs.is_catching_up

    def _look_for_lost_hints(self, look: PoolLook) -> None:
        self._ready[look.pool.name] = ready = _ready(look)
        if ready == 0 and (look.unclaimed or look.has_expired_lease):
            self._make_lost_due(look.pool)

    def _make_lost_due(self, pool: Pool) -> None:
        """Nothing waits in Redis, so a hint that nobody claimed for a while is lost, whatever its grace was.

        Graces are long after a backlog; without this a hint that was lost in it would be missed when it is worked off.
        """
        with connection.cursor() as cursor:
            cursor.execute(sql.LOST_DUE, {"pool": pool.name, "grace": DEFAULT_GRACE_SECONDS, "limit": BATCH})

    def _allowance(self, trickle: dict[str, float], pool: Pool, elapsed: float) -> int:
        """Hints that a trickle lets through in this tick."""
        trickle[pool.name] += TRICKLE_PER_SECOND * elapsed
        allowed = int(trickle[pool.name])
        trickle[pool.name] -= allowed
        return allowed

    def _batches(self, look: PoolLook, room: int, *, defer: bool) -> Iterator[list[Hint]]:
        """Due rows in batches: a tenth of the room for the lowest class, then from the highest down."""
        lowest = max(look.due)
        share = math.ceil(room * LOWEST_SHARE) if len(look.due) > 1 else 0
        for priority, limit in [(lowest, share), *[(priority, room) for priority in _PRIORITIES]]:
            if priority not in look.due:
                continue
            left = min(limit, room)
            while left > 0:
                asked = min(left, BATCH)
                taken, hints = self._take(sql.TAKE_DUE, look.pool, asked, priority, defer=defer)
                yield hints
                room -= len(hints)
                left -= len(hints)
                if taken < asked:
                    break

    def _take(
        self, statement: str, pool: Pool, limit: int, priority: int | None = None, *, defer: bool = False
    ) -> tuple[int, list[Hint]]:
        """How many rows left the due range, and the hints of those that are neither held back nor deferred."""
        values: dict[str, Any] = {
            "pool": pool.name,
            "priority": priority,
            "limit": limit,
            "grace": self.grace[pool.name],
            "epoch": self.epochs.current,
            "leases": self._trusts_leases(pool),
            "held": self._held,
            "hold": HOLD_SECONDS,
            "defer": defer,
        }
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
        hints = [make_hint(*row) for is_to_be_hinted, *row in rows if is_to_be_hinted]
        # RETURNING has no order; ids are in that of acceptance.
        return len(rows), sorted(hints, key=lambda hint: hint.job_id)

    def _publish(self, hints: Sequence[Hint], tick: Tick) -> bool:
        if not hints:
            return True
        via: Via = "epoch" if self.epochs.is_catching_up else "sweep"
        with paused():
            taken = send(hints, via=via, budget_seconds=PUBLISH_BUDGET_SECONDS)
        if taken:
            tick.hinted += len(hints)
            return True
        make_due(hints)
        tick.refused += len(hints)
        return False

    # -- what the pools look like -------------------------------------------------------------------------------------
    def _write_pools(self, looks: Sequence[PoolLook], tick: Tick) -> None:
        names = [look.pool.name for look in looks]
        values: dict[str, Any] = {
            "pools": names,
            "open": [self._open[name] for name in names],
            "hinted": [look.hinted for look in looks],
            "ready": [self._ready[name] for name in names],
            "behind": [name in tick.behind for name in names],
            "grace": [self.grace[name] for name in names],
        }
        with connection.cursor() as cursor:
            cursor.execute(sql.WRITE_POOLS, values)

    def _count_open(self) -> None:
        """Counts open jobs, at most COUNT_SHARE of the time: a million of them take 0.1 s to count."""
        started = time.monotonic()
        if started < self._count_at:
            return
        with connection.cursor() as cursor:
            cursor.execute(sql.COUNT_OPEN, {"pools": list(POOLS), "limit": settings.HOLDFAST.admission_limit + 1})
            self._open = dict(cursor.fetchall())
        ended = time.monotonic()
        self._count_at = ended + (ended - started) / COUNT_SHARE

    def _measure_grace(self, now: float) -> None:
        """First grace = 3 * p99 from hint to claim of the last minute's claims, within 5 s and 30 s."""
        if now < self._grace_at:
            return
        self._grace_at = now + GRACE_EVERY_SECONDS
        with connection.cursor() as cursor:
            cursor.execute(sql.HINT_TO_CLAIM)
            slowest = dict(cursor.fetchall())
        for name in self.grace:
            wanted = math.ceil(3 * slowest.get(name, 0.0))
            self.grace[name] = min(LONGEST_FIRST_GRACE_SECONDS, max(DEFAULT_GRACE_SECONDS, wanted))


def _ready(look: PoolLook) -> int | None:
    """Hints that wait in Redis for the pool's consumers; None when Redis does not say, or nothing depends on it."""
    if not (look.due or look.unclaimed or look.has_expired_lease):
        return None
    with paused():
        return ready_depth(look.pool.name)


def _look() -> list[PoolLook]:
    values: dict[str, Any] = {
        "pools": list(POOLS),
        "priorities": [int(priority) for priority in _PRIORITIES],
        "hinted_limit": settings.HOLDFAST.dispatch_window + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.LOOK, values)
        return [
            PoolLook(POOLS[pool], hinted, unclaimed, frozenset(due), expired)
            for pool, hinted, unclaimed, due, expired in cursor.fetchall()
        ]
