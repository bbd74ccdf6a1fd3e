"""The business of every system's application: a row per request, and a job that leaves one effect.

A job notes that it began, works for a moment and inserts its effect in a transaction of its own. Neither table knows
the other: a task that overtakes the commit of its request is not punished for it.
"""

import os
import time
from pathlib import Path
from typing import Final
from uuid import UUID

from django.db import close_old_connections, connection

from history.recorder import Recorder

#: Seconds of one job.
WORK_SECONDS: Final = 0.1

#: What client and workers of one system write down.
recorder: Final = Recorder(Path(os.environ["OTHERS_HISTORY"]))


def accept(key: UUID) -> None:
    """The business row, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO others_request (id) VALUES (%s)", [key])


def do(key: str) -> None:
    """The whole job, as a task of another system runs it."""
    close_old_connections()
    begin(key)
    apply(key)


def begin(key: str) -> None:
    """What an execution does before its effect."""
    recorder.note("ok", "claim", [{"job": key}])
    time.sleep(WORK_SECONDS)


def apply(key: str) -> None:
    """The effect: not idempotent on purpose."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO others_effect (request) VALUES (%s)", [key])
