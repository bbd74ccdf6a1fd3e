"""The sweeper as a process over a real Redis: how soon lost hints are out again, and what a backlog may do to it."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
import redis
from django.utils import timezone
from pytest_django.fixtures import Settings

import redis_topology
from dispatch import messages
from dispatch import testing as dispatch_testing
from jobs.epochs import EpochWatch
from jobs.models import Job, PoolState, Schedule
from jobs.schedules import schedule
from jobs.states import MissedTicks
from jobs.sweeper import Sweeper
from tests.integration.worker.conftest import Stack, await_finished, await_true, submit
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

MODES = ("celery", "stream")


def use(stack: Stack, settings: Settings, mode: str, topology_url: str = "") -> None:
    stack.environment |= {"NDVI_QUEUE_BACKEND": mode}
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"ndvi_queue_backend": mode})
    if topology_url:
        stack.environment |= {"REDIS_URL": topology_url, "REDIS_PASSWORD": ""}
        settings.REDIS_TOPOLOGY = redis_topology.parse(topology_url)
    dispatch_testing.reset()


def out(client: redis.Redis, settings: Settings) -> int:
    """Hints of pool fast that Redis holds; one message may carry several."""
    waiting = [message for name in messages.ready_lists("fast") for message in client.lrange(name, 0, -1)]
    return sum(len(messages.named_by(one)) for one in waiting) + client.xlen(settings.HOLDFAST.ndvi_stream_name)


def hinted_by_the_sweeper(
    stack: Stack, client: Callable[[], redis.Redis], settings: Settings, jobs: list[UUID]
) -> None:
    Job.objects.filter(id__in=jobs).update(next_dispatch_at=timezone.now())
    stack.sweeper()
    with client() as redis_client:
        await_true(lambda: out(redis_client, settings) == len(jobs), "the sweeper hinted every job")


def put_off() -> None:
    """From now on only a new epoch brings hints again: none is old, and their grace ends in an hour."""
    later = timezone.now() + timedelta(hours=1)
    Job.objects.update(next_dispatch_at=later, hinted_at=later)


@pytest.mark.parametrize("mode", MODES)
def test_hints_that_a_flush_took_wait_for_no_grace(
    stack: Stack, redis_server: RedisProcess, settings: Settings, mode: str
) -> None:
    use(stack, settings, mode)
    jobs = submit(60)
    hinted_by_the_sweeper(stack, redis_server.client, settings, jobs)
    for _ in range(3):
        put_off()
        redis_server.flush()
        with redis_server.client() as client:
            await_true(lambda client=client: out(client, settings) == len(jobs), "every hint is out again")


@pytest.mark.parametrize("mode", MODES)
def test_hints_that_a_failover_took_wait_for_no_grace(
    stack: Stack, sentinel: SentinelTopology, settings: Settings, mode: str
) -> None:
    use(stack, settings, mode, sentinel.url)
    jobs = submit(60)
    hinted_by_the_sweeper(stack, lambda: sentinel.primary.client(), settings, jobs)
    put_off()
    gens = sum(Job.objects.values_list("dispatch_gen", flat=True))
    old = sentinel.primary
    old.kill()
    sentinel.await_new_primary(old)
    await_true(
        lambda: sum(Job.objects.values_list("dispatch_gen", flat=True)) >= gens + len(jobs),
        "every job was hinted again",
    )
    with sentinel.primary.client() as client:
        assert out(client, settings) >= len(jobs)


def test_what_waited_for_redis_is_hinted_when_it_is_back_not_a_tick_later(
    stack: Stack, redis_server: RedisProcess, settings: Settings
) -> None:
    use(stack, settings, "celery")
    stack.environment["SWEEPER_TICK_SECONDS"] = "60"
    jobs = submit(60)
    Job.objects.filter(id__in=jobs).update(next_dispatch_at=timezone.now())
    redis_server.kill()
    sweeper = stack.sweeper()
    await_true(lambda: "hints wait in Postgres" in sweeper.log_tail(100), "the sweeper missed Redis")
    redis_server.start()
    with redis_server.client() as client:
        await_true(lambda: out(client, settings), "the jobs are hinted before the next tick", seconds=30)


def test_what_dead_workers_hold_slows_no_hint(redis_server: RedisProcess, settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"dispatch_window": 100})
    dispatch_testing.reset()
    with redis_server.client() as client:
        client.hset("unacked", mapping={f"tag-{n}": "[{}, '', 'fast']" for n in range(5000)})
        client.zadd("unacked_index", {f"tag-{n}": n for n in range(5000)})
    submit(50)
    assert sweeper().tick().hinted == 50


def test_a_backlog_in_redis_slows_hints_to_a_trickle_and_never_stops_them(
    redis_server: RedisProcess, settings: Settings
) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"dispatch_window": 100})
    dispatch_testing.reset()
    with redis_server.client() as client:
        client.lpush(messages.ready_lists("fast")[0], *["old"] * 500)
        client.hset("unacked", mapping={f"tag-{n}": "[{}, '', 'fast']" for n in range(5000)})
    submit(80)
    made, hinted, began = sweeper(), 0, time.monotonic()
    while hinted < 10:
        assert time.monotonic() - began < 120, "the backlog stopped the hints"
        time.sleep(0.2)
        hinted += made.tick().hinted
    assert time.monotonic() - began > 0.5, "a backlog of five windows was expected to slow them down"
    assert PoolState.objects.get(pool="fast").behind


def sweeper() -> Sweeper:
    made = Sweeper(epochs=EpochWatch(lambda: "key:replid"))
    made._last_tick = time.monotonic()
    return made


def test_two_sweepers_hint_each_job_once_per_grace(
    stack: Stack, redis_server: RedisProcess, settings: Settings
) -> None:
    graces_are_long()
    jobs = submit(900)
    Job.objects.filter(id__in=jobs).update(next_dispatch_at=timezone.now() + timedelta(hours=1))
    stack.sweeper("sweeper-1")
    stack.sweeper("sweeper-2")
    Job.objects.filter(id__in=jobs).update(next_dispatch_at=timezone.now())
    with redis_server.client() as client:
        await_true(lambda: out(client, settings) >= len(jobs), "every job was hinted")
        time.sleep(2.5)  # several ticks of both, inside the grace
        assert out(client, settings) == len(jobs)
    assert set(Job.objects.filter(id__in=jobs).values_list("dispatch_gen", flat=True)) == {1}


def graces_are_long() -> None:
    """A job that ended just now had waited for two minutes from its hint: sweepers that start now give a first hint
    half a minute and not 5 s, of which a busy machine needs some."""
    [slow] = submit(1)
    now = timezone.now()
    Job.objects.filter(id=slow).update(
        state="SUCCEEDED", finished_at=now, started_at=now, hinted_at=now - timedelta(minutes=2)
    )


def test_a_swept_job_is_claimed_on_its_first_hint(stack: Stack) -> None:
    jobs = submit(20)
    stack.worker("fast", concurrency=2)
    graces_are_long()
    stack.sweeper()
    await_finished(jobs)
    assert set(Job.objects.filter(id__in=jobs).values_list("dispatch_gen", "attempt")) == {(1, 1)}


def test_schedules_fire_once_per_tick_with_two_sweepers_over_a_failover(
    stack: Stack, sentinel: SentinelTopology, settings: Settings
) -> None:
    use(stack, settings, "celery", sentinel.url)
    names = [f"tick-{position}" for position in range(12)]
    for position, name in enumerate(names):
        made = schedule(name, owner="ada", cron="0 0 29 2 *", kind="probe.fast", params={}, missed=MissedTicks.LATEST)
        made.next_tick_at = timezone.now() + timedelta(seconds=8 + position)
        made.save()
    stack.worker("fast", concurrency=2)
    stack.sweeper("sweeper-1")
    stack.sweeper("sweeper-2")
    wait_until(lambda: Job.objects.count() >= 3, "the first schedules fired", seconds=180)
    old = sentinel.primary
    old.kill()
    wait_until(lambda: Job.objects.count() >= 9, "schedules fired while Redis was away", seconds=180)
    sentinel.await_new_primary(old)
    wait_until(lambda: Job.objects.count() == len(names), "every schedule fired", seconds=180)
    await_finished(list(Job.objects.values_list("id", flat=True)))
    time.sleep(2.5)
    identities = sorted(Job.objects.values_list("identity", flat=True))
    assert len(identities) == len(names)
    assert {identity.split(":")[1] for identity in identities} == set(names)
    assert not Schedule.objects.exclude(last_error="").exists()
