"""Operations on dead letters: list and replay. Scope `operate`, which sees every owner's."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Path, Query, Router, Status

from jobs import dead_letters, selectors
from jobs.api import presentation, schemas
from jobs.api.auth import authenticated, principal
from jobs.api.jobs import Cursor, Limit, uuid_or_404
from jobs.api.problems import problems
from jobs.api.text import Storable
from jobs.states import Reason

router = Router(tags=["dead letters"])

DeadLetterId = Annotated[str, Path(description="Opaque id of a dead letter.")]


@router.get(
    "",
    auth=authenticated("operate"),
    operation_id="list_dead_letters",
    summary="List dead letters, newest first",
    response={200: schemas.DeadLetterPage, **problems(422)},
)
def list_dead_letters(
    request: HttpRequest,
    reason: Reason | None = None,
    kind: Annotated[Storable | None, Query(max_length=40)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> schemas.DeadLetterPage:
    caller = principal(request)
    page = selectors.list_dead_letters(
        owner=caller.owner, see_all=caller.sees_all, reason=reason, kind=kind, cursor=cursor, limit=limit
    )
    items = [presentation.dead_letter(row) for row in page.items]
    return schemas.DeadLetterPage(dead_letters=items, next_cursor=page.next_cursor)


@router.post(
    "/{dead_letter_id}/replay",
    auth=authenticated("operate"),
    operation_id="replay_dead_letter",
    summary="Run a dead-lettered job again",
    response={202: schemas.Replayed, 200: schemas.Replayed, **problems(404, 409, 422)},
)
def replay(request: HttpRequest, dead_letter_id: DeadLetterId) -> Status[schemas.Replayed]:
    """202: a new job linked to the original. 200: the open or succeeded job of the same request stands for it."""
    caller = principal(request)
    submitted = dead_letters.replay(
        uuid_or_404(dead_letter_id), owner=caller.owner, see_all=caller.sees_all, actor=caller.owner
    )
    return Status(202 if submitted.created else 200, presentation.replayed(submitted))
