"""Cancelling: at once in every open state; what already happened is said, not hidden."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from jobs import sql
from jobs.errors import JobNotFound, NotCancellable
from jobs.finish import known_kind
from jobs.states import State
from jobs.webhooks.creation import Ended, create_webhooks
from metrics.catalogue import JOBS_FINISHED


@dataclass(frozen=True, slots=True)
class Cancelled:
    """`note` says what the cancellation could not undo; empty when nothing had begun."""

    job_id: UUID
    was: State
    note: str


def cancel(job_id: UUID, *, owner: str, see_all: bool = False, actor: str | None = None) -> Cancelled:
    """Makes an open job CANCELLED. A running attempt loses its lease: it is stopped at its next heartbeat.

    Raises JobNotFound (also for another owner's job) and NotCancellable for a terminal one.
    """
    values: dict[str, Any] = {"id": job_id, "owner": owner, "see_all": see_all, "actor": actor or owner}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.CANCEL, values)
        row = cursor.fetchone()
        if row is None:
            raise JobNotFound
        was, cancelled, attempt, kind, *rest = row
        if not cancelled:
            raise NotCancellable(job_id, was)
        create_webhooks([Ended(job_id, *rest)])
    JOBS_FINISHED.labels(kind=known_kind(kind), state=State.CANCELLED.value).inc()
    return Cancelled(job_id, State(was), _note(State(was), attempt))


def _note(was: State, attempt: int) -> str:
    if was == State.RUNNING:
        return f"Attempt {attempt} was running: it is stopped, its result is refused, but calls it made outside stand."
    if attempt:
        return f"{attempt} attempt(s) ran before: calls they made outside stand."
    return ""
