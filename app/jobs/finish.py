"""The ways out of an attempt. Each is one transaction behind the fence: state RUNNING and the token of the claim.

The fenced UPDATE comes first and locks the row: a stale finisher learns it before any effect runs, and whatever it
wrote rolls back whole.
"""

import random
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import connection, transaction
from psycopg.pq import TransactionStatus

import history
from dispatch import Priority
from jobs import prepared, sql, submission
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.claim import Claimed, hand_back
from jobs.context import Done, FollowUp
from jobs.errors import HandlerError, Permanent, Poison, Retryable, StaleLease, StoredParamsInvalid, UnknownKind
from jobs.kinds import all_kinds
from jobs.requests import JobRequest, NewJob, Origin, canonical, is_storable_json, prepare
from jobs.states import Reason, State
from jobs.webhooks.creation import Ended, create_webhooks
from metrics.catalogue import (
    JOBS_DEAD_LETTERED,
    JOBS_END_TO_END_SECONDS,
    JOBS_FINISHED,
    JOBS_RETRIES,
    JOBS_STALE_FINISHES,
)

__all__ = ["fail", "finish", "hand_back"]

#: Characters kept of an error's message.
MESSAGE_LIMIT: Final = 4000
#: Seconds; for a job whose kind is gone.
_BACKOFF: Final = (1.0, 300.0)

log = structlog.get_logger()


def finish(claimed: Claimed, done: Done) -> None:
    """Commits result, files, effects, follow-ups and SUCCEEDED, or nothing.

    Raises StaleLease when the lease is lost, Permanent when the result is no JSON, and whatever an effect raises: then
    the job is still RUNNING.
    """
    if finish_all([(claimed, done)]):
        raise _stale(claimed)


def finish_all(attempts: Sequence[tuple[Claimed, Done]]) -> set[UUID]:
    """As `finish` for several attempts in one transaction, each behind its own fence.

    Returns the jobs whose lease is lost: nothing of theirs is committed. Raises as `finish`: then all still run.
    """
    if history.recorder is None:
        return _finish_all(attempts)
    begun = [{"job": claimed.id, "token": claimed.lease_token} for claimed, _ in attempts]
    with history.recorder.call("finish", begun) as call:
        stale = _finish_all(attempts)
        for claimed, _ in attempts:
            if claimed.id in stale:
                call.fail(claimed.id, reason="stale")
            else:
                call.ok(claimed.id, state=State.SUCCEEDED)
    return stale


def _finish_all(attempts: Sequence[tuple[Claimed, Done]]) -> set[UUID]:
    follow_ups = [[_prepared(claimed, follow_up) for follow_up in done.follow_ups] for claimed, done in attempts]
    values: dict[str, Any] = {
        "ids": [claimed.id for claimed, _ in attempts],
        "tokens": [claimed.lease_token for claimed, _ in attempts],
        "results": [_as_json(done.result, "result") for _, done in attempts],
        "files": [_as_json([file.as_json() for file in done.files], "files") for _, done in attempts],
    }
    # Where it is the only statement, it is the transaction.
    is_alone = not any(done.effects or done.follow_ups or claimed.callback_url for claimed, done in attempts)
    with nullcontext() if is_alone else transaction.atomic(durable=True):
        seconds = dict(prepared.fetch(sql.FINISH, values))
        for (claimed, done), steps in zip(attempts, follow_ups, strict=True):
            if claimed.id in seconds:
                _carry_out(claimed, done, steps)
    for claimed, _ in attempts:
        if claimed.id in seconds:
            _count_end(claimed, State.SUCCEEDED, seconds[claimed.id])
    stale = {claimed.id for claimed, _ in attempts} - seconds.keys()
    JOBS_STALE_FINISHES.inc(len(stale))
    return stale


def _carry_out(claimed: Claimed, done: Done, follow_ups: Sequence[NewJob]) -> None:
    """What the transaction of a finish does beside the finish."""
    for effect in done.effects:
        effect()
        _refuse_a_lost_transaction()
    if follow_ups:
        submission.insert(follow_ups, traceparent=claimed.traceparent, gated=False)
    create_webhooks([_ended(claimed)])


def _refuse_a_lost_transaction() -> None:
    """After an error that an effect caught, COMMIT would roll back without a word, the others of a batch too."""
    if connection.needs_rollback or connection.connection.info.transaction_status is TransactionStatus.INERROR:
        raise RuntimeError("an effect caught an error of the database: let it out, or wrap its part in atomic()")


def fail(claimed: Claimed, error: Exception) -> State:
    """Ends an attempt that failed: QUEUED for another one, or FAILED with a dead letter. Raises StaleLease."""
    reason = _final_reason(claimed, error)
    if history.recorder is None:
        return _fail(claimed, reason, error)
    begun = {"job": claimed.id, "token": claimed.lease_token, "error": type(error).__name__}
    with history.recorder.call("retry" if reason is None else "fail", [begun]) as call:
        try:
            state = _fail(claimed, reason, error)
        except StaleLease:
            call.fail(claimed.id, reason="stale")
            raise
        call.ok(claimed.id, state=state)
    if reason is not None:
        history.recorder.note("ok", "dead_letter", [{"job": claimed.id, "reason": reason}])
    return state


def _fail(claimed: Claimed, reason: Reason | None, error: Exception) -> State:
    if reason is None:
        _retry(claimed, error)
        return State.QUEUED
    _dead_letter(claimed, reason, error)
    return State.FAILED


def _dead_letter(claimed: Claimed, reason: Reason, error: Exception) -> None:
    values = {"id": claimed.id, "token": claimed.lease_token, "reason": reason.value, **_described(error)}
    with transaction.atomic(durable=True) if claimed.callback_url else nullcontext():
        seconds = _fenced(sql.FAIL, values, claimed)
        create_webhooks([_ended(claimed)])
    _count_end(claimed, State.FAILED, seconds)
    JOBS_DEAD_LETTERED.labels(kind=known_kind(claimed.kind), reason=reason.value).inc()
    log.warning(
        "job failed for good", job_id=str(claimed.id), kind=claimed.kind, attempt=claimed.attempt, reason=reason
    )


def known_kind(name: str) -> str:
    """A metric label: the kind, or `unknown` when no app registers it any more."""
    return name if name in all_kinds() else "unknown"


def backoff_seconds(claimed: Claimed, error: Exception) -> float:
    """Full jitter: uniform between 0 and first * 2 ** (attempt - 1), capped; or what the error asks."""
    if isinstance(error, Retryable) and error.after is not None:
        return max(0.0, error.after)
    kind = all_kinds().get(claimed.kind)
    first, cap = (kind.backoff_seconds, kind.backoff_cap_seconds) if kind else _BACKOFF
    return random.uniform(0.0, min(cap, first * 2.0 ** min(claimed.attempt - 1, 30)))


def _final_reason(claimed: Claimed, error: Exception) -> Reason | None:
    match error:
        case Poison():
            return Reason.POISON
        case Permanent():
            return Reason.PERMANENT
    if claimed.attempt < claimed.max_attempts:
        return None
    match error:
        # Not at once: during a rolling upgrade the next attempt may meet a worker that knows more.
        case UnknownKind():
            return Reason.UNKNOWN_KIND
        case StoredParamsInvalid():
            return Reason.INVALID_PARAMS
    return Reason.ATTEMPTS_EXHAUSTED


def _retry(claimed: Claimed, error: Exception) -> None:
    delay = backoff_seconds(claimed, error)
    described = _described(error)
    values: dict[str, Any] = {
        "id": claimed.id,
        "token": claimed.lease_token,
        "actor": claimed.leased_by,
        "delay": delay,
        "grace": DEFAULT_GRACE_SECONDS,
        "reason": f"{described['error_class']}: {described['error_message']}"[:MESSAGE_LIMIT],
        **described,
    }
    _fenced(sql.RETRY, values, claimed)
    error_class = type(error).__name__ if isinstance(error, HandlerError) else "unexpected"
    JOBS_RETRIES.labels(kind=known_kind(claimed.kind), error_class=error_class).inc()
    log.info(
        "attempt failed, will be repeated",
        job_id=str(claimed.id),
        kind=claimed.kind,
        attempt=claimed.attempt,
        delay_seconds=round(delay, 2),
        error=repr(error),
    )


def _fenced(statement: str, values: dict[str, Any], claimed: Claimed) -> float:
    rows = prepared.fetch(statement, values)
    if not rows:
        JOBS_STALE_FINISHES.inc()
        raise _stale(claimed)
    return rows[0][0]  # type: ignore[no-any-return]


def _stale(claimed: Claimed) -> StaleLease:
    return StaleLease(f"job {claimed.id}: token {claimed.lease_token} is no longer the lease")


def _described(error: Exception) -> dict[str, str]:
    message = str(error).replace("\0", "").encode("utf-8", "replace").decode()
    return {"error_class": type(error).__name__[:100], "error_message": message[:MESSAGE_LIMIT]}


def _prepared(claimed: Claimed, follow_up: FollowUp) -> NewJob:
    request = JobRequest(
        kind=follow_up.kind,
        params=follow_up.params,
        farm_id=claimed.farm_id if follow_up.farm_id is None else follow_up.farm_id,
        priority=follow_up.priority or Priority(claimed.priority).word,
    )
    origin = Origin(identity=f"step:{claimed.id}:{follow_up.step}", parent_id=claimed.id)
    return prepare(request, owner=claimed.owner, origin=origin)


def _ended(claimed: Claimed) -> Ended:
    return Ended(
        id=claimed.id,
        owner=claimed.owner,
        farm_id=claimed.farm_id,
        priority=claimed.priority,
        callback_url=claimed.callback_url,
        traceparent=claimed.traceparent,
    )


def _as_json(value: object, field: str) -> str:
    try:
        text = canonical(value)
    except (TypeError, ValueError) as error:
        raise Permanent(f"{field}: is no JSON ({error}): return numbers, text, lists and dicts") from error
    if not is_storable_json(text):
        raise Permanent(f"{field}: holds NUL or a lone surrogate, which cannot be stored: remove it")
    return text


def _count_end(claimed: Claimed, state: State, seconds: float) -> None:
    JOBS_FINISHED.labels(kind=known_kind(claimed.kind), state=state.value).inc()
    JOBS_END_TO_END_SECONDS.labels(pool=claimed.pool).observe(seconds)
