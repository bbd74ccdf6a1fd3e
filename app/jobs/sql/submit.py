"""Accepting: API key, submit, Idempotency-Key, admission."""

from typing import Final

from jobs.sql.fragments import IdentityForm, event

# -- API key --------------------------------------------------------------------------------------------------------
# Out: digest of the secret, whether its last use is not noted since `step`, and what jobs.keys.LiveKey holds.
READ_LIVE_KEY: Final = """
    SELECT secret_sha256, last_used_at IS NULL OR last_used_at < statement_timestamp() - %(step)s::interval,
           id, owner, scopes, rate_limit
    FROM api_key WHERE id = %(id)s AND revoked_at IS NULL
"""
NOTE_KEY_USE: Final = """
    UPDATE api_key SET last_used_at = clock_timestamp()
    WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < statement_timestamp() - %(step)s::interval)
"""

# -- submit ---------------------------------------------------------------------------------------------------------
# In: arrays of equal length, sorted by what they stand for, each once. Out: one row per input, in any order: its place
# from 0, the job that it met, the state, the generation of its hint. No job met = created, unless there is no state:
# then an equal request stood there and is gone, or is not yet visible: again.
_SUBMIT: Final = """
    WITH asked AS (
        SELECT *, may_hint AND (not_before IS NULL OR not_before <= statement_timestamp()) AS hint,
               clock_timestamp() AS now
        FROM unnest(
            %(ids)s::uuid[], %(owners)s::text[], %(identities)s::text[], %(hashes)s::text[], %(kinds)s::text[],
            %(pools)s::text[], %(farms)s::text[], %(params)s::text[], %(callbacks)s::text[], %(priorities)s::smallint[],
            %(not_before)s::timestamptz[], %(max_attempts)s::smallint[], %(roots)s::uuid[], %(parents)s::uuid[],
            %(replays)s::uuid[], %(stand_for)s::text[], %(hint)s::boolean[], %(grace)s::integer[]
        ) WITH ORDINALITY AS a (
            id, owner, identity, request_hash, kind, pool, farm_id, params, callback_url, priority, not_before,
            max_attempts, root_id, parent_id, replay_of_id, stands_for, may_hint, grace, place)
    ), created AS (
        INSERT INTO job (
            id, owner, identity, request_hash, hash_version, kind, pool, farm_id, params, callback_url, priority,
            traceparent, root_id, parent_id, replay_of_id, stands_for, previous_id, state, max_attempts, not_before,
            next_dispatch_at, dispatch_gen, hinted_at, grace_seconds, broker_epoch, accepted_at, files)
        SELECT id, owner, identity, request_hash, %(hash_version)s, kind, pool, farm_id, params::jsonb, callback_url,
               priority, %(traceparent)s, root_id, parent_id, replay_of_id, stands_for,
               (SELECT dead.id FROM job dead
                WHERE dead.owner = t.owner AND dead.identity = t.identity AND dead.state IN ('FAILED', 'CANCELLED')
                ORDER BY dead.id DESC LIMIT 1),
               'QUEUED', max_attempts, not_before,
               CASE WHEN hint THEN now + make_interval(secs => grace) ELSE greatest(now, not_before) END,
               CASE WHEN hint THEN 1 ELSE 0 END,
               CASE WHEN hint THEN now END,
               CASE WHEN hint THEN least(2 * grace, %(grace_cap)s) ELSE grace END,
               CASE WHEN hint THEN %(epoch)s ELSE '' END,
               now, '[]'::jsonb
        FROM asked t ORDER BY coalesce(stands_for, identity)
        ON CONFLICT (owner, ({key})) WHERE {predicate} DO NOTHING
        RETURNING id, owner, state, attempt, lease_token, dispatch_gen
    ), noted AS ({event})
    SELECT asked.place - 1, met.id, coalesce(created.state, met.state, ''), coalesce(created.dispatch_gen, 0)
    FROM asked
    LEFT JOIN created ON created.id = asked.id
    LEFT JOIN LATERAL (
        SELECT id, state FROM job
        WHERE created.id IS NULL AND owner = asked.owner AND {key} = coalesce(asked.stands_for, asked.identity)
          AND {predicate}
    ) met ON true
"""
# Without the indentation: psycopg parses a statement of more than 4,096 characters anew at each use.
SUBMIT: Final = {
    form: " ".join(
        _SUBMIT.format(
            predicate=form.value, key=form.key, event=event("created", "'accepted'", "owner", before="''")
        ).split()
    )
    for form in IdentityForm
}

# -- Idempotency-Key ------------------------------------------------------------------------------------------------
RESERVE_KEY: Final = """
    INSERT INTO idempotency_key (owner, key, body_hash, created_at)
    VALUES (%(owner)s, %(key)s, %(body_hash)s, clock_timestamp())
    ON CONFLICT (owner, key) DO NOTHING RETURNING id
"""
READ_KEY: Final = """
    SELECT body_hash, ARRAY(SELECT jsonb_array_elements_text(answer -> 'ids'))
    FROM idempotency_key WHERE owner = %(owner)s AND key = %(key)s
"""
ANSWER_KEY: Final = """
    UPDATE idempotency_key SET status = %(status)s, answer = jsonb_build_object('ids', to_jsonb(%(ids)s::text[]))
    WHERE owner = %(owner)s AND key = %(key)s
"""

# -- admission ------------------------------------------------------------------------------------------------------
# Out: pool, open, hinted, behind, grace, age of the row in seconds, broker epoch.
READ_POOLS: Final = """
    SELECT pool, open, hinted, behind, grace_seconds, extract(epoch FROM clock_timestamp() - at),
           coalesce((SELECT epoch FROM broker_state WHERE id = 1), '')
    FROM pool_state
"""
