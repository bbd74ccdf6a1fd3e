"""The sweeper: look, take, give back, fail what is lost, enter an epoch."""

from typing import Final

from jobs.sql.fragments import DEAD_LETTER, GRACE_CAP_SECONDS, OPEN, event

# -- sweeper: look --------------------------------------------------------------------------------------------------
# Out per pool: hinted inside their grace (≤ window + 1), hinted and unclaimed at all (≤ twice that), priorities with
# due rows, whether a lease ran out.
# Each ORDER BY … LIMIT names the index that serves it: with stale statistics the planner would read the whole table.
LOOK: Final = f"""
    SELECT p.pool,
        (SELECT count(*) FROM (
            SELECT 1 FROM job WHERE pool = p.pool AND state = 'QUEUED' AND hinted_at IS NOT NULL
              AND next_dispatch_at > statement_timestamp()
            ORDER BY next_dispatch_at LIMIT %(hinted_limit)s) h),
        (SELECT count(*) FROM (
            SELECT 1 FROM job WHERE pool = p.pool AND state = 'QUEUED' AND hinted_at IS NOT NULL
            ORDER BY next_dispatch_at LIMIT 2 * %(hinted_limit)s) u),
        ARRAY(SELECT pr FROM unnest(%(priorities)s::smallint[]) pr WHERE (
            SELECT true FROM job WHERE pool = p.pool AND priority = pr AND {OPEN}
              AND next_dispatch_at <= statement_timestamp()
            ORDER BY next_dispatch_at, id LIMIT 1)),
        coalesce((SELECT true FROM job WHERE pool = p.pool AND state = 'RUNNING'
                    AND lease_until < statement_timestamp()
                  ORDER BY lease_until LIMIT 1), false)
    FROM unnest(%(pools)s::text[]) AS p (pool)
"""

# Out per pool: open jobs, counted up to the limit. Reads as many index entries as it counts.
COUNT_OPEN: Final = f"""
    SELECT p.pool, (SELECT count(*) FROM (
        SELECT 1 FROM job WHERE pool = p.pool AND {OPEN}
        ORDER BY priority, next_dispatch_at, id LIMIT %(limit)s) o)
    FROM unnest(%(pools)s::text[]) AS p (pool)
"""

# -- sweeper: take --------------------------------------------------------------------------------------------------
# Rows leave the due range before anything is published, so any number of sweepers is safe. `grace_seconds` is the
# distance of the *next* hint; sql.REFUSED takes the doubling back. A lease that ran out is hinted too: the claim
# rescues it. At the attempt ceiling no claim can win: sql.FAIL_LOST. Waiting jobs of the kinds `held` leave the due
# range for `hold` seconds and are not to be hinted; with `defer` neither are those whose last hint still stands in
# Redis, for another grace. Out: whether it is to be hinted, and the hint.
_TAKE: Final = """
    WITH due AS ({due} FOR UPDATE SKIP LOCKED), taken AS (
        SELECT due.id, job.state = 'QUEUED' AND job.kind = ANY(%(held)s::text[]) AS hold,
               job.state = 'QUEUED' AND job.hinted_at IS NOT NULL AND %(defer)s AS wait
        FROM due JOIN job USING (id)
    )
    UPDATE job SET held = hold,
        dispatch_gen = dispatch_gen + CASE WHEN hold OR wait THEN 0 ELSE 1 END,
        hinted_at = CASE WHEN hold THEN NULL WHEN wait THEN hinted_at ELSE clock_timestamp() END,
        broker_epoch = CASE WHEN hold OR wait THEN broker_epoch ELSE %(epoch)s END,
        next_dispatch_at = clock_timestamp() + make_interval(secs => CASE WHEN hold THEN %(hold)s
            ELSE greatest(grace_seconds, %(grace)s) * (0.8 + 0.4 * random()) END),
        grace_seconds = CASE WHEN hold OR wait THEN grace_seconds
            ELSE least(2 * greatest(grace_seconds, %(grace)s), {cap}) END
    FROM taken WHERE job.id = taken.id
    RETURNING NOT (hold OR wait), job.id, job.dispatch_gen, job.kind, job.pool, job.priority, job.request_hash,
              job.traceparent, job.attempt
"""
DUE: Final = f"""
    SELECT id FROM job
    WHERE pool = %(pool)s AND priority = %(priority)s AND {OPEN} AND next_dispatch_at <= statement_timestamp()
      AND (state = 'QUEUED' OR attempt < max_attempts AND %(leases)s)
    ORDER BY next_dispatch_at, id LIMIT %(limit)s
"""
_EXPIRED: Final = """
    SELECT id FROM job
    WHERE pool = %(pool)s AND state = 'RUNNING' AND lease_until < statement_timestamp()
      AND next_dispatch_at <= statement_timestamp() AND attempt < max_attempts
    ORDER BY lease_until LIMIT %(limit)s
"""
_HINTED: Final = """
    SELECT id FROM job
    WHERE pool = %(pool)s AND state = 'QUEUED' AND hinted_at IS NOT NULL AND next_dispatch_at <= statement_timestamp()
    ORDER BY next_dispatch_at LIMIT %(limit)s
"""
TAKE_HINTED: Final = _TAKE.format(due=_HINTED, cap=GRACE_CAP_SECONDS)
TAKE_DUE: Final = _TAKE.format(due=DUE, cap=GRACE_CAP_SECONDS)
TAKE_EXPIRED: Final = _TAKE.format(due=_EXPIRED, cap=GRACE_CAP_SECONDS)

# Hints that are older than the grace of an idle pool, doubled with each hint, are due now. Those of a lease that ran
# out are counted from its end, since `dispatch_gen` counts those before the claim too: as old as the lease was at the
# last hint is a distance that doubles.
LOST_DUE: Final = f"""
    WITH unclaimed AS (
        SELECT id FROM job
        WHERE pool = %(pool)s AND state = 'QUEUED' AND hinted_at IS NOT NULL
          AND next_dispatch_at > statement_timestamp() AND NOT held
          AND (not_before IS NULL OR not_before <= statement_timestamp())
          AND hinted_at < statement_timestamp()
            - make_interval(secs => least(%(grace)s * 2.0 ^ least(dispatch_gen - 1, 10), {GRACE_CAP_SECONDS}))
        ORDER BY next_dispatch_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), unrescued AS (
        SELECT id FROM job
        WHERE pool = %(pool)s AND state = 'RUNNING' AND lease_until < statement_timestamp()
          AND next_dispatch_at > statement_timestamp() AND hinted_at > lease_until
          AND hinted_at < statement_timestamp() - least(
              greatest(hinted_at - lease_until, make_interval(secs => %(grace)s)),
              make_interval(secs => {GRACE_CAP_SECONDS}))
        ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), lost AS (SELECT id FROM unclaimed UNION ALL SELECT id FROM unrescued)
    UPDATE job SET next_dispatch_at = clock_timestamp() FROM lost WHERE job.id = lost.id
"""

# A refused batch: due at once, where nobody hinted since.
REFUSED: Final = f"""
    WITH refused AS (
        SELECT job.id FROM unnest(%(ids)s::uuid[], %(gens)s::integer[]) AS r (id, gen)
        JOIN job ON job.id = r.id AND job.dispatch_gen = r.gen AND {OPEN}
        ORDER BY job.id FOR UPDATE OF job
    )
    UPDATE job SET hinted_at = NULL, grace_seconds = greatest(1, grace_seconds / 2),
        next_dispatch_at = greatest(clock_timestamp(), lease_until)
    FROM refused WHERE job.id = refused.id
"""

# Expired leases whose attempts are used up. Out: kind and what jobs.webhooks.creation.Ended holds, per row.
FAIL_LOST: Final = f"""
    WITH lost AS (
        SELECT id FROM job
        WHERE pool = %(pool)s AND state = 'RUNNING' AND lease_until < statement_timestamp() AND attempt >= max_attempts
        ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), done AS (
        UPDATE job SET state = 'FAILED', lease_token = lease_token + 1, lease_until = NULL,
            finished_at = clock_timestamp(), error_class = 'WorkerLost',
            error_message = 'the lease of attempt ' || attempt || ' (' || leased_by || ') ran out'
        FROM lost WHERE job.id = lost.id
        RETURNING job.*
    ), noted AS ({event("done", "'failed'", "'sweeper'", before="'RUNNING'", reason="'worker_lost'")}
    ), dead AS ({DEAD_LETTER.format(reason="'worker_lost'")})
    SELECT kind, id, owner, farm_id, priority, callback_url, traceparent FROM done
"""

# -- sweeper: state of the pools, epoch, samples ----------------------------------------------------------------------
WRITE_POOLS: Final = """
    INSERT INTO pool_state (pool, open, hinted, ready, behind, grace_seconds, at)
    SELECT pool, open, hinted, ready, behind, grace, clock_timestamp()
    FROM unnest(%(pools)s::text[], %(open)s::bigint[], %(hinted)s::integer[], %(ready)s::bigint[],
                %(behind)s::boolean[], %(grace)s::smallint[]) AS p (pool, open, hinted, ready, behind, grace)
    ORDER BY pool
    ON CONFLICT (pool) DO UPDATE SET open = excluded.open, hinted = excluded.hinted, ready = excluded.ready,
        behind = excluded.behind, grace_seconds = excluded.grace_seconds, at = excluded.at
"""
# In: epoch, outage seconds (0 = none). Out: a row for the one sweeper that sees it first.
ENTER_EPOCH: Final = """
    INSERT INTO broker_state (id, epoch, since) VALUES (1, %(epoch)s, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, since = excluded.since
    WHERE broker_state.epoch <> excluded.epoch
       OR broker_state.since < clock_timestamp() - make_interval(secs => %(outage)s) AND %(outage)s > 0
    RETURNING epoch
"""
# Hints of an older epoch may be lost: `rate` of them are due now, `rate` more each second, so that the new broker is
# not flooded. Those of leases that ran out come first.
EPOCH_DUE: Final = f"""
    WITH hinted AS (
        SELECT id, 1 AS turn, priority, next_dispatch_at FROM job
        WHERE pool = %(pool)s AND state = 'QUEUED' AND hinted_at IS NOT NULL
          AND next_dispatch_at > statement_timestamp()
        UNION ALL
        SELECT id, 0, priority, next_dispatch_at FROM job
        WHERE pool = %(pool)s AND state = 'RUNNING' AND lease_until < statement_timestamp()
          AND next_dispatch_at > statement_timestamp() AND hinted_at > lease_until
    ), placed AS (
        SELECT id, row_number() OVER (ORDER BY turn, priority, next_dispatch_at, id) - 1 AS position FROM hinted
    ), locked AS (
        SELECT job.id, position FROM job JOIN placed USING (id)
        WHERE job.{OPEN} AND (job.state = 'QUEUED' OR job.lease_until < statement_timestamp())
        ORDER BY job.id FOR UPDATE OF job SKIP LOCKED
    )
    UPDATE job SET grace_seconds = %(grace)s,
        next_dispatch_at = least(next_dispatch_at,
                                 clock_timestamp() + make_interval(secs => position / %(rate)s::bigint))
    FROM locked WHERE job.id = locked.id
"""
# Out: seconds from hint to claim of attempts that began and ended within the last minute, by pool. One that was claimed
# longer ago says how busy the pool was then.
HINT_TO_CLAIM: Final = """
    SELECT pool, percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds) FROM (
        SELECT pool, extract(epoch FROM started_at - hinted_at)::float8 AS seconds FROM job
        WHERE finished_at > statement_timestamp() - interval '60 seconds' AND thinned_at IS NULL
          AND started_at > statement_timestamp() - interval '60 seconds'
          AND hinted_at IS NOT NULL AND started_at >= hinted_at
        ORDER BY finished_at DESC LIMIT 1000
    ) sample GROUP BY pool
"""
