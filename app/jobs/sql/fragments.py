"""Pieces that several statements share."""

from enum import StrEnum
from typing import Final

from dispatch.pools import POOLS

#: Seconds; the distance between two hints of one job grows to this.
GRACE_CAP_SECONDS: Final = 300

OPEN: Final = "state IN ('QUEUED', 'RUNNING')"
#: Beside an id. Spelt so that no index on the state matches it: one that is small looks cheaper than the primary key, a
#: prepared plan outlives its smallness, and each claim leaves a dead entry in it, which pile up behind any long
#: transaction.
RUNNING: Final = "state || '' = 'RUNNING'"
QUEUED: Final = "state || '' = 'QUEUED'"


class IdentityForm(StrEnum):
    """Which unique index guards an identity; the value is the literal predicate of that index."""

    #: req: and replay: one live row per request. force: carries its own id and can meet nothing.
    LIVE = "(identity LIKE 'req:%%' OR identity LIKE 'replay:%%') AND NOT (state IN ('FAILED', 'CANCELLED'))"
    #: step: and tick: one row for ever, whatever became of it.
    ONCE = "(identity LIKE 'step:%%' OR identity LIKE 'tick:%%')"

    @property
    def key(self) -> str:
        """What that index holds beside the owner: for a replay the identity of its root, else the row's own."""
        return "coalesce(stands_for, identity)" if self is IdentityForm.LIVE else "identity"

    @staticmethod
    def of(identity: str) -> "IdentityForm":
        return IdentityForm.ONCE if identity.startswith(("step:", "tick:")) else IdentityForm.LIVE


def lease(column: str = "pool") -> str:
    """SQL interval: the lease of the row's pool."""
    cases = " ".join(f"WHEN '{pool.name}' THEN {pool.lease_seconds}" for pool in POOLS.values())
    return f"make_interval(secs => CASE {column} {cases} ELSE 30 END)"


def event(source: str, event: str, actor: str, *, before: str, reason: str = "''") -> str:
    """CTE body: one timeline row per row of `source`."""
    return f"""
        INSERT INTO job_event (job_id, at, event, actor, from_state, to_state, attempt, lease_token, dispatch_gen,
                               reason)
        SELECT id, clock_timestamp(), {event}, {actor}, {before}, state, attempt, lease_token, dispatch_gen, {reason}
        FROM {source}"""


DEAD_LETTER: Final = """
        INSERT INTO dead_letter (id, job_id, owner, kind, pool, reason, original_id, delivery_count, error_class,
                                 error_message, payload, accepted_at, created_at)
        SELECT id, id, owner, kind, pool, {reason}, id::text, attempt, error_class, error_message,
               jsonb_build_object('kind', kind, 'farm_id', farm_id, 'params', params, 'callback_url', callback_url,
                                  'priority', priority),
               accepted_at, finished_at
        FROM done
"""
