"""What Postgres holds: open jobs by pool and state, leases, due hints, dead letters. Reads, never writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from prometheus_client.core import Metric

import postgres_deadline
from dispatch.pools import POOLS, Priority
from exporter.families import Sample, family, single
from metrics import catalogue

#: Seconds over one whole read, connection included. Under the source's deadline, so that a frozen Postgres is let go.
DEADLINE_SECONDS: Final = 3.5

#: Rows looked at per pool and priority where a figure needs the rows themselves: the cost of a scrape must not grow
#: with the backlog, or the truth goes blind when it is needed most.
LOOK_AT_MOST: Final = 1000

_POOLS_AND_PRIORITIES: Final = "unnest(%(pools)s::text[]) AS pool, unnest(%(priorities)s::int[]) AS priority"

#: Open rows per pool. Reads the index job_due alone.
OPEN_SQL: Final = "SELECT pool, count(*) FROM job WHERE state IN ('QUEUED', 'RUNNING') GROUP BY pool"

#: Running rows per pool (a few per worker): how many, since when the oldest, how many leases ran out.
RUNNING_SQL: Final = """
SELECT pool, count(*), extract(epoch FROM now() - min(started_at)), count(*) FILTER (WHERE lease_until < now())
  FROM job WHERE state = 'RUNNING' GROUP BY pool
"""

#: Rows whose next hint is overdue; counting stops at `most` per pool and priority.
OVERDUE_SQL: Final = f"""
SELECT pool, sum(due.rows) FROM {_POOLS_AND_PRIORITIES}
 CROSS JOIN LATERAL (
     SELECT count(*) AS rows FROM (
         SELECT FROM job
          WHERE job.pool = pool.pool AND job.priority = priority.priority AND state IN ('QUEUED', 'RUNNING')
            AND next_dispatch_at < now() - interval '5 seconds'
          LIMIT 10 * %(most)s) AS first) AS due
 GROUP BY pool
"""  # noqa: S608 - the only thing put in is the constant above

#: Wait of the oldest waiting row. A row waits from when it was accepted, or from not_before where that is later.
#: Exact while a pool has at most `most` waiting rows per priority; beyond that the oldest among those due next and the
#: first accepted of all.
WAITING_SQL: Final = f"""
SELECT pool, extract(epoch FROM now() - min(since)) FROM (
    SELECT pool.pool, next.since FROM {_POOLS_AND_PRIORITIES}
     CROSS JOIN LATERAL (
         SELECT greatest(accepted_at, not_before) AS since FROM job
          WHERE job.pool = pool.pool AND job.priority = priority.priority
            AND state IN ('QUEUED', 'RUNNING') AND state = 'QUEUED'
          ORDER BY next_dispatch_at, id LIMIT %(most)s) AS next
    UNION ALL
    (SELECT pool, greatest(accepted_at, not_before) FROM job WHERE state = 'QUEUED' ORDER BY id LIMIT 5 * %(most)s)
) AS waiting GROUP BY pool
"""  # noqa: S608 - the only thing put in is the constant above

_PARAMETERS: Final[Mapping[str, Any]] = {
    "pools": list(POOLS),
    "priorities": [int(priority) for priority in Priority],
    "most": LOOK_AT_MOST,
}

DEAD_LETTERS_SQL: Final = "SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL"

#: Kinds that are held back, and their held jobs; counting stops at 10 * `most`.
HELD_SQL: Final = """
SELECT kind_breaker.kind, held.rows FROM kind_breaker
 CROSS JOIN LATERAL (
     SELECT count(*) AS rows FROM (
         SELECT FROM job WHERE job.kind = kind_breaker.kind AND held AND state = 'QUEUED' LIMIT 10 * %(most)s
     ) AS first) AS held
 WHERE is_open
"""

SWEEPER_TICK_SQL: Final = "SELECT extract(epoch FROM now() - min(at)) FROM pool_state"


@contextmanager
def reading() -> Iterator[CursorWrapper]:
    """A cursor on one read-only snapshot, bounded as a whole; gives the connection back. Raises django.db.Error."""
    try:
        with postgres_deadline.deadline(DEADLINE_SECONDS), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cursor
    finally:
        connection.close()  # the thread ends after this read, and its connection must not end with it


def read() -> Sequence[Metric]:
    """Every family that comes from the tables. Raises django.db.Error when Postgres does not answer in time."""
    with reading() as cursor:
        found = [*open_job_families(cursor)]
        cursor.execute(DEAD_LETTERS_SQL)
        found.append(single(catalogue.DEAD_LETTERS, cursor.fetchone()[0]))
        cursor.execute(HELD_SQL, _PARAMETERS)
        found.append(family(catalogue.JOBS_HELD, [((kind,), float(held)) for kind, held in cursor.fetchall()]))
        cursor.execute(SWEEPER_TICK_SQL)
        (tick_age,) = cursor.fetchone()
    return found if tick_age is None else [*found, single(catalogue.SWEEPER_TICK_AGE, float(tick_age))]


def open_job_families(cursor: CursorWrapper) -> Iterator[Metric]:
    """Families over open rows; every pool and state is there, 0 where no row is."""
    still_open, running = by_pool(cursor, OPEN_SQL), by_pool(cursor, RUNNING_SQL)
    waiting, overdue = by_pool(cursor, WAITING_SQL), by_pool(cursor, OVERDUE_SQL)
    none, never = (0.0, 0.0, 0.0), (0.0,)
    pools = sorted({*POOLS, *still_open})

    def per_state(of: Callable[[str], tuple[float, float]]) -> list[Sample]:
        values = [(pool, zip(catalogue.POOL_STATES, of(pool), strict=True)) for pool in pools]
        return [((pool, state), value) for pool, states in values for state, value in states]

    def counts(pool: str) -> tuple[float, float]:
        (in_all,), (started, *_) = still_open.get(pool, never), running.get(pool, none)
        return in_all - started, started

    def ages(pool: str) -> tuple[float, float]:
        # A row with a not_before in the future has a negative age: it does not wait yet.
        return max(0.0, *waiting.get(pool, never)), running.get(pool, none)[1]

    yield family(catalogue.OPEN_JOBS, per_state(counts))
    yield family(catalogue.OLDEST_OPEN_AGE, per_state(ages))
    yield family(catalogue.LEASE_EXPIRED, [((pool,), running.get(pool, none)[2]) for pool in pools])
    yield family(catalogue.OVERDUE_DISPATCH, [((pool,), overdue.get(pool, never)[0]) for pool in pools])


def by_pool(cursor: CursorWrapper, sql: str) -> dict[str, tuple[float, ...]]:
    """Rows of a query whose first column is the pool."""
    cursor.execute(sql, _PARAMETERS)
    return {pool: tuple(float(value) for value in values) for pool, *values in cursor.fetchall()}
