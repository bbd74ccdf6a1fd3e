"""The one Celery task. It carries (job id, gen) for every kind; what happens then is `jobs.execution`'s."""

import time
from typing import Any, Final
from uuid import UUID

import structlog
from celery import shared_task
from celery.exceptions import Reject
from django.db import Error as DatabaseFault

from dispatch.hints import VERSION
from dispatch.messages import TASK_NAME
from jobs import execution
from worker import database
from worker import limits as limits  # connects its signal: Celery imports this module before it reads the limits
from worker.instance import instance_id

_log = structlog.get_logger(__name__)

#: Seconds a slot holds a message that must go back to the end of its queue, so that nobody spins over it.
REQUEUE_PAUSE_SECONDS: Final = 0.5


@shared_task(name=TASK_NAME, bind=True)  # type: ignore[untyped-decorator]
def run(self: Any, job_id: str, gen: int, *_: object, **__: object) -> str:  # noqa: ANN401 - Celery's task class
    """Claims and runs one job. Returns the outcome for the log; Celery stores nothing.

    A message that cannot be worked on now is left for another reader: one of a newer release, and any while Postgres
    does not answer the claim.
    """
    version = str(self.request.get("v", VERSION))
    if version != VERSION:
        _log.warning("message of a newer release goes back to its queue: upgrade this worker", v=version)
        raise _back_to_the_queue(f"unknown version {version}")
    try:
        database.enter()
        return execution.run_job(UUID(job_id), gen=gen, leased_by=instance_id())
    except DatabaseFault as error:
        _log.warning("claim got no answer from Postgres, the hint goes back to its queue", error=repr(error))
        raise _back_to_the_queue("Postgres did not answer the claim") from error
    finally:
        database.leave()


def _back_to_the_queue(why: str) -> Reject:
    time.sleep(REQUEUE_PAUSE_SECONDS)
    return Reject(why, requeue=True)
