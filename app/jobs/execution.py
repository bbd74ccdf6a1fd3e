"""Attempts from hint to outcome: claim, handler, finish or fail. Called by the one Celery task."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from pydantic import BaseModel, ValidationError

from dispatch import POOLS
from dispatch.pools import Pool, Shape
from jobs.claim import Claimed, Key, Refusal, hand_back_unstarted, try_claim_all
from jobs.context import Done, JobContext
from jobs.errors import Permanent, StaleLease, Stopped, StoredParamsInvalid
from jobs.finish import fail, finish, finish_all
from jobs.kinds import Kind, get_kind
from jobs.read_only import refusing_writes
from jobs.states import State
from metrics.catalogue import JOBS_STAGE_SECONDS
from postgres_deadline import breaker, deadline, is_busy, is_outage, read_only

#: Seconds a claim, and the end of an attempt, are repeated while Postgres does not answer. The slot is busy meanwhile;
#: shorter than every pool's soft limit.
PATIENCE_SECONDS: Final = 20.0
#: Seconds between two looks at whether Postgres is back.
_LOOK_SECONDS: Final = 0.1

#: Seconds that the result of a job waits for others of its batch to be committed with it, and no new one starts.
RESULTS_WAIT_SECONDS: Final = 0.05
#: Seconds in which a job of a batch must have started, so that its own time is not used up by those before it.
START_WITHIN_SECONDS: Final = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Active:
    """The attempts of this process, so that a heartbeat thread can stop one. Keyed by job; the latest claim wins."""

    _stops: dict[UUID, Event] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def enter(self, job_id: UUID) -> Event:
        stop = Event()
        with self._lock:
            self._stops[job_id] = stop
        return stop

    def leave(self, job_id: UUID, stop: Event) -> None:
        with self._lock:
            if self._stops.get(job_id) is stop:
                del self._stops[job_id]

    def ids(self) -> list[UUID]:
        with self._lock:
            return list(self._stops)

    def stop(self, job_ids: Collection[UUID]) -> None:
        with self._lock:
            for job_id in job_ids:
                if stop := self._stops.get(job_id):
                    stop.set()


_active: Final = _Active()


def active_ids() -> list[UUID]:
    """Jobs that this process runs right now."""
    return _active.ids()


def request_stop(job_ids: Collection[UUID]) -> None:
    """Asks attempts of this process to stop: their next JobContext.check_stopped() raises Stopped."""
    _active.stop(job_ids)


def run_job(job_id: UUID, *, gen: int, leased_by: str) -> str:
    """Runs the job if it may be run. Returns the outcome in one word:

    succeeded, retried, failed; stale (somebody else has the job now), unknown (Postgres did not answer the finish: the
    row or the lease decides); handed_back (see `run_jobs`); duplicate, terminal, not_due, held, unknown_job (nothing
    was run).
    Raises only what Postgres raises when it cannot be reached for the claim.
    """
    return run_jobs({job_id: gen}, leased_by=leased_by)[job_id]


def run_jobs(gens: Mapping[UUID, int], *, leased_by: str) -> dict[UUID, str]:
    """As `run_job` for several jobs, which share a claim and, where they succeed, a finish: one after the other.

    What has succeeded is finished before the next one starts as soon as RESULTS_WAIT_SECONDS are over, so that a slow
    job delays the others by its own run alone. What has not started after START_WITHIN_SECONDS is handed back.
    """
    key = Key()
    answers = _until_answered(lambda: try_claim_all(list(gens), leased_by=leased_by, key=key))
    outcomes: dict[UUID, str] = {}
    batch = _Batch(gens, outcomes)
    for job_id, answer in answers.items():
        if isinstance(answer, Refusal):
            log.debug("hint won nothing", job_id=str(job_id), gen=gens[job_id], reason=answer.value)
            outcomes[job_id] = answer.value
        else:
            batch.add(answer)
    batch.run(leased_by)
    return {job_id: outcomes[job_id] for job_id in gens}


class _Batch:
    """Leases of one claim on their way to an outcome each. The next job starts when the one before it has run."""

    def __init__(self, gens: Mapping[UUID, int], outcomes: dict[UUID, str]) -> None:
        self._gens = gens
        self._outcomes = outcomes
        self._waiting: deque[Claimed] = deque()
        self._done: list[tuple[Claimed, Done]] = []  #: ran, not finished

    def add(self, claimed: Claimed) -> None:
        self._waiting.append(claimed)

    def run(self, leased_by: str) -> None:
        began = finished_at = time.monotonic()
        while self._waiting and (now := time.monotonic()) < began + START_WITHIN_SECONDS:
            if now > finished_at + RESULTS_WAIT_SECONDS:
                self._finish()
                finished_at = time.monotonic()
            self._attempt(self._waiting.popleft())
        self._finish()
        if self._waiting:
            self._hand_back(leased_by)

    def _attempt(self, claimed: Claimed) -> None:
        with self._named(claimed):
            try:
                self._done.append((claimed, _run(claimed)))
            except Exception as error:
                self._ended(claimed, _outcome(partial(_fail, claimed, error)))

    def _finish(self) -> None:
        """Ends what succeeded, together; one by one when that was refused, so that each gets its own error."""
        done, self._done = self._done, []
        if len(done) > 1:
            try:
                for claimed, outcome in _finish_together(done):
                    with self._named(claimed):
                        self._ended(claimed, outcome)
            except Exception as error:
                log.warning(
                    "jobs were not finished together, each is finished alone", jobs=len(done), error=repr(error)
                )
            else:
                return
        for claimed, one in done:
            with self._named(claimed):
                self._ended(claimed, _outcome(partial(_finish, claimed, one)))

    def _hand_back(self, leased_by: str) -> None:
        try:
            with _bookkeeping():
                hand_back_unstarted(self._waiting, leased_by)
        except (DatabaseError, InterfaceError):
            log.warning("jobs that did not start wait for their lease", jobs=len(self._waiting), exc_info=True)
        self._outcomes |= {claimed.id: "handed_back" for claimed in self._waiting}

    def _ended(self, claimed: Claimed, outcome: str) -> None:
        self._outcomes[claimed.id] = outcome
        log.info("attempt ended", outcome=outcome)

    def _named(self, claimed: Claimed) -> AbstractContextManager[None]:
        """Lines written inside name the attempt."""
        return structlog.contextvars.bound_contextvars(
            job_id=str(claimed.id),
            kind=claimed.kind,
            attempt=claimed.attempt,
            lease_token=claimed.lease_token,
            gen=self._gens[claimed.id],
        )


def _lend_connection(pool: Pool) -> None:
    """Back to the process's pool while the handler works: as many attempts as there are connections would otherwise
    leave none to renew their leases with. A child of a prefork pool shares its connections with nobody."""
    if pool.shape is Shape.THREADS and not connection.in_atomic_block:
        connection.close()


def _run(claimed: Claimed) -> Done:
    started = time.monotonic()
    stop = _active.enter(claimed.id)
    try:
        done = _handle(claimed, stop)
    finally:
        _active.leave(claimed.id, stop)
    JOBS_STAGE_SECONDS.labels(stage="run").observe(time.monotonic() - started)
    return done


def _outcome(end: Callable[[], str]) -> str:
    """What `end` says of an attempt; stale or unknown when Postgres did not take it."""
    try:
        return end()
    except StaleLease:
        log.info("attempt came too late: the job is no longer ours")
        return "stale"
    except (_Unanswered, DatabaseError, InterfaceError):
        log.warning("Postgres did not answer the end of an attempt; the row or its lease decides", exc_info=True)
        return "unknown"


class _Unanswered(Exception):
    """The end of an attempt got no answer: it may have been committed."""


def _finish(claimed: Claimed, done: Done) -> str:
    started = time.monotonic()
    try:
        _end(lambda: finish(claimed, done))
    except (StaleLease, _Unanswered):
        raise
    except Exception as error:  # an effect's, or the result is no JSON
        return _fail(claimed, error)
    JOBS_STAGE_SECONDS.labels(stage="finish").observe(time.monotonic() - started)
    return "succeeded"


def _finish_together(attempts: Sequence[tuple[Claimed, Done]]) -> list[tuple[Claimed, str]]:
    """Raises what `finish_all` raises, but for an outage: then nobody knows."""
    started = time.monotonic()
    sent = 0

    def send() -> set[UUID]:
        nonlocal sent
        sent += 1
        return finish_all(attempts)

    try:
        stale = _until_answered(send)
    except (DatabaseError, InterfaceError) as error:
        if not _is_away(error):
            raise
        log.warning("Postgres did not answer the end of attempts; rows or leases decide", jobs=len(attempts))
        return [(claimed, "unknown") for claimed, _ in attempts]
    seconds = time.monotonic() - started
    for _ in range(len(attempts) - len(stale)):
        JOBS_STAGE_SECONDS.labels(stage="finish").observe(seconds)
    late = "stale" if sent == 1 else "unknown"  # sent again: taken by ourselves, perhaps
    return [(claimed, late if claimed.id in stale else "succeeded") for claimed, _ in attempts]


def _fail(claimed: Claimed, error: Exception) -> str:
    if not isinstance(error, Stopped | Permanent):
        log.info("handler raised", exc_info=error)
    return "retried" if _end(lambda: fail(claimed, error)) is State.QUEUED else "failed"


def _end[T](end: Callable[[], T]) -> T:
    """Ends the attempt. It may be sent several times: the fence lets it count once."""
    sent = 0

    def send() -> T:
        nonlocal sent
        sent += 1
        return end()

    try:
        return _until_answered(send)
    except StaleLease as error:
        if sent > 1:
            raise _Unanswered from error  # by ourselves, perhaps
        raise
    except (DatabaseError, InterfaceError) as error:
        if _is_away(error):
            raise _Unanswered from error
        raise


def _until_answered[T](work: Callable[[], T]) -> T:
    """Repeats what Postgres did not answer, so that its outage costs the job no attempt. Raises the last error."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with _bookkeeping():
                return work()
        except (DatabaseError, InterfaceError) as error:
            if not _is_away(error) or time.monotonic() >= give_up_at:
                raise
            log.warning("Postgres did not answer, asked again when it does", error=repr(error))
        connection.close()
        _wait_for_postgres(give_up_at)


def _is_away(error: Exception) -> bool:
    return is_outage(error) or is_busy(error)


def _wait_for_postgres(give_up_at: float) -> None:
    time.sleep(_LOOK_SECONDS)
    while breaker.is_open() and time.monotonic() < give_up_at:
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _bookkeeping() -> Iterator[None]:
    """What the handler may not, within one deadline: writes of the job's life."""
    with read_only.lifted(), deadline(settings.HOLDFAST.database_loop_seconds):
        yield


def _handle(claimed: Claimed, stop: Event) -> Done:
    kind = get_kind(claimed.kind)
    params = _params(kind, claimed.params)
    context = JobContext(
        id=claimed.id,
        root_id=claimed.root_id,
        kind=claimed.kind,
        owner=claimed.owner,
        farm_id=claimed.farm_id,
        pool=claimed.pool,
        priority=claimed.priority,
        attempt=claimed.attempt,
        max_attempts=claimed.max_attempts,
        lease_token=claimed.lease_token,
        params=claimed.params,
        callback_url=claimed.callback_url,
        traceparent=claimed.traceparent,
        deadline=time.monotonic() + POOLS[claimed.pool].hard_limit_seconds,
        _is_stopped=stop.is_set,
    )
    _lend_connection(POOLS[claimed.pool])
    with refusing_writes():
        answer = kind.handler(context, params)
    return answer if isinstance(answer, Done) else Done(result=answer or {})


def _params(kind: Kind, stored: Mapping[str, object]) -> BaseModel:
    try:
        return kind.params.model_validate(dict(stored))
    except ValidationError as error:
        raise StoredParamsInvalid(f"params no longer fit kind {kind.name}: {error}") from error
