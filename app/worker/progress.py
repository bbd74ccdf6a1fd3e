"""Liveness by progress: a worker that could take jobs and takes none leaves, so that Docker starts it anew.

What may wedge a consumer is not known beforehand: credit that is never given back, a reconnect that was lost, an event
loop that waits for ever. All of them look the same from beside: a slot is free, a connection made for this look sees
messages in the queue, and nothing is popped. Busy slots, an empty queue, a Redis that is away or refuses writes, a
Postgres that is away, and a worker that is paused or stops are never a reason. A consumer that Celery's remote control
has cancelled counts as wedged: to keep a pool from working, stop its container.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import Final

import structlog
from django.conf import settings
from django.db import connections

import postgres_deadline
from dispatch import messages
from dispatch.pools import Pool
from jobs import heartbeat
from redis_topology import clients
from worker import activity

_log = structlog.get_logger(__name__)

#: Seconds between two looks, and looks in a row that find no progress: 15 s. Looks are counted, not seconds, because
#: a worker that thaws has popped nothing for as long as it was frozen.
LOOK_SECONDS: Final = 3.0
MOST_LOOKS: Final = 5
#: Seconds that Postgres has to answer one look.
POSTGRES_SECONDS: Final = 2.0

#: Never exists. To delete it is refused wherever to pop is: by a replica, and by a primary without replicas.
_NOTHING: Final = "holdfast:worker:nothing"


class ProgressWatch:
    """One thread beside the event loop. `could_consume` says whether a slot is free and nobody has paused the worker;
    `on_stalled` is called once, when nothing was popped for MOST_LOOKS looks although everything was there."""

    def __init__(
        self, *, instance: str, pool: Pool, could_consume: Callable[[], bool], on_stalled: Callable[[], None]
    ) -> None:
        self._instance = instance
        self._could_consume = could_consume
        self._on_stalled = on_stalled
        self._lists = messages.ready_lists(pool.queue)
        self._redis = clients.primary(settings.REDIS_TOPOLOGY)
        self._pops = activity.pops()
        self._looks = 0
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="progress-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Never raises."""
        pops = activity.pops()
        has_popped, self._pops = pops != self._pops, pops
        stands_still = not has_popped and self._could_consume() and self._something_waits() and self._postgres_answers()
        self._looks = self._looks + 1 if stands_still else 0
        if self._looks == MOST_LOOKS:
            self._stopping.set()
            _log.error("worker has free slots and takes nothing from a queue that is not empty: it leaves", pops=pops)
            self._on_stalled()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()

    def _something_waits(self) -> bool:
        """On the node that leads now, and takes writes: over a new connection, for the consumer's own may be what is
        broken."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name in self._lists:
                    pipeline.llen(name)
                pipeline.unlink(_NOTHING)
                *waiting, _ = pipeline.execute()
        except Exception as error:  # whatever it is, Redis does not answer as it should
            _log.debug("Redis does not answer the look for progress", error=repr(error))
            return False
        finally:
            self._redis.connection_pool.disconnect()
        return any(waiting)

    def _postgres_answers(self) -> bool:
        try:
            with postgres_deadline.read_only.lifted(), postgres_deadline.deadline(POSTGRES_SECONDS):
                heartbeat.renew(self._instance, [])
        except Exception as error:
            _log.debug("Postgres does not answer the look for progress", error=repr(error))
            return False
        finally:
            connections.close_all()
        return True
