"""From rows to hints: what is told to Redis, when, and what happens to the row when Redis does not take it."""

import time
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

import history
from dispatch import Hint, Priority, try_dispatch
from jobs import sql
from jobs.after_commit import after_commit
from jobs.kinds import all_kinds
from metrics.catalogue import JOBS_DISPATCHED, JOBS_STAGE_SECONDS

type Via = Literal["commit", "sweep", "epoch", "replay"]

log = structlog.get_logger()


def make_hint(
    job_id: UUID,
    gen: int,
    kind: str,
    pool: str,
    priority: int,
    request_hash: str,
    traceparent: str,
    attempt: int,
) -> Hint:
    """A hint as of now. A job that was tried before (`attempt`) may have harmed its worker and shares no message."""
    known = all_kinds().get(kind)
    return Hint(
        job_id,
        gen,
        kind,
        pool,
        Priority(priority),
        request_hash,
        traceparent,
        time.time_ns() // 1_000_000,
        batchable=attempt == 0 and known is not None and known.batchable,
    )


def send_after_commit(hints: Sequence[Hint], *, via: Via) -> None:
    """Sends when the transaction commits, never when it rolls back. A fault there never reaches the caller."""
    if hints:
        after_commit(_send_accepted, hints, via)


def _send_accepted(hints: Sequence[Hint], via: Via) -> None:
    started = time.monotonic()
    if send(hints, via=via):
        JOBS_STAGE_SECONDS.labels(stage="commit_to_dispatch").observe(time.monotonic() - started)
        return
    try:
        make_due(hints)
    except (DatabaseError, InterfaceError):
        # The rows are committed and the sweeper hints again when their grace is over: only speed is lost.
        log.warning("refused hints stay out until their grace is over", hints=len(hints), exc_info=True)


def send(hints: Sequence[Hint], *, via: Via, budget_seconds: float | None = None) -> bool:
    """Whether Redis took all hints, within the budget (default DISPATCH_BUDGET_MS)."""
    taken = try_dispatch(hints, budget_seconds=budget_seconds)
    if history.recorder is not None:
        sent = ({"job": hint.job_id, "gen": hint.gen, "via": via} for hint in hints)
        history.recorder.note("ok" if taken else "info", "dispatch", sent)
    if not taken:
        return False
    JOBS_DISPATCHED.labels(via=via).inc(len(hints))
    return True


def make_due(hints: Sequence[Hint]) -> int:
    """Undoes the push of a refused batch, row by row where nobody hinted since. Returns how many are due now."""
    with connection.cursor() as cursor:
        cursor.execute(sql.REFUSED, {"ids": [hint.job_id for hint in hints], "gens": [hint.gen for hint in hints]})
        return int(cursor.rowcount)
