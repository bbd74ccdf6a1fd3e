"""Rows as the client sees them."""

from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from dispatch.pools import Priority
from jobs.api import schemas
from jobs.cancellation import Cancelled
from jobs.models import DeadLetter, Job, JobEvent
from jobs.replays import BulkReplayed
from jobs.states import Reason, State
from jobs.submission import Submitted

_API = "/api/v1"
#: Refusals that one answer spells out.
_REFUSALS = 20


def job_url(job_id: UUID) -> str:
    """Path of a job."""
    return f"{_API}/jobs/{job_id}"


def accepted(submitted: Submitted) -> schemas.Accepted:
    head = submitted.job
    return schemas.Accepted(
        id=str(head.id), status=State(head.state), request_hash=head.request_hash, url=job_url(head.id)
    )


def bulk_item(submitted: Submitted) -> schemas.BulkItem:
    return schemas.BulkItem(
        id=str(submitted.job.id), status=State(submitted.job.state), duplicate=not submitted.created
    )


def summary(job: Job) -> schemas.JobSummary:
    return schemas.JobSummary(
        id=str(job.id),
        status=State(job.state),
        kind=job.kind,
        farm_id=job.farm_id,
        priority=cast("schemas.PriorityWord", Priority(job.priority).word),
        attempts=job.attempt,
        accepted_at=job.accepted_at,
        finished_at=job.finished_at,
        url=job_url(job.id),
    )


def job(row: Job, timeline: list[JobEvent]) -> schemas.JobOut:
    return schemas.JobOut(
        **summary(row).model_dump(),
        pool=row.pool,
        owner=row.owner,
        request_hash=row.request_hash,
        max_attempts=row.max_attempts,
        not_before=row.not_before,
        started_at=row.started_at,
        params=row.params,
        result=row.result,
        error=_failure(row),
        files=[_file(row, file) for file in row.files],
        timeline=[_event(event) for event in timeline],
        replay_of=_text(row.replay_of_id),
        previous=_text(row.previous_id),
    )


def cancelled(outcome: Cancelled) -> schemas.Cancelled:
    return schemas.Cancelled(id=str(outcome.job_id), status=State.CANCELLED, was=outcome.was, note=outcome.note)


def dead_letter(row: DeadLetter) -> schemas.DeadLetterOut:
    return schemas.DeadLetterOut(
        id=str(row.id),
        job_id=_text(row.job_id),
        owner=row.owner,
        kind=row.kind,
        pool=row.pool,
        reason=Reason(row.reason),
        original_id=row.original_id,
        delivery_count=row.delivery_count,
        error_class=row.error_class,
        error_message=row.error_message,
        payload=row.payload,
        accepted_at=row.accepted_at,
        created_at=row.created_at,
        announced_at=row.announced_at,
        replayed_as=_text(row.replayed_as_id),
        replayed_at=row.replayed_at,
        replayed_by=row.replayed_by,
    )


def replayed(submitted: Submitted) -> schemas.Replayed:
    head = submitted.job
    return schemas.Replayed(id=str(head.id), status=State(head.state), created=submitted.created, url=job_url(head.id))


def bulk_replayed(done: BulkReplayed) -> schemas.BulkReplayed:
    refusals = [schemas.Refusal(id=str(letter_id), message=why) for letter_id, why in done.refused.items()]
    return schemas.BulkReplayed(
        id=str(done.audit.id),
        dry_run=done.audit.dry_run,
        matched=done.audit.matched,
        created=done.audit.created,
        joined=done.audit.joined,
        refused=done.audit.refused,
        refusals=refusals[:_REFUSALS],
        last_start=done.last_start,
        next_cursor=done.next_cursor,
    )


def _event(row: JobEvent) -> schemas.Event:
    return schemas.Event(
        at=row.at,
        event=row.event,
        to_status=State(row.to_state),
        attempt=row.attempt,
        actor=row.actor,
        reason=row.reason,
    )


def _failure(row: Job) -> schemas.Failure | None:
    if not row.error_class:
        return None
    return schemas.Failure(error_class=row.error_class, message=row.error_message)


def _file(row: Job, stored: dict[str, Any]) -> schemas.File:
    """The storage key stays ours."""
    name = stored["name"]
    url = f"{job_url(row.id)}/files/{quote(name, safe='')}"
    return schemas.File(name=name, media_type=stored["media_type"], bytes=stored["bytes"], url=url)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
