"""A kind that fails in bulk is held back, probed and let go; other kinds flow on."""

import pytest
from django.db import connection
from django.utils import timezone

from dispatch import POOLS, Reason
from dispatch.testing import RecordingDispatcher
from jobs import kind_breaker, sql, sweeper
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.cancellation import cancel
from jobs.claim import Claimed, Refusal, try_claim
from jobs.context import Done
from jobs.epochs import EpochWatch
from jobs.errors import Permanent, Retryable
from jobs.finish import fail, finish
from jobs.models import DeadLetter, Job, KindBreaker, PoolState
from jobs.submission import JobRequest, submit_bulk
from jobs.sweeper import Sweeper, Tick
from jobs.webhooks.creation import KIND as WEBHOOK
from tests.integration.jobs.scenario import claimed, in_threads, move_back, see_pools, submit_echo

FAILING = "test.echo"
OTHER = "probe.fast"  # of the same pool


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    monkeypatch.setattr(sweeper, "ready_depth", lambda _: 0)
    monkeypatch.setattr(kind_breaker, "_JUDGE_EVERY_SECONDS", 0.0)
    return new_sweeper()


def new_sweeper() -> Sweeper:
    made = Sweeper(epochs=EpochWatch(lambda: "key:replid"))
    made.tick()
    made._trust_leases_at = dict.fromkeys(POOLS, 0.0)
    return made


def waiting(count: int, *, kind: str = FAILING, first: int = 1000) -> list[Job]:
    """Jobs that wait for the sweeper."""
    see_pools(behind=True)
    requests = [JobRequest(kind, {"tag": str(first + n)} | ({"number": first + n} if kind == FAILING else {}))
                for n in range(count)]  # fmt: skip
    return list(Job.objects.filter(id__in=[item.job.id for item in submit_bulk(requests, owner="ada")]))


def fail_in_bulk(count: int = kind_breaker.FAILURES) -> list[Job]:
    """Different jobs, each of which failed its first attempt a moment ago and waits for the next."""
    jobs = [submit_echo(number) for number in range(count)]
    for job in jobs:
        fail(claimed(job), Retryable("upstream is down", after=0.0))
    return jobs


def held() -> set[str]:
    return set(KindBreaker.objects.filter(is_open=True).values_list("kind", flat=True))


def next_turn() -> None:
    """As if a second had passed since the last probe."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kind_breaker SET probed_at = probed_at - interval '1 second'")


def tick_of(sweep: Sweeper) -> Tick:
    next_turn()
    return sweep.tick()


def probed(sweep: Sweeper, broker: RecordingDispatcher, *, others: int = kind_breaker.FAILURES - 1) -> Job:
    """The probe of a breaker that has opened, hinted and not yet claimed; beside it so many jobs are held."""
    jobs = fail_in_bulk()
    sweep.tick()
    for job in jobs[others + 1 :]:
        cancel(job.id, owner="ada", actor="ada")
    tick_of(sweep)
    return Job.objects.get(id=broker.hints[-1].job_id)


def test_opens_holds_probes_and_lets_go(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    jobs = fail_in_bulk()
    broker.hints.clear()
    sweep.tick()
    assert held() == {FAILING}
    tick_of(sweep)
    assert Job.objects.filter(held=True).count() == len(jobs) - 1, "all but the probe"
    [probe] = broker.hints
    refusals = {try_claim(job.id, leased_by="w") for job in jobs if job.id != probe.job_id}
    assert refusals == {Refusal.HELD}
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}, "nobody who was held back lost an attempt"

    lease = try_claim(probe.job_id, leased_by="w")
    assert isinstance(lease, Claimed)
    assert lease.attempt == 2
    fail(lease, Retryable("still down", after=0.0))
    assert Job.objects.get(id=probe.job_id).attempt == 1, "a probe that fails gets its attempt back"

    tick_of(sweep)
    second = broker.hints[-1]
    assert second.job_id != probe.job_id, "another one's turn"
    lease = try_claim(second.job_id, leased_by="w")
    assert isinstance(lease, Claimed)
    finish(lease, Done())
    sweep.tick()
    assert held() == set()
    broker.hints.clear()
    assert sweep.tick().hinted <= len(jobs)
    assert not Job.objects.filter(held=True).exists()
    assert isinstance(try_claim(jobs[0].id, leased_by="w"), Claimed)
    assert DeadLetter.objects.count() == 0


def test_other_kinds_flow_on_past_a_held_backlog(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    fail_in_bulk()
    sweep.tick()
    backlog = waiting(700) + waiting(700, first=5000)
    others = waiting(3, kind=OTHER)
    Job.objects.filter(kind=FAILING, state="QUEUED").update(priority=0)  # in front of the others
    broker.hints.clear()
    sweep.tick()
    assert {job.id for job in others} <= {hint.job_id for hint in broker.hints}
    sweep.tick()
    assert Job.objects.filter(held=True).count() >= len(backlog)
    assert PoolState.objects.get(pool="fast").hinted <= len(others) + 2, "the window is free"
    finish(claimed(others[0]), Done())
    assert held() == {FAILING}, "another kind's success says nothing"


def test_hints_that_are_out_win_nothing_and_free_the_window(sweep: Sweeper) -> None:
    see_pools()
    out = [submit_echo(number) for number in range(500, 510)]
    fail_in_bulk()
    sweep.tick()
    sweep.tick()
    assert Job.objects.filter(id__in=[job.id for job in out], held=True).count() >= len(out) - 2
    later = submit_echo(999)  # hinted by its submit, which knows nothing
    assert try_claim(later.id, leased_by="w") is Refusal.HELD


def test_waits_for_a_probe_that_runs(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    fail_in_bulk()
    sweep.tick()
    tick_of(sweep)
    lease = try_claim(broker.hints[-1].job_id, leased_by="w")
    assert isinstance(lease, Claimed)
    broker.hints.clear()
    tick_of(sweep)
    assert broker.hints == []
    fail(lease, Retryable("down", after=60))
    tick_of(sweep)
    assert len(broker.hints) == 1


def test_probes_take_turns_and_spare_those_tried_most(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    jobs = fail_in_bulk()
    Job.objects.filter(id=jobs[0].id).update(attempt=2)
    sweep.tick()
    seen = []
    for _ in range(8):
        tick_of(sweep)
        seen.append(broker.hints[-1].job_id)
        fail(claimed(Job.objects.get(id=seen[-1])), Retryable("still down", after=60))
    assert len(set(seen)) == len(seen)
    assert jobs[0].id not in seen


@pytest.mark.parametrize("others", [kind_breaker.FAILURES - 1, 0])
def test_stays_the_probe_while_its_hint_waits(sweep: Sweeper, broker: RecordingDispatcher, others: int) -> None:
    """However many are left: a list that takes longer than a turn must not keep the breaker open for ever."""
    probe = probed(sweep, broker, others=others)
    broker.hints.clear()
    for _ in range(3):
        tick_of(sweep)
    assert broker.hints == []
    finish(claimed(probe), Done())
    sweep.tick()
    assert held() == set()


@pytest.mark.parametrize("others", [kind_breaker.FAILURES - 1, 0])
def test_a_probe_without_a_claim_is_hinted_again(sweep: Sweeper, broker: RecordingDispatcher, others: int) -> None:
    """It may be lost; and when it only waits, its first message still wins."""
    probe = probed(sweep, broker, others=others)
    broker.hints.clear()
    for _ in range(4):
        move_back(probe, DEFAULT_GRACE_SECONDS)
        tick_of(sweep)
        tick_of(sweep)
    assert [hint.job_id for hint in broker.hints] == [probe.id] * 4
    assert isinstance(try_claim(probe.id, leased_by="w"), Claimed)


def test_a_probe_is_hinted_again_before_a_feed_would_hold_it_back(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    probe = probed(sweep, broker)
    move_back(probe, DEFAULT_GRACE_SECONDS)
    assert Job.objects.get(id=probe.id).next_dispatch_at > timezone.now()


def test_a_probe_whose_hint_went_with_its_redis_is_hinted_at_once(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    probe = probed(sweep, broker)
    Job.objects.filter(id=probe.id).update(next_dispatch_at=timezone.now())  # as sql.EPOCH_DUE does
    broker.hints.clear()
    tick_of(sweep)
    assert [hint.job_id for hint in broker.hints] == [probe.id]


def test_a_probe_that_ended_without_a_claim_gives_its_turn_away(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    probe = probed(sweep, broker)
    cancel(probe.id, owner="ada", actor="ada")
    tick_of(sweep)
    assert broker.hints[-1].job_id != probe.id


def test_the_last_one_left_waits_for_its_earliest_start(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    probe = probed(sweep, broker, others=0)
    fail(claimed(probe), Retryable("still down", after=60))
    broker.hints.clear()
    for _ in range(3):
        tick_of(sweep)
    assert broker.hints == []
    assert KindBreaker.objects.get().probe_id == probe.id
    move_back(probe, 60)
    for _ in range(2):  # taken by the feed, then its turn
        tick_of(sweep)
    assert [hint.job_id for hint in broker.hints] == [probe.id]
    assert isinstance(try_claim(probe.id, leased_by="w"), Claimed)


def test_a_probe_that_was_tried_travels_alone(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    """Together with others it would win no claim."""
    for job in waiting(kind_breaker.FAILURES, kind=OTHER):
        fail(claimed(job), Retryable("down", after=0.0))
    sweep.tick()
    broker.hints.clear()
    tick_of(sweep)
    assert [(hint.kind, hint.batchable) for hint in broker.hints] == [(OTHER, False)]


def test_several_sweepers_open_once_and_send_one_probe(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    sweepers = [sweep, new_sweeper(), new_sweeper()]
    fail_in_bulk()
    in_threads(*[each.tick for each in sweepers])
    in_threads(*[each.tick for each in sweepers])
    next_turn()
    broker.hints.clear()
    in_threads(*[each.tick for each in sweepers])
    assert len(broker.hints) == 1
    assert KindBreaker.objects.count() == 1


def test_one_success_among_the_failures_keeps_it_closed(sweep: Sweeper) -> None:
    finish(claimed(submit_echo(777)), Done())
    fail_in_bulk(kind_breaker.FAILURES + 5)
    sweep.tick()
    assert held() == set()


def test_one_job_that_fails_again_and_again_is_no_bulk(sweep: Sweeper) -> None:
    job = submit_echo()
    Job.objects.update(max_attempts=100)
    for _ in range(kind_breaker.FAILURES + 5):
        fail(claimed(job), Retryable("bad input", after=0.0))
        move_back(job, 1)
    sweep.tick()
    assert held() == set()


def test_failures_that_no_repetition_mends_hold_nobody_back(sweep: Sweeper) -> None:
    for number in range(kind_breaker.FAILURES + 5):
        fail(claimed(submit_echo(number)), Permanent("bad input"))
    sweep.tick()
    assert held() == set()


def test_receivers_that_are_down_hold_back_no_other_webhook(sweep: Sweeper) -> None:
    jobs = [submit_echo(number) for number in range(kind_breaker.FAILURES + 5)]
    Job.objects.update(kind=WEBHOOK)
    for job in jobs:
        fail(claimed(job), Retryable("this receiver is down", after=0.0))
    sweep.tick()
    assert held() == set()


def test_failures_of_long_ago_do_not_count(sweep: Sweeper) -> None:
    fail_in_bulk()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE job_event SET at = at - interval '61 seconds'")
    sweep.tick()
    assert held() == set()


def test_a_lost_lease_of_a_held_kind_is_rescued(sweep: Sweeper) -> None:
    running = submit_echo(888)
    claimed(running, "dead")
    fail_in_bulk()
    sweep.tick()
    move_back(running, 60)
    assert isinstance(try_claim(running.id, leased_by="alive"), Claimed)


def test_probe_that_redis_refuses_is_due_again(sweep: Sweeper, broker: RecordingDispatcher) -> None:
    fail_in_bulk()
    sweep.tick()
    next_turn()
    broker.refuse_with = Reason.MEMORY
    assert sweep.tick().refused == 1
    probe = Job.objects.get(id=KindBreaker.objects.get().probe_id)
    assert (probe.hinted_at, probe.held) == (None, False)
    assert probe.next_dispatch_at <= timezone.now()


def test_held_jobs_are_found_by_their_index() -> None:
    job = submit_echo()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO job (id, owner, identity, request_hash, hash_version, kind, pool, params, priority, root_id,
                                state, max_attempts, next_dispatch_at, grace_seconds, files, held)
            SELECT gen_random_uuid(), owner, 'req:' || n, request_hash, 1, kind, pool, params, 3, id, 'QUEUED', 3,
                   next_dispatch_at, 5, files, n % 10 = 0
            FROM job, generate_series(1, 20000) n WHERE id = '{job.id}'"""
        )
        cursor.execute("ANALYZE job")
        cursor.execute(
            "INSERT INTO kind_breaker (kind, is_open, changed_at, probe_id) VALUES ('test.echo', true, now(), %s)",
            [job.id],
        )
        plans = []
        for statement, values in (
            (sql.PROBE_KINDS, {"every": 0.5, "repeat": 5, "epoch": ""}),
            (sql.LET_GO, {"kinds": ["test.echo"], "limit": 100}),
        ):
            cursor.execute("EXPLAIN " + statement, values)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
    for plan in plans:
        assert "job_held" in plan, plan
        assert "Seq Scan on job" not in plan, plan
