"""Holdfast: `jobs.submit` in the caller's transaction."""

from uuid import UUID

from django.db import transaction

from jobs import submit as submit_job
from tests.others import work


def submit(key: UUID) -> None:
    with transaction.atomic():
        work.accept(key)
        submit_job("others.effect", owner="others", params={"key": str(key)})
