"""django-tasks-db: a task is a row of the caller's transaction; no Redis, no retry, no look for dead workers."""

from uuid import UUID

from django.db import transaction
from django_tasks import task

from tests.others import work


@task()
def effect(key: str) -> None:
    work.do(key)


def submit(key: UUID) -> None:
    with transaction.atomic():
        work.accept(key)
        effect.enqueue(str(key))
