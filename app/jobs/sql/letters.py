"""Dead letters: what the sweeper announces."""

from typing import Final

# Out: oldest first. The announcement cuts at bytes; characters are never more.
UNANNOUNCED: Final = """
    SELECT id, original_id, owner, kind, pool, reason, delivery_count, error_class, left(payload::text, %(characters)s),
           coalesce(extract(epoch FROM accepted_at) * 1000, 0)::bigint, (extract(epoch FROM created_at) * 1000)::bigint
    FROM dead_letter WHERE announced_at IS NULL ORDER BY created_at, id LIMIT %(limit)s
"""
MARK_ANNOUNCED: Final = "UPDATE dead_letter SET announced_at = clock_timestamp() WHERE id = ANY(%(ids)s::uuid[])"
