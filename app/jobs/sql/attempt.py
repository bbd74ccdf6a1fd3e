"""One attempt: claim, renew, and the ways out of RUNNING; and what the bridge asks before."""

from typing import Final

from jobs.sql.fragments import DEAD_LETTER, QUEUED, RUNNING, event, lease

# -- claim ----------------------------------------------------------------------------------------------------------
# In: `key`, and `first_key` of the same claim when its answer was lost: the repetition finds the lease that it won,
# which is no new attempt. Keys of one claim grow, so that what a frozen server executes late takes over from no later
# one.
# In: also `ids`, each once; each row is won or not by itself. `alone` = it is one: of several only those are won that
# were never tried, so that a job that kills its worker does so to its neighbours once, however old the message.
# The grace starts anew: how often the job was hinted until now says nothing of how long its rescue may take.
# Out: one row for each job that exists. `token` null = not won; `was`, `attempt` and the times say why.
_OWN: Final = "{row}.state || '' = 'RUNNING' AND {row}.claim_key >= %(first_key)s AND {row}.claim_key < %(key)s"
#: The kind's breaker is open, and this job is not its probe.
_HOLDS: Final = "b.is_open AND b.probe_id IS DISTINCT FROM job.id"
CLAIM: Final = f"""
    WITH claimed AS (
        UPDATE job SET state = 'RUNNING', attempt = attempt + CASE WHEN {_OWN.format(row="job")} THEN 0 ELSE 1 END,
            lease_token = lease_token + 1, leased_by = %(leased_by)s, claim_key = %(key)s,
            started_at = clock_timestamp(), held = false, grace_seconds = %(grace)s,
            lease_until = clock_timestamp() + {lease()}, next_dispatch_at = clock_timestamp() + {lease()}
        WHERE id = ANY(%(ids)s::uuid[])
          AND ({_OWN.format(row="job")}
               OR attempt < max_attempts AND (%(alone)s OR attempt = 0)
                  AND ({QUEUED} AND (not_before IS NULL OR not_before <= clock_timestamp())
                       AND NOT EXISTS (SELECT 1 FROM kind_breaker AS b WHERE b.kind = job.kind AND {_HOLDS})
                       OR {RUNNING} AND lease_until < clock_timestamp()))
        RETURNING id, state, attempt, lease_token, dispatch_gen, started_at
    ), noted AS (
        INSERT INTO job_event (job_id, at, event, actor, from_state, to_state, attempt, lease_token, dispatch_gen,
                               reason)
        SELECT id, claimed.started_at,
               CASE WHEN was.state = 'QUEUED' THEN 'claimed' WHEN {_OWN.format(row="was")} THEN 'claimed again'
                    ELSE 'rescued' END, %(leased_by)s,
               was.state, 'RUNNING', claimed.attempt, claimed.lease_token, claimed.dispatch_gen,
               CASE WHEN was.state = 'QUEUED' THEN '' WHEN {_OWN.format(row="was")} THEN 'the first answer was lost'
                    ELSE 'lease of ' || was.leased_by || ' ran out' END
        FROM claimed JOIN job was USING (id)
    )
    SELECT job.id, job.state AS was, claimed.lease_token, claimed.attempt, job.max_attempts, job.root_id, job.owner,
           job.kind, job.pool, job.farm_id, job.params, job.callback_url, job.priority, job.traceparent,
           extract(epoch FROM claimed.started_at - job.hinted_at)::float8,
           extract(epoch FROM claimed.started_at - job.lease_until)::float8,
           coalesce(job.not_before > clock_timestamp(), false),
           EXISTS (SELECT 1 FROM kind_breaker AS b WHERE b.kind = job.kind AND {_HOLDS})
    FROM job LEFT JOIN claimed USING (id) WHERE job.id = ANY(%(ids)s::uuid[])
"""

# -- out of RUNNING, fenced: no row back = the token is stale ---------------------------------------------------------
# In: arrays of equal length. By place and not by a join: with `id = ANY` the plan is the primary key, whatever the
# statistics said when it was made.
_PLACE: Final = "array_position(%(ids)s::uuid[], id)"
_HELD: Final = f"id = ANY(%(ids)s::uuid[]) AND {RUNNING} AND lease_token = (%(tokens)s::bigint[])[{_PLACE}]"
FINISH: Final = f"""
    WITH done AS (
        UPDATE job SET state = 'SUCCEEDED', lease_token = lease_token + 1, lease_until = NULL,
            finished_at = clock_timestamp(), result = (%(results)s::text[])[{_PLACE}]::jsonb,
            files = (%(files)s::text[])[{_PLACE}]::jsonb, error_class = '', error_message = ''
        WHERE {_HELD}
        RETURNING id, state, attempt, lease_token, dispatch_gen, leased_by,
                  extract(epoch FROM finished_at - greatest(accepted_at, not_before))::float8 AS seconds
    ), noted AS ({event("done", "'succeeded'", "leased_by", before="'RUNNING'")})
    SELECT id, seconds FROM done
"""
# While the kind's breaker is open the attempt is given back.
RETRY: Final = f"""
    WITH done AS (
        UPDATE job SET state = 'QUEUED', lease_token = lease_token + 1, lease_until = NULL, leased_by = '',
            attempt = attempt - (SELECT count(*) FROM kind_breaker AS b WHERE b.kind = job.kind AND b.is_open),
            not_before = clock_timestamp() + make_interval(secs => %(delay)s),
            next_dispatch_at = clock_timestamp() + make_interval(secs => %(delay)s),
            hinted_at = NULL, grace_seconds = %(grace)s,
            error_class = %(error_class)s, error_message = %(error_message)s
        WHERE id = %(id)s AND {RUNNING} AND lease_token = %(token)s AND attempt < max_attempts
        RETURNING id, state, attempt, lease_token, dispatch_gen
    ), noted AS ({event("done", "'retried'", "%(actor)s", before="'RUNNING'", reason="%(reason)s")})
    SELECT id FROM done
"""
FAIL: Final = f"""
    WITH done AS (
        UPDATE job SET state = 'FAILED', lease_token = lease_token + 1, lease_until = NULL,
            finished_at = clock_timestamp(), error_class = %(error_class)s, error_message = %(error_message)s
        WHERE id = %(id)s AND {RUNNING} AND lease_token = %(token)s
        RETURNING *
    ), noted AS ({event("done", "'failed'", "leased_by", before="'RUNNING'", reason="%(reason)s")}
    ), dead AS ({DEAD_LETTER.format(reason="%(reason)s")})
    SELECT extract(epoch FROM finished_at - greatest(accepted_at, not_before))::float8 FROM done
"""
# In: ids of one instance, and their tokens or null for whatever they are. The attempt is given back: it did not fail.
HAND_BACK: Final = f"""
    WITH done AS (
        UPDATE job SET state = 'QUEUED', lease_token = lease_token + 1, lease_until = NULL, leased_by = '',
            attempt = attempt - 1, next_dispatch_at = clock_timestamp(), hinted_at = NULL
        WHERE id = ANY(%(ids)s::uuid[]) AND {RUNNING} AND leased_by = %(leased_by)s
          AND coalesce(lease_token = (%(tokens)s::bigint[])[{_PLACE}], true)
        RETURNING id, state, attempt, lease_token, dispatch_gen
    ), noted AS ({event("done", "'handed_back'", "%(leased_by)s", before="'RUNNING'")})
    SELECT id FROM done
"""
# Out: one row when the job exists and is theirs; `cancelled` false = it was terminal already.
CANCEL: Final = """
    WITH was AS (
        SELECT id, state FROM job
        WHERE id = %(id)s AND (owner = %(owner)s OR %(see_all)s) FOR UPDATE
    ), done AS (
        UPDATE job SET state = 'CANCELLED', lease_token = lease_token + 1, lease_until = NULL,
            cancel_requested_at = clock_timestamp(), finished_at = clock_timestamp()
        FROM was WHERE job.id = was.id AND was.state IN ('QUEUED', 'RUNNING')
        RETURNING job.*, was.state AS before
    ), noted AS (
        INSERT INTO job_event (job_id, at, event, actor, from_state, to_state, attempt, lease_token, dispatch_gen,
                               reason)
        SELECT id, clock_timestamp(), 'cancelled', %(actor)s, before, 'CANCELLED', attempt, lease_token,
               dispatch_gen, ''
        FROM done
    )
    SELECT was.state, done.id IS NOT NULL, coalesce(done.attempt, 0), coalesce(done.kind, ''),
           done.owner, done.farm_id, done.priority, done.callback_url, done.traceparent
    FROM was LEFT JOIN done USING (id)
"""

# -- heartbeat ------------------------------------------------------------------------------------------------------
# Waits for no row: one that is locked is about to change hands, its lease is left to the next beat, and it counts as
# held until then. Waiting for a finish of several, which locks in an order of its own, could end in a deadlock.
_OURS: Final = f"SELECT id FROM job WHERE id = ANY(%(ids)s::uuid[]) AND {RUNNING} AND leased_by = %(leased_by)s"
RENEW: Final = f"""
    WITH free AS ({_OURS} FOR UPDATE SKIP LOCKED), renewed AS (
        UPDATE job SET lease_until = clock_timestamp() + {lease()}, next_dispatch_at = clock_timestamp() + {lease()}
        FROM free WHERE job.id = free.id
    )
    {_OURS}
"""

# -- probes: not idempotent on purpose --------------------------------------------------------------------------------
COUNT_PROBE: Final = """
    INSERT INTO probe_count (job_id, n) VALUES (%(id)s, 1)
    ON CONFLICT (job_id) DO UPDATE SET n = probe_count.n + 1
"""

# -- bridge -----------------------------------------------------------------------------------------------------------
# Out: also whether the job may share a message: never tried, and of one of the `batchable` kinds.
DISPATCHABLE: Final = """
    SELECT id, attempt = 0 AND kind = ANY(%(batchable)s::text[]) FROM job
    WHERE id = ANY(%(ids)s::uuid[])
      AND (state = 'QUEUED' AND (not_before IS NULL OR not_before <= clock_timestamp())
           OR state = 'RUNNING' AND lease_until < clock_timestamp())
"""

# -- ledger of effects outside the database. Out: the state ------------------------------------------------------------
INTEND: Final = """
    INSERT INTO effect (root_id, name, state, intended_at, detail)
    VALUES (%(root)s, %(name)s, 'intended', clock_timestamp(), '{}')
    ON CONFLICT (root_id, name) DO UPDATE SET name = excluded.name RETURNING state
"""
CONFIRM: Final = """
    UPDATE effect SET state = 'done', done_at = coalesce(done_at, clock_timestamp()), detail = %(detail)s::jsonb
    WHERE root_id = %(root)s AND name = %(name)s RETURNING state
"""
