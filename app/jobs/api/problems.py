"""Errors as the client sees them: `application/problem+json` (RFC 9457), which names each faulty field.

Raise `Problem` anywhere below a view; the API and Django's own error handlers render it the same way.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypedDict

from django.http import HttpResponse
from ninja import Field, Schema

CONTENT_TYPE: Final = "application/problem+json"

#: Seconds a client should wait before it repeats a request that found Postgres gone.
RETRY_AFTER_SECONDS: Final = 2


class FieldError(TypedDict):
    """`field` is a path as the client wrote it (`params.work_ms`, `jobs[3].kind`), `message` names the fix."""

    field: str
    message: str


class Problem(Exception):
    """An answer other than success.

    `status` is the HTTP status, `title` a short constant sentence (the status's own phrase when empty), `detail` what
    happened in this case, `errors` one entry per faulty field.
    """

    def __init__(
        self,
        status: int,
        title: str = "",
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The JSON object of RFC 9457, with `errors` as our extension."""
        members = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return {**members, "errors": self.errors}

    def response(self) -> HttpResponse:
        """The rendered answer."""
        body = json.dumps(self.document(), ensure_ascii=True)
        return HttpResponse(body, status=self.status, content_type=CONTENT_TYPE, headers=self.headers)


class FieldProblem(Schema):
    field: str = Field(description="Path of the faulty value, as in `params.work_ms` or `jobs[3].kind`.")
    message: str = Field(description="What is wrong and what would be right.")


class ProblemDocument(Schema):
    """RFC 9457 problem details."""

    type: str = Field("about:blank", description="Always `about:blank`: the status says the kind.")
    title: str
    status: int
    detail: str = ""
    errors: list[FieldProblem] = Field(default_factory=list, description="One entry per faulty field.")


#: Every operation may answer these: key, scope, rate limit, Postgres gone; and a request too odd to be read.
_COMMON: Final = (400, 401, 403, 429, 503)


def problems(*statuses: int) -> dict[int, type[ProblemDocument]]:
    """`response=` entries for `statuses` and for what every authenticated operation may answer."""
    return dict.fromkeys(sorted({*_COMMON, *statuses}), ProblemDocument)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """422: `errors` names each field."""
    names = ", ".join(error["field"] for error in errors[:5])
    return Problem(422, "The request is not valid", f"Correct {names} and send it again.", errors=errors)


def unavailable(detail: str = "") -> Problem:
    """503: Postgres does not serve. Nothing that was accepted is lost."""
    return Problem(
        503,
        "The database does not answer",
        detail or "Send the request again, with the same Idempotency-Key: whether this one was accepted is unknown.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def too_large() -> Problem:
    """413."""
    return Problem(413, "The request is too large", "Send less at once: fewer jobs, or a smaller file.")
