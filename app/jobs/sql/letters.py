"""Dead letters: what the sweeper announces, what a replay meets."""

from typing import Final

from jobs.sql.fragments import IdentityForm

# Out: oldest first. The announcement cuts at bytes; characters are never more.
UNANNOUNCED: Final = """
    SELECT id, original_id, owner, kind, pool, reason, delivery_count, error_class, left(payload::text, %(characters)s),
           coalesce(extract(epoch FROM accepted_at) * 1000, 0)::bigint, (extract(epoch FROM created_at) * 1000)::bigint
    FROM dead_letter WHERE announced_at IS NULL ORDER BY created_at, id LIMIT %(limit)s
"""
# In the order in which replays lock letters.
MARK_ANNOUNCED: Final = """
    UPDATE dead_letter SET announced_at = clock_timestamp()
    FROM (SELECT id FROM dead_letter WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE) said
    WHERE dead_letter.id = said.id
"""

# In: dead jobs, what they stand for, their hashes. Out: the job that lives in the place of each: another replay of the
# same root, or a plain submit of the same request after it died.
LIVE_OF_DEAD: Final = f"""
    SELECT asked.id, live.id, live.state, live.request_hash, live.kind, live.pool
    FROM unnest(%(ids)s::uuid[], %(owners)s::text[], %(keys)s::text[], %(hashes)s::text[]) asked (id, owner, key, hash)
    JOIN LATERAL (
        SELECT id, state, request_hash, kind, pool FROM job
        WHERE owner = asked.owner AND {IdentityForm.LIVE.key} IN (asked.key, 'req:' || asked.hash)
          AND {IdentityForm.LIVE} AND ({IdentityForm.LIVE.key} = asked.key OR id > asked.id)
        ORDER BY id DESC LIMIT 1
    ) live ON true
"""
MARK_REPLAYED: Final = """
    UPDATE dead_letter SET replayed_as_id = job_id_now, replayed_at = clock_timestamp(), replayed_by = %(actor)s
    FROM unnest(%(ids)s::uuid[], %(job_ids)s::uuid[]) AS now (letter_id, job_id_now)
    WHERE dead_letter.id = letter_id
"""
