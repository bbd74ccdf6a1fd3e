"""Taking a job and giving it back. Time is the database's."""

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import connection

from jobs import prepared, sql
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

    DUPLICATE = "duplicate"  #: another attempt holds a live lease, or won the race
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
    key = key or Key()
    key.sent += 1
    values: dict[str, Any] = {"id": job_id, "leased_by": leased_by, "first_key": key.first, "key": key.first + key.sent}
    rows = prepared.fetch(sql.CLAIM, values)
    if not rows:
        JOBS_CLAIMS.labels(result="duplicate").inc()
        return Refusal.UNKNOWN_JOB
    row = rows[0]
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
    with connection.cursor() as cursor:
        cursor.execute(sql.HAND_BACK, {"ids": list(job_ids), "leased_by": leased_by})
        handed_back = len(cursor.fetchall())
    if handed_back:
        log.info("handed unfinished jobs back", jobs=handed_back, leased_by=leased_by)
    return handed_back
