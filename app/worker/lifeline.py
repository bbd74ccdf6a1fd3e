"""What runs beside Celery in a worker's parent: lease renewal, pausing, the stop's end, metrics."""

import os
import signal
from typing import Any, Final
from uuid import UUID

import structlog
from celery import bootsteps
from celery.signals import worker_shutting_down
from django.conf import settings

from dispatch.pools import Pool, Shape
from jobs import execution
from metrics import server
from worker.activity import Request, running_requests
from worker.handback import leave_in_time
from worker.instance import instance_id
from worker.leases import LeaseKeeper
from worker.limits import pool_of

_log = structlog.get_logger(__name__)

#: billiard turns it into SoftTimeLimitExceeded in the child.
_SOFT_STOP: Final = signal.SIGUSR1


class Lifeline(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts when the pool has its children, ends with the worker. Reconnects of the consumer do not touch it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's WorkController
        self._worker = worker
        self._pool: Pool = pool_of(worker.app.amqp.queues.consume_from)
        self._keeper: LeaseKeeper | None = None
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:  # noqa: ANN401, ARG002
        self._keeper = LeaseKeeper(
            instance=instance_id(),
            pool=self._pool,
            on_lost=self._stop_attempt,
            on_change=self._pause_or_resume,
            on_leaked=lambda: os.kill(os.getpid(), signal.SIGTERM),
        )
        self._keeper.start()
        worker_shutting_down.connect(self._watch_the_stop, weak=False, dispatch_uid="worker.lifeline")
        server.serve(settings.HOLDFAST.metrics_port)
        _log.info("worker started", pool=self._pool.name, instance=instance_id())

    def stop(self, worker: Any) -> None:  # noqa: ANN401
        """Leases are renewed until the process ends: a warm stop still runs attempts."""

    def _watch_the_stop(self, *, how: str = "Warm", **_: object) -> None:
        _log.info("worker stops", how=how, running=len(running_requests()))
        leave_in_time(instance=instance_id(), pool=self._pool)

    def _stop_attempt(self, job_id: UUID, request: Request) -> None:
        if self._pool.shape is Shape.THREADS:
            execution.request_stop([job_id])
            return
        try:
            os.kill(request.worker_pid, _SOFT_STOP)
        except ProcessLookupError:
            _log.info("attempt ended by itself", job_id=str(job_id))

    def _pause_or_resume(self, can_renew: bool) -> None:
        consumer = getattr(self._worker, "consumer", None)
        if consumer is not None:
            consumer.call_soon(resume if can_renew else pause, consumer)


def pause(consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
    """Takes no more messages. For the event loop's thread. A message popped meanwhile goes back to its queue."""
    if consumer.task_consumer is not None:
        _log.warning("worker cannot renew leases and takes no jobs")
        consumer.task_consumer.cancel()


def resume(consumer: Any) -> None:  # noqa: ANN401 - Celery's consumer
    """Takes messages again. For the event loop's thread."""
    if consumer.task_consumer is not None:
        _log.info("worker takes jobs again")
        consumer.task_consumer.consume()
