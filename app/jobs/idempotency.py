"""Idempotency-Key: the same key with the same body gets the same jobs, whatever became of them."""

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from jobs import sql
from jobs.errors import IdempotencyConflict

ACCEPTED_STATUS = 202


def reserve(*, owner: str, key: str, body_hash: str) -> list[UUID] | None:
    """First statement of a submit's transaction. None = the key is ours now; else the ids of the first answer.

    Waits for a transaction that holds the same key. Raises IdempotencyConflict for another body.
    """
    names = {"owner": owner, "key": key, "body_hash": body_hash}
    with connection.cursor() as cursor:
        while True:
            cursor.execute(sql.RESERVE_KEY, names)
            if cursor.fetchone():
                return None
            cursor.execute(sql.READ_KEY, names)
            if row := cursor.fetchone():
                break  # else: pruned between the two statements
    if row[0] != body_hash:
        raise IdempotencyConflict
    return [UUID(job_id) for job_id in row[1]]


def answer(*, owner: str, key: str, ids: Sequence[UUID]) -> None:
    """Last statement of the submit's transaction: what a repetition will be told."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.ANSWER_KEY,
            {"owner": owner, "key": key, "status": ACCEPTED_STATUS, "ids": [str(job_id) for job_id in ids]},
        )
