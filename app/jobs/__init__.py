"""The job's life: submit, claim, finish, fail, sweep. `from jobs import submit` is the public door.

Names are loaded on first use: Django imports this package before its models may be imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.cancellation import cancel
    from jobs.context import Done, FollowUp, JobContext, StoredFile
    from jobs.errors import Permanent, Poison, Retryable
    from jobs.kinds import adopt, job_kind
    from jobs.schedules import schedule
    from jobs.submission import JobRequest, Submitted, submit, submit_bulk

_HOMES = {
    "Done": "jobs.context",
    "FollowUp": "jobs.context",
    "JobContext": "jobs.context",
    "JobRequest": "jobs.submission",
    "Permanent": "jobs.errors",
    "Poison": "jobs.errors",
    "Retryable": "jobs.errors",
    "StoredFile": "jobs.context",
    "Submitted": "jobs.submission",
    "adopt": "jobs.kinds",
    "cancel": "jobs.cancellation",
    "job_kind": "jobs.kinds",
    "schedule": "jobs.schedules",
    "submit": "jobs.submission",
    "submit_bulk": "jobs.submission",
}

__all__ = [
    "Done",
    "FollowUp",
    "JobContext",
    "JobRequest",
    "Permanent",
    "Poison",
    "Retryable",
    "StoredFile",
    "Submitted",
    "adopt",
    "cancel",
    "job_kind",
    "schedule",
    "submit",
    "submit_bulk",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _HOMES:
        raise AttributeError(f"module 'jobs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
