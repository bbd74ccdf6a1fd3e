"""A webhook job comes into being in the transaction that makes its job terminal, or not at all."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final, NamedTuple
from uuid import UUID

from dispatch import Priority
from jobs import submission
from jobs.context import WEBHOOK_STEP
from jobs.requests import JobRequest, NewJob, Origin, prepare

KIND: Final = "webhook.deliver"


class Ended(NamedTuple):
    """A job that this transaction makes terminal."""

    id: UUID
    owner: str
    farm_id: str
    priority: int
    callback_url: str
    traceparent: str


def create_webhooks(ended: Iterable[Ended]) -> None:
    """Makes the webhook of each job that has a `callback_url`. Call it in the transaction that ends them."""
    wanted = sorted((job for job in ended if job.callback_url), key=_trace)
    for traceparent, jobs in groupby(wanted, key=_trace):
        submission.insert([_webhook(job) for job in jobs], traceparent=traceparent, gated=False)


def _trace(job: Ended) -> str:
    return job.traceparent


def _webhook(job: Ended) -> NewJob:
    request = JobRequest(
        kind=KIND,
        params={"job": str(job.id), "url": job.callback_url},
        farm_id=job.farm_id,
        priority=Priority(job.priority).word,
    )
    return prepare(request, owner=job.owner, origin=Origin(identity=f"step:{job.id}:{WEBHOOK_STEP}", parent_id=job.id))
