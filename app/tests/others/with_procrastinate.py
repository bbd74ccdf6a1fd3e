"""Procrastinate: a job is a row of the caller's transaction; no Redis."""

from typing import Final
from uuid import UUID

from django.db import transaction
from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from tests.others import work

#: Seconds without a heartbeat after which a worker's jobs are tried again; 30 in its documentation.
STALLED_SECONDS: Final = 5


@app.task(name="effect", retry=RetryStrategy(max_attempts=10, wait=1))
def effect(key: str) -> None:
    work.do(key)


@app.periodic(cron="* * * * * */5")
@app.task(name="retry_stalled_jobs", queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(_context: JobContext, timestamp: int) -> None:
    """What its documentation says to write, each 5 s instead of each 10 minutes."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
        await app.job_manager.retry_job(job)


def submit(key: UUID) -> None:
    with transaction.atomic():
        work.accept(key)
        effect.defer(key=str(key))
