"""The end of a stop: what has not finished when the grace is nearly over is handed back, so that no job waits for a
lease. Correctness never depends on it: a SIGKILL instead costs one lease.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Final

import structlog
from django.db import connections

import postgres_deadline
from dispatch.pools import Pool, Shape
from jobs import claim
from worker import activity

_log = structlog.get_logger(__name__)

#: Seconds a warm stop may take. Compose kills after stop_grace_period (30 s); the rest is for the hand-back.
WARM_STOP_SECONDS: Final = 25.0
#: Seconds between two looks at what still runs.
_LOOK_SECONDS: Final = 0.2
#: Seconds the hand-back's transaction may take.
HAND_BACK_SECONDS: Final = 3.0


def leave_in_time(*, instance: str, pool: Pool, leave: Callable[[int], None] = os._exit) -> Thread:
    """Starts the watch over a warm stop that has begun. It ends with the process, or ends the process."""

    def watch() -> None:
        ends_at = time.monotonic() + WARM_STOP_SECONDS
        while time.monotonic() < ends_at and not _only_leaked(pool):
            time.sleep(_LOOK_SECONDS)
        hand_back(instance=instance, pool=pool)
        leave(0)

    thread = Thread(target=watch, name="hand-back", daemon=True)
    thread.start()
    return thread


def _only_leaked(pool: Pool) -> bool:
    """Whether what still runs will never end: then nobody gains by waiting, and the pool stands still meanwhile."""
    running = activity.running_requests()
    return bool(running) and len(activity.leaked(running, pool)) == len(running)


def hand_back(*, instance: str, pool: Pool) -> None:
    """Stops what still runs and makes its jobs due now. Never raises."""
    running = dict(activity.running_requests())
    for job in activity.leaked(running, pool):
        # Its attempt has failed and must count: handed back, a job that hangs would hang worker after worker.
        del running[job]
    if pool.shape is Shape.PREFORK:
        for request in {id(request): request for request in running.values()}.values():
            # A child that lived on would only be refused at its fence.
            with suppress(ProcessLookupError, TypeError):
                os.kill(request.worker_pid, signal.SIGKILL)
    try:
        with postgres_deadline.read_only.lifted(), postgres_deadline.deadline(HAND_BACK_SECONDS):
            count = claim.hand_back(list(running), instance)
    except Exception as error:  # the process ends either way; the leases run out
        _log.warning("unfinished jobs were not handed back", error=repr(error), running=len(running))
    else:
        _log.info("unfinished jobs handed back", jobs=count, running=len(running))
    finally:
        connections.close_all()
