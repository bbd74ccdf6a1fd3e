"""A worker that wedges leaves by itself, and only then. What keeps it is always shown on a worker that is wedged: it
stays for as long as there is a reason to, and leaves when the reason has gone."""

import os
import sys
import time
from collections.abc import Sequence
from uuid import UUID

import pytest
from pytest_django.fixtures import Settings

import redis_topology
from dispatch import Hint, Priority, ensure_dispatched
from dispatch import testing as dispatch_testing
from project.celery import app
from redis_topology import watcher
from tests.integration.worker.conftest import Stack, await_finished, await_running, await_true, hint, submit
from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.worker import WorkerProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

#: Five looks take so long here, in production 15.
STALLED_SECONDS = 2.5
#: Seconds after which who was to leave would have left: another five looks, each of which may wait for an answer.
STAYS_SECONDS = 4 * STALLED_SECONDS


class WatchedWorker(WorkerProcess):
    """Looks every half second, and stops warmly within one."""

    wedge = "pass"

    def program(self) -> Sequence[str]:
        pace = "import worker.progress, worker.handback; worker.progress.LOOK_SECONDS = 0.5"
        setup = f"import project.celery, django; django.setup(); {pace}; worker.handback.WARM_STOP_SECONDS = 1.0"
        return (sys.executable, "-c", f"{setup}\n{self.wedge}\nfrom celery.__main__ import main; main()")


class WithoutCredit(WatchedWorker):
    """Never asks for a message: kombu's worker after a failover in which its acknowledgements failed."""

    wedge = "import worker.qos; worker.qos.CreditFreeingQoS.can_consume = lambda qos: False"


class HungLoop(WatchedWorker):
    """Its event loop waits for ever, as over a socket that nobody times."""

    wedge = """
import time, worker.consumer
start = worker.consumer.Liveness.start
def hang(step, consumer):
    start(step, consumer)
    consumer.call_soon(time.sleep, 1_000_000)
worker.consumer.Liveness.start = hang
"""


def stop_consuming(worker: WorkerProcess) -> None:
    """Wedges a worker that runs: remote control tells its consumer to ask for nothing more."""
    queue = worker.pool.queue

    def has_answered() -> bool:  # its pidbox comes up a moment after it is ready
        with app.connection_for_write() as connection:  # those of the pool may be older than the Redis that runs
            return bool(app.control.cancel_consumer(queue, connection=connection, reply=True, limit=1, timeout=1))

    def pops_nothing() -> bool:  # what it asked for before takes up to a second, and would take the next hint
        with app.connection_for_write() as connection:
            return connection.default_channel.client.info("clients")["blocked_clients"] == 0

    await_true(has_answered, "remote control reached no worker")
    await_true(pops_nothing, "the worker goes on asking for messages")


def has_left(worker: WorkerProcess) -> bool:
    return not worker.running


def await_left(worker: WorkerProcess) -> None:
    await_true(lambda: has_left(worker), "the wedged worker did not leave")
    assert "it leaves" in worker.log_tail(200)


def assert_stays(worker: WorkerProcess, seconds: float = STAYS_SECONDS) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        assert worker.running, f"left:\n{worker.log_tail(40)}"
        time.sleep(0.1)


# -- wedged: it leaves ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [WithoutCredit, HungLoop])
@pytest.mark.parametrize("pool", ["fast", "io"])
def test_a_wedged_worker_leaves_and_the_next_one_goes_on(stack: Stack, pool: str, kind: type[WorkerProcess]) -> None:
    worker = stack.worker(pool, name="worker-wedged", concurrency=2, kind=kind)
    jobs = submit(3, kind=f"probe.{pool}")
    hint(jobs)
    await_left(worker)
    stack.worker(pool, concurrency=2)
    hint(jobs)  # one of them may have been popped by the loop that hung; the sweeper does so
    await_finished(jobs)


def test_a_consumer_that_was_cancelled_is_wedged_too(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    before = submit(2)
    hint(before)
    await_finished(before)
    stop_consuming(worker)
    jobs = submit(3)
    hint(jobs)
    await_left(worker)
    worker.start()
    await_finished(jobs)


# -- wedged, with a reason to stay ------------------------------------------------------------------------------------
def test_busy_slots_are_no_reason(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=1, kind=WatchedWorker)
    [busy, waiting] = submit(2, work_ms=1000 * int(STAYS_SECONDS + 2))
    hint([busy])
    await_running(busy)
    stop_consuming(worker)
    hint([waiting])
    assert_stays(worker)
    await_finished([busy])
    await_left(worker)


def test_an_empty_queue_is_no_reason(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    stop_consuming(worker)
    assert_stays(worker)
    hint(submit(1))
    await_left(worker)


@pytest.mark.parametrize("fault", ["freeze", "kill"])
def test_redis_away_is_no_reason(stack: Stack, redis_server: RedisProcess, fault: str) -> None:
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    stop_consuming(worker)
    jobs = submit(1)
    hint(jobs)
    getattr(redis_server, fault)()
    try:
        assert_stays(worker)
    finally:
        redis_server.thaw() if fault == "freeze" else redis_server.start()
    dispatch_testing.reset()
    hint(jobs)
    await_left(worker)


def test_a_redis_that_refuses_writes_is_no_reason(stack: Stack, redis_server: RedisProcess) -> None:
    """As a primary does that has lost its replicas: it can be read, and nothing can be popped."""
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    stop_consuming(worker)
    hint(submit(1))
    with redis_server.operator() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            assert_stays(worker)
        finally:
            client.config_set("min-replicas-to-write", 0)
    await_left(worker)


def test_postgres_away_is_no_reason(stack: Stack, postgres: PostgresProcess) -> None:
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    stop_consuming(worker)
    jobs = submit(1)
    postgres.freeze()
    try:
        hint_without_reading(jobs)
        assert_stays(worker)
    finally:
        postgres.thaw()
    await_left(worker)


def hint_without_reading(job_ids: list[UUID]) -> None:
    hints = [Hint(job, 1, "probe.fast", "fast", Priority.NORMAL, "", "", 0) for job in job_ids]
    ensure_dispatched(hints, timeout_seconds=60)


def test_the_time_for_which_it_was_frozen_is_no_reason(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=2, kind=WatchedWorker)
    worker.freeze()
    jobs = submit(4)
    try:
        hint(jobs)
        time.sleep(STAYS_SECONDS)
    finally:
        worker.thaw()
    await_finished(jobs)
    assert worker.running


# -- not wedged: it stays ---------------------------------------------------------------------------------------------
def test_workers_that_share_a_list_and_gather_from_it_stay(stack: Stack) -> None:
    """A pop that gathers leaves little for the others. Theirs come, too: who waits is served first."""
    workers = [stack.worker("fast", name=f"worker-{n}", concurrency=1, kind=WatchedWorker) for n in range(2)]
    jobs = submit(600, work_ms=20)
    for job in jobs:
        hint([job], batchable=True)
    await_finished(jobs)
    assert all(worker.running for worker in workers)


def test_a_failover_is_no_reason(stack: Stack, sentinel: SentinelTopology, settings: Settings) -> None:
    """With messages that wait on both sides of it."""
    stack.environment |= {"REDIS_URL": sentinel.url, "REDIS_PASSWORD": ""}
    settings.REDIS_TOPOLOGY = redis_topology.parse(sentinel.url)
    dispatch_testing.reset()
    worker = stack.worker("fast", concurrency=1, kind=WatchedWorker)
    pid, jobs = worker.pid, submit(20, work_ms=200)
    hint(jobs)
    await_running(jobs[0])
    old = sentinel.primary
    old.freeze()
    sentinel.await_new_primary(old)
    dispatch_testing.reset()
    hint(jobs)
    await_finished(jobs)
    assert_stays(worker)
    assert worker.pid == pid
    os.kill(pid, 0)
    watcher.stop()
