"""Retention, in batches."""

from typing import Final

# Out: the files that the rows named.
THIN: Final = """
    WITH old AS (
        SELECT id, files FROM job
        WHERE finished_at < statement_timestamp() - make_interval(days => %(retention)s) AND thinned_at IS NULL
        ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), thin AS (
        UPDATE job SET params = '{}', result = NULL, files = '[]', error_message = '', traceparent = '',
            callback_url = '', thinned_at = clock_timestamp()
        FROM old WHERE job.id = old.id
    ), silenced AS (
        DELETE FROM job_event USING old WHERE job_event.job_id = old.id
    )
    SELECT files FROM old
"""
FORGET: Final = (
    """
    DELETE FROM job WHERE id IN (
        SELECT id FROM job
        WHERE thinned_at IS NOT NULL AND finished_at < statement_timestamp() - make_interval(days => %(dedup)s)
        ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    """,
    """
    DELETE FROM idempotency_key WHERE id IN (
        SELECT id FROM idempotency_key
        WHERE created_at < statement_timestamp() - make_interval(days => %(dedup)s)
        ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    """,
    """
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter
        WHERE created_at < statement_timestamp() - make_interval(days => %(dedup)s)
        ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    """,
)
