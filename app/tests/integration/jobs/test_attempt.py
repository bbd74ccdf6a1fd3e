"""Claim, fence, finish, fail, hand-back, renew."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import postgres_deadline
from dispatch import POOLS
from jobs import sql
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.claim import Claimed, Key, Refusal, claim, hand_back, try_claim, try_claim_all
from jobs.context import Done, FollowUp, StoredFile
from jobs.errors import Permanent, Poison, Retryable, StaleLease
from jobs.finish import fail, finish
from jobs.heartbeat import renew
from jobs.ids import new_id
from jobs.models import DeadLetter, Job, JobEvent, ProbeCount
from jobs.states import State
from tests.integration.jobs.scenario import claimed, in_threads, move_back, submit_echo


def events(job: Job) -> list[str]:
    return [event.event for event in JobEvent.objects.filter(job=job).order_by("id")]


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def lies(moment: datetime | None, seconds: float, *, behind: datetime) -> bool:
    """Whether the moment was set, since `behind`, to so many seconds ahead."""
    assert moment is not None
    return behind + timedelta(seconds=seconds) <= moment <= timezone.now() + timedelta(seconds=seconds)


def test_claim_leases_by_the_pool_and_counts_the_attempt() -> None:
    job = submit_echo()
    before = timezone.now()
    lease = claimed(job, "worker-7")
    row = fresh(job)
    assert (row.state, row.attempt, row.lease_token, row.leased_by) == ("RUNNING", 1, 1, "worker-7")
    assert (lease.lease_token, lease.attempt, lease.params) == (1, 1, {"word": "hello", "number": 0})
    assert lies(row.lease_until, POOLS["fast"].lease_seconds, behind=before)
    assert lies(row.next_dispatch_at, POOLS["fast"].lease_seconds, behind=before)


def test_claim_and_finish_are_one_statement_each() -> None:
    job = submit_echo()
    with CaptureQueriesContext(connection) as queries:
        finish(claimed(job), Done(result={"a": 1}))
    assert len(queries) == 2
    assert fresh(job).result == {"a": 1}
    assert events(job) == ["accepted", "claimed", "succeeded"]


def test_claims_nothing_twice() -> None:
    job = submit_echo()
    claimed(job)
    assert try_claim(job.id, leased_by="other") is Refusal.DUPLICATE
    assert try_claim(new_id(), leased_by="other") is Refusal.UNKNOWN_JOB


def test_concurrent_claims_have_one_winner() -> None:
    job = submit_echo()
    leases = in_threads(*[lambda: claim(job.id, leased_by="w")] * 8)
    assert sum(lease is not None for lease in leases) == 1
    assert fresh(job).attempt == 1


def test_claims_expired_lease_and_says_so() -> None:
    job = submit_echo()
    claimed(job, "dead")
    move_back(job, 60)
    lease = claimed(job, "alive")
    assert (lease.attempt, lease.lease_token) == (2, 2)
    assert events(job) == ["accepted", "claimed", "rescued"]
    assert "dead" in JobEvent.objects.filter(job=job).latest("id").reason


def test_claim_whose_answer_was_lost_is_repeated_and_is_no_new_attempt() -> None:
    job = submit_echo()
    Job.objects.update(max_attempts=1)
    key = Key()
    lost = try_claim(job.id, leased_by="w", key=key)  # it won, and nobody heard of it
    again = try_claim(job.id, leased_by="w", key=key)
    assert isinstance(lost, Claimed)
    assert isinstance(again, Claimed)
    assert (again.attempt, again.lease_token) == (1, lost.lease_token + 1)
    with pytest.raises(StaleLease):
        finish(lost, Done())
    assert events(job) == ["accepted", "claimed", "claimed again"]
    finish(again, Done())


def test_first_send_of_a_claim_that_a_frozen_server_executes_late_takes_nothing() -> None:
    job = submit_echo()
    key = Key(sent=1)  # the first send is stuck
    lease = try_claim(job.id, leased_by="w", key=key)
    assert isinstance(lease, Claimed)
    assert try_claim(job.id, leased_by="w", key=Key(first=key.first)) is Refusal.DUPLICATE
    finish(lease, Done())


def test_repeated_claim_does_not_take_back_what_another_worker_rescued() -> None:
    job = submit_echo()
    key = Key()
    try_claim(job.id, leased_by="w1", key=key)
    move_back(job, 60)
    other = claimed(job, "w2")
    assert try_claim(job.id, leased_by="w1", key=key) is Refusal.DUPLICATE
    finish(other, Done())


@pytest.mark.parametrize("count", [1, 3])
def test_a_claim_starts_the_grace_anew_of_one_and_of_several(count: int) -> None:
    jobs = [submit_echo(number) for number in range(count)]
    Job.objects.update(grace_seconds=sql.GRACE_CAP_SECONDS)
    answers = try_claim_all([job.id for job in jobs], leased_by="w")
    assert all(isinstance(answer, Claimed) for answer in answers.values())
    assert {fresh(job).grace_seconds for job in jobs} == {DEFAULT_GRACE_SECONDS}


def test_does_not_claim_past_the_attempt_ceiling() -> None:
    job = submit_echo()
    for _ in range(3):
        claimed(job)
        move_back(job, 60)
    assert try_claim(job.id, leased_by="w") is Refusal.DUPLICATE
    assert fresh(job).attempt == 3


def test_does_not_claim_terminal_job() -> None:
    job = submit_echo()
    finish(claimed(job), Done())
    assert try_claim(job.id, leased_by="w") is Refusal.TERMINAL


def test_stale_finish_rolls_back_whole() -> None:
    job = submit_echo()
    frozen = claimed(job, "frozen")
    move_back(job, 60)
    finish(claimed(job, "alive"), Done(result={"by": "alive"}))

    def effect() -> None:
        ProbeCount.objects.create(job_id=job.id, n=1)

    with pytest.raises(StaleLease):
        finish(frozen, Done(result={"by": "frozen"}, effects=[effect], follow_ups=[FollowUp("s", "test.echo", {})]))
    row = fresh(job)
    assert (row.result, row.leased_by, row.state) == ({"by": "alive"}, "alive", "SUCCEEDED")
    assert ProbeCount.objects.count() == 0
    assert Job.objects.count() == 1
    assert events(job) == ["accepted", "claimed", "rescued", "succeeded"]


def test_stale_fail_changes_nothing() -> None:
    job = submit_echo()
    frozen = claimed(job)
    move_back(job, 60)
    claimed(job, "alive")
    with pytest.raises(StaleLease):
        fail(frozen, Permanent("late"))
    assert fresh(job).state == "RUNNING"
    assert DeadLetter.objects.count() == 0


def test_effect_that_raises_leaves_the_job_running_and_nothing_written() -> None:
    job = submit_echo()
    lease = claimed(job)

    def write() -> None:
        ProbeCount.objects.create(job_id=job.id, n=1)

    def burst() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(lease, Done(effects=[write, burst]))
    assert fresh(job).state == "RUNNING"
    assert ProbeCount.objects.count() == 0
    finish(lease, Done(effects=[write]))
    assert fresh(job).state == "SUCCEEDED"


def test_finish_commits_follow_ups_files_and_effects_together() -> None:
    job = submit_echo(farm_id="farm", priority="high")
    stored = StoredFile("a.tif", f"jobs/{job.id}/1/a.tif", "image/tiff", 3)
    finish(claimed(job), Done(files=[stored], follow_ups=[FollowUp("next", "probe.cpu", {"work_ms": 1})]))
    child = Job.objects.get(parent_id=job.id)
    assert (child.identity, child.kind, child.pool) == (f"step:{job.id}:next", "probe.cpu", "cpu")
    assert (child.owner, child.farm_id, child.priority) == ("ada", "farm", 0)
    assert fresh(job).files == [stored.as_json()]


def test_two_parents_make_two_follow_ups() -> None:
    for number in (1, 2):
        finish(claimed(submit_echo(number)), Done(follow_ups=[FollowUp("join", "probe.cpu", {})]))
    assert Job.objects.filter(kind="probe.cpu").count() == 2


@pytest.mark.parametrize("result", [{"x": float("nan")}, {"x": object()}, {"x": "\0"}])
def test_result_that_is_no_json_is_a_permanent_error(result: dict[str, object]) -> None:
    lease = claimed(submit_echo())
    with pytest.raises(Permanent, match="result"):
        finish(lease, Done(result=result))


def test_failed_attempt_waits_and_runs_again() -> None:
    job = submit_echo()
    before = timezone.now()
    assert fail(claimed(job), Retryable("upstream is down", after=60)) is State.QUEUED
    row = fresh(job)
    assert (row.state, row.attempt, row.lease_token, row.hinted_at) == ("QUEUED", 1, 2, None)
    assert lies(row.not_before, 60, behind=before)
    assert row.error_class == "Retryable"
    assert try_claim(job.id, leased_by="w") is Refusal.NOT_DUE
    move_back(job, 61)
    assert claimed(job).attempt == 2


@pytest.mark.parametrize(("error", "reason"), [(Permanent("bad"), "permanent"), (Poison("evil"), "poison")])
def test_permanent_errors_fail_at_once_with_a_dead_letter(error: Exception, reason: str) -> None:
    job = submit_echo(4)
    assert fail(claimed(job), error) is State.FAILED
    letter = DeadLetter.objects.get()
    assert (letter.job_id, letter.reason, letter.delivery_count) == (job.id, reason, 1)
    assert letter.payload["params"] == {"word": "hello", "number": 4}
    assert (fresh(job).state, fresh(job).error_message) == ("FAILED", str(error))


def test_last_attempt_is_dead_lettered() -> None:
    job = submit_echo()
    for attempt in (1, 2, 3):
        state = fail(claimed(job), ValueError(f"broken {attempt}"))
        move_back(job, 600)
    assert state is State.FAILED
    assert DeadLetter.objects.get().reason == "attempts_exhausted"
    assert DeadLetter.objects.get().error_message == "broken 3"


def test_hand_back_restores_the_attempt_and_makes_it_due() -> None:
    job, other = submit_echo(1), submit_echo(2)
    lease = claimed(job, "w1")
    claimed(other, "w2")
    assert hand_back([job.id, other.id], "w1") == 1
    row = fresh(job)
    assert (row.state, row.attempt, row.lease_token, row.leased_by) == ("QUEUED", 0, 2, "")
    assert row.next_dispatch_at <= timezone.now()
    with pytest.raises(StaleLease):
        finish(lease, Done())
    assert claimed(job).lease_token == 3


def test_renew_waits_for_no_job_that_is_about_to_end() -> None:
    ending, running = submit_echo(0), submit_echo(1)
    for job in (ending, running):
        claimed(job, "w1")
        move_back(job, 5)
    lease_of_ending, lease_of_running = fresh(ending).lease_until, fresh(running).lease_until
    with transaction.atomic():
        Job.objects.select_for_update().get(id=ending.id)
        with_lock_held = in_threads(lambda: bounded_renew([ending.id, running.id]))
    assert with_lock_held == [{ending.id, running.id}], "both are ours as long as nothing else is committed"
    assert fresh(running).lease_until > lease_of_running + timedelta(seconds=4)
    assert fresh(ending).lease_until == lease_of_ending, "left to the next beat"


def bounded_renew(job_ids: list[UUID]) -> set[UUID]:
    with postgres_deadline.deadline(60.0):
        return renew("w1", job_ids)


def test_renew_extends_only_what_the_instance_still_holds() -> None:
    mine, taken, ended = submit_echo(1), submit_echo(2), submit_echo(3)
    for job in (mine, taken, ended):
        lease = claimed(job, "w1")
    finish(lease, Done())
    move_back(taken, 60)
    claimed(taken, "w2")
    move_back(mine, 5)
    before = timezone.now()
    assert renew("w1", [mine.id, taken.id, ended.id]) == {mine.id}
    row = fresh(mine)
    assert lies(row.lease_until, POOLS["fast"].lease_seconds, behind=before)
    assert lies(row.next_dispatch_at, POOLS["fast"].lease_seconds, behind=before)
