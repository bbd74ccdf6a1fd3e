"""Cancelling in every state, and against whoever ends the job at the same moment."""

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from jobs.cancellation import Cancelled, cancel
from jobs.claim import Claimed, Refusal, hand_back, try_claim
from jobs.context import Done
from jobs.errors import JobNotFound, NotCancellable, Permanent, Retryable, StaleLease
from jobs.finish import fail, finish
from jobs.heartbeat import renew
from jobs.models import DeadLetter, Effect, Job, JobEvent, ProbeCount
from jobs.states import State
from tests.integration.jobs.scenario import await_blocked, claimed, in_threads, move_back, submit_echo

ROUNDS = 20


def fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id)


# -- open states ------------------------------------------------------------------------------------------------------
def queued() -> Job:
    return submit_echo()


def delayed() -> Job:
    return submit_echo(not_before=timezone.now() + timedelta(hours=1))


def retrying() -> Job:
    job = submit_echo()
    assert fail(claimed(job), Retryable("upstream is down", after=60)) is State.QUEUED
    return job


def handed_back() -> Job:
    job = submit_echo()
    claimed(job, "stopping")
    assert hand_back([job.id], "stopping") == 1
    return job


def running() -> Job:
    job = submit_echo()
    claimed(job)
    return job


def running_past_its_lease() -> Job:
    job = running()
    move_back(job, 60)
    return job


@pytest.mark.parametrize(
    ("make", "was", "note"),
    [
        (queued, State.QUEUED, ""),
        (delayed, State.QUEUED, ""),
        (handed_back, State.QUEUED, ""),
        (retrying, State.QUEUED, "1 attempt(s) ran before: calls they made outside stand."),
        (running, State.RUNNING, "Attempt 1 was running"),
        (running_past_its_lease, State.RUNNING, "Attempt 1 was running"),
    ],
)
def test_an_open_job_is_cancelled_at_once_and_for_good(make: Callable[[], Job], was: State, note: str) -> None:
    job = make()
    token = fresh(job).lease_token
    cancelled = cancel(job.id, owner="ada")
    assert cancelled.was is was
    assert cancelled.note.startswith(note)
    assert bool(cancelled.note) == bool(note)
    row = fresh(job)
    assert (row.state, row.lease_until, row.lease_token) == ("CANCELLED", None, token + 1)
    assert row.finished_at is not None
    last = JobEvent.objects.filter(job=job).latest("id")
    assert (last.event, last.actor, last.from_state, last.to_state) == ("cancelled", "ada", was, "CANCELLED")
    move_back(job, 7200)  # past every earliest start and every lease
    assert try_claim(job.id, leased_by="w") is Refusal.TERMINAL
    with pytest.raises(NotCancellable) as refused:
        cancel(job.id, owner="ada")
    assert refused.value.state == "CANCELLED"


def test_an_attempt_whose_job_is_cancelled_has_no_lease_left() -> None:
    job = submit_echo()
    lease = claimed(job, "w")
    cancel(job.id, owner="ada")
    assert renew("w", [job.id]) == set()
    with pytest.raises(StaleLease):
        finish(lease, Done(result={"late": True}, effects=[counts(job.id)]))
    with pytest.raises(StaleLease):
        fail(lease, Retryable("late"))
    assert hand_back([job.id], "w") == 0
    assert (fresh(job).state, fresh(job).result, ProbeCount.objects.count()) == ("CANCELLED", None, 0)


def test_says_which_effects_outside_it_could_not_undo() -> None:
    job = submit_echo()
    claimed(job, "w")
    Effect.objects.create(root_id=job.id, name="notify", state="done")
    Effect.objects.create(root_id=job.id, name="charge", state="intended")
    note = cancel(job.id, owner="ada").note
    assert "Confirmed outside: notify." in note
    assert "end unknown: charge." in note
    assert "Files" in note


def test_another_owners_job_is_not_found() -> None:
    job = submit_echo()
    with pytest.raises(JobNotFound):
        cancel(job.id, owner="bob")
    assert cancel(job.id, owner="bob", see_all=True, actor="bob").was is State.QUEUED
    assert JobEvent.objects.filter(job=job, event="cancelled").get().actor == "bob"


# -- terminal states --------------------------------------------------------------------------------------------------
def succeeded() -> Job:
    job = submit_echo()
    finish(claimed(job), Done(result={"ok": True}))
    return job


def failed() -> Job:
    job = submit_echo()
    fail(claimed(job), Permanent("no"))
    return job


def cancelled() -> Job:
    job = submit_echo()
    cancel(job.id, owner="ada")
    return job


@pytest.mark.parametrize(("make", "state"), [(succeeded, "SUCCEEDED"), (failed, "FAILED"), (cancelled, "CANCELLED")])
def test_a_terminal_job_is_refused_and_stays_as_it_is(make: Callable[[], Job], state: str) -> None:
    job = make()
    before = Job.objects.filter(id=job.id).values().get()
    events = JobEvent.objects.filter(job=job).count()
    with pytest.raises(NotCancellable) as refused:
        cancel(job.id, owner="ada")
    assert refused.value.state == state
    assert Job.objects.filter(id=job.id).values().get() == before
    assert JobEvent.objects.filter(job=job).count() == events


# -- against the end of the job ---------------------------------------------------------------------------------------
def counts(job_id: UUID) -> Callable[[], None]:
    """An effect of the job, seen in `probe_count`."""
    return lambda: ProbeCount.objects.create(job_id=job_id, n=1) and None


def outcome(work: Callable[[], object]) -> Callable[[], object]:
    """`work` for a thread; an answer that says "you came second" is a result, not an error."""

    def run() -> object:
        try:
            return work()
        except (NotCancellable, StaleLease) as second:
            return second

    return run


def end_well(lease: Claimed) -> None:
    finish(lease, Done(result={"ok": True}, effects=[counts(lease.id)]))


def end_badly(lease: Claimed) -> None:
    fail(lease, Permanent("no"))


@pytest.mark.parametrize(("end", "state"), [(end_well, "SUCCEEDED"), (end_badly, "FAILED")])
def test_a_cancellation_and_an_end_that_race_have_one_winner(end: Callable[[Claimed], None], state: str) -> None:
    for number in range(ROUNDS):
        job = submit_echo(number, force=True)
        lease = claimed(job)
        of_cancel, of_end = in_threads(
            outcome(lambda job=job: cancel(job.id, owner="ada")),
            outcome(lambda lease=lease: end(lease)),
        )
        applied = ProbeCount.objects.filter(job_id=job.id).count() + DeadLetter.objects.filter(job_id=job.id).count()
        if isinstance(of_cancel, Cancelled):
            assert isinstance(of_end, StaleLease)
            assert (fresh(job).state, fresh(job).result, applied) == ("CANCELLED", None, 0)
            assert "Attempt 1 was running" in of_cancel.note
        else:
            assert isinstance(of_cancel, NotCancellable)
            assert of_end is None
            assert (of_cancel.state, fresh(job).state, applied) == (state, state, 1)


def test_a_cancellation_that_meets_a_finish_under_way_is_told_that_it_succeeded() -> None:
    job = submit_echo()
    lease = claimed(job)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert go_on.wait(60)

    def cancel_inside() -> object:
        assert inside.wait(60)
        return cancel(job.id, owner="ada")

    def let_go() -> None:
        assert inside.wait(60)
        await_blocked()
        go_on.set()

    of_finish, of_cancel, _ = in_threads(
        outcome(lambda: finish(lease, Done(effects=[counts(job.id), hold]))), outcome(cancel_inside), let_go
    )
    assert of_finish is None
    assert isinstance(of_cancel, NotCancellable)
    assert (fresh(job).state, ProbeCount.objects.count()) == ("SUCCEEDED", 1)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_finish_that_meets_a_cancellation_under_way_waits_for_its_commit(is_committed: bool) -> None:
    job = submit_echo()
    lease = claimed(job)
    begun = threading.Event()

    def cancel_slowly() -> None:
        with transaction.atomic():
            cancel(job.id, owner="ada")
            begun.set()
            await_blocked()
            transaction.set_rollback(not is_committed)

    def finish_meanwhile() -> None:
        assert begun.wait(60)
        end_well(lease)

    _, of_finish = in_threads(cancel_slowly, outcome(finish_meanwhile))
    if is_committed:
        assert isinstance(of_finish, StaleLease)
        assert (fresh(job).state, ProbeCount.objects.count()) == ("CANCELLED", 0)
    else:
        assert of_finish is None
        assert (fresh(job).state, ProbeCount.objects.count()) == ("SUCCEEDED", 1)
