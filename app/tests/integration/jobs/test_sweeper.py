"""The sweeper: hints again, rescues, feeds in order, notices a new Redis, fires schedules."""

import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone
from pytest_django.fixtures import Settings

from dispatch import POOLS, DispatchRefused, Reason
from dispatch.testing import RecordingDispatcher
from jobs import admission, sql, sweeper
from jobs import clock as database_clock
from jobs.claim import claim, hand_back
from jobs.context import Done
from jobs.epochs import EpochWatch
from jobs.errors import Retryable
from jobs.finish import fail, finish
from jobs.heartbeat import renew
from jobs.models import DeadLetter, Job, PoolState
from jobs.submission import JobRequest, submit, submit_bulk
from jobs.sweeper import Sweeper
from tests.integration.jobs.conftest import Clock
from tests.integration.jobs.scenario import claimed, in_threads, move_back, see_pools, submit_echo


class Broker:
    """What the sweeper asks of Redis."""

    def __init__(self) -> None:
        self.epoch: str | None = "key-1:replid-1"
        self.ready: int | None = 0


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Broker:
    fake = Broker()
    monkeypatch.setattr(sweeper, "ready_depth", lambda _pool: fake.ready)
    return fake


@pytest.fixture
def sweep(redis: Broker) -> Sweeper:
    """A sweeper past its first tick and past the heartbeat it grants the workers."""
    made = new_sweeper(redis)
    made.tick()
    trust(made)
    return made


def new_sweeper(redis: Broker) -> Sweeper:
    return Sweeper(epochs=EpochWatch(lambda: redis.epoch))


def trust(made: Sweeper) -> None:
    made._trust_leases_at = dict.fromkeys(POOLS, 0.0)


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def limit(settings: Settings, **values: int) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update=values)


def test_hints_what_no_submit_hinted(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    job = submit_echo(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    see_pools(at=timezone.now() - timedelta(minutes=1))
    broker.hints.clear()
    Job.objects.update(next_dispatch_at=timezone.now(), hinted_at=None)
    assert sweep.tick().hinted == 1
    hint = broker.hints[-1]
    assert (hint.job_id, hint.kind, hint.pool, hint.request_hash) == (job.id, "test.echo", "fast", job.request_hash)
    assert hint.traceparent == job.traceparent
    assert claim(job.id, leased_by="w") is not None, "a swept job is claimed on its first hint"


def test_hints_again_when_a_hint_was_lost_and_doubles_the_grace(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    job = submit_echo()
    graces = []
    for _ in range(8):
        move_back(job, 400)
        assert sweep.tick().hinted == 1
        row = fresh(job)
        graces.append((row.next_dispatch_at - row.hinted_at).total_seconds())  # type: ignore[operator]
    assert graces[0] < 13
    assert 239 < graces[-1] < 361
    assert row.grace_seconds == sql.GRACE_CAP_SECONDS
    assert row.dispatch_gen == len([hint for hint in broker.hints if hint.job_id == job.id])


def test_leaves_hints_inside_their_grace_alone(sweep: Sweeper) -> None:
    submit_echo()
    assert sweep.tick().hinted == 0


def test_refused_batch_is_due_again_at_once_and_keeps_its_grace(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    see_pools(behind=True)
    job = submit_echo()
    broker.refuse_with = Reason.MEMORY
    tick = sweep.tick()
    assert (tick.hinted, tick.refused) == (0, 1)
    row = fresh(job)
    assert row.next_dispatch_at <= timezone.now()
    assert (row.hinted_at, row.grace_seconds) == (None, 5)


def test_refused_batch_leaves_rows_alone_that_somebody_hinted_since(broker: RecordingDispatcher, pools: None) -> None:
    from jobs.hinting import make_due

    job = submit_echo()
    Job.objects.update(dispatch_gen=2)
    assert make_due(broker.hints) == 0
    assert fresh(job).hinted_at is not None


def test_a_refused_hint_undoes_no_newer_one(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one sweeper waits for Redis, another one hints the same job again; then the first is refused."""
    job, other = submit_echo(), new_sweeper(redis)
    take = broker.dispatch

    def refuse_late(*_: object, **__: object) -> None:
        monkeypatch.setattr(broker, "dispatch", take)
        move_back(job, 400)
        assert other.tick().hinted == 1
        raise DispatchRefused(Reason.STREAM_FULL)

    monkeypatch.setattr(broker, "dispatch", refuse_late)
    move_back(job, 400)
    assert sweep.tick().refused == 1
    row = fresh(job)
    assert row.hinted_at is not None
    assert row.next_dispatch_at > timezone.now()


def test_open_breaker_takes_no_rows(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    see_pools(behind=True)
    job = submit_echo()
    broker.refuse_with = Reason.UNREACHABLE
    sweep.tick()
    gen, calls = fresh(job).dispatch_gen, broker.calls
    tick = sweep.tick()
    assert tick.breaker_open
    assert (fresh(job).dispatch_gen, broker.calls) == (gen, calls)


def test_expired_lease_is_hinted_and_claimed(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    job = submit_echo()
    claimed(job, "dead")
    broker.hints.clear()
    move_back(job, 11)
    assert sweep.tick().hinted == 1
    assert [hint.job_id for hint in broker.hints] == [job.id]
    assert claimed(job, "alive").attempt == 2


def test_live_lease_is_left_alone(sweep: Sweeper) -> None:
    claimed(submit_echo())
    assert sweep.tick().hinted == 0


def test_expired_lease_does_not_wait_behind_a_backlog(
    sweep: Sweeper, broker: RecordingDispatcher, settings: Settings
) -> None:
    limit(settings, dispatch_window=10)
    job = submit_echo(-1)
    see_pools(behind=True)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(200)], owner="ada")
    move_all_due(3600)
    claimed(job, "dead")
    move_back(job, 11)
    sweep.tick()
    assert job.id in {hint.job_id for hint in broker.hints}


def move_all_due(seconds: int) -> None:
    Job.objects.update(next_dispatch_at=timezone.now() - timedelta(seconds=seconds))


def hinted_for_rescue(sweep: Sweeper, number: int = 0) -> Job:
    """A job whose worker died, and whose lease ran out a second before the sweeper hinted it."""
    job = submit_echo(number)
    claimed(job, "dead")
    move_back(job, 11)
    assert sweep.tick().hinted == 1
    return fresh(job)


def test_the_second_hint_of_a_rescue_comes_after_the_first_grace_however_often_the_job_was_hinted(
    sweep: Sweeper, redis: Broker
) -> None:
    job = submit_echo()
    for _ in range(6):
        move_back(job, 400)
        assert sweep.tick().hinted == 1
    assert fresh(job).grace_seconds == sql.GRACE_CAP_SECONDS
    claimed(job, "dead")
    redis.ready = 1  # the grace alone decides
    move_back(job, 11)
    assert sweep.tick().hinted == 1
    row = fresh(job)
    assert row.hinted_at is not None
    assert 3.9 < (row.next_dispatch_at - row.hinted_at).total_seconds() < 6.1
    assert sweep.tick().hinted == 0
    move_back(job, 6.1)
    assert sweep.tick().hinted == 1


def test_a_rescue_whose_hint_was_lost_is_missed_when_nothing_waits_in_redis(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher
) -> None:
    sweep.grace["fast"], sweep._grace_at = sweeper.LONGEST_FIRST_GRACE_SECONDS, math.inf
    lost, renewed = hinted_for_rescue(sweep, 1), hinted_for_rescue(sweep, 2)
    assert renew("dead", [renewed.id]) == {renewed.id}
    live = fresh(renewed)
    broker.hints.clear()
    sweep.tick()
    redis.ready = 1
    move_back(lost, 6)
    sweep.tick()
    assert broker.hints == [], "young, then maybe what waits in Redis"
    redis.ready = 0
    sweep.tick()
    assert [hint.job_id for hint in broker.hints] == [lost.id]
    assert fresh(renewed).next_dispatch_at == live.next_dispatch_at


def test_repeated_rescues_into_an_empty_list_come_at_doubling_distances(sweep: Sweeper) -> None:
    job = hinted_for_rescue(sweep)
    for expired, age, due in ((1, 1, 0), (1, 6, 1), (12, 7, 0), (12, 13, 1), (900, 200, 0), (900, 301, 1)):
        hinted_at = timezone.now() - timedelta(seconds=age)
        Job.objects.filter(id=job.id).update(
            hinted_at=hinted_at,
            lease_until=hinted_at - timedelta(seconds=expired),
            next_dispatch_at=timezone.now() + timedelta(seconds=300),
        )
        assert sweep.tick().hinted == due, (expired, age)


def test_lost_worker_at_the_ceiling_is_dead_lettered_and_neighbours_go_on(sweep: Sweeper) -> None:
    job, neighbour = submit_echo(1), submit_echo(2)
    for _ in range(3):
        claimed(job, "crasher")
        move_back(job, 11)
    claimed(neighbour)
    assert sweep.tick().failed_lost == 1
    row = fresh(job)
    assert (row.state, row.error_class, row.lease_token) == ("FAILED", "WorkerLost", 4)
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.job_id, letter.delivery_count) == ("worker_lost", job.id, 3)
    assert fresh(neighbour).state == "RUNNING"


def test_first_tick_grants_workers_a_heartbeat_before_leases_count_as_expired(redis: Broker) -> None:
    job = submit_echo()
    claimed(job)
    move_back(job, 60)
    sweep = new_sweeper(redis)
    assert sweep.tick().hinted == 0
    trust(sweep)
    assert sweep.tick().hinted == 1


def test_gap_in_its_own_ticks_grants_a_heartbeat_again(sweep: Sweeper, clock: Clock) -> None:
    job = submit_echo()
    claimed(job)
    move_back(job, 60)
    clock.advance(10)
    assert sweep.tick().hinted == 0


def test_step_of_the_databases_clock_grants_a_heartbeat_again(sweep: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit_echo()
    claimed(job)
    sweep.tick()
    move_back(job, 60)
    monkeypatch.setattr(database_clock, "database_now", lambda: timezone.now() + timedelta(seconds=60))
    assert sweep.tick().hinted == 0
    trust(sweep)
    assert sweep.tick().hinted == 1  # by a clock that goes on as it should


def test_answer_of_the_database_that_comes_late_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_answered = iter([0.0, 5.0, 6.0, 6.0, 7.0, 12.0])
    told = iter([5.0, 6.0, 7.0])
    monkeypatch.setattr(database_clock, "time", SimpleNamespace(monotonic=lambda: next(asked_answered)))
    monkeypatch.setattr(database_clock, "database_now", lambda: datetime.fromtimestamp(next(told), UTC))
    watch = database_clock.StepWatch()
    assert [watch.has_stepped() for _ in range(3)] == [False] * 3


def test_two_sweepers_hint_each_row_once(redis: Broker, broker: RecordingDispatcher) -> None:
    see_pools(behind=True)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(700)], owner="ada")
    sweepers = [new_sweeper(redis) for _ in range(3)]
    for each in sweepers:
        each.grace["fast"], each._grace_at = 300, math.inf  # no hint gets old, however long the ticks take
    ticks = in_threads(*[each.tick for each in sweepers])
    assert sum(tick.hinted for tick in ticks) == 700  # type: ignore[attr-defined]
    assert set(Counter(hint.job_id for hint in broker.hints).values()) == {1}


def test_feed_stops_at_the_window_and_says_that_rows_wait(sweep: Sweeper, settings: Settings) -> None:
    limit(settings, dispatch_window=20)
    see_pools(behind=True)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(50)], owner="ada")
    sweep._count_at = 0.0
    assert sweep.tick().hinted == 20
    state = PoolState.objects.get(pool="fast")
    assert (state.open, state.hinted, state.behind) == (50, 20, True)
    assert sweep.tick().hinted == 0
    for job in Job.objects.filter(hinted_at__isnull=False)[:5]:
        finish(claimed(job), Done())
    assert sweep.tick().hinted == 5


def test_feed_is_in_order_of_priority_with_a_tenth_for_the_lowest(
    sweep: Sweeper, broker: RecordingDispatcher, settings: Settings
) -> None:
    limit(settings, dispatch_window=20)
    see_pools(behind=True)
    for word in ("low", "normal", "high"):
        requests = [JobRequest("test.echo", {"word": word, "number": number}, priority=word) for number in range(15)]
        submit_bulk(requests, owner="ada")
    sweep.tick()
    assert Counter(hint.priority.word for hint in broker.hints) == {"high": 15, "normal": 3, "low": 2}


def test_ready_lists_over_twice_the_window_slow_hints_down_but_never_stop_them(
    sweep: Sweeper, redis: Broker, settings: Settings, clock: Clock
) -> None:
    limit(settings, dispatch_window=100)
    see_pools(behind=True)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(300)], owner="ada")
    redis.ready = 201
    hinted = 0
    for _ in range(3):
        clock.advance(1.0)
        hinted += sweep.tick().hinted
    assert 20 <= hinted <= 31
    redis.ready = 10
    assert sweep.tick().hinted > 60


def settled(made: Sweeper) -> None:
    """As if the epoch that the first tick entered were long caught up with."""
    made.epochs._catching_up_until = 0.0


def queued_past_their_grace(count: int) -> None:
    """Jobs that were hinted once and not claimed: the pool is busy, or their hints are lost."""
    see_pools()
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(count)], owner="ada")
    assert Job.objects.filter(hinted_at__isnull=False).count() == count
    move_all_due(1)


def test_hints_that_still_stand_in_redis_are_repeated_at_a_trickle(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher, clock: Clock
) -> None:
    queued_past_their_grace(300)
    settled(sweep)
    redis.ready = 300
    new = submit_echo(1000)
    Job.objects.filter(id=new.id).update(hinted_at=None, next_dispatch_at=timezone.now())
    broker.hints.clear()
    for _ in range(3):
        clock.advance(1.0)
        before = len(broker.hints)
        sweep.tick()
        assert len(broker.hints) > before, "never stopped"
        move_all_due(1)
    repeated = Counter(hint.job_id for hint in broker.hints)
    assert 25 <= len(broker.hints) - repeated[new.id] <= 31, "ten per second"
    assert repeated[new.id], "a first hint waits for nobody's repetition"


@pytest.mark.parametrize(("pool", "messages"), [("cpu", 280), ("fast", 2)])
def test_fewer_jobs_in_redis_than_unclaimed_hints_means_that_some_are_lost(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher, pool: str, messages: int
) -> None:
    """A message of the cpu pool names one job, and its workers have 4 in hand; of the fast pool 16, and 256."""
    queued_past_their_grace(300)
    Job.objects.update(pool=pool)
    settled(sweep)
    redis.ready = messages
    broker.hints.clear()
    assert sweep.tick().hinted == 300


def test_an_empty_list_means_that_all_unclaimed_hints_are_lost(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher
) -> None:
    queued_past_their_grace(12)
    settled(sweep)
    redis.ready = 0
    broker.hints.clear()
    assert sweep.tick().hinted == 12


def test_a_hint_lost_in_a_backlog_is_missed_when_the_backlog_is_worked_off(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher
) -> None:
    lost, young, later = submit_echo(1), submit_echo(2), submit_echo(3)
    in_an_hour = timezone.now() + timedelta(hours=1)
    Job.objects.update(next_dispatch_at=timezone.now() + timedelta(seconds=300), grace_seconds=300)
    Job.objects.exclude(id=young.id).update(hinted_at=timezone.now() - timedelta(seconds=6))
    Job.objects.filter(id=later.id).update(not_before=in_an_hour, next_dispatch_at=in_an_hour)
    broker.hints.clear()
    redis.ready = 1
    sweep.tick()
    sweep.tick()
    assert broker.hints == [], "it may be what waits in Redis"
    redis.ready = 0
    sweep.tick()
    sweep.tick()
    assert [hint.job_id for hint in broker.hints] == [lost.id]


def test_repetitions_into_an_empty_list_come_at_doubling_distances(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    job = submit_echo()
    for gen, age, due in ((1, 6, True), (2, 5, False), (2, 11, True), (30, 200, False), (30, 301, True)):
        Job.objects.update(
            dispatch_gen=gen,
            hinted_at=timezone.now() - timedelta(seconds=age),
            next_dispatch_at=timezone.now() + timedelta(seconds=300),
        )
        sweep.tick()
        assert (fresh(job).next_dispatch_at <= timezone.now()) is due, (gen, age)


def test_a_new_epoch_repeats_hints_whatever_redis_seems_to_hold(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher
) -> None:
    queued_past_their_grace(50)
    redis.ready, redis.epoch = 50, "key-2:replid-2"
    broker.hints.clear()
    sweep.tick()
    sweep.tick()
    assert len({hint.job_id for hint in broker.hints}) == 50


def test_a_deferred_repetition_changes_neither_its_grace_nor_its_generation(sweep: Sweeper, redis: Broker) -> None:
    queued_past_their_grace(50)
    settled(sweep)
    redis.ready = 50
    sweep._last_tick = None  # no allowance of its own yet: a first tick
    sweep.tick()
    deferred = Job.objects.filter(dispatch_gen=1, grace_seconds__lte=10)
    assert deferred.count() >= 40
    assert not Job.objects.filter(next_dispatch_at__lte=timezone.now()).exists()


def measured_grace(made: Sweeper) -> int:
    """The first grace of pool fast after the sweeper's next look."""
    made._grace_at = 0.0
    made.tick()
    admission.forget()
    return PoolState.objects.get(pool="fast").grace_seconds


def ran_after(waited: float, *, claimed_ago: float = 0.0) -> Job:
    """A job that ended now, whose attempt began `claimed_ago` seconds ago, `waited` seconds after its hint."""
    job = submit_echo(Job.objects.count())
    finish(claimed(job), Done())
    started_at = timezone.now() - timedelta(seconds=claimed_ago)
    Job.objects.filter(id=job.id).update(started_at=started_at, hinted_at=started_at - timedelta(seconds=waited))
    return job


def test_the_first_grace_follows_how_long_hints_wait_up_to_its_cap(sweep: Sweeper) -> None:
    assert measured_grace(sweep) == 5
    ran_after(4.0)
    assert measured_grace(sweep) == 12
    assert PoolState.objects.get(pool="io").grace_seconds == 5
    ran_after(120.0)
    assert measured_grace(sweep) == sweeper.LONGEST_FIRST_GRACE_SECONDS
    job = submit_echo(99)
    assert job.hinted_at is not None
    assert (job.next_dispatch_at - job.hinted_at).total_seconds() == sweeper.LONGEST_FIRST_GRACE_SECONDS


def test_an_overload_that_is_over_is_forgotten(sweep: Sweeper) -> None:
    jobs = [ran_after(120.0) for _ in range(5)]
    assert measured_grace(sweep) == sweeper.LONGEST_FIRST_GRACE_SECONDS
    Job.objects.filter(id__in=[job.id for job in jobs]).update(
        started_at=F("started_at") - timedelta(seconds=61), finished_at=F("finished_at") - timedelta(seconds=61)
    )
    assert measured_grace(sweep) == 5


def test_a_long_attempt_that_ends_now_says_nothing_of_how_hints_wait_now(sweep: Sweeper) -> None:
    ran_after(120.0, claimed_ago=300.0)
    ran_after(1.0)
    assert measured_grace(sweep) == 5


def test_job_before_its_time_is_hinted_when_it_comes(sweep: Sweeper) -> None:
    job = submit_echo(not_before=timezone.now() + timedelta(minutes=5))
    assert sweep.tick().hinted == 0
    move_back(job, 301)
    assert sweep.tick().hinted == 1


def test_retry_is_hinted_after_its_backoff(sweep: Sweeper) -> None:
    job = submit_echo()
    fail(claimed(job), Retryable("later", after=0.0))
    assert sweep.tick().hinted == 1
    assert claimed(job).attempt == 2


def test_handed_back_job_is_hinted_at_once(sweep: Sweeper) -> None:
    job = submit_echo()
    claimed(job, "stopping")
    hand_back([job.id], "stopping")
    assert sweep.tick().hinted == 1


@pytest.mark.parametrize("change", ["key-2:replid-9", "key-1:replid-2"])
def test_new_epoch_makes_older_hints_due(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher, change: str
) -> None:
    see_pools()
    jobs = [submit_echo(number) for number in range(5)]
    running = submit_echo(99)
    claimed(running)
    broker.hints.clear()
    redis.epoch = change
    assert sweep.tick().new_epoch
    sweep.tick()
    assert {hint.job_id for hint in broker.hints} == {job.id for job in jobs}
    assert {fresh(job).broker_epoch for job in jobs} == {change}
    assert not sweep.tick().new_epoch


def test_new_epoch_makes_rescues_due_before_all_else_and_leaves_live_leases_alone(
    sweep: Sweeper, redis: Broker, broker: RecordingDispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.epochs.EPOCH_RATE", 1)
    lost, renewed = hinted_for_rescue(sweep, 1), hinted_for_rescue(sweep, 2)
    assert renew("dead", [renewed.id]) == {renewed.id}
    live = fresh(renewed)
    see_pools()
    waiting = submit_echo(3)
    move_back(waiting, 4)
    broker.hints.clear()
    redis.epoch = "key-2:replid-2"
    assert sweep.epochs.watch(sweep.grace)
    assert fresh(lost).next_dispatch_at <= timezone.now()
    assert fresh(lost).next_dispatch_at < fresh(waiting).next_dispatch_at
    sweep.tick()
    assert {lost.id} <= {hint.job_id for hint in broker.hints} <= {lost.id, waiting.id}
    assert fresh(lost).broker_epoch == redis.epoch
    left = (live.next_dispatch_at, live.dispatch_gen, live.grace_seconds, live.broker_epoch)
    now = fresh(renewed)
    assert (now.next_dispatch_at, now.dispatch_gen, now.grace_seconds, now.broker_epoch) == left


def test_end_of_an_outage_is_a_new_epoch_and_a_blink_is_none(sweep: Sweeper, redis: Broker, clock: Clock) -> None:
    see_pools()
    submit_echo()
    same, redis.epoch = redis.epoch, None
    sweep.tick()
    redis.epoch = same
    assert not sweep.tick().new_epoch
    redis.epoch = None
    sweep.tick()
    clock.advance(2.0)
    redis.epoch = same
    with connection.cursor() as cursor:
        cursor.execute("UPDATE broker_state SET since = since - interval '1 minute'")
    assert sweep.tick().new_epoch


def test_one_of_two_sweepers_enters_an_epoch(redis: Broker) -> None:
    sweepers = [new_sweeper(redis) for _ in range(3)]
    for each in sweepers:
        each.tick()
    redis.epoch = "key-2:replid-2"
    ticks = in_threads(*[each.tick for each in sweepers])
    assert sum(tick.new_epoch for tick in ticks) == 1  # type: ignore[attr-defined]


def test_epoch_sweep_is_spread_over_time(sweep: Sweeper, redis: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.epochs.EPOCH_RATE", 10)
    see_pools()
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(40)], owner="ada")
    Job.objects.update(next_dispatch_at=timezone.now() + timedelta(hours=1))
    redis.epoch = "key-2:replid-2"
    assert sweep.epochs.watch(sweep.grace)
    due = list(Job.objects.order_by("next_dispatch_at").values_list("next_dispatch_at", flat=True))
    assert due[9] <= timezone.now(), "the first second's share at once"
    seconds = [round((one - due[0]).total_seconds()) for one in due]
    assert seconds == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10


def test_every_scan_reads_its_index_and_few_rows_of_200_000_open_ones() -> None:
    see_pools(behind=True)
    fill(200_000)
    take = {"pool": "fast", "priority": 3, "limit": 100, "grace": 5, "epoch": "", "leases": True, "held": [], "hold": 9}
    take["defer"] = False
    plan = explain(sql.TAKE_DUE, take)
    assert "Index Scan using job_due" in plan
    assert "Seq Scan on job" not in plan
    assert "Sort" not in plan
    scanned = [int(rows) for rows in re.findall(r"Index Scan using job_due.*?actual rows=(\d+)", plan)]
    assert scanned
    assert max(scanned) <= 101
    look = explain(sql.LOOK, {"pools": list(POOLS), "priorities": [0, 3, 6], "hinted_limit": 100})
    look += explain(sql.COUNT_OPEN, {"pools": list(POOLS), "limit": 1000})
    assert "Seq Scan on job" not in look, look
    assert {"job_due", "job_hinted"} <= set(re.findall(r"using (\w+) on job", look)), look
    rescue = explain(sql.TAKE_EXPIRED, {**take, "priority": None, "limit": 10})
    assert "job_lease" in rescue
    assert "Seq Scan on job" not in rescue
    again = explain(sql.TAKE_HINTED, {**take, "priority": None, "limit": 10})
    assert "job_hinted" in again
    assert "Seq Scan on job" not in again
    missed = explain(sql.LOST_DUE, {"pool": "fast", "grace": 5, "limit": 500})
    assert {"job_hinted", "job_lease", "job_pkey"} <= set(re.findall(r"using (\w+) on job", missed)), missed
    assert "Seq Scan on job" not in missed
    older = explain(sql.EPOCH_DUE, {"pool": "fast", "grace": 5, "rate": 2000})
    assert {"job_hinted", "job_lease", "job_pkey"} <= set(re.findall(r"using (\w+) on job", older)), older
    assert "Seq Scan on job" not in older
    lost = explain(sql.FAIL_LOST, {"pool": "fast", "limit": 10})
    assert "job_lease" in lost
    assert "Seq Scan on job" not in lost
    job_id = Job.objects.values_list("id", flat=True)[0]
    key = {"first_key": 0, "key": 1}
    claim_plan = explain(sql.CLAIM, {"ids": [job_id], "alone": True, "leased_by": "w", "grace": 5, **key})
    assert "job_pkey" in claim_plan
    assert "Seq Scan on job" not in claim_plan


def fill(rows: int) -> None:
    """Open, due rows in all pools and priorities, equal times as after a bulk."""
    submit("test.echo", owner="ada", params={})
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO job (id, owner, identity, request_hash, hash_version, kind, pool, params, priority, root_id,
                                state, max_attempts, next_dispatch_at, grace_seconds, files)
            SELECT gen_random_uuid(), owner, 'req:' || n, request_hash, 1, kind,
                   (ARRAY['fast', 'io', 'cpu'])[1 + n %% 3], params, (ARRAY[0, 3, 6])[1 + n %% 3 * 0 + n / 3 %% 3],
                   id, 'QUEUED', 3, next_dispatch_at, 5, files
            FROM job, generate_series(1, %s) n""",
            [rows],
        )
        cursor.execute(
            "UPDATE job SET state = 'RUNNING', leased_by = 'w', lease_until = clock_timestamp() + interval '1 hour',"
            " next_dispatch_at = clock_timestamp() + interval '1 hour' WHERE identity LIKE 'req:%7'"
        )
        cursor.execute("ANALYZE job")


def explain(statement: str, values: dict[str, object]) -> str:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + statement, values)  # type: ignore[arg-type]
        return "\n".join(row[0] for row in cursor.fetchall())
