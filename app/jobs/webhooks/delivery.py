"""Runs a webhook job: one signed POST per attempt, under a key that no attempt changes.

2xx = delivered. 408, 425, 429, 5xx and silence are repeated, after Retry-After where the receiver asks. Everything else
(410, other 4xx, a redirect, an address that is not allowed) ends as a dead letter, and never as another webhook.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field
from standardwebhooks import Webhook

from jobs import effects, selectors
from jobs.context import JobContext
from jobs.errors import JobNotFound, Permanent, Retryable
from jobs.kinds import job_kind
from jobs.models import Job
from jobs.webhooks import event, sender
from jobs.webhooks.creation import KIND
from jobs.webhooks.guard import AddressRefused
from metrics.catalogue import WEBHOOK_DELIVERIES, WEBHOOK_DELIVERY_SECONDS

#: Seconds of one attempt, from look-up to the answer's head.
ATTEMPT_SECONDS: Final = 15.0
#: Seconds; the longest distance of two attempts, whatever the receiver asks for.
CAP_SECONDS: Final = 3600.0
#: With the backoff below they spread over about five hours, nine at most.
MAX_ATTEMPTS: Final = 20

_REPEATED: Final = frozenset({408, 425, 429})


class ReceiverUnavailable(Retryable):
    """The receiver did not take the webhook now."""


class ReceiverRefused(Permanent):
    """The receiver does not want the webhook."""


class DeliveryParams(BaseModel):
    """Which job's end is told to whom."""

    model_config = ConfigDict(extra="forbid")

    job: UUID
    url: Annotated[str, Field(min_length=1)]


@job_kind(
    KIND,
    pool="io",
    params=DeliveryParams,
    max_attempts=MAX_ATTEMPTS,
    backoff_seconds=2.0,
    backoff_cap_seconds=CAP_SECONDS,
    internal=True,
)
def deliver(job: JobContext, params: DeliveryParams) -> dict[str, Any]:
    """Tells the receiver once: an effect that was confirmed, also by the webhook of an earlier replay, is not sent."""
    ended = _ended(job, params)
    effect = f"webhook:{event.type_of(ended)}"
    intent = effects.intend(job, effect, root_id=ended.root_id)
    if intent.is_done:
        WEBHOOK_DELIVERIES.labels(result="known").inc()
        return {"webhook_id": intent.key, "status": None}
    job.check_stopped()
    body = event.body_of(ended)
    with _counted():
        status = _send(params.url, _signed(intent.key, body), body, seconds=min(ATTEMPT_SECONDS, job.seconds_left()))
    effects.confirm(job, effect, {"status": status, "job": str(ended.id)}, root_id=ended.root_id)
    return {"webhook_id": intent.key, "status": status}


def _ended(job: JobContext, params: DeliveryParams) -> Job:
    try:
        return selectors.get_job(params.job, owner=job.owner)
    except JobNotFound as error:
        raise Permanent(f"params.job: {params.job} is gone: it was kept until its retention ended") from error


def _signed(key: str, body: str) -> dict[str, str]:
    """The headers. The time is the attempt's: a receiver refuses old ones, so that nobody can replay them."""
    secret = settings.HOLDFAST.webhook_secret
    if secret is None:
        raise Retryable("WEBHOOK_SECRET is missing in this worker: run `make up`, which generates it")
    now = datetime.now(UTC)
    return {
        "Content-Type": "application/json",
        "User-Agent": "holdfast-webhooks",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret.get_secret_value()).sign(key, now, body),
    }


def _send(url: str, headers: Mapping[str, str], body: str, *, seconds: float) -> int:
    """The status of an answer that took the webhook. Raises HandlerError."""
    opened = settings.HOLDFAST.webhook_allow_cidrs
    try:
        answer = sender.post(url, headers=headers, body=body.encode(), seconds=seconds, opened=opened)
    except sender.NoAnswer as error:
        raise ReceiverUnavailable(f"callback_url: {error}") from error
    if 200 <= answer.status < 300:
        return answer.status
    if answer.status in _REPEATED or answer.status >= 500:
        after = _seconds_asked(answer.retry_after)
        raise ReceiverUnavailable(f"callback_url: the receiver answers {answer.status}", after=after)
    why = "redirects are not followed" if answer.status < 400 else "it is not asked again"
    raise ReceiverRefused(f"callback_url: the receiver answers {answer.status}: {why}")


def _seconds_asked(retry_after: str) -> float | None:
    """Retry-After (RFC 9110 §10.2.3), within bounds and a little later, so that not all come at once; None = absent."""
    try:
        if retry_after.isdecimal():
            seconds = float(retry_after)
        else:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(CAP_SECONDS, max(0.0, seconds)) * random.uniform(1.0, 1.1)


@contextmanager
def _counted() -> Iterator[None]:
    began, result = time.monotonic(), "delivered"
    try:
        yield
    except AddressRefused:
        result = "forbidden"
        raise
    except ReceiverRefused:
        result = "refused"
        raise
    except Exception:
        result = "unavailable"
        raise
    finally:
        WEBHOOK_DELIVERIES.labels(result=result).inc()
        WEBHOOK_DELIVERY_SECONDS.observe(time.monotonic() - began)
