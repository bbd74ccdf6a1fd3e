"""Replays beside submits: one live job per request whoever comes first, in bulk, at a rate, and who did it."""

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from threading import Event

import pytest
from django.db import connection, transaction
from django.utils import timezone

from jobs import effects, sql
from jobs.cancellation import cancel
from jobs.context import Done, JobContext
from jobs.dead_letters import record_entry
from jobs.errors import InvalidRequest, NotReplayable, Permanent
from jobs.execution import run_job
from jobs.finish import fail, finish
from jobs.models import DeadLetter, Job, ReplayAudit
from jobs.replays import Bulk, BulkReplayed, Caller, replay, replay_all
from jobs.requests import Origin, prepare
from jobs.schedules import fire_due, schedule
from jobs.selectors import LetterFilter
from jobs.submission import JobRequest, Submitted, insert, submit, submit_bulk
from tests.integration.jobs.scenario import claimed, in_threads, script, seed, submit_echo
from tests.servers.waiting import wait_until

ADA = Caller("ada")
ALL = LetterFilter()


def dead(number: int = 0, **options: object) -> Job:
    job = submit_echo(number, **options)
    fail(claimed(job), Permanent("no"))
    return job


def die(job_id: object) -> Job:
    job = Job.objects.get(id=job_id)
    fail(claimed(job), Permanent("no"))
    return job


def live() -> list[Job]:
    return list(Job.objects.exclude(state__in=("FAILED", "CANCELLED")).order_by("id"))


# -- a replay and a plain submit --------------------------------------------------------------------------------------
def test_submit_is_answered_by_the_open_replay_of_its_request() -> None:
    job = dead(3)
    again = replay(job.id, ADA).job
    answer = submit("test.echo", owner="ada", params={"number": 3})
    assert (answer.created, answer.job.id, answer.job.state) == (False, again.id, "QUEUED")
    [one, other] = submit_bulk([JobRequest("test.echo", {"number": number}) for number in (3, 4)], owner="ada")
    assert (one.created, one.job.id, other.created) == (False, again.id, True)


def test_submit_is_answered_by_the_replay_that_succeeded() -> None:
    again = replay(dead().id, ADA).job
    finish(claimed(Job.objects.get(id=again.id)), Done(result={"ok": True}))
    answer = submit("test.echo", owner="ada", params={})
    assert (answer.created, answer.job.id, answer.job.state) == (False, again.id, "SUCCEEDED")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_submit_after_a_dead_replay_makes_a_new_job(end: str) -> None:
    job = dead()
    again = replay(job.id, ADA).job
    if end == "failed":
        die(again.id)
    else:
        cancel(again.id, owner="ada")
    answer = submit("test.echo", owner="ada", params={})
    assert answer.created
    assert Job.objects.get(id=answer.job.id).root_id == answer.job.id
    assert replay(job.id, ADA).job.id == answer.job.id


def test_another_owner_and_another_request_meet_no_replay() -> None:
    replay(dead().id, ADA)
    assert submit("test.echo", owner="bob", params={}).created
    assert submit("test.echo", owner="ada", params={"number": 1}).created
    assert submit("test.echo", owner="ada", params={}, force=True).created


def submits() -> Submitted:
    return submit("test.echo", owner="ada", params={})


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("replay_is_first", [True, False])
def test_the_second_of_submit_and_replay_waits_for_the_first(replay_is_first: bool, commits: bool) -> None:
    job = dead()
    works: list[Callable[[], Submitted]] = [lambda: replay(job.id, ADA), submits]
    first, second = works if replay_is_first else works[::-1]
    inserted = Event()

    def holds_its_transaction() -> Submitted:
        with transaction.atomic():
            answer = first()
            inserted.set()
            wait_until(somebody_waits_for_a_lock, "the second one did not wait for the first")
            transaction.set_rollback(not commits)
        return answer

    def comes_second() -> Submitted:
        assert inserted.wait(60), "the first one inserted nothing within 60 s"
        return second()

    one, other = in_threads(holds_its_transaction, comes_second)
    assert isinstance(one, Submitted)
    assert isinstance(other, Submitted)
    assert one.created
    assert (other.job.id == one.job.id, other.created) == (commits, not commits)
    assert [job.id for job in live()] == [other.job.id]


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_many_replays_and_submits_at_once_leave_one_live_job_per_request() -> None:
    chance = random.Random(seed())
    jobs = [dead(number) for number in range(30)]

    def bulk_submits() -> object:
        numbers = chance.sample(range(30), 20)
        return submit_bulk([JobRequest("test.echo", {"number": number}) for number in numbers], owner="ada")

    def single_replays() -> object:
        return [replay(job.id, ADA) for job in chance.sample(jobs, 10)]

    def bulk_replay() -> object:
        return replay_all(Bulk(ALL, limit=chance.randint(5, 30)), ADA)

    in_threads(*[bulk_submits, single_replays, bulk_replay, bulk_replay] * 2)
    hashes = [job.request_hash for job in live()]
    assert len(hashes) == len(set(hashes)) == 30
    for letter in DeadLetter.objects.exclude(replayed_as_id=None):
        stands = Job.objects.get(id=letter.replayed_as_id)
        assert stands.request_hash == Job.objects.get(id=letter.job_id).request_hash


# -- jobs that are no plain requests ----------------------------------------------------------------------------------
def test_two_forced_jobs_of_one_request_are_replayed_as_two() -> None:
    jobs = [dead(force=True) for _ in range(2)]
    assert [replay(job.id, ADA).created for job in jobs] == [True, True]
    assert [replay(job.id, ADA).created for job in jobs] == [False, False]
    assert len(live()) == 2


def test_replay_of_a_forced_job_is_answered_by_what_was_submitted_since() -> None:
    job = dead(force=True)
    again = submit_echo()
    assert replay(job.id, ADA).job.id == again.id


def test_replay_of_a_tick_runs_although_an_equal_request_succeeded_before_it() -> None:
    finish(claimed(submit_echo(1)), Done())
    made = schedule("nightly", owner="ada", cron="* * * * *", kind="test.echo", params={"number": 1})
    made.next_tick_at = timezone.now().replace(microsecond=0)
    made.save()
    fire_due()
    tick = die(Job.objects.get(identity__startswith="tick:").id)
    first, second = replay(tick.id, ADA), replay(tick.id, ADA)
    assert (first.created, second.created, second.job.id) == (True, False, first.job.id)


def test_follow_up_that_failed_is_replayed_once() -> None:
    parent = submit_echo()
    step = prepare(JobRequest("test.echo", {}), owner="ada", origin=Origin(identity=f"step:{parent.id}:next"))
    job = die(insert([step])[0].job.id)
    answers = in_threads(*[lambda: replay(job.id, ADA)] * 4)
    assert sum(answer.created for answer in answers) == 1  # type: ignore[attr-defined]
    again = Job.objects.get(replay_of_id=job.id)
    assert (again.stands_for, again.root_id) == (job.identity, job.id)


# -- effects outside --------------------------------------------------------------------------------------------------
def test_replay_of_a_replay_repeats_no_confirmed_effect() -> None:
    calls: list[str] = []

    def notifies(context: JobContext) -> Done:
        intent = effects.intend(context, "notify")
        if not intent.is_done:
            calls.append(intent.key)
            effects.confirm(context, "notify")
        if len(DeadLetter.objects.values("id")) < 2:
            raise Permanent("after the call")
        return Done(result={"key": intent.key})

    script["run"] = notifies
    job_id = submit("test.scripted", owner="ada", params={}).job.id
    for _ in range(2):
        assert run_job(job_id, gen=1, leased_by="w") == "failed"
        job_id = replay(job_id, ADA).job.id
    assert run_job(job_id, gen=1, leased_by="w") == "succeeded"
    result = Job.objects.get(id=job_id).result
    assert result is not None
    assert calls == [result["key"]]


# -- in bulk ----------------------------------------------------------------------------------------------------------
def counts(done: BulkReplayed) -> tuple[int, int, int, int]:
    return done.audit.matched, done.audit.created, done.audit.joined, done.audit.refused


def test_bulk_replays_what_the_filter_matches() -> None:
    jobs = [dead(number) for number in range(3)]
    other = submit("probe.io", owner="ada", params={}).job.id
    die(other)
    assert counts(replay_all(Bulk(LetterFilter(kind="test.echo", reason="permanent")), ADA)) == (3, 3, 0, 0)
    assert {job.replay_of_id for job in live()} == {job.id for job in jobs}
    assert counts(replay_all(Bulk(LetterFilter(kind="test.echo")), ADA)) == (0, 0, 0, 0)
    assert counts(replay_all(Bulk(LetterFilter(pool="io", reason="poison")), ADA)) == (0, 0, 0, 0)
    assert counts(replay_all(Bulk(LetterFilter(pool="io")), ADA)) == (1, 1, 0, 0)


def test_bulk_takes_a_span_of_time() -> None:
    early, late = dead(1), dead(2)
    noon = timezone.now()
    DeadLetter.objects.filter(id=early.id).update(created_at=noon - timedelta(hours=2))
    span = LetterFilter(since=noon - timedelta(hours=1))
    assert counts(replay_all(Bulk(span, dry_run=True), ADA)) == (1, 1, 0, 0)
    replay_all(Bulk(LetterFilter(until=noon - timedelta(hours=1))), ADA)
    assert [job.replay_of_id for job in live()] == [early.id]
    assert late.id not in {job.replay_of_id for job in live()}
    with pytest.raises(InvalidRequest, match="until"):
        replay_all(Bulk(LetterFilter(since=noon, until=noon)), ADA)


def mixed() -> None:
    """Of 6 letters 2 can be made (one chain of two), 1 joined, 1 has no job, 1 has lost its kind."""
    dead(1)
    chain = dead(2)
    die(replay(chain.id, ADA).job.id)
    DeadLetter.objects.update(replayed_at=None)
    dead(3)
    submit_echo(3)
    record_entry(entry_id="1-1", fields={"v": "x"}, reason="bridge_malformed", deliveries=1)
    gone = dead(4)
    Job.objects.filter(id=gone.id).update(kind="test.gone")


def test_dry_run_says_what_would_become_of_them_and_changes_nothing() -> None:
    mixed()
    before = list(Job.objects.order_by("id").values()), list(DeadLetter.objects.order_by("id").values())
    rehearsed = replay_all(Bulk(ALL, dry_run=True), Caller("root", sees_all=True))
    assert before == (list(Job.objects.order_by("id").values()), list(DeadLetter.objects.order_by("id").values()))
    done = replay_all(Bulk(ALL), Caller("root", sees_all=True))
    assert counts(rehearsed) == counts(done) == (6, 2, 2, 2)
    assert rehearsed.refused == done.refused
    assert sorted(message.split(":")[0] for message in done.refused.values()) == [
        "The dead letter names no job (it was an unreadable stream entry)",
        "kind",
    ]


def test_bulk_leaves_a_row_that_says_who_did_what() -> None:
    mixed()
    done = replay_all(Bulk(LetterFilter(kind="test.echo"), rate=5), Caller("root", sees_all=True, key_id="k7"))
    audit = ReplayAudit.objects.get()
    assert audit == done.audit
    assert (audit.actor, audit.key_id, audit.dry_run, audit.rate) == ("root", "k7", False, 5)
    assert audit.filter == {"kind": "test.echo"}
    assert set(DeadLetter.objects.exclude(replayed_at=None).values_list("replayed_by", flat=True)) == {"root"}


def test_bulk_sees_only_its_owners_letters() -> None:
    dead()
    assert counts(replay_all(Bulk(ALL), Caller("bob"))) == (0, 0, 0, 0)
    assert counts(replay_all(Bulk(ALL), Caller("bob", sees_all=True))) == (1, 1, 0, 0)


def test_bulk_spreads_the_starts_over_time_and_batches() -> None:
    for number in range(5):
        dead(number)
    first = replay_all(Bulk(ALL, rate=0.5, limit=3), ADA)
    assert first.next_cursor is not None
    second = replay_all(Bulk(ALL, rate=0.5, limit=3, cursor=first.next_cursor), ADA)
    assert (counts(first), counts(second), second.next_cursor) == ((3, 3, 0, 0), (2, 2, 0, 0), None)
    jobs = sorted(live(), key=lambda job: job.not_before)
    starts = [job.not_before for job in jobs]
    distances = [round((after - before).total_seconds(), 1) for before, after in pairwise(starts)]
    assert distances == [2.0] * 4
    assert second.last_start == starts[-1]
    assert claimed(jobs[0])
    with pytest.raises(AssertionError, match="not claimable"):
        claimed(jobs[1])


def test_refused_letters_do_not_stop_the_batches_behind_them() -> None:
    record_entry(entry_id="1-1", fields={"v": "x"}, reason="bridge_malformed", deliveries=1)
    dead()
    seen, cursor = [], None
    for _ in range(3):
        done = replay_all(Bulk(ALL, limit=1, cursor=cursor), Caller("root", sees_all=True))
        seen.append(counts(done))
        cursor = done.next_cursor
        if cursor is None:
            break
    assert seen == [(1, 0, 0, 1), (1, 1, 0, 0), (0, 0, 0, 0)]


@pytest.mark.parametrize("cursor", ["abc", "abc_0", "01980f5e-2d4c-7000-8000-000000000000_x", f"{'0' * 32}_{10**30}"])
def test_malformed_cursor_is_named(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        replay_all(Bulk(ALL, cursor=cursor), ADA)


def test_letter_whose_job_is_gone_is_refused() -> None:
    job = dead()
    Job.objects.all().delete()
    with pytest.raises(NotReplayable, match="is gone"):
        replay(job.id, ADA)


# -- plans ------------------------------------------------------------------------------------------------------------
def test_what_stands_for_a_request_is_found_by_its_index() -> None:
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(1000)], owner="ada")
    job = Job.objects.first()
    assert job is not None
    values = {"ids": [job.id], "owners": ["ada"], "keys": [job.identity], "hashes": [job.request_hash]}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE job")
        cursor.execute(f"EXPLAIN {sql.LIVE_OF_DEAD}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "job_one_live_request" in plan, plan
    assert "Seq Scan on job" not in plan, plan
