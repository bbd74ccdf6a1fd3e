"""Cancelling: at once in every open state; what already happened is said, not hidden."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

import history
from jobs import sql
from jobs.errors import JobNotFound, NotCancellable
from jobs.finish import known_kind
from jobs.models import Effect, Job
from jobs.states import EffectState, State
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
    if history.recorder is None:
        return _cancel(job_id, owner, see_all, actor or owner)
    with history.recorder.call("cancel", [{"job": job_id, "by": actor or owner}]) as call:
        try:
            cancelled = _cancel(job_id, owner, see_all, actor or owner)
        except (JobNotFound, NotCancellable) as error:
            call.fail(job_id, reason=type(error).__name__)
            raise
        call.ok(job_id, state=State.CANCELLED)
    return cancelled


def _cancel(job_id: UUID, owner: str, see_all: bool, actor: str) -> Cancelled:
    values: dict[str, Any] = {"id": job_id, "owner": owner, "see_all": see_all, "actor": actor}
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
    return Cancelled(job_id, State(was), _note(State(was), attempt) + _outside(job_id))


def _note(was: State, attempt: int) -> str:
    if was == State.RUNNING:
        return (
            f"Attempt {attempt} was running: it is stopped, its result is refused, but calls it made outside stand. "
            "Files it stored are deleted after a day."
        )
    if attempt:
        return f"{attempt} attempt(s) ran before: calls they made outside stand."
    return ""


def _outside(job_id: UUID) -> str:
    """What the ledger says of effects outside, also of the jobs that this one repeats."""
    root = Job.objects.filter(id=job_id).values("root_id")
    names: dict[str, list[str]] = {EffectState.DONE: [], EffectState.INTENDED: []}
    for name, state in Effect.objects.filter(root_id__in=root).order_by("id").values_list("name", "state"):
        names[state].append(name)
    done, unknown = names[EffectState.DONE], names[EffectState.INTENDED]
    confirmed = f" Confirmed outside: {', '.join(done)}." if done else ""
    return confirmed + (f" Begun outside, end unknown: {', '.join(unknown)}." if unknown else "")
