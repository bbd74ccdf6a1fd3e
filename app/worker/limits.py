"""A worker's limits follow from the pool whose queue it consumes, not from flags that could drift from the table."""

from collections.abc import Iterable
from typing import Any

from celery.signals import celeryd_init

from dispatch.pools import POOLS, Pool
from worker.instance import start_new_instance


class WorkerQueuesError(Exception):
    """A worker consumes exactly one pool's queue: start it with `--queues=fast`, `cpu` or `io`."""


def pool_of(queues: Iterable[str] | str | None) -> Pool:
    """The pool of the one queue in `queues`. Raises WorkerQueuesError."""
    names = queues.split(",") if isinstance(queues, str) else list(queues or ())
    found = [pool for pool in POOLS.values() if pool.queue in names]
    if len(found) != 1 or len(names) != 1:
        raise WorkerQueuesError(f"{WorkerQueuesError.__doc__} Got: {', '.join(names) or 'none'}.")
    return found[0]


@celeryd_init.connect(dispatch_uid="worker.limits")  # type: ignore[untyped-decorator]
def _configure(*, conf: Any, options: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - Celery's settings
    pool = pool_of(options.get("queues"))
    conf.task_soft_time_limit = pool.soft_limit_seconds
    conf.task_time_limit = pool.hard_limit_seconds
    start_new_instance()
