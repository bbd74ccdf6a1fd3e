"""Jobs that share a message: one claim and one finish, and each its own fate."""

from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from dispatch.testing import RecordingDispatcher
from jobs import execution
from jobs.cancellation import cancel
from jobs.claim import Claimed, Key, Refusal, claim, hand_back, try_claim_all
from jobs.context import Done, FollowUp, JobContext
from jobs.errors import Permanent, Retryable
from jobs.execution import run_jobs
from jobs.finish import fail, finish, finish_all
from jobs.ids import new_id
from jobs.models import DeadLetter, Job, JobEvent, ProbeCount
from jobs.submission import JobRequest, submit, submit_bulk
from jobs.sweeper import Sweeper
from postgres_deadline import read_only
from tests.integration.jobs.conftest import Clock
from tests.integration.jobs.scenario import claimed, in_threads, move_back, script

type Work = Callable[[JobContext], Done | dict[str, object] | None]


def scripted(count: int, **options: object) -> list[UUID]:
    requests = [JobRequest("test.scripted", {"number": number}, **options) for number in range(count)]  # type: ignore[arg-type]
    return [one.job.id for one in submit_bulk(requests, owner="ada")]


def counting(context: JobContext) -> Done:
    return Done(result={"attempt": context.attempt}, effects=[lambda: _count(context.id)])


def _count(job_id: UUID) -> None:
    ProbeCount.objects.create(job_id=job_id, n=1)


def play(**parts: Work) -> None:
    """What job number n of `scripted` does: `nth` = …; the others count."""
    script["run"] = lambda context: parts.get(f"job{context.params['number']}", counting)(context)


def run(job_ids: list[UUID]) -> list[str]:
    return list(run_jobs(dict.fromkeys(job_ids, 1), leased_by="w1").values())


def states(job_ids: list[UUID]) -> list[str]:
    rows = dict(Job.objects.filter(id__in=job_ids).values_list("id", "state"))
    return [rows[job_id] for job_id in job_ids]


def counted() -> set[UUID]:
    assert not ProbeCount.objects.exclude(n=1).exists()
    return set(ProbeCount.objects.values_list("job_id", flat=True))


def elsewhere(work: Callable[[], object]) -> None:
    """On another connection, which may write while a handler runs."""

    def writing() -> None:
        with read_only.lifted():
            work()

    in_threads(writing)


# -- all is well ------------------------------------------------------------------------------------------------------
def test_a_batch_is_one_claim_and_one_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "RESULTS_WAIT_SECONDS", 60.0)  # however slow the machine is
    jobs = scripted(16)
    play()
    with CaptureQueriesContext(connection) as queries:
        assert run(jobs) == ["succeeded"] * 16
    words = [query["sql"].split()[0] for query in queries]
    assert words == ["WITH", "BEGIN", "WITH", *["INSERT"] * 16, "COMMIT"]
    assert counted() == set(jobs)
    for job in jobs:
        assert list(JobEvent.objects.filter(job_id=job).order_by("id").values_list("event", flat=True)) == [
            "accepted",
            "claimed",
            "succeeded",
        ]
    assert set(Job.objects.values_list("attempt", "lease_token")) == {(1, 2)}


def test_each_member_has_its_own_result_follow_ups_and_webhook() -> None:
    jobs = scripted(3, callback_url="https://example.org/hook")
    script["run"] = lambda context: Done(
        result={"number": context.params["number"]}, follow_ups=[FollowUp("next", "probe.cpu", {})]
    )
    assert run(jobs) == ["succeeded"] * 3
    assert [Job.objects.get(id=job).result for job in jobs] == [{"number": 0}, {"number": 1}, {"number": 2}]
    for kind in ("probe.cpu", "webhook.deliver"):
        assert set(Job.objects.filter(kind=kind).values_list("parent_id", flat=True)) == set(jobs)


# -- one of them goes another way -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "outcome", "state"),
    [
        (Retryable("not now"), "retried", "QUEUED"),
        (Permanent("never"), "failed", "FAILED"),
        (ValueError(), "retried", "QUEUED"),
    ],
)
def test_a_member_whose_handler_raises_costs_the_others_nothing(error: Exception, outcome: str, state: str) -> None:
    jobs = scripted(4)

    def burst(_: JobContext) -> Done:
        raise error

    play(job1=burst)
    assert run(jobs) == ["succeeded", outcome, "succeeded", "succeeded"]
    assert states(jobs) == ["SUCCEEDED", state, "SUCCEEDED", "SUCCEEDED"]
    assert counted() == {jobs[0], jobs[2], jobs[3]}


def test_a_member_whose_effect_fails_rolls_back_alone() -> None:
    jobs = scripted(4)

    def twice(context: JobContext) -> Done:
        return Done(effects=[lambda: _count(context.id), lambda: _count(context.id)])

    play(job2=twice)
    assert run(jobs) == ["succeeded", "succeeded", "retried", "succeeded"]
    assert counted() == {jobs[0], jobs[1], jobs[3]}
    assert Job.objects.get(id=jobs[2]).error_class == "IntegrityError"


@pytest.mark.parametrize("write", ["ORM", "cursor"])
def test_a_member_whose_effect_hides_an_error_of_the_database_rolls_back_alone(write: str) -> None:
    """Its transaction is lost: Postgres answers COMMIT with ROLLBACK, and nobody says so."""
    jobs = scripted(3)

    def again(job_id: UUID) -> None:
        with suppress(IntegrityError):
            if write == "ORM":
                _count(job_id)
            else:
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO probe_count (job_id, n) VALUES (%s, 1)", [job_id])

    play(job2=lambda context: Done(effects=[lambda: _count(context.id), lambda: again(context.id)]))
    assert run(jobs) == ["succeeded", "succeeded", "retried"]
    assert states(jobs) == ["SUCCEEDED", "SUCCEEDED", "QUEUED"]
    assert counted() == set(jobs[:2])


def test_a_follow_up_counts_as_accepted_when_its_finish_is_committed() -> None:
    jobs = scripted(2)

    def accepted() -> float:
        value = REGISTRY.get_sample_value("jobs_accepted_total", {"kind": "probe.cpu", "outcome": "created"})
        return value or 0.0

    def burst() -> None:
        raise ValueError

    before = accepted()
    play(
        job0=lambda _: Done(follow_ups=[FollowUp("next", "probe.cpu", {})]),
        job1=lambda _: Done(effects=[burst]),
    )
    assert run(jobs) == ["succeeded", "retried"]
    assert accepted() == before + 1


def test_a_member_whose_result_is_no_json_fails_alone() -> None:
    jobs = scripted(3)
    play(job0=lambda _: {"x": float("nan")})
    assert run(jobs) == ["failed", "succeeded", "succeeded"]
    assert DeadLetter.objects.get().job_id == jobs[0]


def test_a_member_that_writes_is_refused_alone() -> None:
    jobs = scripted(3)

    def writes(context: JobContext) -> Done:
        _count(context.id)
        return Done()

    play(job1=writes)
    assert run(jobs) == ["succeeded", "retried", "succeeded"]
    assert Job.objects.get(id=jobs[1]).error_class == "WriteRefused"
    assert counted() == {jobs[0], jobs[2]}


def test_a_member_that_another_worker_took_over_is_stale_and_applies_nothing() -> None:
    jobs = scripted(3)

    def late(context: JobContext) -> Done:
        def take_over() -> None:
            move_back(Job.objects.get(id=context.id), 60)
            claim(context.id, leased_by="w2")

        elsewhere(take_over)
        return counting(context)

    play(job1=late)
    assert run(jobs) == ["succeeded", "stale", "succeeded"]
    assert Job.objects.get(id=jobs[1]).leased_by == "w2"
    assert counted() == {jobs[0], jobs[2]}


def test_a_member_that_is_cancelled_while_it_runs_is_refused_and_the_others_commit() -> None:
    jobs = scripted(3)

    def cancelled(context: JobContext) -> Done:
        elsewhere(lambda: cancel(context.id, owner="ada"))
        return counting(context)

    play(job0=cancelled)
    assert run(jobs) == ["stale", "succeeded", "succeeded"]
    assert states(jobs) == ["CANCELLED", "SUCCEEDED", "SUCCEEDED"]
    assert counted() == {jobs[1], jobs[2]}


def test_members_that_cannot_be_claimed_leave_the_others_their_claim() -> None:
    jobs = scripted(5)
    finish(claimed(Job.objects.get(id=jobs[0])), Done())
    claimed(Job.objects.get(id=jobs[1]), "w2")
    fail(claimed(Job.objects.get(id=jobs[2])), Retryable("later", after=60))
    unknown = new_id()
    play()
    answers = run_jobs(dict.fromkeys([*jobs, unknown], 1), leased_by="w1")
    assert list(answers.values()) == ["terminal", "duplicate", "not_due", "succeeded", "succeeded", "unknown_job"]
    assert counted() == {jobs[3], jobs[4]}


def test_a_batch_wins_nobody_who_was_tried_before_however_it_came_into_it() -> None:
    """A message that a killed worker left behind comes again when the leases of its jobs have run out."""
    jobs = scripted(4)
    claimed(Job.objects.get(id=jobs[0]), "dead")
    fail(claimed(Job.objects.get(id=jobs[1])), Retryable("again", after=0.0))
    for job in jobs[:2]:
        move_back(Job.objects.get(id=job), 60)
    play()
    assert run(jobs) == ["duplicate", "duplicate", "succeeded", "succeeded"]
    assert [run([job]) for job in jobs[:2]] == [["succeeded"]] * 2
    assert counted() == set(jobs)


def test_two_batches_that_overlap_run_each_job_once() -> None:
    jobs = scripted(12)
    play()
    outcomes = in_threads(*[lambda part=part: run(part) for part in (jobs[:8], jobs[4:], jobs[::-1])])
    assert sum(batch.count("succeeded") for batch in outcomes) == 12  # type: ignore[attr-defined]
    assert counted() == set(jobs)


# -- answers that do not come -----------------------------------------------------------------------------------------
def test_a_claim_whose_answer_was_lost_finds_its_leases_and_no_others() -> None:
    jobs = scripted(4)
    key = Key()
    lost = try_claim_all(jobs[:3], leased_by="w1", key=key)
    move_back(Job.objects.get(id=jobs[0]), 60)
    claimed(Job.objects.get(id=jobs[0]), "w2")
    again = try_claim_all(jobs, leased_by="w1", key=key)
    assert again[jobs[0]] is Refusal.DUPLICATE, "another worker has rescued it"
    for job in jobs[1:]:
        lease = again[job]
        assert isinstance(lease, Claimed)
        assert lease.attempt == 1
    first = lost[jobs[1]]
    assert isinstance(first, Claimed)
    assert finish_all([(first, Done())]) == {jobs[1]}, "its token is no longer the lease"


class _Silence:
    """Lets the first statement with `word` through and keeps its answer."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __call__(self, execute: Callable[..., object], sql: str, *rest: object) -> object:
        answer = execute(sql, *rest)
        if self._word and self._word in sql:
            self._word = ""
            raise OperationalError("no answer") from psycopg.OperationalError("the deadline passed")
        return answer


def test_a_finish_that_postgres_did_not_answer_is_repeated_and_applied_once() -> None:
    jobs = scripted(3)
    play()
    with connection.execute_wrapper(_Silence("'SUCCEEDED'")):
        assert run(jobs) == ["succeeded"] * 3
    assert counted() == set(jobs)


def test_a_finish_that_was_committed_and_not_answered_stands() -> None:
    jobs = scripted(3)
    script["run"] = lambda _: {"by": "us"}  # no effect: the statement is the transaction
    with connection.execute_wrapper(_Silence("'SUCCEEDED'")):
        assert run(jobs) == ["unknown"] * 3
    assert states(jobs) == ["SUCCEEDED"] * 3
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


# -- slow ones --------------------------------------------------------------------------------------------------------
@pytest.fixture
def handlers_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which a batch decides: only what a handler says has taken time."""
    monkeypatch.setattr(execution, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_what_has_succeeded_is_committed_before_the_next_one_starts_after_a_slow_one(handlers_clock: Clock) -> None:
    jobs = scripted(4)
    seen: list[set[UUID]] = []

    def slow(context: JobContext) -> Done:
        handlers_clock.advance(2 * execution.RESULTS_WAIT_SECONDS)
        return counting(context)

    def look(context: JobContext) -> Done:
        seen.append(counted())
        return counting(context)

    play(job1=slow, job2=look, job3=look)
    assert run(jobs) == ["succeeded"] * 4
    assert seen == [{jobs[0], jobs[1]}] * 2, "committed after the slow one; the fast ones after it wait together"


def test_what_has_not_started_in_time_is_handed_back_due_now_with_its_attempt(handlers_clock: Clock) -> None:
    jobs = scripted(4)

    def slow(context: JobContext) -> Done:
        handlers_clock.advance(execution.START_WITHIN_SECONDS)
        return counting(context)

    play(job1=slow)
    assert run(jobs) == ["succeeded", "succeeded", "handed_back", "handed_back"]
    rows = Job.objects.filter(id__in=jobs[2:])
    assert set(rows.values_list("state", "attempt", "lease_token", "leased_by")) == {("QUEUED", 0, 2, "")}
    assert run(jobs[2:]) == ["succeeded"] * 2
    assert counted() == set(jobs)


def test_a_lease_that_was_lost_meanwhile_is_not_handed_back(handlers_clock: Clock) -> None:
    """Two processes of one worker share the name under which they hold leases."""
    jobs = scripted(2)

    def slow(context: JobContext) -> Done:
        def sibling_takes_over() -> None:
            move_back(Job.objects.get(id=jobs[1]), 60)
            claim(jobs[1], leased_by="w1")

        elsewhere(sibling_takes_over)
        handlers_clock.advance(execution.START_WITHIN_SECONDS)
        return counting(context)

    play(job0=slow)
    assert run(jobs) == ["succeeded", "handed_back"]
    row = Job.objects.get(id=jobs[1])
    assert (row.state, row.attempt, row.lease_token) == ("RUNNING", 2, 2)


# -- who may share a message ------------------------------------------------------------------------------------------
def test_only_jobs_never_tried_of_batchable_kinds_may_share_a_message(pools: None, broker: RecordingDispatcher) -> None:
    probe = submit("probe.fast", owner="ada", params={}).job.id
    other = submit("test.echo", owner="ada", params={}).job.id
    assert {hint.job_id: hint.batchable for hint in broker.hints} == {probe: True, other: False}


def test_a_job_that_was_tried_is_hinted_to_travel_alone(broker: RecordingDispatcher) -> None:
    requests = [JobRequest("probe.fast", {"tag": str(number)}) for number in range(4)]
    fresh, retried, rescued, back = [one.job.id for one in submit_bulk(requests, owner="ada")]
    fail(claimed(Job.objects.get(id=retried)), Retryable("again", after=0.0))
    claimed(Job.objects.get(id=rescued))
    claimed(Job.objects.get(id=back))
    hand_back([back], "worker-1")
    for job in Job.objects.all():
        move_back(job, 60)
    sweeper = Sweeper()
    sweeper.tick()
    sweeper._trust_leases_at = dict.fromkeys(sweeper._trust_leases_at, 0.0)
    sweeper.tick()
    found = {hint.job_id: hint.batchable for hint in broker.hints}
    assert found == {fresh: True, retried: False, rescued: False, back: True}
