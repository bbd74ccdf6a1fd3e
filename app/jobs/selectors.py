"""Reads for the API, the admin and the bridge."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import Model, QuerySet

from jobs import sql
from jobs.errors import DeadLetterNotFound, FieldProblem, InvalidRequest, JobNotFound
from jobs.models import DeadLetter, Job, JobEvent
from jobs.states import Reason, State

#: Rows of one page.
PAGE_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Page[M: Model]:
    """Newest first. `next_cursor` None = this was the last page."""

    items: list[M]
    next_cursor: str | None


def get_job(job_id: UUID, *, owner: str, see_all: bool = False) -> Job:
    """The job. Raises JobNotFound, also for another owner's."""
    job = _theirs(Job.objects.filter(id=job_id), owner=owner, see_all=see_all).first()
    if job is None:
        raise JobNotFound
    return job


def timeline(job_id: UUID) -> list[JobEvent]:
    """The job's events, oldest first; empty after retention."""
    return list(JobEvent.objects.filter(job_id=job_id).order_by("id"))


def list_jobs(
    *,
    owner: str,
    see_all: bool = False,
    status: str | None = None,
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Job]:
    """A page of jobs, newest first; the cursor is the last id of the page before.

    Raises InvalidRequest for an unknown status or a malformed cursor. The rows come without params and result.
    """
    jobs = _theirs(Job.objects.defer("params", "result", "files", "error_message"), owner=owner, see_all=see_all)
    if status is not None:
        jobs = jobs.filter(state=_word(status, State, "status"))
    if kind is not None:
        jobs = jobs.filter(kind=kind)
    return _page(jobs, cursor, limit)


def get_dead_letter(dead_letter_id: UUID, *, owner: str, see_all: bool = False) -> DeadLetter:
    """The dead letter. Raises DeadLetterNotFound, also for another owner's."""
    letter = _theirs(DeadLetter.objects.filter(id=dead_letter_id), owner=owner, see_all=see_all).first()
    if letter is None:
        raise DeadLetterNotFound
    return letter


def list_dead_letters(
    *,
    owner: str,
    see_all: bool = False,
    reason: str | None = None,
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[DeadLetter]:
    """A page of dead letters in the order of their ids, highest first. Raises as `list_jobs`."""
    letters = _theirs(DeadLetter.objects.all(), owner=owner, see_all=see_all)
    if reason is not None:
        letters = letters.filter(reason=_word(reason, Reason, "reason"))
    if kind is not None:
        letters = letters.filter(kind=kind)
    return _page(letters, cursor, limit)


def dispatchable(job_ids: Collection[UUID]) -> set[UUID]:
    """Those of the jobs that a worker could claim now: open, past not_before, under no live lease. One SELECT."""
    if not job_ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(sql.DISPATCHABLE, {"ids": list(job_ids)})
        return {row[0] for row in cursor.fetchall()}


def _theirs[M: Model](rows: QuerySet[M], *, owner: str, see_all: bool) -> QuerySet[M]:
    return rows if see_all else rows.filter(owner=owner)


def _word(value: str, words: type[State] | type[Reason], field: str) -> str:
    if value not in words.values:
        raise InvalidRequest([FieldProblem(field, f"{value!r} is unknown: use one of {', '.join(words.values)}")])
    return value


def _page[M: Model](rows: QuerySet[M], cursor: str | None, limit: int) -> Page[M]:
    size = max(1, min(limit, PAGE_LIMIT))
    if cursor is not None:
        rows = rows.filter(pk__lt=_position(cursor))
    items = list(rows.order_by("-pk")[: size + 1])
    more = len(items) > size
    return Page(items[:size], str(items[size - 1].pk) if more else None)


def _position(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError as error:
        raise InvalidRequest([FieldProblem("cursor", "is malformed: use next_cursor of the page before")]) from error
