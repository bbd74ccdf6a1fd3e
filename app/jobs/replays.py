"""Replays: a dead letter's request runs again as a new job that points back.

The new job keeps the root, so that its external effects keep the keys of the first, and stands for the request of the
root: of all jobs that stand for one request one is open or succeeded. Whoever comes second is answered with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

import history
from dispatch import Priority
from jobs import sql, submission
from jobs.after_commit import after_commit
from jobs.clock import database_now
from jobs.errors import DeadLetterNotFound, FieldProblem, InvalidRequest, NotReplayable
from jobs.models import DeadLetter, Job, ReplayAudit
from jobs.requests import JobRequest, NewJob, Origin, prepare
from jobs.selectors import LetterFilter, matching
from jobs.submission import JobHead, Submitted
from metrics.catalogue import JOBS_REPLAYED

#: Letters of one bulk replay: one transaction within one request's deadline.
BULK_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who replays. `sees_all` = also other owners' letters."""

    owner: str
    sees_all: bool = False
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Letters that nobody replayed yet, oldest first. Their jobs start at `rate` per second, not all at once."""

    wanted: LetterFilter
    dry_run: bool = False
    rate: float = 20.0
    limit: int = BULK_LIMIT
    cursor: str | None = None  #: `next_cursor` of the batch before


@dataclass(frozen=True, slots=True)
class BulkReplayed:
    """What became of one batch, or would: matched = created + joined + refused."""

    audit: ReplayAudit
    refused: dict[UUID, str]  #: why, by letter
    last_start: datetime | None  #: earliest start of the last job; None = there is none
    next_cursor: str | None  #: None = there are no more


def replay(dead_letter_id: UUID, caller: Caller) -> Submitted:
    """Runs the dead job's request again. `created` False = the open or succeeded job of the same request stands for it.

    Raises DeadLetterNotFound, NotReplayable, InvalidRequest when the kind changed since.
    """
    with transaction.atomic():
        theirs = matching(LetterFilter(), owner=caller.owner, see_all=caller.sees_all)
        plan = _plan(theirs.filter(id=dead_letter_id).select_for_update())
        if not plan.letters:
            raise DeadLetterNotFound
        if plan.refused:
            raise plan.refused[dead_letter_id]
        [submitted] = _carry_out(plan, caller.owner)
    _count(created=int(submitted.created), joined=int(not submitted.created), refused=0)
    return submitted


def replay_all(bulk: Bulk, caller: Caller) -> BulkReplayed:
    """Replays one batch in one transaction, with a row that says who did it. Raises InvalidRequest."""
    after, starts_at = _position(bulk.cursor)
    theirs = matching(replace(bulk.wanted, replayed=False), owner=caller.owner, see_all=caller.sees_all)
    letters = (theirs.filter(id__gt=after) if after else theirs).order_by("id")
    with transaction.atomic():
        plan = _plan((letters if bulk.dry_run else letters.select_for_update())[: bulk.limit])
        starts = _spread(plan, bulk.rate, starts_at)
        created = plan.creatable if bulk.dry_run else sum(item.created for item in _carry_out(plan, caller.owner))
        audit = _audit(bulk, caller, plan, created)
    if not bulk.dry_run:
        _count(created=created, joined=audit.joined, refused=audit.refused)
    more = len(plan.letters) == bulk.limit
    return BulkReplayed(
        audit=audit,
        refused={letter_id: str(error) for letter_id, error in plan.refused.items()},
        last_start=starts[-1] if starts else None,
        next_cursor=_cursor(plan.letters[-1].id, starts, bulk.rate, starts_at) if more else None,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of letters."""

    letters: list[DeadLetter]
    refused: dict[UUID, NotReplayable | InvalidRequest]
    new: dict[UUID, NewJob]
    met: dict[UUID, JobHead]  #: live already, by dead job

    @property
    def creatable(self) -> int:
        """Jobs that would come into being: letters of one chain share one."""
        return len({job.key for letter_id, job in self.new.items() if letter_id not in self.met})


def _plan(letters: QuerySet[DeadLetter]) -> _Plan:
    """The letters' jobs stay locked to the end: retention must not forget the effects of a chain that goes on."""
    found = list(letters.defer("payload"))
    ids = [letter.job_id for letter in found if letter.job_id]
    dead = {job.id: job for job in Job.objects.filter(id__in=ids).order_by("id").select_for_update(no_key=True)}
    refused: dict[UUID, NotReplayable | InvalidRequest] = {}
    new: dict[UUID, NewJob] = {}
    for letter in found:
        try:
            new[letter.id] = _repetition(letter, dead)
        except (NotReplayable, InvalidRequest) as error:
            refused[letter.id] = error
    return _Plan(found, refused, new, _live(new))


def _repetition(letter: DeadLetter, dead: Mapping[UUID, Job]) -> NewJob:
    """A letter's id is its job's, where there is one."""
    if letter.job_id is None:
        raise NotReplayable
    original = dead.get(letter.job_id)
    if original is None:
        raise NotReplayable(f"job {letter.job_id} is gone: it was kept until its retention ended")
    # Retention takes these from the row; the letter keeps them.
    is_thin = original.thinned_at is not None
    request = JobRequest(
        kind=original.kind,
        params=letter.payload["params"] if is_thin else original.params,
        farm_id=original.farm_id,
        priority=Priority(original.priority).word,
        callback_url=letter.payload["callback_url"] if is_thin else original.callback_url,
    )
    origin = Origin(
        form="replay",
        root_id=original.root_id,
        replay_of_id=original.id,
        stands_for=original.stands_for or original.identity,
    )
    return prepare(request, owner=original.owner, origin=origin)


def _live(new: Mapping[UUID, NewJob]) -> dict[UUID, JobHead]:
    values: dict[str, Any] = {
        "ids": list(new),
        "owners": [job.owner for job in new.values()],
        "keys": [job.key[0] for job in new.values()],
        "hashes": [job.request_hash for job in new.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.LIVE_OF_DEAD, values)
        return {dead: JobHead(*head) for dead, *head in cursor.fetchall()}


def _spread(plan: _Plan, rate: float, starts_at: datetime | None) -> list[datetime]:
    """Gives the jobs that will come into being their earliest starts, from `starts_at` but not before now on."""
    now = database_now()
    waiting = [letter_id for letter_id in plan.new if letter_id not in plan.met]
    starts = [max(now, starts_at or now) + timedelta(seconds=number / rate) for number in range(len(waiting))]
    for letter_id, start in zip(waiting, starts, strict=True):
        plan.new[letter_id] = plan.new[letter_id]._replace(not_before=start)
    return starts


def _carry_out(plan: _Plan, actor: str) -> list[Submitted]:
    """Inserts the jobs and marks the letters. One answer per letter that is not refused.

    A job that came to life since `_live` looked is met by the insert.
    """
    created = [job for letter_id, job in plan.new.items() if letter_id not in plan.met]
    inserted = iter(submission.insert(created, gated=False, via="replay"))
    submitted = [
        Submitted(plan.met[letter_id], created=False) if letter_id in plan.met else next(inserted)
        for letter_id in plan.new
    ]
    values: dict[str, Any] = {"ids": list(plan.new), "job_ids": [item.job.id for item in submitted], "actor": actor}
    with connection.cursor() as cursor:
        cursor.execute(sql.MARK_REPLAYED, values)
    if history.recorder is not None:
        after_commit(_note, history.recorder, plan, submitted)
    return submitted


def _note(recorder: history.Recorder, plan: _Plan, submitted: Sequence[Submitted]) -> None:
    dead = {letter.id: letter.job_id for letter in plan.letters}
    answers = zip(plan.new, submitted, strict=True)
    events = [({"job": item.job.id, "of": dead[letter]}, item.created) for letter, item in answers]
    recorder.note("ok", "replay", (event for event, is_new in events if is_new))
    recorder.note("fail", "replay", ({**event, "reason": "joined"} for event, is_new in events if not is_new))


def _audit(bulk: Bulk, caller: Caller, plan: _Plan, created: int) -> ReplayAudit:
    return ReplayAudit.objects.create(
        actor=caller.owner,
        key_id=caller.key_id,
        filter=bulk.wanted.as_json(),
        dry_run=bulk.dry_run,
        rate=bulk.rate,
        matched=len(plan.letters),
        created=created,
        joined=len(plan.new) - created,
        refused=len(plan.refused),
    )


def _count(**results: int) -> None:
    for result, number in results.items():
        JOBS_REPLAYED.labels(result=result).inc(number)


def _cursor(last: UUID, starts: Sequence[datetime], rate: float, starts_at: datetime | None) -> str:
    """The last letter, and when the next batch may start its first job."""
    then = starts[-1] + timedelta(seconds=1 / rate) if starts else starts_at
    return f"{last}_{int(then.timestamp() * 1000) if then else 0}"


def _position(cursor: str | None) -> tuple[UUID | None, datetime | None]:
    if cursor is None:
        return None, None
    letter, _, milliseconds = cursor.partition("_")
    try:
        return UUID(letter), datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidRequest([FieldProblem("cursor", "is malformed: use next_cursor of the batch before")]) from error
