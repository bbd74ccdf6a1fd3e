"""What this worker's parent is running, as Celery's worker state tells it."""

import math
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from celery.worker import state

from dispatch.messages import TASK_NAME
from dispatch.pools import Pool, Shape

#: Celery's worker.request.Request; Celery has no types.
type Request = Any


def running_requests() -> Mapping[UUID, Request]:
    """Accepted requests by job id, of several for one job the youngest. Safe from any thread."""
    return {UUID(request.args[0]): request for request in sorted(_ours(), key=_started_at)}


def leaked(running: Mapping[UUID, Request], pool: Pool) -> set[UUID]:
    """Jobs whose attempt here is past the hard limit of a thread pool: nothing can stop it, and its slot is gone.

    Celery drops the limits of a thread pool; in a prefork pool it enforces them itself.
    """
    return {job for job, request in running.items() if _is_leaked(request, pool)}


def leaked_slots(pool: Pool) -> int:
    """Slots that attempts past their hard limit hold; one job whose attempts hang in turn holds several."""
    return sum(_is_leaked(request, pool) for request in _ours())


def _is_leaked(request: Request, pool: Pool) -> bool:
    return pool.shape is Shape.THREADS and _started_at(request) < time.time() - pool.hard_limit_seconds


def _started_at(request: Request) -> float:
    return request.time_start or math.inf


def _ours() -> list[Request]:
    return [request for request in _snapshot() if request.type == TASK_NAME]


def is_running(request: Request) -> bool:
    """Whether the attempt has not reported its end."""
    return request in state.active_requests


def _snapshot() -> tuple[Request, ...]:
    # The event loop adds to the set while we copy it.
    while True:
        try:
            return tuple(state.active_requests)
        except RuntimeError:
            continue
