-- What must never be true. Each query finds one text per thing that breaks it: the job's id, where there is a job.
-- The exporter counts them at scrape time (exporter/invariants.py), `make verify-data` names them (scripts/stack).
--
-- A section is `-- name: …` and SQL up to the next one; one that begins with _ is a piece that later ones put in.
-- %(seconds)s = how far back ended jobs are looked at; %(rows)s = how many rows of each sort, the newest first, so that
-- the cost grows neither with the table nor with the rate. %% is a percent sign. Both readers fill in by Python's `%`.
--
-- Probe kinds apply exactly one effect, which is a row in the same database; that makes the promise checkable in one
-- snapshot. The timeline does it for every kind: a transition and its event are one statement.

-- name: _ended
(SELECT id, owner, kind, state, callback_url FROM job
  WHERE finished_at > now() - make_interval(secs => %(seconds)s) AND thinned_at IS NULL
  ORDER BY finished_at DESC LIMIT %(rows)s)

-- name: _events
(SELECT id, job_id, to_state, lease_token FROM job_event ORDER BY id DESC LIMIT 4 * %(rows)s::bigint)

-- name: success_without_effect
SELECT ended.id::text FROM %(_ended)s AS ended LEFT JOIN probe_count ON probe_count.job_id = ended.id
 WHERE ended.state = 'SUCCEEDED' AND ended.kind LIKE 'probe.%%' AND probe_count.job_id IS NULL

-- name: effect_without_success
SELECT ended.id::text FROM %(_ended)s AS ended JOIN probe_count ON probe_count.job_id = ended.id
 WHERE ended.state <> 'SUCCEEDED'

-- name: effect_of_open_job
SELECT still_open.id::text FROM (
    (SELECT id FROM job WHERE state = 'QUEUED' ORDER BY id LIMIT %(rows)s)
    UNION ALL SELECT id FROM job WHERE state = 'RUNNING') AS still_open
  JOIN probe_count ON probe_count.job_id = still_open.id

-- name: effect_applied_twice
SELECT job_id::text FROM probe_count WHERE n <> 1

-- name: ended_twice
SELECT job_id::text FROM %(_events)s AS newest
 WHERE to_state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') GROUP BY job_id HAVING count(*) > 1

-- name: lease_token_did_not_grow
SELECT DISTINCT job_id::text FROM (
    SELECT job_id, lease_token, lag(lease_token) OVER (PARTITION BY job_id ORDER BY id) AS before
      FROM %(_events)s AS newest) AS step
 WHERE lease_token <= before

-- name: _requests
id, owner, coalesce(stands_for, identity) AS request FROM job
 WHERE (identity LIKE 'req:%%' OR identity LIKE 'replay:%%')

-- name: two_live_rows_per_request
SELECT max(id::text) FROM (
    (SELECT %(_requests)s AND state = 'QUEUED' ORDER BY id DESC LIMIT %(rows)s)
    UNION ALL (SELECT %(_requests)s AND state = 'SUCCEEDED' ORDER BY id DESC LIMIT %(rows)s)
    UNION ALL SELECT %(_requests)s AND state = 'RUNNING') AS newest
 GROUP BY owner, request HAVING count(*) > 1

-- name: uniqueness_not_enforced
SELECT wanted.name FROM unnest(ARRAY['job_one_live_request', 'job_once_for_ever']) AS wanted (name)
 WHERE NOT EXISTS (
    SELECT FROM pg_index JOIN pg_class ON pg_class.oid = pg_index.indexrelid
     WHERE pg_class.relname = wanted.name AND pg_index.indrelid = 'job'::regclass AND indisunique AND indisvalid)

-- name: nobody_will_hint
SELECT id::text FROM job
 WHERE pool IN ('fast', 'cpu', 'io') AND priority IN (0, 3, 6) AND state IN ('QUEUED', 'RUNNING')
   AND next_dispatch_at > now() + interval '10 minutes' AND state = 'QUEUED'
   AND (not_before IS NULL OR next_dispatch_at > not_before + interval '10 minutes')
   AND NOT (held AND kind IN (SELECT kind FROM kind_breaker
                               WHERE is_open OR changed_at > now() - interval '10 minutes'))

-- name: lease_too_far
-- Twice the lease of each pool, in seconds.
SELECT job.id::text FROM job JOIN (VALUES ('fast', 20), ('cpu', 60), ('io', 40)) AS pool (name, most) ON name = job.pool
 WHERE job.state = 'RUNNING' AND job.lease_until > now() + make_interval(secs => pool.most)

-- name: dead_letter_without_job
SELECT dead_letter.job_id::text FROM (
    SELECT job_id FROM dead_letter WHERE created_at > now() - make_interval(secs => %(seconds)s)
     ORDER BY created_at DESC LIMIT %(rows)s) AS dead_letter
  LEFT JOIN job ON job.id = dead_letter.job_id
 WHERE dead_letter.job_id IS NOT NULL AND job.id IS NULL

-- name: failure_without_dead_letter
SELECT ended.id::text FROM %(_ended)s AS ended LEFT JOIN dead_letter ON dead_letter.job_id = ended.id
 WHERE ended.state = 'FAILED' AND dead_letter.id IS NULL

-- name: end_without_webhook
SELECT ended.id::text FROM %(_ended)s AS ended
  LEFT JOIN job AS webhook ON webhook.owner = ended.owner AND webhook.identity LIKE 'step:%%'
       AND webhook.identity = 'step:' || ended.id || ':webhook'
 WHERE ended.callback_url <> '' AND webhook.id IS NULL
