"""Files of an attempt that comes too late, in a storage that overwrites, as object stores do."""

import time
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db.models import F
from pytest_django.fixtures import Settings

from jobs import JobContext, StoredFile
from jobs.claim import Claimed, claim
from jobs.context import Done
from jobs.errors import StaleLease
from jobs.finish import finish
from jobs.models import Job
from jobs.submission import submit
from ndvi.storage import store


def context(lease: Claimed) -> JobContext:
    shared = {field.name for field in fields(JobContext)} & {field.name for field in fields(Claimed)}
    return JobContext(**{name: getattr(lease, name) for name in shared}, deadline=time.monotonic() + 60)


def stored(lease: Claimed, folder: Path) -> StoredFile:
    """A file with the same name from each attempt; it says whose it is."""
    path = folder / lease.leased_by / "out.txt"
    path.parent.mkdir()
    path.write_text(lease.leased_by)
    return store(context(lease), path, media_type="text/plain")


def test_a_late_attempt_overwrites_no_file_that_the_row_names(settings: Settings, tmp_path: Path) -> None:
    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path / "files"), "allow_overwrite": True},
    }
    settings.STORAGES = {**settings.STORAGES, "default": storage}
    job = submit("probe.cpu", owner="ada", params={}).job
    late = claim(job.id, leased_by="late")
    Job.objects.update(lease_until=F("lease_until") - timedelta(hours=1))
    winner = claim(job.id, leased_by="winner")
    assert late is not None
    assert winner is not None
    finish(winner, Done(files=[stored(winner, tmp_path)]))
    left = stored(late, tmp_path)
    with pytest.raises(StaleLease):
        finish(late, Done(files=[left]))
    [named] = Job.objects.get(id=job.id).files
    with default_storage.open(named["key"]) as found:
        assert found.read() == b"winner"
