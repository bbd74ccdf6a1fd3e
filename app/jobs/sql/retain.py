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
# With a job goes its probe's count, and with the last job of a chain of replays its ledger of effects. A replay locks
# the dead job before it adds to the chain: then that job is skipped here.
FORGET: Final = (
    """
    WITH old AS (
        SELECT id, root_id FROM job
        WHERE thinned_at IS NOT NULL AND finished_at < statement_timestamp() - make_interval(days => %(dedup)s)
        ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), probes AS (
        DELETE FROM probe_count USING old WHERE probe_count.job_id = old.id
    ), ledger AS (
        DELETE FROM effect USING old
        WHERE effect.root_id = old.root_id
          AND NOT EXISTS (
            SELECT FROM job WHERE job.id = old.root_id AND NOT EXISTS (SELECT FROM old o WHERE o.id = job.id))
          AND NOT EXISTS (
            SELECT FROM job WHERE job.root_id = old.root_id AND job.replay_of_id IS NOT NULL
              AND NOT EXISTS (SELECT FROM old o WHERE o.id = job.id))
    )
    DELETE FROM job USING old WHERE job.id = old.id
    """,
    """
    DELETE FROM replay_audit WHERE id IN (
        SELECT id FROM replay_audit
        WHERE at < statement_timestamp() - make_interval(days => %(dedup)s)
        ORDER BY at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
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
