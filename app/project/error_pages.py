"""Django's own errors as problem documents; the admin keeps Django's pages, which people read."""

import sys
from typing import Final

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults

from jobs.api.application import database_problem
from jobs.api.problems import Problem

ADMIN: Final = "/admin/"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, with Django's reason where it says nothing about us."""
    if request.path.startswith(ADMIN):
        return defaults.bad_request(request, exception)
    if isinstance(exception, UnreadablePostError):
        return Problem(400, "The body could not be read", "It ended early.").response()
    return Problem(400, detail="The request is malformed: check its host, headers and path.").response()


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    if request.path.startswith(ADMIN):
        return defaults.permission_denied(request, exception)
    return Problem(403).response()


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    if request.path.startswith(ADMIN):
        return defaults.page_not_found(request, exception)
    return Problem(404, detail="There is nothing at this path; /api/docs lists what there is.").response()


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 when the error was Postgres's: middleware and the admin end here too."""
    error = sys.exception()
    problem = database_problem(error) if error else None
    if problem is not None:
        return problem.response()
    if request.path.startswith(ADMIN):
        return defaults.server_error(request)
    return Problem(500, "Something failed on our side", "It was logged; the request may be repeated.").response()
