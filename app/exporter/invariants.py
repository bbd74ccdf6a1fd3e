"""What must never be true, as SQL: each query counts the rows that break it.

Probe kinds apply exactly one effect, which is a row in the same database; that makes the promise checkable in one
snapshot. Looks back `WINDOW` over finished jobs and at `SAMPLE` waiting ones, so that the cost does not grow with the
table.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from django.db.backends.utils import CursorWrapper
from prometheus_client.core import Metric

from dispatch.pools import POOLS
from exporter.families import family
from exporter.postgres_truth import reading
from metrics import catalogue

WINDOW: Final = timedelta(hours=1)
SAMPLE: Final = 10_000  #: rows

_PARAMETERS: Final[Mapping[str, Any]] = {
    "window": WINDOW,
    "sample": SAMPLE,
    "pools": list(POOLS),
    "twice_lease": [timedelta(seconds=2 * pool.lease_seconds) for pool in POOLS.values()],
}

#: Name of the invariant (the metric's label) and the count of rows that break it.
QUERIES: Final[Mapping[str, str]] = {
    "success_without_effect": """
        SELECT count(*) FROM job LEFT JOIN probe_count ON probe_count.job_id = job.id
         WHERE job.finished_at > now() - %(window)s AND job.thinned_at IS NULL
           AND job.state = 'SUCCEEDED' AND job.kind LIKE 'probe.%%' AND probe_count.job_id IS NULL""",
    "effect_without_success": """
        SELECT count(*) FROM probe_count JOIN job ON job.id = probe_count.job_id
         WHERE job.finished_at > now() - %(window)s AND job.thinned_at IS NULL AND job.state <> 'SUCCEEDED'""",
    "effect_of_open_job": """
        SELECT count(*) FROM (
            (SELECT id FROM job WHERE state = 'QUEUED' ORDER BY id LIMIT %(sample)s)
            UNION ALL SELECT id FROM job WHERE state = 'RUNNING') AS still_open
          JOIN probe_count ON probe_count.job_id = still_open.id""",
    "effect_applied_twice": "SELECT count(*) FROM probe_count WHERE n <> 1",
    "two_live_rows_per_request": """
        SELECT count(*) FROM (
            SELECT FROM (SELECT owner, coalesce(stands_for, identity) AS request FROM job
                          WHERE state = 'QUEUED' AND (identity LIKE 'req:%%' OR identity LIKE 'replay:%%')
                          ORDER BY id DESC LIMIT %(sample)s) AS newest
             GROUP BY owner, request HAVING count(*) > 1) AS twice""",
    "uniqueness_not_enforced": """
        SELECT 2 - count(*) FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid
         WHERE pg_class.relname IN ('job_one_live_request', 'job_once_for_ever')
           AND pg_index.indrelid = 'job'::regclass AND indisunique AND indisvalid""",
    "nobody_will_hint": """
        SELECT count(*) FROM (
            SELECT FROM job
             WHERE pool = ANY(%(pools)s) AND priority IN (0, 3, 6) AND state IN ('QUEUED', 'RUNNING')
               AND next_dispatch_at > now() + interval '10 minutes' AND state = 'QUEUED'
               AND (not_before IS NULL OR next_dispatch_at > not_before + interval '10 minutes')
               AND NOT (held AND kind IN (SELECT kind FROM kind_breaker
                                           WHERE is_open OR changed_at > now() - interval '10 minutes'))
             LIMIT %(sample)s) AS forgotten""",
    "lease_too_far": """
        SELECT count(*) FROM job
          JOIN unnest(%(pools)s::text[], %(twice_lease)s::interval[]) AS pool (name, most) ON pool.name = job.pool
         WHERE job.state = 'RUNNING' AND job.lease_until > now() + pool.most""",
    "dead_letter_without_job": """
        SELECT count(*) FROM dead_letter LEFT JOIN job ON job.id = dead_letter.job_id
         WHERE dead_letter.created_at > now() - %(window)s AND dead_letter.job_id IS NOT NULL AND job.id IS NULL""",
    "failure_without_dead_letter": """
        SELECT count(*) FROM job LEFT JOIN dead_letter ON dead_letter.job_id = job.id
         WHERE job.finished_at > now() - %(window)s AND job.thinned_at IS NULL
           AND job.state = 'FAILED' AND dead_letter.id IS NULL""",
    "end_without_webhook": """
        SELECT count(*) FROM job
          LEFT JOIN job AS webhook ON webhook.owner = job.owner AND webhook.identity LIKE 'step:%%'
               AND webhook.identity = 'step:' || job.id || ':webhook'
         WHERE job.finished_at > now() - %(window)s AND job.thinned_at IS NULL
           AND job.callback_url <> '' AND webhook.id IS NULL""",
}


def read() -> Sequence[Metric]:
    """One family, a sample per invariant. Raises django.db.Error when Postgres does not answer in time."""
    with reading() as cursor:
        return [
            family(catalogue.INVARIANT_VIOLATIONS, [((name,), _count(cursor, sql)) for name, sql in QUERIES.items()])
        ]


def _count(cursor: CursorWrapper, sql: str) -> float:
    cursor.execute(sql, _PARAMETERS)
    return float(cursor.fetchone()[0])
