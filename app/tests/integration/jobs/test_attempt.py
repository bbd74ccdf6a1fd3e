"""Claim, fence, finish, fail, hand-back, cancel, renew."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.cancellation import cancel
from jobs.claim import Claimed, Key, Refusal, claim, hand_back, try_claim
from jobs.context import Done, FollowUp, StoredFile
from jobs.errors import JobNotFound, NotCancellable, Permanent, Poison, Retryable, StaleLease
from jobs.finish import fail, finish
from jobs.heartbeat import renew
from jobs.ids import new_id
from jobs.models import DeadLetter, Effect, Job, JobEvent, ProbeCount
from jobs.states import State
from tests.integration.jobs.scenario import claimed, in_threads, move_back, submit_echo


def events(job: Job) -> list[str]:
    return [event.event for event in JobEvent.objects.filter(job=job).order_by("id")]


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


def test_claim_leases_by_the_pool_and_counts_the_attempt() -> None:
    job = submit_echo()
    lease = claimed(job, "worker-7")
    row = fresh(job)
    assert (row.state, row.attempt, row.lease_token, row.leased_by) == ("RUNNING", 1, 1, "worker-7")
    assert (lease.lease_token, lease.attempt, lease.params) == (1, 1, {"word": "hello", "number": 0})
    assert 9 < (row.lease_until - timezone.now()).total_seconds() <= 10.5
    assert abs((row.next_dispatch_at - row.lease_until).total_seconds()) < 0.01


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
    assert fail(claimed(job), Retryable("upstream is down", after=60)) is State.QUEUED
    row = fresh(job)
    assert (row.state, row.attempt, row.lease_token, row.hinted_at) == ("QUEUED", 1, 2, None)
    assert 58 < (row.not_before - timezone.now()).total_seconds() < 61
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


def test_cancel_of_a_queued_job_is_final() -> None:
    job = submit_echo()
    assert cancel(job.id, owner="ada").was is State.QUEUED
    assert fresh(job).state == "CANCELLED"
    assert try_claim(job.id, leased_by="w") is Refusal.TERMINAL
    with pytest.raises(NotCancellable) as refused:
        cancel(job.id, owner="ada")
    assert refused.value.state == "CANCELLED"


def test_cancel_of_a_running_job_takes_its_lease() -> None:
    job = submit_echo()
    lease = claimed(job, "w")
    cancelled = cancel(job.id, owner="ada")
    assert cancelled.was is State.RUNNING
    assert "Attempt 1" in cancelled.note
    assert renew("w", [job.id]) == set()
    with pytest.raises(StaleLease):
        finish(lease, Done(result={"late": True}))
    assert fresh(job).result is None


def test_cancel_says_which_effects_outside_it_could_not_undo() -> None:
    job = submit_echo()
    claimed(job, "w")
    Effect.objects.create(root_id=job.id, name="notify", state="done")
    Effect.objects.create(root_id=job.id, name="charge", state="intended")
    note = cancel(job.id, owner="ada").note
    assert "Confirmed outside: notify." in note
    assert "end unknown: charge." in note
    assert "Files" in note


def test_cancel_of_another_owners_job_is_not_found() -> None:
    job = submit_echo()
    with pytest.raises(JobNotFound):
        cancel(job.id, owner="bob")
    assert cancel(job.id, owner="bob", see_all=True, actor="bob").was is State.QUEUED
    assert JobEvent.objects.filter(job=job, event="cancelled").get().actor == "bob"


def test_renew_extends_only_what_the_instance_still_holds() -> None:
    mine, taken, ended = submit_echo(1), submit_echo(2), submit_echo(3)
    for job in (mine, taken, ended):
        lease = claimed(job, "w1")
    finish(lease, Done())
    move_back(taken, 60)
    claimed(taken, "w2")
    move_back(mine, 5)
    assert renew("w1", [mine.id, taken.id, ended.id]) == {mine.id}
    row = fresh(mine)
    assert 9 < (row.lease_until - timezone.now()).total_seconds() <= 10.5
    assert abs((row.next_dispatch_at - row.lease_until).total_seconds()) < 0.01
