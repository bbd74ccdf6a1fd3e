"""Files under job keys that no row names: of attempts that lost their lease, or that a prune could not delete.

    jobs/<job id>/<lease token>/<name>

A pass goes through storage a few folders at a time. Only files older than a day go: an attempt takes minutes, so that
whoever would still name the file is gone.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from django.core.files.storage import default_storage
from django.utils import timezone

from jobs import ids
from jobs.models import Job
from postgres_deadline.budget import paused

OLD: Final = timedelta(days=1)
#: Folders of one step.
FOLDERS: Final = 200
#: Seconds between two passes.
PASS_EVERY_SECONDS: Final = 6 * 3600.0

_ROOT: Final = "jobs"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Swept:
    """What one step deleted; `is_done` = the pass is over, or the next one is not due."""

    files: int
    is_done: bool


class OrphanFiles:
    """Passes over the files of jobs. Any number may run at once, each in its own process."""

    def __init__(self) -> None:
        self._names: Iterator[str] | None = None
        self._next_pass_at = 0.0

    def step(self) -> Swept:
        """Looks at the next folders. Raises what Postgres raises; the pass goes on behind them."""
        if self._names is None:
            if time.monotonic() < self._next_pass_at:
                return Swept(0, is_done=True)
            self._names = _names(_ROOT)
        with paused():
            names = list(islice(self._names, FOLDERS))
        if len(names) < FOLDERS:
            self._names, self._next_pass_at = None, time.monotonic() + PASS_EVERY_SECONDS
        return Swept(_sweep(names), is_done=self._names is None)


def _sweep(names: list[str]) -> int:
    before = timezone.now() - OLD
    folders = {job_id: name for name in names if (job_id := _old_job(name, before))}
    rows = Job.objects.filter(id__in=list(folders)).values_list("files", flat=True)
    named = {file["key"] for files in rows for file in files}
    with paused():
        return sum(_sweep_folder(f"{_ROOT}/{name}", named, before) for name in folders.values())


def _sweep_folder(folder: str, named: set[str], before: datetime) -> int:
    deleted = 0
    for token in list(_names(folder)):
        for name in list(_names(f"{folder}/{token}")):
            key = f"{folder}/{token}/{name}"
            if key not in named:
                deleted += _delete_old(key, before)
        _remove_if_empty(f"{folder}/{token}")
    _remove_if_empty(folder)
    return deleted


def _delete_old(key: str, before: datetime) -> bool:
    try:
        if default_storage.get_modified_time(key) >= before:
            return False
        default_storage.delete(key)
    except OSError as error:
        log.warning("an orphan was not deleted", key=key, error=str(error))
        return False
    log.info("an orphan was deleted", key=key)
    return True


def _remove_if_empty(folder: str) -> None:
    try:
        Path(default_storage.path(folder)).rmdir()
    except (NotImplementedError, OSError):
        return  # not on a disk; or not empty, or gone


def _old_job(name: str, before: datetime) -> UUID | None:
    """The job of a folder, when it was accepted before `before`; None also for what is no job's folder."""
    try:
        job_id = UUID(name)
    except ValueError:
        return None
    return job_id if job_id < ids.floor(before) else None


def _names(folder: str) -> Iterator[str]:
    """What a folder holds. One at a time where storage is a disk: there may be a million."""
    try:
        path = default_storage.path(folder)
    except NotImplementedError:
        for names in default_storage.listdir(folder):
            yield from names
        return
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
