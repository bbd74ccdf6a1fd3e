"""Keeps the leases of this worker's attempts alive, and tells which attempts have lost theirs.

One thread per worker process: in the parent of a prefork pool (a child's thread stops while C code holds the GIL), in
the process itself of a thread pool. One statement per beat, whatever the number of attempts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event, Thread
from typing import Final
from uuid import UUID

import structlog
from django.db import connections

import postgres_deadline
from dispatch.pools import Pool
from jobs import heartbeat
from worker import activity
from worker.activity import Request

_log = structlog.get_logger(__name__)

#: Seconds between finding a lease lost and stopping its attempt: one that has just finished reports so meanwhile, and
#: its process may already run another job.
CONFIRM_SECONDS: Final = 0.25


#: Slots of a thread pool that may hang past their hard limit before its process drains and leaves.
MOST_LEAKED: Final = 2


class LeaseKeeper:
    """Renews every quarter of the pool's lease.

    `on_lost` gets attempts to stop (of a batch none, while one of its jobs still holds its lease), `on_change` whether
    renewing works; `on_leaked` is called once when too many slots of a thread pool hang. A leaked attempt is not
    renewed: its lease runs out and the attempt counts.
    """

    def __init__(
        self,
        *,
        instance: str,
        pool: Pool,
        on_lost: Callable[[Collection[UUID], Request], None],
        on_change: Callable[[bool], None],
        on_leaked: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._pool = pool
        self._on_lost = on_lost
        self._on_change = on_change
        self._on_leaked = on_leaked
        self._owned: dict[UUID, Request] = {}
        self._can_renew = True
        self._is_leaving = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="lease-keeper", daemon=True)

    @property
    def can_renew(self) -> bool:
        """Whether Postgres took the last renewal: a worker whose leases would run out takes no jobs."""
        return self._can_renew

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; leases that are still held run out or are handed back."""
        self._stopping.set()

    def beat(self) -> None:
        """One renewal; never raises."""
        running = self._without_leaked(activity.running_requests())
        try:
            kept = self._renew(running)
        except Exception as error:  # whatever it is, this worker must neither die of it nor go on claiming
            _log.warning("leases were not renewed", error=repr(error), running=len(running))
            self._set_can_renew(value=False)
            return
        finally:
            connections.close_all()
        self._set_can_renew(value=True)
        lost = self._lost(running, kept)
        self._owned = {job: running[job] for job in kept}
        if lost:
            self._stop_lost(lost)

    def _run(self) -> None:
        while not self._stopping.wait(self._pool.heartbeat_seconds):
            self.beat()

    def _without_leaked(self, running: Mapping[UUID, Request]) -> Mapping[UUID, Request]:
        leaked = activity.leaked(running, self._pool)
        slots = activity.leaked_slots(self._pool)
        if slots >= MOST_LEAKED and not self._is_leaving:
            self._is_leaving = True
            _log.error("too many attempts hang past their hard limit: this worker leaves", leaked=slots)
            self._on_leaked()
        return {job: request for job, request in running.items() if job not in leaked}

    def _renew(self, running: Mapping[UUID, Request]) -> set[UUID]:
        """Ids that are still ours. What runs and does not come back has not claimed yet, or has just finished."""
        if not running and self._can_renew:
            return set()
        # A paused worker asks with nothing to renew, too: only an answer says that Postgres is back.
        with postgres_deadline.read_only.lifted(), postgres_deadline.deadline(self._pool.heartbeat_seconds):
            return heartbeat.renew(self._instance, list(running))

    def _lost(self, running: Mapping[UUID, Request], kept: Collection[UUID]) -> list[tuple[list[UUID], Request]]:
        """Requests that held leases and hold none, with their jobs. Those of a batch end one by one."""
        alive = {id(running[job]) for job in kept}
        lost: dict[int, tuple[list[UUID], Request]] = {}
        for job, owned in self._owned.items():
            if running.get(job) is owned and id(owned) not in alive:
                lost.setdefault(id(owned), ([], owned))[0].append(job)
        return list(lost.values())

    def _stop_lost(self, lost: Sequence[tuple[list[UUID], Request]]) -> None:
        self._stopping.wait(CONFIRM_SECONDS)
        for jobs, request in lost:
            if activity.is_running(request):
                _log.warning("attempt lost its lease and is stopped", job_ids=[str(job) for job in jobs])
                self._on_lost(jobs, request)

    def _set_can_renew(self, *, value: bool) -> None:
        if value != self._can_renew:
            self._can_renew = value
            self._on_change(value)
