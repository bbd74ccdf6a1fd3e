"""Taking a job and giving it back. Time is the database's."""

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import connection

import history
from jobs import prepared, sql
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.states import OPEN, State
from metrics.catalogue import JOBS_CLAIMS, JOBS_RECOVERY_SECONDS, JOBS_STAGE_SECONDS

#: Times that one claim may be sent.
_MOST_SENDS: Final = 1 << 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease: whoever holds it may finish the job while `lease_token` is the row's and the row is RUNNING."""

    id: UUID
    lease_token: int
    attempt: int  #: this one; from 1
    max_attempts: int
    root_id: UUID
    owner: str
    kind: str
    pool: str
    farm_id: str
    params: Mapping[str, Any]
    callback_url: str
    priority: int
    traceparent: str
    leased_by: str


class Refusal(StrEnum):
    """Why a claim won nothing. The hint is acknowledged in every case."""

    #: another attempt holds a live lease, or won the race; or it was tried before and came in a batch: it comes alone
    DUPLICATE = "duplicate"
    TERMINAL = "terminal"
    NOT_DUE = "not_due"  #: its not_before lies ahead; the sweeper hints again
    HELD = "held"  #: its kind fails in bulk; the sweeper hints again when it is let go
    UNKNOWN_JOB = "unknown_job"


@dataclass(slots=True)
class Key:
    """Names one claim, however often it is sent until it is answered."""

    first: int = field(default_factory=lambda: secrets.randbits(46) * _MOST_SENDS)
    sent: int = 0


def claim(job_id: UUID, *, leased_by: str) -> Claimed | None:
    """The lease of this job for the instance `leased_by`, or None: then the hint was a duplicate."""
    answer = try_claim(job_id, leased_by=leased_by)
    return answer if isinstance(answer, Claimed) else None


def try_claim(job_id: UUID, *, leased_by: str, key: Key | None = None) -> Claimed | Refusal:
    """As `claim`, with the reason when nothing was won.

    When Postgres does not answer, repeat it with the same `key`: if it was won, that is the lease, and no new attempt.
    """
    return try_claim_all([job_id], leased_by=leased_by, key=key)[job_id]


def try_claim_all(
    job_ids: Collection[UUID], *, leased_by: str, key: Key | None = None
) -> dict[UUID, Claimed | Refusal]:
    """As `try_claim` for several jobs in one statement, in their order. Of several it wins only those never tried."""
    if history.recorder is None:
        return _claim(job_ids, leased_by, key or Key())
    with history.recorder.call("claim", [{"job": job_id, "by": leased_by} for job_id in job_ids]) as call:
        answers = _claim(job_ids, leased_by, key or Key())
        for job_id, answer in answers.items():
            if isinstance(answer, Claimed):
                call.ok(job_id, token=answer.lease_token, attempt=answer.attempt)
            else:
                call.fail(job_id, reason=answer.value)
    return answers


def _claim(job_ids: Collection[UUID], leased_by: str, key: Key) -> dict[UUID, Claimed | Refusal]:
    key.sent += 1
    values: dict[str, Any] = {
        "ids": list(job_ids),
        "alone": len(job_ids) == 1,
        "leased_by": leased_by,
        "first_key": key.first,
        "key": key.first + key.sent,
        "grace": DEFAULT_GRACE_SECONDS,
    }
    rows = {row[0]: row[1:] for row in prepared.fetch(sql.CLAIM, values)}
    return {job_id: _answer(job_id, rows.get(job_id), leased_by) for job_id in job_ids}


def _answer(job_id: UUID, row: tuple[Any, ...] | None, leased_by: str) -> Claimed | Refusal:
    if row is None:
        JOBS_CLAIMS.labels(result="duplicate").inc()
        return Refusal.UNKNOWN_JOB
    was, token, attempt, max_attempts, root_id, owner, kind, pool, farm_id, params = row[:10]
    callback_url, priority, traceparent, since_hint, rescued_after, is_early, is_held = row[10:]
    if token is None:
        return _refused(State(was), is_early=is_early, is_held=is_held)
    JOBS_CLAIMS.labels(result="won").inc()
    if since_hint is not None and was == State.QUEUED:
        JOBS_STAGE_SECONDS.labels(stage="dispatch_to_claim").observe(since_hint)
    if was == State.RUNNING and rescued_after > 0:
        JOBS_RECOVERY_SECONDS.labels(cause="lease").observe(rescued_after)
    return Claimed(
        id=job_id,
        lease_token=token,
        attempt=attempt,
        max_attempts=max_attempts,
        root_id=root_id,
        owner=owner,
        kind=kind,
        pool=pool,
        farm_id=farm_id,
        params=json.loads(params),  # Django's cursors hand jsonb out as text
        callback_url=callback_url,
        priority=priority,
        traceparent=traceparent,
        leased_by=leased_by,
    )


def _refused(was: State, *, is_early: bool, is_held: bool) -> Refusal:
    if was not in OPEN:
        JOBS_CLAIMS.labels(result="terminal").inc()
        return Refusal.TERMINAL
    if was == State.QUEUED and is_held:
        JOBS_CLAIMS.labels(result="held").inc()
        return Refusal.HELD
    JOBS_CLAIMS.labels(result="duplicate").inc()
    return Refusal.NOT_DUE if was == State.QUEUED and is_early else Refusal.DUPLICATE


def hand_back(job_ids: Collection[UUID], leased_by: str) -> int:
    """Returns unfinished jobs of this instance to the queue: due now, attempt restored. How many there were."""
    return _hand_back(list(job_ids), None, leased_by)


def hand_back_unstarted(leases: Collection[Claimed], leased_by: str) -> int:
    """As `hand_back`, for leases that still stand."""
    return _hand_back([lease.id for lease in leases], [lease.lease_token for lease in leases], leased_by)


def _hand_back(job_ids: list[UUID], tokens: list[int] | None, leased_by: str) -> int:
    if history.recorder is None:
        return len(_returned(job_ids, tokens, leased_by))
    begun = [{"job": job_id, "token": token} for job_id, token in zip_longest(job_ids, tokens or ())]
    with history.recorder.call("hand_back", begun) as call:
        returned = _returned(job_ids, tokens, leased_by)
        for job_id in job_ids:
            if job_id in returned:
                call.ok(job_id)
            else:
                call.fail(job_id, reason="stale")
    return len(returned)


def _returned(job_ids: list[UUID], tokens: list[int] | None, leased_by: str) -> set[UUID]:
    """The jobs that are back in the queue."""
    with connection.cursor() as cursor:
        cursor.execute(sql.HAND_BACK, {"ids": job_ids, "tokens": tokens, "leased_by": leased_by})
        returned = {job_id for (job_id,) in cursor.fetchall()}
    if returned:
        log.info("handed unfinished jobs back", jobs=len(returned), leased_by=leased_by)
    return returned
