"""What runs beside Celery in a worker's parent: lease renewal, pausing, the watch over progress, the stop's end,
metrics."""

import os
import signal
from collections.abc import Collection
from typing import Any
from uuid import UUID

import structlog
from celery import bootsteps
from celery.signals import worker_shutting_down
from django.conf import settings

from dispatch.pools import Pool, Shape
from jobs import execution
from metrics import server
from worker import soft_stop
from worker.activity import Request, has_free_slot, running_requests
from worker.handback import leave_in_time
from worker.instance import instance_id
from worker.leases import LeaseKeeper
from worker.limits import pool_of
from worker.progress import ProgressWatch

_log = structlog.get_logger(__name__)


class Lifeline(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts when the pool has its children, ends with the worker. Reconnects of the consumer do not touch it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's WorkController
        self._worker = worker
        self._pool: Pool = pool_of(worker.app.amqp.queues.consume_from)
        self._keeper: LeaseKeeper | None = None
        self._has_consumed = False
        self._is_stopping = False
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:  # noqa: ANN401, ARG002
        self._keeper = LeaseKeeper(
            instance=instance_id(),
            pool=self._pool,
            on_lost=self._stop_attempt,
            on_change=self._pause_or_resume,
            on_leaked=self._leave,
        )
        watch = ProgressWatch(
            instance=instance_id(), pool=self._pool, could_consume=self._could_consume, on_stalled=self._leave
        )
        self._keeper.start()
        watch.start()
        worker_shutting_down.connect(self._watch_the_stop, weak=False, dispatch_uid="worker.lifeline")
        server.serve(settings.HOLDFAST.metrics_port)
        _log.info("worker started", pool=self._pool.name, instance=instance_id())

    def stop(self, worker: Any) -> None:  # noqa: ANN401
        """Leases are renewed until the process ends: a warm stop still runs attempts."""

    def _leave(self) -> None:
        """A warm stop, from any thread. It ends in time even where the event loop no longer notices a signal."""
        self._watch_the_stop(how="by itself")
        os.kill(os.getpid(), signal.SIGTERM)

    def _watch_the_stop(self, *, how: str = "Warm", **_: object) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        _log.info("worker stops", how=how, running=len(running_requests()))
        leave_in_time(instance=instance_id(), pool=self._pool)

    def _stop_attempt(self, job_ids: Collection[UUID], request: Request) -> None:
        if self._pool.shape is Shape.THREADS:
            execution.request_stop(job_ids)
            return
        try:
            os.kill(request.worker_pid, soft_stop.SIGNAL)
        except ProcessLookupError:
            _log.info("attempt ended by itself", job_ids=[str(job) for job in job_ids])

    def _could_consume(self) -> bool:
        """A slot is free and is not meant to stay so. Not before the first connection: a start may take its time."""
        consumer = getattr(self._worker, "consumer", None)
        self._has_consumed = self._has_consumed or getattr(consumer, "task_consumer", None) is not None
        if self._keeper is None or self._is_stopping or not self._has_consumed:
            return False
        return self._keeper.can_renew and has_free_slot(self._worker.concurrency)

    def _pause_or_resume(self, _can_renew: bool) -> None:
        consumer = getattr(self._worker, "consumer", None)
        if consumer is not None:
            consumer.call_soon(follow, consumer, self._keeper)


def follow(consumer: Any, keeper: LeaseKeeper) -> None:  # noqa: ANN401 - Celery's consumer
    """Takes messages while leases can be renewed, else none. For the event loop's thread.

    The loop keeps what is called soon in a set: after a reconnect a pause that was asked for first may run last. Hence
    what holds now decides, not what held then.
    """
    (resume if keeper.can_renew else pause)(consumer)


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
