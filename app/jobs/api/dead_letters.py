"""Operations on dead letters: list, get, replay one or many. Scope `operate` sees every owner's, others their own."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from jobs import replays, selectors
from jobs.api import presentation, schemas
from jobs.api.auth import authenticated, principal
from jobs.api.jobs import Cursor, Limit, uuid_or_404
from jobs.api.problems import problems
from jobs.api.text import Storable
from jobs.selectors import LetterFilter
from jobs.states import Reason

router = Router(tags=["dead letters"])

DeadLetterId = Annotated[str, Path(description="Opaque id of a dead letter.")]


@router.get(
    "",
    auth=authenticated("read", "operate"),
    operation_id="list_dead_letters",
    summary="List dead letters",
    response={200: schemas.DeadLetterPage, **problems(422)},
)
def list_dead_letters(
    request: HttpRequest,
    reason: Reason | None = None,
    kind: Annotated[Storable | None, Query(max_length=100)] = None,
    pool: schemas.PoolName | None = None,
    since: Annotated[schemas.Moment | None, Query(description="Dead at or after this moment.")] = None,
    until: Annotated[schemas.Moment | None, Query(description="Dead before this moment.")] = None,
    replayed: Annotated[bool | None, Query(description="Only those that were replayed, or were not.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> schemas.DeadLetterPage:
    caller = principal(request)
    wanted = LetterFilter(kind, reason, pool, since, until, replayed)
    page = selectors.list_dead_letters(wanted, owner=caller.owner, see_all=caller.sees_all, cursor=cursor, limit=limit)
    items = [presentation.dead_letter(row) for row in page.items]
    return schemas.DeadLetterPage(dead_letters=items, next_cursor=page.next_cursor)


@router.post(
    "/replay",
    auth=authenticated("submit", "operate"),
    operation_id="replay_dead_letters",
    summary="Run up to 1,000 dead-lettered jobs again, at a rate",
    response={200: schemas.BulkReplayed, **problems(413, 415, 422)},
)
def replay_all(request: HttpRequest, payload: schemas.BulkReplayIn) -> schemas.BulkReplayed:
    """One transaction: who asked, for what and what came of it is kept. The same request again joins what it made."""
    wanted = LetterFilter(**payload.filter.model_dump())
    bulk = replays.Bulk(wanted, payload.dry_run, payload.rate, payload.limit, payload.cursor)
    return presentation.bulk_replayed(replays.replay_all(bulk, _caller(request)))


@router.get(
    "/{dead_letter_id}",
    auth=authenticated("read", "operate"),
    operation_id="get_dead_letter",
    summary="One dead letter",
    response={200: schemas.DeadLetterOut, **problems(404, 422)},
)
def get_dead_letter(request: HttpRequest, dead_letter_id: DeadLetterId) -> schemas.DeadLetterOut:
    """Another owner's is 404."""
    caller = principal(request)
    letter = selectors.get_dead_letter(uuid_or_404(dead_letter_id), owner=caller.owner, see_all=caller.sees_all)
    return presentation.dead_letter(letter)


@router.post(
    "/{dead_letter_id}/replay",
    auth=authenticated("submit", "operate"),
    operation_id="replay_dead_letter",
    summary="Run a dead-lettered job again",
    response={202: schemas.Replayed, 200: schemas.Replayed, **problems(404, 409, 422)},
)
def replay(request: HttpRequest, dead_letter_id: DeadLetterId) -> Status[schemas.Replayed]:
    """202: a new job linked to the original. 200: the open or succeeded job of the same request stands for it."""
    submitted = replays.replay(uuid_or_404(dead_letter_id), _caller(request))
    return Status(202 if submitted.created else 200, presentation.replayed(submitted))


def _caller(request: HttpRequest) -> replays.Caller:
    caller = principal(request)
    return replays.Caller(caller.owner, caller.sees_all, caller.key_id)
