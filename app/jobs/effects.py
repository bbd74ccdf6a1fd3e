"""Effects outside the database: an intent is committed before the call, under a key that no attempt changes.

    intent = effects.intend(job, "notify")
    if not intent.is_done:
        call(…, idempotency_key=intent.key)
        effects.confirm(job, "notify")

A crash between the call and `confirm` repeats the call under the same key: the other side sees one effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from django.db import connection

from jobs import sql
from jobs.context import JobContext
from jobs.errors import WriteRefused
from jobs.read_only import ledger_writes
from jobs.requests import canonical
from jobs.states import EffectState


@dataclass(frozen=True, slots=True)
class Intent:
    """`key` goes to the other side as the idempotency key; `is_done` = it was confirmed by an earlier attempt."""

    key: str
    is_done: bool


def key_of(root_id: UUID, name: str) -> str:
    """The idempotency key: derived from (root job, effect), so that retries, rescues and replays share it."""
    return str(uuid5(root_id, name))


def intend(job: JobContext, name: str, *, root_id: UUID | None = None) -> Intent:
    """Commits the intent. Call it outside any transaction: an intent that can roll back is none.

    `root_id` = the root of another job whose effect this one carries out; default: the job's own.
    """
    root = root_id or job.root_id
    row = _write(sql.INTEND, {"root": root, "name": name})
    return Intent(key_of(root, name), is_done=row[0] == EffectState.DONE)


def confirm(
    job: JobContext, name: str, detail: Mapping[str, Any] | None = None, *, root_id: UUID | None = None
) -> None:
    """Marks the effect as done; `detail` is what the other side answered, `root_id` as in `intend`."""
    values = {"root": root_id or job.root_id, "name": name, "detail": canonical(dict(detail or {}))}
    _write(sql.CONFIRM, values)


def _write(statement: str, values: dict[str, Any]) -> tuple[Any, ...]:
    if connection.in_atomic_block:
        raise WriteRefused("an effect was announced inside a transaction: call it outside of atomic()")
    with ledger_writes(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    if row is None:
        raise LookupError("the effect was never intended: call intend() first")
    return row  # type: ignore[no-any-return]
