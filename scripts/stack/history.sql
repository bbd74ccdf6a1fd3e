-- The rows that `scripts.checker` judges, one JSON object per line, in one snapshot. Its package says the form.
-- :'since' = Unix time; jobs that were accepted before are left out, and what they were replayed from.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT json_strip_nulls(json_build_object(
    'row', 'job', 'id', id, 'state', state, 'token', lease_token, 'attempt', attempt, 'max_attempts', max_attempts,
    'accepted', extract(epoch FROM accepted_at), 'ended', extract(epoch FROM finished_at),
    'hash', owner || ' ' || coalesce(stands_for, identity), 'request', params ->> 'tag', 'parent', parent_id,
    'replay_of', (SELECT dead.id FROM job AS dead
                   WHERE dead.id = job.replay_of_id AND dead.accepted_at >= to_timestamp(:'since'::float8)),
    'schedule', CASE WHEN identity LIKE 'tick:%' THEN split_part(identity, ':', 2) END,
    'tick', CASE WHEN identity LIKE 'tick:%' THEN substring(identity FROM '^tick:[^:]*:(.*)$') END,
    'wants', CASE WHEN kind LIKE 'probe.%' THEN 1 END, 'kind', kind, 'error', nullif(error_class, '')))
  FROM job WHERE accepted_at >= to_timestamp(:'since'::float8) AND thinned_at IS NULL;
SELECT json_build_object(
    'row', 'step', 'job', job_id, 'seq', job_event.id, 'from', from_state, 'to', to_state, 'token', job_event.lease_token,
    'wall', extract(epoch FROM at), 'actor', actor, 'event', event, 'reason', reason)
  FROM job_event JOIN job ON job.id = job_id
 WHERE accepted_at >= to_timestamp(:'since'::float8) AND thinned_at IS NULL;
SELECT json_build_object('row', 'effect', 'job', job_id, 'name', 'probe', 'count', n)
  FROM probe_count LEFT JOIN job ON job.id = job_id
 WHERE job.id IS NULL OR accepted_at >= to_timestamp(:'since'::float8);
SELECT json_strip_nulls(json_build_object(
    'row', 'dead_letter', 'job', job_id, 'reason', reason, 'replayed_as', replayed_as_id))
  FROM dead_letter WHERE coalesce(accepted_at, created_at) >= to_timestamp(:'since'::float8);
-- Only these can be reckoned up here: each minute, and none is skipped. Its first tick lies ahead of its creation; one
-- that was paused owes nothing since its last tick.
SELECT json_build_object('row', 'schedule', 'name', name, 'due', coalesce(json_agg(
    to_char(tick AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) FILTER (WHERE tick IS NOT NULL), '[]'))
  FROM schedule LEFT JOIN LATERAL generate_series(
    date_trunc('minute', greatest(created_at, to_timestamp(:'since'::float8))) + interval '1 minute',
    CASE WHEN paused THEN last_tick_at ELSE greatest(last_tick_at, now() - interval '30 seconds') END,
    interval '1 minute') AS tick ON true
 WHERE cron = '* * * * *' AND missed = 'all' GROUP BY name;
COMMIT;
