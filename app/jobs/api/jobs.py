"""Operations on jobs: submit, bulk, get, list, cancel."""

import re
from dataclasses import replace
from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest
from ninja import Header, Path, Query, Router, Status

from jobs import cancellation, selectors, submission
from jobs.api import presentation, schemas
from jobs.api.auth import authenticated, principal
from jobs.api.problems import Problem, problems
from jobs.api.text import Storable
from jobs.errors import InvalidRequest
from jobs.states import State
from jobs.submission import JobRequest

router = Router(tags=["jobs"])

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="The same key with the same body gets the same answer; with another body 409.",
    ),
]
Traceparent = Annotated[
    str | None, Header(alias="traceparent", include_in_schema=False, description="W3C trace context.")
]
JobId = Annotated[str, Path(description="Opaque id of a job.", example="01980f5e-2d4c-7000-8000-000000000000")]
Cursor = Annotated[Storable | None, Query(max_length=200, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=schemas.PAGE_LIMIT, description="Items per page.")]


@router.post(
    "",
    auth=authenticated("submit"),
    operation_id="submit_job",
    summary="Submit a job",
    response={202: schemas.Accepted, 200: schemas.Accepted, **problems(409, 413, 415, 422)},
)
def submit(
    request: HttpRequest,
    payload: schemas.JobIn,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
) -> Status[schemas.Accepted]:
    """202: accepted, the job is stored and will reach a terminal status. 200: an equal request was there, same id."""
    try:
        submitted = submission.submit_bulk(
            [_job_request(payload)],
            owner=principal(request).owner,
            idempotency_key=idempotency_key,
            traceparent=_traceparent(traceparent),
        )[0]
    except InvalidRequest as error:
        # There is one job here, and the client gave it no index.
        raise InvalidRequest([replace(problem, index=None) for problem in error.problems]) from None
    return Status(202 if submitted.created else 200, presentation.accepted(submitted))


@router.post(
    "/bulk",
    auth=authenticated("submit"),
    operation_id="submit_jobs",
    summary="Submit up to 1,000 jobs, all or none",
    response={202: schemas.BulkAccepted, **problems(409, 413, 415, 422)},
)
def submit_bulk(
    request: HttpRequest,
    payload: schemas.BulkIn,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
) -> Status[schemas.BulkAccepted]:
    """One item per job in the order of the request; equal requests share an id."""
    submitted = submission.submit_bulk(
        [_job_request(job) for job in payload.jobs],
        owner=principal(request).owner,
        idempotency_key=idempotency_key,
        traceparent=_traceparent(traceparent),
    )
    return Status(202, schemas.BulkAccepted(jobs=[presentation.bulk_item(item) for item in submitted]))


@router.get(
    "",
    auth=authenticated("read"),
    operation_id="list_jobs",
    summary="List jobs, newest first",
    response={200: schemas.JobPage, **problems(422)},
)
def list_jobs(
    request: HttpRequest,
    status: State | None = None,
    kind: Annotated[Storable | None, Query(max_length=40)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> schemas.JobPage:
    caller = principal(request)
    page = selectors.list_jobs(
        owner=caller.owner, see_all=caller.sees_all, status=status, kind=kind, cursor=cursor, limit=limit
    )
    return schemas.JobPage(jobs=[presentation.summary(job) for job in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{job_id}",
    auth=authenticated("read"),
    operation_id="get_job",
    summary="One job with its timeline",
    response={200: schemas.JobOut, **problems(404, 422)},
)
def get_job(request: HttpRequest, job_id: JobId) -> schemas.JobOut:
    """Another owner's job is 404."""
    caller = principal(request)
    job = selectors.get_job(uuid_or_404(job_id), owner=caller.owner, see_all=caller.sees_all)
    return presentation.job(job, selectors.timeline(job.id))


@router.post(
    "/{job_id}/cancel",
    auth=authenticated("submit"),
    operation_id="cancel_job",
    summary="Cancel a job",
    response={200: schemas.Cancelled, **problems(404, 409, 422)},
)
def cancel(request: HttpRequest, job_id: JobId) -> schemas.Cancelled:
    """409 when the job is terminal already."""
    caller = principal(request)
    outcome = cancellation.cancel(uuid_or_404(job_id), owner=caller.owner, see_all=caller.sees_all, actor=caller.owner)
    return presentation.cancelled(outcome)


def uuid_or_404(text: str) -> UUID:
    """Ids are opaque to clients: one that cannot exist is as unknown as one that does not."""
    if not _UUID.fullmatch(text):
        raise Problem(404, detail="There is nothing of this id for this key's owner.")
    return UUID(text)


def _job_request(payload: schemas.JobIn) -> JobRequest:
    return JobRequest(
        kind=payload.kind,
        params=payload.params,
        farm_id=payload.farm_id,
        priority=payload.priority,
        not_before=payload.not_before,
        callback_url=payload.callback_url,
        force=payload.force,
    )


_TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


def _traceparent(header: str | None) -> str:
    """The W3C header, or nothing: a malformed one starts a new trace and is no error."""
    return header if header and _TRACEPARENT.fullmatch(header) else ""
