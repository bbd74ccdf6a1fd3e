"""Accepting jobs: the row, the identity, the hint after the commit."""

import contextlib
import random
from datetime import timedelta
from types import ModuleType

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from dispatch import Reason
from dispatch.testing import RecordingDispatcher
from jobs import hinting, submission
from jobs.cancellation import cancel
from jobs.claim import claim
from jobs.context import Done
from jobs.errors import IdempotencyConflict, InvalidRequest, Overloaded, Permanent, UnknownKind
from jobs.finish import fail, finish
from jobs.models import IdempotencyKey, Job, JobEvent
from jobs.selectors import get_job
from jobs.states import State
from jobs.submission import JobRequest, submit, submit_bulk
from tests.integration.jobs.scenario import claimed, in_threads, see_pools, seed, submit_echo


def test_accepts_and_hints_after_commit(broker: RecordingDispatcher, pools: None) -> None:
    with transaction.atomic():
        submitted = submit("test.echo", owner="ada", params={"word": "x"}, farm_id="f1", priority="high")
        assert broker.hints == []
    job = get_job(submitted.job.id, owner="ada")
    assert submitted.created
    assert (job.state, job.attempt, job.dispatch_gen, job.pool, job.priority) == ("QUEUED", 0, 1, "fast", 0)
    assert (job.identity, job.root_id) == (f"req:{job.request_hash}", job.id)
    assert job.params == {"word": "x", "number": 0}
    assert job.hinted_at is not None
    assert 4 < (job.next_dispatch_at - job.accepted_at).total_seconds() < 6
    assert [(hint.job_id, hint.gen, hint.pool) for hint in broker.hints] == [(job.id, 1, "fast")]
    assert [event.event for event in JobEvent.objects.filter(job=job)] == ["accepted"]


def test_plain_submit_is_one_statement(pools: None) -> None:
    submit_echo(1)
    with CaptureQueriesContext(connection) as queries:
        submit("test.echo", owner="ada", params={"number": 2})
    assert len(queries) == 1, [query["sql"][:80] for query in queries.captured_queries]


def test_rollback_of_the_caller_leaves_no_job_and_no_hint(broker: RecordingDispatcher, pools: None) -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        submit("test.echo", owner="ada", params={})
        raise ZeroDivisionError
    assert Job.objects.count() == 0
    assert JobEvent.objects.count() == 0
    assert broker.hints == []


def test_equal_request_gets_the_same_job() -> None:
    first = submit("test.echo", owner="ada", params={})
    second = submit("test.echo", owner="ada", params={"number": 0, "word": "hello"}, priority="low")
    assert (first.created, second.created) == (True, False)
    assert first.job.id == second.job.id
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "other",
    [
        {"params": {"number": 1}},
        {"owner": "bob"},
        {"farm_id": "f2"},
        {"callback_url": "https://example.org/hook"},
        {"kind": "probe.fast"},
        {"force": True},
    ],
)
def test_different_request_gets_its_own_job(other: dict[str, object]) -> None:
    base = {"kind": "test.echo", "owner": "ada", "params": {}}
    first = submit(**base)  # type: ignore[arg-type]
    second = submit(**(base | other))  # type: ignore[arg-type]
    assert second.created
    assert first.job.id != second.job.id


def test_forced_submits_never_meet_each_other() -> None:
    ids = {submit("test.echo", owner="ada", params={}, force=True).job.id for _ in range(3)}
    assert len(ids) == 3
    assert submit("test.echo", owner="ada", params={}).created


def test_request_of_a_succeeded_job_is_answered_by_it() -> None:
    job = submit_echo()
    finish(claimed(job), Done(result={"ok": True}))
    again = submit("test.echo", owner="ada", params={})
    assert (again.created, again.job.id, again.job.state) == (False, job.id, "SUCCEEDED")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_request_of_a_dead_job_makes_a_new_one_linked_to_it(end: str) -> None:
    job = submit_echo()
    if end == "failed":
        fail(claimed(job), Permanent("no"))
    else:
        cancel(job.id, owner="ada")
    again = submit_echo()
    assert again.id != job.id
    assert again.previous_id == job.id
    assert again.root_id == again.id


def test_delayed_job_is_not_hinted_before_its_time(broker: RecordingDispatcher, pools: None) -> None:
    job = submit_echo(not_before=timezone.now() + timedelta(hours=1))
    assert broker.hints == []
    assert job.next_dispatch_at == job.not_before
    assert claim(job.id, leased_by="w") is None


def test_refused_hint_leaves_the_row_due_at_once(broker: RecordingDispatcher, pools: None) -> None:
    broker.refuse_with = Reason.UNREACHABLE
    job = submit_echo()
    assert job.state == "QUEUED"
    assert job.hinted_at is None
    assert job.next_dispatch_at <= timezone.now()
    assert job.grace_seconds == 5


@pytest.mark.parametrize("is_joined", [False, True], ids=["alone", "joined"])
@pytest.mark.parametrize(("owner", "name"), [(hinting, "try_dispatch"), (submission, "_count")])
def test_a_fault_after_the_commit_reaches_no_caller(
    owner: ModuleType, name: str, is_joined: bool, monkeypatch: pytest.MonkeyPatch, pools: None
) -> None:
    """Whatever it is: the row is committed, so the answer is yes."""
    called = []

    def broken(*_: object, **__: object) -> bool:
        called.append(name)
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(owner, name, broken)
    try:
        with transaction.atomic() if is_joined else contextlib.nullcontext():
            submitted = submit("test.echo", owner="ada", params={})
    except RuntimeError as error:
        pytest.fail(f"a fault after the commit reached the caller: {error}")
    assert submitted.created
    assert Job.objects.get(id=submitted.job.id).state == State.QUEUED
    assert called == [name]


def test_open_breaker_costs_no_second_dispatch(broker: RecordingDispatcher, pools: None) -> None:
    broker.refuse_with = Reason.UNREACHABLE
    submit_echo(1)
    calls = broker.calls
    job = submit_echo(2)
    assert broker.calls == calls
    assert (job.dispatch_gen, job.hinted_at) == (0, None)
    assert job.next_dispatch_at <= timezone.now()


def test_unseen_pool_accepts_and_does_not_hint(broker: RecordingDispatcher) -> None:
    assert submit_echo().dispatch_gen == 0
    see_pools(at=timezone.now() - timedelta(seconds=6))
    assert submit_echo(1).dispatch_gen == 0
    assert broker.hints == []


def test_submit_does_not_overtake_rows_that_wait_for_the_sweeper(broker: RecordingDispatcher) -> None:
    see_pools(behind=True)
    assert submit_echo().dispatch_gen == 0
    assert broker.hints == []


def test_hints_stop_at_the_window(broker: RecordingDispatcher, settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"dispatch_window": 10})
    see_pools(hinted=8)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(5)], owner="ada")
    submit_echo(99)
    assert len(broker.hints) == 2
    assert Job.objects.filter(hinted_at__isnull=True).count() == 4


def test_full_pool_refuses_with_overloaded(settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"admission_limit": 3})
    see_pools(open=1)
    submit_bulk([JobRequest("test.echo", {"number": number}) for number in range(2)], owner="ada")
    with pytest.raises(Overloaded) as refused:
        submit_echo(7)
    assert refused.value.retry_after > 0
    assert Job.objects.count() == 2
    assert submit("probe.io", owner="ada", params={}).created  # the other pools go on


def test_bulk_answers_in_order_and_shares_duplicates(broker: RecordingDispatcher, pools: None) -> None:
    known = submit_echo(1)
    numbers = [3, 1, 2, 3, 1]
    submitted = submit_bulk([JobRequest("test.echo", {"number": number}) for number in numbers], owner="ada")
    assert [item.created for item in submitted] == [True, False, True, False, False]
    assert submitted[0].job.id == submitted[3].job.id
    assert submitted[1].job.id == submitted[4].job.id == known.id
    assert Job.objects.count() == 3
    assert len(broker.hints) == 3


def test_bulk_is_all_or_nothing_and_names_each_field() -> None:
    requests = [
        JobRequest("test.echo", {"number": 1}),
        JobRequest("test.echo", {"number": "many"}, priority="urgent"),
        JobRequest("test.nothing", {}),
    ]
    with pytest.raises(InvalidRequest) as invalid:
        submit_bulk(requests, owner="ada")
    assert {(problem.index, problem.field) for problem in invalid.value.problems} == {
        (1, "params.number"),
        (1, "priority"),
        (2, "kind"),
    }
    assert Job.objects.count() == 0


def test_bulk_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 1000"):
        submit_bulk([JobRequest("test.echo", {})] * 1001, owner="ada")


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_postgres_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="params"):
        submit("test.echo", owner="ada", params={"word": text})
    with pytest.raises(InvalidRequest, match="farm_id"):
        submit("test.echo", owner="ada", params={}, farm_id=text)
    with pytest.raises(UnknownKind):
        submit(text, owner="ada", params={})


def test_backslash_u0000_spelled_out_is_stored_as_it_is() -> None:
    job = Job.objects.get(id=submit("test.echo", owner="ada", params={"word": "\\u0000"}).job.id)
    assert job.params["word"] == "\\u0000"


def test_same_key_same_body_gets_the_same_job_whatever_became_of_it() -> None:
    first = submit("test.echo", owner="ada", params={}, idempotency_key="k1")
    fail(claimed(Job.objects.get(id=first.job.id)), Permanent("no"))
    second = submit("test.echo", owner="ada", params={}, idempotency_key="k1")
    assert (second.job.id, second.created, second.replayed) == (first.job.id, False, True)
    assert second.job.state == "FAILED"
    assert submit("test.echo", owner="bob", params={}, idempotency_key="k1").created


def test_same_key_other_body_is_a_conflict_and_leaves_no_row() -> None:
    submit("test.echo", owner="ada", params={}, idempotency_key="k1")
    with pytest.raises(IdempotencyConflict):
        submit("test.echo", owner="ada", params={"number": 5}, idempotency_key="k1")
    with pytest.raises(IdempotencyConflict):
        submit("test.echo", owner="ada", params={}, priority="low", idempotency_key="k1")
    assert Job.objects.count() == 1


def test_key_of_a_rolled_back_submit_is_free_again() -> None:
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        submit("test.echo", owner="ada", params={}, idempotency_key="k1")
        raise ZeroDivisionError
    assert IdempotencyKey.objects.count() == 0
    assert submit("test.echo", owner="ada", params={"number": 5}, idempotency_key="k1").created


def test_key_outlives_a_job_that_had_succeeded_before_it() -> None:
    job = submit_echo()
    finish(claimed(job), Done())
    key = {"owner": "ada", "params": {"number": 0}, "idempotency_key": "late"}
    assert submit("test.echo", **key).job.id == job.id  # type: ignore[arg-type]
    Job.objects.filter(id=job.id).delete()  # retention counts from the job's end, not from the key
    again = submit("test.echo", **key)  # type: ignore[arg-type]
    assert (again.job.id, again.job.state, again.replayed) == (job.id, "SUCCEEDED", True)
    assert (again.job.request_hash, again.job.kind, again.job.pool) == (job.request_hash, "test.echo", "fast")
    assert Job.objects.count() == 0


@pytest.mark.parametrize("ignored", [float("inf"), "\ud800", "\0"])
def test_key_covers_what_the_kind_ignores(ignored: object) -> None:
    params = {"number": 1, "unknown": ignored}
    first = submit("test.echo", owner="ada", params=params, idempotency_key="k1")
    assert submit("test.echo", owner="ada", params=params, idempotency_key="k1").job.id == first.job.id
    with pytest.raises(IdempotencyConflict):
        submit("test.echo", owner="ada", params={"number": 1}, idempotency_key="k1")


def test_key_covers_a_whole_bulk() -> None:
    requests = [JobRequest("test.echo", {"number": number}) for number in (1, 2, 1)]
    first = submit_bulk(requests, owner="ada", idempotency_key="b")
    second = submit_bulk(requests, owner="ada", idempotency_key="b")
    assert [item.job.id for item in first] == [item.job.id for item in second]
    with pytest.raises(IdempotencyConflict):
        submit_bulk(requests[:2], owner="ada", idempotency_key="b")


def test_concurrent_equal_submits_make_one_job() -> None:
    answers = in_threads(*[lambda: submit("test.echo", owner="ada", params={})] * 8)
    assert len({answer.job.id for answer in answers}) == 1  # type: ignore[attr-defined]
    assert sum(answer.created for answer in answers) == 1  # type: ignore[attr-defined]
    assert Job.objects.count() == 1


def test_concurrent_submits_under_one_key_make_one_job() -> None:
    answers = in_threads(*[lambda: submit("test.echo", owner="ada", params={}, force=True, idempotency_key="k")] * 8)
    assert len({answer.job.id for answer in answers}) == 1  # type: ignore[attr-defined]
    assert Job.objects.count() == 1


def test_concurrent_bulks_with_overlapping_requests_neither_deadlock_nor_double() -> None:
    chance = random.Random(seed())
    numbers = list(range(200))

    def bulk() -> object:
        order = chance.sample(numbers, 150)
        return submit_bulk([JobRequest("test.echo", {"number": number}) for number in order], owner="ada")

    answers = in_threads(*[bulk] * 6)
    created = sum(item.created for answer in answers for item in answer)  # type: ignore[attr-defined]
    assert created == Job.objects.count()
    assert Job.objects.values("request_hash").distinct().count() == Job.objects.count()
