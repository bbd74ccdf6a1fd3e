"""What surrounds every request: its log line and numbers, its size limit, its deadline, the headers of its answer."""

from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Final
from uuid import uuid4

import structlog
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import resolve

import postgres_deadline
from jobs.api.problems import CONTENT_TYPE, Problem, too_large, unavailable
from metrics.catalogue import HTTP_REQUEST_SECONDS, HTTP_REQUESTS, POSTGRES_BREAKER
from project.error_pages import ADMIN
from project.request_body import BoundedBody

type View = Callable[[WSGIRequest], HttpResponseBase]

log = structlog.get_logger(__name__)

_API: Final = "/api/"
_OPERATIONS: Final = "/api/v1/"
_STATIC: Final = "/static/"
#: Paths that must answer, or may wait, without Postgres; /readyz has a deadline of its own.
_WITHOUT_POSTGRES: Final = ("/livez", "/readyz", "/metrics", "/api/docs", "/api/openapi.json", _STATIC)
#: Paths that machines ask for all day: not logged.
_QUIET: Final = ("/livez", "/readyz", "/metrics", _STATIC)

#: Nothing from another host, no inline script. Swagger UI and the admin set inline styles and use data: images.
_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def request_deadline(get_response: View) -> View:
    """Outermost: one budget for all that a request asks of Postgres, and an answer at once while it is away."""
    postgres_deadline.breaker.on_change(_count_transition)

    def middleware(request: WSGIRequest) -> HttpResponseBase:
        began = monotonic()
        with structlog.contextvars.bound_contextvars(request_id=uuid4().hex):
            response = _as_problem(request, _within_deadline(request, get_response))
            _record(request, response, monotonic() - began)
        return response

    return middleware


def security_headers(get_response: View) -> View:
    """A content security policy for every page, and no caching of answers that belong to one key."""

    def middleware(request: WSGIRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if request.path.startswith((_API, ADMIN)):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware


def api_directly(get_response: View) -> View:
    """Below /api/v1/ nothing that comes after: static files, sessions, CSRF and messages are for pages."""

    def middleware(request: WSGIRequest) -> HttpResponseBase:
        if not request.path_info.startswith(_OPERATIONS):
            return get_response(request)
        request.get_host()  # raises DisallowedHost
        match = request.resolver_match = resolve(request.path_info)
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        response.headers.setdefault("X-Frame-Options", "DENY")
        if isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response

    return middleware


def _within_deadline(request: WSGIRequest, get_response: View) -> HttpResponseBase:
    if request.path.startswith(_WITHOUT_POSTGRES):
        return get_response(request)
    if postgres_deadline.breaker.is_open():
        return unavailable("The database does not answer; nothing of this request was accepted.").response()
    with postgres_deadline.deadline(settings.HOLDFAST.database_request_seconds):
        return _limit_body(request) or get_response(request)


def _limit_body(request: WSGIRequest) -> HttpResponse | None:
    """413 for a declared length past the limit; a body without one is cut off while it is read."""
    is_upload = request.content_type == "multipart/form-data"
    limit = settings.HOLDFAST.max_scene_bytes if is_upload else settings.HOLDFAST.max_request_bytes
    if _is_chunked(request):
        # WSGI has no length for it and Django would read nothing; gunicorn ends the stream where the body ends.
        request.META["CONTENT_LENGTH"] = str(limit)
        source = request.environ["wsgi.input"]
    elif int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        return too_large().response()
    else:
        source = request._stream
    request._stream = BoundedBody(source, limit=limit)  # type: ignore[assignment]
    return None


def _is_chunked(request: WSGIRequest) -> bool:
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def _as_problem(request: WSGIRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Errors that Django or ninja answered in their own way below /api/, such as 405, in ours."""
    is_ours = response.headers.get("Content-Type", "").startswith(CONTENT_TYPE)
    if response.status_code < HTTPStatus.BAD_REQUEST or is_ours or request.path.startswith(ADMIN):
        return response
    if not request.path.startswith(_API):
        return response
    headers = {"Allow": response.headers["Allow"]} if "Allow" in response.headers else {}
    response.close()
    return Problem(response.status_code, headers=headers).response()


def _record(request: WSGIRequest, response: HttpResponseBase, seconds: float) -> None:
    operation = _operation(request)
    HTTP_REQUESTS.labels(operation=operation, code=str(response.status_code)).inc()
    HTTP_REQUEST_SECONDS.labels(operation=operation).observe(seconds)
    if not request.path.startswith(_QUIET):
        auth = getattr(request, "auth", None)
        log.info(
            "request answered",
            method=request.method,
            path=request.path,
            status=response.status_code,
            seconds=round(seconds, 4),
            key_id=getattr(auth, "key_id", None),
        )


def _operation(request: WSGIRequest) -> str:
    """The operation's id, the name of another view, or `none`: a closed list, as a metric's label must be."""
    match = request.resolver_match
    if match is None:
        return "none"
    from project.urls import api  # urls import views, which must not be loaded before the apps are

    return api.operation_ids.get((match.route, request.method or ""), match.view_name or "unnamed")


def _count_transition(is_open: bool) -> None:
    POSTGRES_BREAKER.labels(to="open" if is_open else "closed").inc()
