"""Everything that can go wrong with a job, one root. A message names the field and the fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


class JobsError(Exception):
    """Something about a job went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


# -- submitting and asking ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class FieldProblem:
    """`field` is a dotted path from the request's root, e.g. `params.work_ms`; `index` the position in a bulk."""

    field: str
    message: str
    index: int | None = None


class InvalidRequest(JobsError):
    """The request is malformed; `problems` names each field."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))


class UnknownKind(InvalidRequest):
    """No installed app registers this kind."""

    def __init__(self, kind: str, known: Sequence[str], *, index: int | None = None) -> None:
        self.kind = kind
        super().__init__([FieldProblem("kind", f"unknown kind {kind!r}: use one of {', '.join(known)}", index)])


class Overloaded(JobsError):
    """Too many jobs are open: repeat the request later."""

    def __init__(self, pool: str, *, retry_after: int) -> None:
        self.pool = pool
        self.retry_after = retry_after  #: seconds
        super().__init__(f"pool {pool} has too many open jobs: repeat the request in {retry_after} s")


class IdempotencyConflict(JobsError):
    """This Idempotency-Key was used with another body: use a new key for a new request."""


class JobNotFound(JobsError):
    """There is no such job for this owner."""


class NotCancellable(JobsError):
    """The job is already terminal."""

    def __init__(self, job_id: UUID, state: str) -> None:
        self.state = state
        super().__init__(f"job {job_id} is already {state}: there is nothing left to cancel")


class DeadLetterNotFound(JobsError):
    """There is no such dead letter for this owner."""


class NotReplayable(JobsError):
    """The dead letter names no job (it was an unreadable stream entry): there is nothing to run again."""


# -- running --------------------------------------------------------------------------------------------------------
class StaleLease(JobsError):
    """The job is no longer leased under this token: somebody else finished, cancelled or took it over."""


class Stopped(JobsError):
    """The attempt has to stop: its lease was lost, its job was cancelled, or its time is over."""


class WriteRefused(JobsError):
    """A handler wrote to the database while running: return the write as an effect, `Done(effects=[…])`."""


class StoredParamsInvalid(JobsError):
    """The stored params no longer fit the kind's model."""


class HandlerError(JobsError):
    """What a handler may raise to say how its attempt failed. Anything else counts as Retryable."""


class Retryable(HandlerError):
    """The attempt failed; another one may succeed. `after` = seconds until then, None = the kind's backoff."""

    def __init__(self, message: str | None = None, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


class Permanent(HandlerError):
    """No repetition can help: the job fails now."""


class Poison(HandlerError):
    """This input harms the worker: the job fails now and is marked as poison."""
