"""Real workers and a real bridge over real servers: what is run, renewed, stopped, handed back and survived."""

import json
import time
import urllib.request
from collections import Counter
from uuid import UUID

import psutil
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

import redis_topology
from dispatch import POOLS, Hint, Priority, ensure_dispatched, messages
from dispatch import testing as dispatch_testing
from dispatch.messages import TASK_NAME
from jobs.cancellation import cancel
from jobs.models import Job
from project.celery import app
from tests.integration.worker.conftest import (
    Stack,
    await_finished,
    await_renewed,
    await_running,
    await_true,
    hint,
    submit,
)
from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.worker import AppProcess, ImpatientWorkerProcess
from worker import soft_stop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]


# -- end to end -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pool", POOLS)
def test_runs_jobs_from_celery_messages(stack: Stack, redis_server: RedisProcess, pool: str) -> None:
    stack.worker(pool)
    jobs = submit(30, kind=f"probe.{pool}")
    hint(jobs)
    await_finished(jobs)
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
    with redis_server.client() as client:
        await_true(lambda: not client.hlen("unacked"), "every message was acknowledged")
        assert redis_server.denied() == []


def test_runs_jobs_from_stream_entries(stack: Stack, redis_server: RedisProcess, settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"ndvi_queue_backend": "stream"})
    dispatch_testing.reset()
    worker = stack.worker("fast", concurrency=2)
    bridge = stack.bridge()
    jobs = submit(200)
    hint(jobs)
    await_finished(jobs)
    with redis_server.client() as client:
        assert client.xlen(settings.HOLDFAST.ndvi_stream_name) == 0
    assert observed(bridge, "dispatch_to_bridge") == 200
    for stage in ("run", "finish"):
        assert observed(worker, stage) == 200
    assert bridge.terminate() == 0
    assert redis_server.denied() == []


def observed(process: AppProcess, stage: str) -> float:
    """Observations of a stage that the process's /metrics shows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'jobs_stage_duration_seconds_count{{stage="{stage}"}}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))


def test_two_hints_of_one_job_run_it_once(stack: Stack) -> None:
    stack.worker("fast", concurrency=2)
    jobs = submit(20, work_ms=20)
    for _ in range(3):
        hint(jobs)
    await_finished(jobs)


def test_metrics_of_the_whole_pool_are_served(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=2)
    jobs = submit(10)
    hint(jobs)
    await_finished(jobs)

    def claimed() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        values = [float(line.split()[-1]) for line in lines if line.startswith('jobs_claims_total{result="won"}')]
        return sum(values) == 10

    await_true(claimed, "the worker's /metrics counted ten claims")


# -- leases -----------------------------------------------------------------------------------------------------------
def test_a_job_that_outlasts_its_lease_keeps_it(stack: Stack) -> None:
    stack.worker("fast", concurrency=1)
    [job] = submit(1, work_ms=(POOLS["fast"].lease_seconds + 3) * 1000)
    hint([job])
    await_running(job)
    until = time.monotonic() + POOLS["fast"].lease_seconds + 1
    while time.monotonic() < until:
        now, row = timezone.now(), Job.objects.get(id=job)
        assert row.lease_until is None or row.lease_until > now
        time.sleep(0.25)
    await_finished([job])
    assert Job.objects.get(id=job).attempt == 1


@pytest.mark.parametrize("pool", ["fast", "io"])
def test_an_attempt_that_lost_its_lease_is_stopped(stack: Stack, pool: str) -> None:
    stack.worker(pool, concurrency=1)
    [endless, waiting] = submit(2, kind=f"probe.{pool}", work_ms=600_000)
    Job.objects.filter(id=waiting).update(params={"tag": "waiting", "work_ms": 0})
    hint([endless])
    await_renewed(await_running(endless))
    cancel(endless, owner="worker-test")
    hint([waiting])
    await_finished([waiting])  # the endless one would take ten minutes
    assert Job.objects.get(id=endless).state == "CANCELLED"


def test_a_stop_that_comes_too_late_ends_no_process(stack: Stack) -> None:
    """The parent hears late that an attempt has ended, and stops a child that runs none."""
    worker = psutil.Process(stack.worker("fast", concurrency=1).pid)
    children = worker.children()
    for job in submit(4):
        hint([job])
        await_finished([job])
        for child in children:
            child.send_signal(soft_stop.SIGNAL)
    assert worker.children() == children
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


def test_a_killed_worker_costs_one_lease(stack: Stack) -> None:
    worker = stack.worker("fast", name="worker-killed", concurrency=2)
    jobs = submit(2, work_ms=8000)
    hint(jobs)
    for job in jobs:
        await_running(job)
    worker.kill()
    stack.worker("fast", concurrency=2)

    def sweep() -> bool:
        due = list(Job.objects.filter(state="RUNNING", lease_until__lt=timezone.now()).values_list("id", flat=True))
        if due:
            hint(due)
        return not Job.objects.filter(id__in=jobs).exclude(state="SUCCEEDED").exists()

    await_true(sweep, "the jobs of the killed worker finished elsewhere")
    await_finished(jobs)
    assert set(Job.objects.values_list("attempt", flat=True)) == {2}


# -- batches ----------------------------------------------------------------------------------------------------------
def hint_together(job_ids: list[UUID], redis_server: RedisProcess) -> None:
    """One message for all of them."""
    hints = [Hint(job, 1, "probe.fast", "fast", Priority.NORMAL, "", "", 0) for job in job_ids]
    [(name, message)] = messages.rendered([hints])
    with redis_server.client() as client:
        client.lpush(name, message)


def test_many_jobs_are_run_from_few_messages(stack: Stack, redis_server: RedisProcess) -> None:
    jobs = submit(200)
    hint(jobs, batchable=True)
    with redis_server.client() as client:
        assert sum(client.llen(name) for name in messages.ready_lists("fast")) == 13
    worker = stack.worker("fast", concurrency=2)
    await_finished(jobs)
    for stage in ("run", "finish"):
        await_true(lambda stage=stage: observed(worker, stage) == 200, f"each job's {stage} was observed once")
    with redis_server.client() as client:
        await_true(lambda: not client.hlen("unacked"), "every message was acknowledged")


def test_single_messages_that_wait_are_worked_off_together(stack: Stack, redis_server: RedisProcess) -> None:
    jobs = submit(64)
    alone = jobs[10]
    for job in jobs:
        hint([job], batchable=job != alone)
    with redis_server.client() as client:
        assert sum(client.llen(name) for name in messages.ready_lists("fast")) == 64
        stack.worker("fast", concurrency=1)
        await_finished(jobs)
        claims = Counter(Job.objects.values_list("claim_key", flat=True))
        assert len(claims) < 40, "an eighth of what waits, and the one before it, share a claim"
        assert claims[Job.objects.get(id=alone).claim_key] == 1
        await_true(lambda: not client.hlen("unacked"), "every message was acknowledged")
    assert redis_server.denied() == []


def test_a_batch_that_outlasts_its_lease_keeps_it_and_loses_nobody(stack: Stack, redis_server: RedisProcess) -> None:
    """The first one has long ended when the last one's lease is renewed, and the worker stops none for it."""
    stack.worker("fast", concurrency=1)
    quick, slow, last = submit(3)
    Job.objects.filter(id=slow).update(params={"work_ms": (POOLS["fast"].lease_seconds + 3) * 1000})
    hint_together([quick, slow, last], redis_server)
    await_finished([quick])
    await_finished([slow])
    assert Job.objects.get(id=slow).attempt == 1
    row = Job.objects.get(id=last)
    assert (row.state, row.attempt) == ("QUEUED", 0), "handed back: it would have started too late"
    hint([last])
    await_finished([last])


def test_a_batch_whose_jobs_were_all_cancelled_is_stopped(stack: Stack, redis_server: RedisProcess) -> None:
    stack.worker("fast", concurrency=1)
    endless, behind, waiting = submit(3)
    Job.objects.filter(id=endless).update(params={"work_ms": 600_000})
    hint_together([endless, behind], redis_server)
    await_renewed(await_running(behind))
    for job in (endless, behind):
        cancel(job, owner="worker-test")
    hint([waiting])
    await_finished([waiting])  # the endless one would take ten minutes
    assert set(Job.objects.filter(id__in=[endless, behind]).values_list("state", flat=True)) == {"CANCELLED"}


def test_a_stop_hands_back_every_job_of_a_batch(stack: Stack, redis_server: RedisProcess) -> None:
    worker = stack.worker("fast", name="worker-stops", concurrency=1, kind=ImpatientWorkerProcess)
    jobs = submit(3, work_ms=60_000)
    hint_together(jobs, redis_server)
    await_running(jobs[-1])
    worker.terminate()
    assert set(Job.objects.values_list("state", "attempt", "leased_by")) == {("QUEUED", 0, "")}


# -- stopping ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pool", ["fast", "io"])
def test_a_warm_stop_finishes_and_acknowledges_what_runs(stack: Stack, redis_server: RedisProcess, pool: str) -> None:
    worker = stack.worker(pool, concurrency=2)
    jobs = submit(2, kind=f"probe.{pool}", work_ms=5000)
    hint(jobs)
    for job in jobs:
        await_running(job)
    assert worker.terminate() == 0
    await_finished(jobs, seconds=1)
    with redis_server.client() as client:
        assert client.hlen("unacked") == 0
        assert [client.llen(name) for name in messages.ready_lists(pool)] == [0, 0, 0]


@pytest.mark.parametrize("pool", ["fast", "io"])
def test_what_outlasts_the_grace_is_handed_back(stack: Stack, pool: str) -> None:
    worker = stack.worker(pool, name="worker-stops", concurrency=2, kind=ImpatientWorkerProcess)
    [job] = submit(1, kind=f"probe.{pool}", work_ms=60_000)
    hint([job])
    token = await_running(job).lease_token
    worker.terminate()  # in less time than the job takes
    row = Job.objects.get(id=job)
    assert (row.state, row.attempt) == ("QUEUED", 0)
    assert row.lease_token > token
    assert row.next_dispatch_at <= timezone.now()


# -- versions ---------------------------------------------------------------------------------------------------------
def test_a_message_of_a_newer_release_stays_in_its_queue(stack: Stack, redis_server: RedisProcess) -> None:
    stack.worker("fast", concurrency=1)
    with app.connection_for_write() as connection:
        app.send_task(
            TASK_NAME, args=("whatever", 1, "new"), queue="fast", priority=3, headers={"v": "3"}, connection=connection
        )
    jobs = submit(3)
    hint(jobs)
    await_finished(jobs)
    time.sleep(1.5)
    with redis_server.client() as client:

        def kept() -> bool:
            ready = [raw for name in messages.ready_lists("fast") for raw in client.lrange(name, 0, -1)]
            waiting = [json.loads(raw)[0] for raw in client.hvals("unacked")]
            return [
                json.loads(m)["headers"]["v"] if isinstance(m, str) else m["headers"]["v"] for m in ready + waiting
            ] == ["3"]

        await_true(kept, "the message was kept")


# -- Redis and Postgres away ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pool", ["fast", "io"])
def test_goes_on_by_itself_when_redis_is_back(stack: Stack, redis_server: RedisProcess, pool: str) -> None:
    worker = stack.worker(pool, concurrency=2)
    jobs = submit(4, kind=f"probe.{pool}", work_ms=4000)
    hint(jobs)
    await_running(jobs[0])
    redis_server.kill()
    time.sleep(3)
    redis_server.start()
    more = submit(5, kind=f"probe.{pool}")
    dispatch_testing.reset()
    hint(more)
    await_finished(more)
    assert worker.running


def test_goes_on_by_itself_when_redis_thaws(stack: Stack, redis_server: RedisProcess) -> None:
    worker = stack.worker("fast", concurrency=2)
    redis_server.freeze()
    time.sleep(4)
    redis_server.thaw()
    jobs = submit(5)
    dispatch_testing.reset()
    hint(jobs)
    await_finished(jobs)
    assert worker.running


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_follows_a_failover(stack: Stack, sentinel: SentinelTopology, settings: Settings, fault: str) -> None:
    """All slots are busy when the primary goes, so that every acknowledgement fails: stock kombu waits for ever."""
    stack.environment |= {"REDIS_URL": sentinel.url, "REDIS_PASSWORD": ""}
    settings.REDIS_TOPOLOGY = redis_topology.parse(sentinel.url)
    dispatch_testing.reset()
    worker = stack.worker("fast", concurrency=2)
    busy = submit(2, work_ms=5000)
    hint(busy)
    for job in busy:
        await_running(job)
    old = sentinel.primary
    getattr(old, fault)()
    await_finished(busy)
    sentinel.await_new_primary(old)
    jobs = submit(6)
    dispatch_testing.reset()
    hint(jobs)
    await_finished(jobs)
    assert worker.running
    with sentinel.primary.client() as client:
        await_true(lambda: not client.hlen("unacked"), "acknowledgements of before the failover were told after it")


def test_keeps_its_hints_while_postgres_is_frozen(stack: Stack, postgres: PostgresProcess) -> None:
    worker = stack.worker("fast", concurrency=2)
    jobs = submit(5)
    postgres.freeze()
    try:
        hint_without_reading(jobs)
        time.sleep(4)
        then = time.time()
        await_true(lambda: worker.heartbeat_file.stat().st_mtime > then, "the worker's heart does not beat")
    finally:
        postgres.thaw()
    await_finished(jobs)
    assert worker.running


def hint_without_reading(job_ids: list[UUID]) -> None:
    hints = [Hint(job, 1, "probe.fast", "fast", Priority.NORMAL, "", "", 0) for job in job_ids]
    ensure_dispatched(hints, timeout_seconds=60)
