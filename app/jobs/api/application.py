"""The NinjaAPI that every router is mounted on: how bodies are read, errors answered, the document written."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, cast

import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, DataError, InterfaceError, NotSupportedError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.docs import Swagger
from ninja.parser import Parser

from jobs import errors
from jobs.api import openapi
from jobs.api.auth import unauthenticated
from jobs.api.problems import FieldError, Problem, invalid, too_large, unavailable
from jobs.api.text import parse_json
from postgres_deadline import breaker, is_outage, is_transient

log = structlog.get_logger(__name__)

_JSON: Final = "application/json"
_Handler = Callable[[HttpRequest, Any], HttpResponse]


class StrictParser(Parser):
    """JSON in UTF-8 under its own content type, and nothing that Python alone would accept."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """The body's value. Raises Problem 415 or 422."""
        # ninja hands over an empty request of its own for the fields of a multipart form.
        if request.content_type not in (_JSON, None):
            raise Problem(415, detail=f"Send the body as {_JSON}, not as '{request.content_type}'.")
        return cast("dict[str, Any]", parse_json(request.body))


class HoldfastAPI(NinjaAPI):
    """`/api/v1`, its document at `/api/openapi.json` and its page at `/api/docs`."""

    def __init__(self) -> None:
        super().__init__(
            title="Holdfast",
            version="1",
            description="Jobs that are not lost: an accepted job is a committed row that reaches a terminal status.",
            docs=Swagger(settings={"persistAuthorization": False, "validatorUrl": None}),
            parser=StrictParser(),
            urls_namespace="api",
        )
        for kind_of_error, handler in _HANDLERS.items():
            self.add_exception_handler(kind_of_error, handler)

    def get_openapi_schema(self, **options: Any) -> Any:  # noqa: ANN401 - ninja's dict subclass
        """The document with problems under their own content type and one schema per job kind."""
        return openapi.finish(super().get_openapi_schema(**options))

    @cached_property
    def operation_ids(self) -> dict[tuple[str, str], str]:
        """Operation id by (route of Django's resolver, HTTP method)."""
        return {
            (path.lstrip("/").replace("{", "<").replace("}", ">"), method.upper()): operation["operationId"]
            for path, operations in self.get_openapi_schema()["paths"].items()
            for method, operation in operations.items()
        }


def _problem(_request: HttpRequest, error: Problem) -> HttpResponse:
    return error.response()


def _not_authenticated(_request: HttpRequest, _error: AuthenticationError) -> HttpResponse:
    return unauthenticated("Send the header 'Authorization: Bearer hf_<id>_<secret>'.").response()


def _http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
    # ninja wraps what the parser raised.
    if isinstance(error.__cause__, Problem):
        return error.__cause__.response()
    if isinstance(error.__cause__, Exception) and error.status_code == 400:
        return _body_error(_request, error.__cause__)
    return Problem(error.status_code, detail=str(error)).response()


def _body_error(_request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, RequestDataTooBig):
        return too_large().response()
    if isinstance(error, UnreadablePostError | MultiPartParserError):
        return Problem(
            400, "The body could not be read", "It ended early or is not the multipart form it claims to be."
        ).response()
    raise error


def _not_found(_request: HttpRequest, _error: Http404) -> HttpResponse:
    return Problem(404, detail="There is nothing of this id for this key's owner.").response()


def _invalid(_request: HttpRequest, error: ValidationError) -> HttpResponse:
    return invalid([_field_error(item) for item in error.errors]).response()


def _field_error(item: dict[str, Any]) -> FieldError:
    message = str(item["msg"]).removeprefix("Value error, ")
    return {"field": field_path(item["loc"]), "message": message}


def field_path(location: tuple[str | int, ...]) -> str:
    """`("body", "payload", "jobs", 3, "kind")` as the client wrote it: `jobs[3].kind`."""
    source, *parts = location
    if source == "body" and parts:
        parts = parts[1:]  # the view's parameter name, which no client knows
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or str(source)


def _invalid_request(_request: HttpRequest, error: errors.InvalidRequest) -> HttpResponse:
    return invalid([_job_field_error(problem) for problem in error.problems]).response()


def _job_field_error(problem: errors.FieldProblem) -> FieldError:

    field = problem.field if problem.index is None else f"jobs[{problem.index}].{problem.field}"
    return {"field": field, "message": problem.message}


def _conflict(_request: HttpRequest, error: errors.JobsError) -> HttpResponse:
    return Problem(409, detail=str(error)).response()


def _overloaded(_request: HttpRequest, error: errors.Overloaded) -> HttpResponse:
    headers = {"Retry-After": str(error.retry_after)}
    return Problem(429, "Too many jobs are open", str(error), headers=headers).response()


def _database(_request: HttpRequest, error: DatabaseError | InterfaceError) -> HttpResponse:
    problem = database_problem(error)
    if problem is None:
        raise error
    return problem.response()


def database_problem(error: BaseException) -> Problem | None:
    """503 when Postgres does not serve or asks for a repetition, 422 when it cannot store the value, else None."""
    if is_outage(error):
        breaker.trip(str(error))
        return unavailable()
    if is_transient(error):
        return unavailable("The database asks to send this request again; nothing was accepted.")
    if isinstance(error, DataError):
        log.warning("a value passed validation that Postgres refuses", error=str(error))
        return invalid([{"field": "body", "message": "holds a value that cannot be stored"}])
    return None


_HANDLERS: Final[dict[type[Exception], _Handler]] = {
    Problem: _problem,
    AuthenticationError: _not_authenticated,
    HttpError: _http_error,
    Http404: _not_found,
    ValidationError: _invalid,
    RequestDataTooBig: _body_error,
    UnreadablePostError: _body_error,
    MultiPartParserError: _body_error,
    errors.InvalidRequest: _invalid_request,
    errors.Overloaded: _overloaded,
    errors.IdempotencyConflict: _conflict,
    errors.NotCancellable: _conflict,
    errors.NotReplayable: _conflict,
    errors.JobNotFound: _not_found,
    errors.DeadLetterNotFound: _not_found,
    OperationalError: _database,
    InterfaceError: _database,
    NotSupportedError: _database,
    DataError: _database,
}
