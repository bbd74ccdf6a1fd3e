"""The rows of a bulk by COPY, the fastest way into these tables: no duplicate found, no hash, no hint, no answer.

Row, first event, indexes and commit are those of a submit; the text of both is made before the clock starts.
"""

import time
from typing import Final

from django.db import connection, transaction

from jobs.clock import database_now
from jobs.requests import JobRequest, NewJob, prepare_all

_JOB: Final = """
    COPY job (id, owner, identity, request_hash, hash_version, kind, pool, farm_id, params, callback_url, priority,
              root_id, state, max_attempts, next_dispatch_at, dispatch_gen, hinted_at, grace_seconds, broker_epoch,
              accepted_at, files) FROM STDIN
"""
_EVENT: Final = """
    COPY job_event (job_id, at, event, actor, from_state, to_state, attempt, lease_token, dispatch_gen, reason)
    FROM STDIN
"""


def write(names: list[str]) -> float:
    """Seconds that one transaction with a row and an event per name took."""
    now = database_now().isoformat()
    jobs = prepare_all([JobRequest("probe.fast", {"tag": name}) for name in names], owner="bench")
    rows = "".join(_line(*_row(job, now)) for job in sorted(jobs, key=lambda job: job.key))
    events = "".join(_line(job.id, now, "accepted", "bench", "", "QUEUED", 0, 0, 1, "") for job in jobs)
    began = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        for statement, text in ((_JOB, rows), (_EVENT, events)):
            with cursor.copy(statement) as copy:
                copy.write(text)
    return time.perf_counter() - began


def _row(job: NewJob, now: str) -> tuple[object, ...]:
    asked = (job.id, job.owner, job.identity, job.request_hash, 1, job.kind.name, job.kind.pool, job.farm_id)
    stands = (job.id, "QUEUED", job.kind.max_attempts, now, 1, now, 10, "0123456789abcdef", now, "[]")
    return (*asked, job.params_json, job.callback_url, int(job.priority), *stands)


def _line(*values: object) -> str:
    return "\t".join(map(str, values)) + "\n"
