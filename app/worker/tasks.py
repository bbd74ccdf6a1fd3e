"""The one Celery task. It carries job ids for every kind; what happens then is `jobs.execution`'s."""

import time
from typing import Any, Final

import structlog
from celery import shared_task
from celery.exceptions import Reject
from django.db import Error as DatabaseFault

from dispatch import UnknownHintVersion
from dispatch.messages import TASK_NAME, named_jobs
from jobs import execution
from worker import database, soft_stop
from worker import limits as limits  # connects its signal: Celery imports this module before it reads the limits
from worker.instance import instance_id

_log = structlog.get_logger(__name__)

#: Seconds a slot holds a message that must go back to the end of its queue, so that nobody spins over it.
REQUEUE_PAUSE_SECONDS: Final = 0.5


@shared_task(name=TASK_NAME, bind=True)  # type: ignore[untyped-decorator]
def run(self: Any, *arguments: Any, **_: object) -> str:  # noqa: ANN401 - Celery's task class
    """Claims and runs the jobs of one message. Returns the outcomes for the log; Celery stores nothing.

    A message that cannot be worked on now is left for another reader: one of a newer release, and any while Postgres
    does not answer the claim.
    """
    try:
        jobs = named_jobs(self.request, arguments)
    except UnknownHintVersion as unknown:
        _log.warning("message of a newer release goes back to its queue: upgrade this worker", v=unknown.version)
        raise _back_to_the_queue(str(unknown)) from unknown
    try:
        database.enter()
        with soft_stop.heeded():
            outcomes = execution.run_jobs(jobs, leased_by=instance_id())
        return ", ".join(dict.fromkeys(outcomes.values()))
    except DatabaseFault as error:
        _log.warning("claim got no answer from Postgres, the hint goes back to its queue", error=repr(error))
        raise _back_to_the_queue("Postgres did not answer the claim") from error
    finally:
        database.leave()


def _back_to_the_queue(why: str) -> Reject:
    time.sleep(REQUEUE_PAUSE_SECONDS)
    return Reject(why, requeue=True)
