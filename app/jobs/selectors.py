"""Reads for the API, the admin and the bridge."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model, QuerySet

from dispatch import POOLS
from jobs import sql
from jobs.errors import DeadLetterNotFound, FieldProblem, InvalidRequest, JobNotFound
from jobs.kinds import batchable_kinds
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
        jobs = jobs.filter(state=_word(status, State.values, "status"))
    if kind is not None:
        jobs = jobs.filter(kind=kind)
    return _page(jobs, cursor, limit)


def get_dead_letter(dead_letter_id: UUID, *, owner: str, see_all: bool = False) -> DeadLetter:
    """The dead letter. Raises DeadLetterNotFound, also for another owner's."""
    letter = _theirs(DeadLetter.objects.filter(id=dead_letter_id), owner=owner, see_all=see_all).first()
    if letter is None:
        raise DeadLetterNotFound
    return letter


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters; None = any. `since` and `until` bound the moment of death: since <= it < until."""

    kind: str | None = None
    reason: str | None = None
    pool: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    replayed: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """What is set, as JSON values."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


def matching(wanted: LetterFilter, *, owner: str, see_all: bool = False) -> QuerySet[DeadLetter]:
    """The dead letters in no order. Raises InvalidRequest for an unknown reason or pool, or an empty span of time."""
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise InvalidRequest([FieldProblem("until", "is not after since: give a later one")])
    conditions = {
        "kind": wanted.kind,
        "reason": wanted.reason and _word(wanted.reason, Reason.values, "reason"),
        "pool": wanted.pool and _word(wanted.pool, list(POOLS), "pool"),
        "created_at__gte": wanted.since,
        "created_at__lt": wanted.until,
        "replayed_at__isnull": None if wanted.replayed is None else not wanted.replayed,
    }
    given = {name: value for name, value in conditions.items() if value is not None}
    return _theirs(DeadLetter.objects.filter(**given), owner=owner, see_all=see_all)


def list_dead_letters(
    wanted: LetterFilter, *, owner: str, see_all: bool = False, cursor: str | None = None, limit: int = 50
) -> Page[DeadLetter]:
    """A page of dead letters in the order of their ids, highest first. Raises as `list_jobs` and `matching`."""
    return _page(matching(wanted, owner=owner, see_all=see_all), cursor, limit)


def dispatchable(job_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Those of the jobs that a worker could claim now: open, past not_before, under no live lease. One SELECT.

    The value says whether the job may share a Celery message with others.
    """
    if not job_ids:
        return {}
    values: dict[str, Any] = {"ids": list(job_ids), "batchable": [kind.name for kind in batchable_kinds()]}
    with connection.cursor() as cursor:
        cursor.execute(sql.DISPATCHABLE, values)
        return dict(cursor.fetchall())


def _theirs[M: Model](rows: QuerySet[M], *, owner: str, see_all: bool) -> QuerySet[M]:
    return rows if see_all else rows.filter(owner=owner)


def _word(value: str, words: Sequence[str], field: str) -> str:
    if value not in words:
        raise InvalidRequest([FieldProblem(field, f"{value!r} is unknown: use one of {', '.join(words)}")])
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
