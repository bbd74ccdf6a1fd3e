"""Dead letters: recorded whole, replayed as new jobs that point back."""

from collections.abc import Mapping
from uuid import UUID

from django.db import connection, transaction

from dispatch import Priority
from jobs import sql, submission
from jobs.errors import DeadLetterNotFound, NotReplayable
from jobs.models import DeadLetter, Job
from jobs.requests import JobRequest, NewJob, Origin, prepare
from jobs.states import Reason
from jobs.submission import JobHead, Submitted
from metrics.catalogue import JOBS_DEAD_LETTERED, JOBS_REPLAYED


def record_entry(*, entry_id: str, fields: Mapping[str, str], reason: str, deliveries: int) -> None:
    """Keeps a stream entry that no job could be made of, once. `reason` is a word of states.Reason.

    It is called again with the same entry while Redis refuses the acknowledgement.
    """
    _, is_new = DeadLetter.objects.get_or_create(
        reason=Reason(reason),
        original_id=entry_id[:200],
        job_id=None,
        payload=dict(fields),
        defaults={"delivery_count": deliveries},
    )
    if is_new:
        JOBS_DEAD_LETTERED.labels(kind="unknown", reason=reason).inc()


def replay(dead_letter_id: UUID, *, owner: str, see_all: bool = False, actor: str) -> Submitted:
    """Runs the dead job's request again as a new job; its external effects keep the keys of the first.

    When the same request has an open or succeeded job already, that one is the answer (`created` False).
    Raises DeadLetterNotFound, NotReplayable, InvalidRequest when the kind changed since.
    """
    with transaction.atomic():
        letter, original = _locked(dead_letter_id, owner=owner, see_all=see_all)
        if met := _live(original):
            submitted = Submitted(met, created=False)
        else:
            submitted = submission.insert([_repetition(original)], gated=False)[0]
        _mark(letter, submitted.job.id, actor)
    JOBS_REPLAYED.labels(result="created" if submitted.created else "joined").inc()
    return submitted


def _locked(dead_letter_id: UUID, *, owner: str, see_all: bool) -> tuple[DeadLetter, Job]:
    """The letter and its job. Replays of one root run one after the other until the transaction ends."""
    letter = DeadLetter.objects.filter(id=dead_letter_id).first()
    if letter is None or not (see_all or letter.owner == owner):
        raise DeadLetterNotFound
    if letter.job_id is None:
        raise NotReplayable
    original = Job.objects.filter(id=letter.job_id).first()
    if original is None:
        raise NotReplayable(f"job {letter.job_id} is gone: it was kept until its retention ended")
    if original.thinned_at is not None:
        # Retention took these from the row; the letter kept them.
        original.params = letter.payload["params"]
        original.callback_url = letter.payload["callback_url"]
    with connection.cursor() as cursor:
        cursor.execute(sql.LOCK_CHAIN, {"root": str(original.root_id)})
    return letter, original


def _live(original: Job) -> JobHead | None:
    """The open or succeeded job of the same request: a plain submit, or another replay of the same root."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.LIVE_OF_REQUEST,
            {"owner": original.owner, "identity": f"req:{original.request_hash}", "root": original.root_id},
        )
        row = cursor.fetchone()
    return JobHead(*row) if row else None


def _repetition(original: Job) -> NewJob:
    request = JobRequest(
        kind=original.kind,
        params=original.params,
        farm_id=original.farm_id,
        priority=Priority(original.priority).word,
        callback_url=original.callback_url,
    )
    origin = Origin(form="replay", root_id=original.root_id, replay_of_id=original.id)
    return prepare(request, owner=original.owner, origin=origin)


def _mark(letter: DeadLetter, job_id: UUID, actor: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.MARK_REPLAYED, {"id": letter.id, "job_id": job_id, "actor": actor})
