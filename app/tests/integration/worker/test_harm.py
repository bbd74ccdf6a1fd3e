"""Jobs that harm their worker, and a Postgres that falls silent again and again: what it costs the others, and them."""

import time
from uuid import UUID

import pytest
from django.db import connection

from dispatch import POOLS, Hint, Priority, messages
from dispatch import testing as dispatch_testing
from jobs.models import DeadLetter, Job, KindBreaker, ProbeCount
from jobs.requests import JobRequest
from jobs.submission import submit_bulk
from tests.faulty import kinds as kinds  # registers them here, too
from tests.integration.worker.conftest import Stack, await_finished, await_true, hint, submit
from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.worker import BriefWorkerProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

#: Seconds that a pool may stand still: a lease, two starts of its worker on a busy machine, and the next tick.
PAUSE_SECONDS = 300.0


@pytest.fixture(autouse=True)
def _with_faulty_kinds(stack: Stack) -> None:
    stack.environment |= {"DOMAIN_APPS": "tests.faulty"}


def submit_faulty(kind: str, count: int) -> list[UUID]:
    requests = [JobRequest(kind, {"number": position}, force=True) for position in range(count)]
    with dispatch_testing.recording():
        return [submitted.job.id for submitted in submit_bulk(requests, owner="worker-test")]


def await_dead(job_ids: list[UUID], *, reason: str, attempts: int, seconds: float) -> None:
    def dead() -> bool:
        return DeadLetter.objects.filter(job_id__in=job_ids, reason=reason).count() == len(job_ids)

    await_true(dead, f"{len(job_ids)} jobs were dead-lettered as {reason}", seconds=seconds)
    letters = DeadLetter.objects.filter(job_id__in=job_ids)
    assert set(letters.values_list("delivery_count", flat=True)) == {attempts}
    assert set(Job.objects.filter(id__in=job_ids).values_list("state", flat=True)) == {"FAILED"}


def test_a_job_that_kills_its_worker_is_dead_lettered_while_its_neighbours_run(stack: Stack) -> None:
    worker = stack.worker("fast", concurrency=2, kind=BriefWorkerProcess)
    stack.sweeper()
    killers = submit_faulty("faulty.kill", 1)
    hint(killers)
    neighbours = submit(40, work_ms=20)
    hint(neighbours)
    await_finished(neighbours)
    await_dead(killers, reason="worker_lost", attempts=2, seconds=300)
    later = submit(10)
    hint(later)
    await_finished(later)
    assert worker.running


def test_a_worker_killed_within_a_batch_costs_each_of_its_jobs_one_attempt_and_they_go_on_alone(
    stack: Stack, redis_server: RedisProcess
) -> None:
    stack.worker("fast", concurrency=1)
    [killer], neighbours = submit_faulty("faulty.kill", 1), submit(5)
    hints = [Hint(job, 1, "probe.fast", "fast", Priority.NORMAL, "", "", 0) for job in (killer, *neighbours)]
    [(name, message)] = messages.rendered([hints])
    with redis_server.client() as client:
        client.lpush(name, message)
    await_true(lambda: Job.objects.filter(state="RUNNING").count() == 6, "the batch was claimed")
    stack.sweeper()
    await_finished(neighbours)
    assert set(Job.objects.filter(id__in=neighbours).values_list("attempt", flat=True)) == {2}
    await_dead([killer], reason="worker_lost", attempts=2, seconds=300)


def test_twenty_jobs_that_sleep_in_c_for_ever_stop_the_pool_only_for_a_while(stack: Stack) -> None:
    """The supervisor is this test, as `restart: unless-stopped` is in compose."""
    pool = POOLS["io"]
    worker = stack.worker("io", kind=BriefWorkerProcess)
    stack.sweeper()
    hanging = submit_faulty("faulty.hang", pool.concurrency)
    hint(hanging)
    quick: list[UUID] = []
    ended_at, restarts = time.monotonic(), 0

    def all_dead() -> bool:
        nonlocal ended_at, restarts
        if not worker.running:
            restarts += 1
            worker.start()
        waiting = Job.objects.filter(id__in=quick, state="QUEUED").count()
        if not waiting:
            ended_at = time.monotonic()
            quick.extend(submit(1, kind="probe.io"))
            hint(quick[-1:])
        if time.monotonic() - ended_at > PAUSE_SECONDS:
            pytest.fail(f"a quick job waited {PAUSE_SECONDS:g} s behind those that hang")
        return DeadLetter.objects.filter(job_id__in=hanging).count() == len(hanging)

    await_true(all_dead, "the jobs that hang were dead-lettered at their ceiling", seconds=600)
    await_dead(hanging, reason="worker_lost", attempts=2, seconds=60)
    if not worker.running:
        worker.start()
    await_finished(quick)
    assert restarts >= 2, "the process whose slots hung was expected to leave by itself"


def test_a_postgres_that_freezes_again_and_again_costs_no_job_an_attempt(
    stack: Stack, postgres: PostgresProcess
) -> None:
    stack.environment |= {"DATABASE_LOOP_SECONDS": "1"}
    stack.worker("fast", concurrency=4)
    stack.worker("io", concurrency=8)
    stack.sweeper()
    jobs = submit(400, work_ms=40) + submit(200, kind="probe.io", work_ms=40)
    hint(jobs)
    for _ in range(3):
        ended = Job.objects.filter(id__in=jobs, state="SUCCEEDED").count()
        await_true(
            lambda ended=ended: Job.objects.filter(id__in=jobs, state="SUCCEEDED").count() > min(ended + 20, 590),
            "jobs end between two freezes",
        )
        connection.close()
        postgres.freeze()
        time.sleep(3)
        postgres.thaw()
    await_finished(jobs, seconds=300)
    attempts = list(Job.objects.filter(id__in=jobs, attempt__gt=1).values_list("id", "attempt"))
    assert attempts == []


def test_a_kind_that_fails_in_bulk_burns_neither_attempts_nor_the_pool(stack: Stack) -> None:
    stack.worker("fast", concurrency=4)
    stack.worker("io", concurrency=8)
    stack.sweeper()
    failing = submit(300, kind="probe.io", fail_times=100)
    hint(failing)
    await_true(lambda: KindBreaker.objects.filter(kind="probe.io", is_open=True).exists(), "the kind's breaker opened")
    await_true(
        lambda: Job.objects.filter(id__in=failing, held=True).count() >= len(failing) - 10, "its jobs are held back"
    )
    ran = claims(failing)
    began = time.monotonic()
    others = submit(50, work_ms=10)
    hint(others)
    await_finished(others)
    await_true(lambda: claims(failing) > ran, "a probe runs")
    time.sleep(max(0.0, began + 6 - time.monotonic()))
    seconds = time.monotonic() - began
    assert claims(failing) - ran <= 1.5 * seconds + 2, "about one probe per second"
    Job.objects.filter(id__in=failing).update(params={"tag": "mended"})
    await_finished(failing)
    assert DeadLetter.objects.count() == 0
    assert ProbeCount.objects.filter(job_id__in=failing).count() == len(failing)


def claims(jobs: list[UUID]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM job_event WHERE event = 'claimed' AND job_id = ANY(%s)", [jobs])
        return int(cursor.fetchone()[0])
