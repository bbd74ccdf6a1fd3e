"""Answers for machines: is the process alive, can it serve, what are its numbers. None of them needs a key."""

from functools import cache
from typing import Final

import redis
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

import dispatch
import postgres_deadline
import redis_topology.clients
from metrics.server import render

#: Seconds that /readyz lets Postgres take; the breaker answers at once when it is open.
_READY_SECONDS: Final = 1.0
#: Seconds that each step towards Redis may take; /readyz has a thread of its own.
_REDIS_SECONDS: Final = 0.2


def livez(_request: HttpRequest) -> HttpResponse:
    """200 while the process serves. Asks nobody: a restart mends neither Postgres nor Redis."""
    return JsonResponse({"status": "alive"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """200 while Postgres answers, else 503. Redis is reported and never fatal: jobs are accepted without it."""
    postgres_serves = _postgres_serves()
    body = {
        "status": "ready" if postgres_serves else "not ready",
        "postgres": "up" if postgres_serves else "down",
        "redis": "up" if _redis_serves() else "down",
    }
    return JsonResponse(body, status=200 if postgres_serves else 503)


def metrics(_request: HttpRequest) -> HttpResponse:
    """Prometheus's text format."""
    body, content_type = render()
    return HttpResponse(body, content_type=content_type)


def _postgres_serves() -> bool:
    if postgres_deadline.breaker.is_open():
        return False
    try:
        with postgres_deadline.deadline(_READY_SECONDS), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        if postgres_deadline.is_outage(error):
            postgres_deadline.breaker.trip(str(error))
        return False
    return True


def _redis_serves() -> bool:
    if dispatch.breaker_is_open():
        return False
    try:
        _redis().ping()
    except redis.RedisError:
        return False
    return True


@cache
def _redis() -> redis.Redis:
    return redis_topology.clients.primary(
        settings.REDIS_TOPOLOGY, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
