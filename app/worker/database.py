"""A busy child of a prefork pool keeps its connection to Postgres from task to task.

Giving it back costs two round trips a task: the pool asks each connection that it hands out whether it still lives.
Celery's Django fixup would close the whole pool after every task; see project.celery.
"""

import time
from threading import current_thread, main_thread
from typing import Final

from django.db import connection, connections

#: Seconds of idleness after which a kept connection goes back, so that one that died meanwhile is replaced unseen.
TRUSTED_SECONDS: Final = 1.0

_last_used = 0.0


def enter() -> None:
    """Before a task."""
    if time.monotonic() - _last_used > TRUSTED_SECONDS:
        connections.close_all()


def leave() -> None:
    """After a task, whatever became of it."""
    global _last_used
    if current_thread() is not main_thread():
        # A thread pool: as many threads as connections would leave none to renew leases with.
        connections.close_all()
        return
    _last_used = time.monotonic()
    if connection.errors_occurred or connection.in_atomic_block:
        connections.close_all()
