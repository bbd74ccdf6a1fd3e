"""The Celery app. Values come from REDIS_TOPOLOGY (broker, results) and dispatch.pools (queues, limits).

Configured on first use, so that importing it reads no settings.
"""

import os
from typing import Any

from celery import Celery, signals
from kombu.entity import Queue

from dispatch.pools import POOLS, PRIORITY_STEPS, VISIBILITY_TIMEOUT_SECONDS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")


def _configuration() -> dict[str, Any]:
    from django.conf import settings

    topology = settings.REDIS_TOPOLOGY.celery()
    return {**topology, **_OURS, "broker_transport_options": topology["broker_transport_options"] | _TRANSPORT}


#: Merged over what the topology says.
_TRANSPORT = {
    "priority_steps": list(PRIORITY_STEPS),
    # A second chance only; the sweeper is the first. Shorter than a job it would start a second copy of it.
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
}

_OURS: dict[str, Any] = {
    "task_queues": tuple(Queue(pool.queue) for pool in POOLS.values()),
    "task_create_missing_queues": True,
    "task_default_queue": POOLS["fast"].queue,
    "imports": ("worker.tasks",),
    # Acknowledged after the work, so that a killed worker's message comes back. It still loses some (kombu pops and
    # records in two round trips); the row in Postgres is what loses none.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_enable_prefetch_count_reduction": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Seconds. On a full machine a child may take longer than the default of 4 to start: it would be killed, and each of
    # its successors too, while the pool looks free.
    "worker_proc_alive_timeout": 60.0,
    # Results and events live in Postgres; Celery's events cost 45 % of the drain rate.
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ("json",),
    # NOREPLICAS, OOM and UNBLOCKED during a failover are reconnects; the default ends the worker.
    "broker_channel_error_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry": False,
    "worker_consumer": "worker.consumer:Consumer",
    # Celery's Django fixup closes the connection pool before and after every task unless told to do so each n tasks.
    # worker.tasks gives its connection back itself.
    "CELERY_DB_REUSE_MAX": 10**12,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_log_color": False,
    "enable_utc": True,
    "timezone": "UTC",
}

app = Celery("holdfast", set_as_current=True)
app.add_defaults(_configuration)
# By name: the classes need Django's apps, which are not ready when settings are read.
app.steps["worker"].add("worker.lifeline:Lifeline")
app.steps["consumer"].add("worker.consumer:Liveness")


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def _leave_logging_alone(**_: object) -> None:
    """project.logs has configured it; without a receiver Celery gives `celery.task` a handler and format of its own."""
