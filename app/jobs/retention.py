"""What is forgotten, and when.

After RETENTION_DAYS a terminal job loses params, result, files and events; the thin row (owner, identity, id, state)
recognises the request until DEDUP_DAYS. Small batches with SKIP LOCKED: nobody waits for a prune.
"""

import json
from dataclasses import dataclass
from typing import Final

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

from jobs import sql

#: Rows of one statement.
BATCH: Final = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step removed."""

    thinned: int
    forgotten: int
    files: int

    @property
    def is_done(self) -> bool:
        """Whether nothing more was old enough."""
        return self.thinned < BATCH and self.forgotten < BATCH


def prune_step() -> Pruned:
    """One batch of each kind, each statement its own transaction."""
    days = {"retention": settings.HOLDFAST.retention_days, "dedup": settings.HOLDFAST.dedup_days, "limit": BATCH}
    with connection.cursor() as cursor:
        cursor.execute(sql.THIN, days)
        thinned = cursor.fetchall()
        forgotten = 0
        for statement in sql.FORGET:
            cursor.execute(statement, days)
            forgotten = max(forgotten, cursor.rowcount)
    keys = [file["key"] for (files,) in thinned for file in json.loads(files)]
    return Pruned(len(thinned), forgotten, sum(_delete(key) for key in keys))


def _delete(key: str) -> bool:
    """The row is thin already: a file that cannot be deleted now is an orphan, and orphans are deleted later."""
    try:
        default_storage.delete(key)
    except OSError as error:
        log.warning("stored file was not deleted", key=key, error=str(error))
        return False
    return True
