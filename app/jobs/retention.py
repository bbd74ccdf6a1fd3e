"""What is forgotten, and when.

After RETENTION_DAYS a terminal job loses params, result, files and events; the thin row (owner, identity, id, state)
recognises the request until DEDUP_DAYS. Small batches with SKIP LOCKED: nobody waits for a prune.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

from jobs import sql
from postgres_deadline.budget import paused

#: Rows of one statement.
BATCH: Final = 500

#: Removes at most so many rows that are too old, with their files; returns how many.
type Step = Callable[[int], int]

log = structlog.get_logger()

_steps_of_domains: Final[list[Step]] = []


def also(step: Step) -> None:
    """Lets every round of retention run a domain's own step. Call it in AppConfig.ready()."""
    if step not in _steps_of_domains:
        _steps_of_domains.append(step)


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
    files = delete_files([file["key"] for (files,) in thinned for file in json.loads(files)])
    return Pruned(len(thinned), max([forgotten, *(step(BATCH) for step in _steps_of_domains)]), files)


def delete_files(keys: list[str]) -> int:
    """Deletes stored files whose rows are gone. One that cannot be deleted now is an orphan. Returns how many."""
    with paused():
        return sum(_delete(key) for key in keys)


def _delete(key: str) -> bool:
    try:
        default_storage.delete(key)
    except OSError as error:
        log.warning("stored file was not deleted", key=key, error=str(error))
        return False
    return True
