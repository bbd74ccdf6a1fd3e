"""What this worker's parent is running, as Celery's worker state tells it."""

import math
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from celery.worker import state

from dispatch import UnknownHintVersion
from dispatch.messages import TASK_NAME, named_jobs
from dispatch.pools import Pool, Shape

#: Celery's worker.request.Request; Celery has no types.
type Request = Any

_pops = 0


def count_pop() -> None:
    """A message was popped, whatever it brought along. For the event loop's thread."""
    global _pops
    _pops += 1


def pops() -> int:
    """Messages popped since this process began."""
    return _pops


def has_free_slot(slots: int) -> bool:
    """Whether less was taken than can run: what waits for its process fills a slot, too."""
    return len(_copied(state.reserved_requests) | _copied(state.active_requests)) < slots


def running_requests() -> Mapping[UUID, Request]:
    """Accepted requests by the ids of their jobs, of several for one job the youngest. Safe from any thread.

    A message may name several jobs: some of them have ended, some have not started.
    """
    return {job: request for request in sorted(_ours(), key=_started_at) for job in _jobs(request)}


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


def _jobs(request: Request) -> Collection[UUID]:
    try:
        return named_jobs(request.request_dict, request.args)
    except UnknownHintVersion:  # on its way back to its queue
        return ()


def _ours() -> list[Request]:
    return [request for request in _snapshot() if request.type == TASK_NAME]


def is_running(request: Request) -> bool:
    """Whether the attempt has not reported its end."""
    return request in state.active_requests


def _snapshot() -> Collection[Request]:
    return _copied(state.active_requests)


def _copied(requests: Iterable[Request]) -> set[Request]:
    # The event loop changes it while we copy.
    while True:
        try:
            return set(requests)
        except RuntimeError:
            continue
