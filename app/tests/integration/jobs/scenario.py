"""Words of these tests: kinds, pools that a sweeper has just seen, jobs in a given state."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, connections
from django.utils import timezone
from pydantic import BaseModel

from dispatch import POOLS
from jobs import admission, sweeper
from jobs.claim import Claimed, claim
from jobs.context import Done, JobContext
from jobs.kinds import job_kind
from jobs.models import (
    BrokerState,
    DeadLetter,
    Effect,
    IdempotencyKey,
    Job,
    JobEvent,
    KindBreaker,
    PoolState,
    ProbeCount,
    ReplayAudit,
    Schedule,
)
from jobs.submission import submit
from jobs.sweeper import Sweeper
from tests.servers.waiting import wait_until

_TABLES = (
    *(BrokerState, DeadLetter, Effect, IdempotencyKey, JobEvent, Job),
    *(KindBreaker, PoolState, ProbeCount, ReplayAudit, Schedule),
)


class EchoParams(BaseModel):
    word: str = "hello"
    number: int = 0


#: What the next run of `test.scripted` does; a test sets it.
script: dict[str, Callable[[JobContext], Done | dict[str, object] | None]] = {}


@job_kind("test.echo", pool="fast", params=EchoParams, max_attempts=3)
def echo(job: JobContext, params: EchoParams) -> dict[str, object]:
    return {"word": params.word, "attempt": job.attempt}


@job_kind("test.scripted", pool="cpu", params=EchoParams, max_attempts=3, backoff_seconds=0.001)
def scripted(job: JobContext, params: EchoParams) -> Done | dict[str, object] | None:
    return script["run"](job)


def empty_tables() -> None:
    """Deletes every row of the job's life."""
    with connection.cursor() as cursor:
        for model in _TABLES:
            cursor.execute(f'DELETE FROM "{model._meta.db_table}"')


def see_pools(**values: object) -> None:
    """Pools that a sweeper has just seen, for as long as a test may take: in production a look is old after 5 s."""
    for name in POOLS:
        row = {
            "open": 0,
            "hinted": 0,
            "ready": 0,
            "behind": False,
            "grace_seconds": 5,
            "at": timezone.now() + timedelta(hours=1),
        }
        PoolState.objects.update_or_create(pool=name, defaults=row | values)
    admission.forget()


def submit_echo(number: int = 0, **options: object) -> Job:
    submitted = submit("test.echo", owner="ada", params={"number": number}, **options)  # type: ignore[arg-type]
    return Job.objects.get(id=submitted.job.id)


def claimed(job: Job, leased_by: str = "worker-1") -> Claimed:
    lease = claim(job.id, leased_by=leased_by)
    assert lease is not None, f"job {job.id} was not claimable"
    return lease


def move_back(job: Job, seconds: float) -> None:
    """Makes the job's lease, hint and earliest start lie `seconds` earlier, as if time had passed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE job SET lease_until = lease_until - %s, next_dispatch_at = next_dispatch_at - %s,"
            " hinted_at = hinted_at - %s, not_before = not_before - %s WHERE id = %s",
            [*[timedelta(seconds=seconds)] * 4, job.id],
        )


def trust_leases(made: Sweeper) -> None:
    """As after many ticks: a lease that ran out has run out."""
    made._last_tick = sweeper.time.monotonic()
    made._trust_leases_at = dict.fromkeys(POOLS, 0.0)


def in_threads(*works: Callable[[], object], timeout: float = 120.0) -> list[object]:
    """Runs the works at once, each on a connection of its own. Raises the first error."""
    barrier = threading.Barrier(len(works))
    results: list[object] = [None] * len(works)
    errors: list[BaseException] = []

    def run(position: int) -> None:
        try:
            barrier.wait(timeout)
            results[position] = works[position]()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(position,), daemon=True) for position in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
        assert not thread.is_alive(), f"a thread still runs after {timeout} s: a deadlock?"
    if errors:
        raise errors[0]
    return results


def await_blocked(count: int = 1) -> None:
    """Waits until so many sessions of this database wait for a lock that another one holds."""

    def blocked() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(cursor.fetchone()[0] >= count)

    wait_until(blocked, f"{count} sessions were expected to wait for a lock")


def seed() -> int:
    """The same in every run, so that a change is refused for its own sake; HOLDFAST_SEED tries another."""
    value = int(os.environ.get("HOLDFAST_SEED", "105"))
    print(f"HOLDFAST_SEED={value}")  # noqa: T201
    return value
