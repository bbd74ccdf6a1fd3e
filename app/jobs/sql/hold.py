"""Kinds that fail in bulk: notice, hold back, probe, let go. The rule stands in `jobs.kind_breaker`."""

from typing import Final

from jobs.sql.fragments import QUEUED, RUNNING

# Out per kind: jobs that failed and attempts that succeeded lately, and since its breaker last changed. Looks at the
# newest `events` rows of the timelines, so that its cost does not grow with them.
KIND_ENDS: Final = """
    SELECT kind, count(DISTINCT job_id) FILTER (WHERE event <> 'succeeded'),
           count(*) FILTER (WHERE event = 'succeeded')
    FROM (
        SELECT job.kind, recent.job_id, recent.event, recent.at
        FROM (SELECT job_id, event, reason, at FROM job_event ORDER BY id DESC LIMIT %(events)s) recent
        JOIN job ON job.id = recent.job_id
        WHERE recent.event IN ('succeeded', 'retried')
           OR recent.event = 'failed' AND recent.reason = 'attempts_exhausted'
    ) ends LEFT JOIN kind_breaker USING (kind)
    WHERE at > statement_timestamp() - make_interval(secs => %(window)s) AND (changed_at IS NULL OR at > changed_at)
    GROUP BY kind
"""
# Out: kinds whose breaker this statement opened or closed; another sweeper may have been faster.
OPEN_KINDS: Final = """
    INSERT INTO kind_breaker (kind, is_open, changed_at)
    SELECT kind, true, clock_timestamp() FROM unnest(%(kinds)s::text[]) AS k (kind) ORDER BY kind
    ON CONFLICT (kind) DO UPDATE SET is_open = true, changed_at = excluded.changed_at, probe_id = NULL, probed_at = NULL
    WHERE NOT kind_breaker.is_open
    RETURNING kind
"""
CLOSE_KINDS: Final = """
    UPDATE kind_breaker SET is_open = false, changed_at = clock_timestamp(), probe_id = NULL
    WHERE kind = ANY(%(kinds)s::text[]) AND is_open RETURNING kind
"""
KIND_BREAKERS: Final = "SELECT kind, is_open FROM kind_breaker"

# Hints that are out: their messages win nothing, so the window has room for other kinds.
HOLD_HINTED: Final = """
    WITH out AS (
        SELECT job.id FROM job JOIN kind_breaker ON kind_breaker.kind = job.kind AND is_open
        WHERE job.pool = ANY(%(pools)s::text[]) AND job.state = 'QUEUED' AND job.hinted_at IS NOT NULL
          AND job.next_dispatch_at > statement_timestamp() AND probe_id IS DISTINCT FROM job.id
        LIMIT %(limit)s FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE job SET held = true, hinted_at = NULL, grace_seconds = %(grace)s,
        next_dispatch_at = clock_timestamp() + make_interval(secs => %(hold)s)
    FROM out WHERE job.id = out.id
"""

# One held job per open kind, when its last probe has ended: the next one by id of those tried least. A probe whose hint
# waits to be claimed stays the probe, however long the list is, and its hint is repeated after `repeat` seconds, as it
# may be lost: before it is due, or the feed that follows would hold it back. Out: the hint.
_CANDIDATE: Final = """
    SELECT id FROM (
        SELECT id, attempt FROM job
        WHERE job.kind = kind_breaker.kind AND held AND state = 'QUEUED' {after} ORDER BY id LIMIT 100
    ) waiting ORDER BY attempt, id LIMIT 1"""
_UNCLAIMED: Final = f"{QUEUED} AND hinted_at IS NOT NULL"
PROBE_KINDS: Final = f"""
    WITH turn AS (
        UPDATE kind_breaker SET probed_at = clock_timestamp(),
            probe_id = coalesce((SELECT id FROM job WHERE id = probe_id AND {_UNCLAIMED}),
                ({_CANDIDATE.format(after="AND id > probe_id")}), ({_CANDIDATE.format(after="")}), probe_id)
        WHERE is_open AND (probed_at IS NULL OR probed_at < clock_timestamp() - make_interval(secs => %(every)s))
          AND NOT EXISTS (
              SELECT 1 FROM job WHERE id = probe_id
              AND ({RUNNING} OR {_UNCLAIMED} AND next_dispatch_at > clock_timestamp()
                   AND hinted_at > clock_timestamp() - make_interval(secs => %(repeat)s)))
        RETURNING probe_id
    )
    UPDATE job SET held = false, dispatch_gen = dispatch_gen + 1, hinted_at = clock_timestamp(),
        broker_epoch = %(epoch)s, next_dispatch_at = clock_timestamp() + make_interval(secs => 2 * %(repeat)s)
    FROM turn WHERE job.id = turn.probe_id AND {QUEUED} AND (held OR hinted_at IS NOT NULL)
    RETURNING job.id, job.dispatch_gen, job.kind, job.pool, job.priority, job.request_hash, job.traceparent,
              job.attempt
"""

LET_GO: Final = """
    WITH free AS (
        SELECT id FROM job WHERE kind = ANY(%(kinds)s::text[]) AND held AND state = 'QUEUED'
        ORDER BY kind, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    UPDATE job SET held = false, next_dispatch_at = greatest(clock_timestamp(), not_before)
    FROM free WHERE job.id = free.id
"""
