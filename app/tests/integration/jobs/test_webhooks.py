"""A job's end is told to its callback_url: the webhook comes with the transition, or not at all, and is sent once."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from pydantic import SecretStr
from pytest_django.fixtures import Settings
from standardwebhooks import Webhook

from exporter.invariants import QUERIES
from jobs import effects
from jobs.cancellation import cancel
from jobs.claim import hand_back
from jobs.context import Done, FollowUp, JobContext
from jobs.errors import InvalidRequest, NotCancellable, Permanent, Retryable, StaleLease
from jobs.execution import run_job
from jobs.finish import fail, finish
from jobs.models import DeadLetter, Effect, Job, JobEvent
from jobs.replays import Caller, replay
from jobs.schedules import schedule
from jobs.submission import JobRequest, submit, submit_bulk
from jobs.sweeper import Sweeper
from jobs.webhooks import delivery
from jobs.webhooks.creation import KIND
from jobs.webhooks.delivery import CAP_SECONDS
from tests.integration.jobs.scenario import claimed, move_back, submit_echo
from tests.servers.receiver import Receiver, receiving, status

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
URL = "https://example.org/done"


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    """A receiver on loopback, which is opened; the worker has the secret."""
    opened = {"webhook_allow_cidrs": (ip_network("127.0.0.0/8"),), "webhook_secret": SecretStr(SECRET)}
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update=opened)
    with receiving() as made:
        yield made


def with_callback(url: str = URL, number: int = 0, **options: Any) -> Job:  # noqa: ANN401
    return submit_echo(number, callback_url=url, **options)


def webhooks() -> list[Job]:
    return list(Job.objects.filter(kind=KIND).order_by("id"))


def webhook_of(job: Job) -> Job:
    return Job.objects.get(kind=KIND, identity=f"step:{job.id}:webhook")


def run(job: Job) -> str:
    return run_job(job.id, gen=1, leased_by="w1")


def succeeded(receiver: Receiver, number: int = 0) -> Job:
    """The webhook of a job that has succeeded."""
    job = with_callback(receiver.url, number)
    finish(claimed(job), Done())
    return webhook_of(job)


def dead_letter_of(job: Job) -> DeadLetter:
    return DeadLetter.objects.get(job_id=job.id)


def violations() -> int:
    with connection.cursor() as cursor:
        cursor.execute(QUERIES["end_without_webhook"])
        return int(cursor.fetchone()[0])


# -- it comes with the transition -------------------------------------------------------------------------------------
def succeed(job: Job) -> None:
    finish(claimed(job), Done())


def fail_for_good(job: Job) -> None:
    fail(claimed(job), Permanent("no"))


def cancel_queued(job: Job) -> None:
    cancel(job.id, owner="ada")


def cancel_running(job: Job) -> None:
    claimed(job)
    cancel(job.id, owner="ada")


def lose(job: Job) -> None:
    Job.objects.filter(id=job.id).update(max_attempts=1)
    claimed(job)
    move_back(job, 60)
    sweeper = Sweeper()
    sweeper._trusts_leases = lambda _: True  # type: ignore[method-assign]
    assert sweeper.tick().failed_lost == 1


ENDS = {
    succeed: "SUCCEEDED",
    fail_for_good: "FAILED",
    cancel_queued: "CANCELLED",
    cancel_running: "CANCELLED",
    lose: "FAILED",
}


@pytest.mark.parametrize("end", ENDS)
def test_every_way_to_end_makes_one_webhook(end: Any) -> None:  # noqa: ANN401
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    submitted = submit(
        "test.echo", owner="ada", params={}, farm_id="farm", priority="low", callback_url=URL, traceparent=trace
    )
    job = Job.objects.get(id=submitted.job.id)
    end(job)
    [webhook] = webhooks()
    assert Job.objects.get(id=job.id).state == ENDS[end]
    assert (webhook.state, webhook.pool, webhook.callback_url) == ("QUEUED", "io", "")
    assert (webhook.owner, webhook.farm_id, webhook.priority, webhook.traceparent) == ("ada", "farm", 6, trace)
    assert (webhook.identity, webhook.parent_id) == (f"step:{job.id}:webhook", job.id)
    assert webhook.params == {"job": str(job.id), "url": URL}
    assert violations() == 0


@pytest.mark.parametrize("end", ENDS)
def test_without_a_callback_url_there_is_none(end: Any) -> None:  # noqa: ANN401
    end(submit_echo())
    assert webhooks() == []


def test_what_does_not_end_a_job_makes_none() -> None:
    job = with_callback()
    fail(claimed(job), Retryable("again", after=0.0))
    hand_back([claimed(job).id], "worker-1")
    assert Job.objects.get(id=job.id).state == "QUEUED"
    assert webhooks() == []


def test_a_transition_that_rolls_back_leaves_none() -> None:
    def burst() -> None:
        raise RuntimeError("an effect fails")

    job = with_callback()
    with pytest.raises(RuntimeError):
        finish(claimed(job), Done(effects=[burst]))
    with transaction.atomic():
        cancel(job.id, owner="ada")
        assert len(webhooks()) == 1
        transaction.set_rollback(True)
    assert Job.objects.get(id=job.id).state == "RUNNING"
    assert webhooks() == []


def test_a_transition_whose_webhook_cannot_be_made_does_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object, **__: object) -> None:
        raise RuntimeError("no webhook")

    job = with_callback()
    monkeypatch.setattr("jobs.webhooks.creation.submission.insert", burst)
    lease = claimed(job)
    for end in (lambda: finish(lease, Done()), lambda: fail(lease, Permanent("no"))):
        with pytest.raises(RuntimeError):
            end()
    with pytest.raises(RuntimeError):
        cancel(job.id, owner="ada")
    assert Job.objects.get(id=job.id).state == "RUNNING"


def test_a_stale_finish_makes_none() -> None:
    job = with_callback()
    stale = claimed(job)
    move_back(job, 60)
    finish(claimed(job), Done())
    for late in (lambda: finish(stale, Done()), lambda: fail(stale, Permanent("no"))):
        with pytest.raises(StaleLease):
            late()
    with pytest.raises(NotCancellable):
        cancel(job.id, owner="ada")
    assert len(webhooks()) == 1


def test_a_webhook_has_no_webhook(receiver: Receiver) -> None:
    receiver.answer = status(410)
    webhook = succeeded(receiver)
    assert run(webhook) == "failed"
    assert dead_letter_of(webhook).kind == KIND
    assert webhooks() == [webhook]


# -- nobody else can make one -----------------------------------------------------------------------------------------
def test_the_kind_cannot_be_submitted() -> None:
    params = {"job": "00000000-0000-0000-0000-000000000000", "url": URL}
    attempts = (
        lambda: submit(KIND, owner="ada", params=params),
        lambda: submit_bulk([JobRequest(KIND, params)], owner="ada"),
        lambda: schedule("s", owner="ada", cron="* * * * *", kind=KIND, params=params),
    )
    for attempt in attempts:
        with pytest.raises(InvalidRequest, match="unknown kind") as caught:
            attempt()
        assert KIND not in str(caught.value).partition("use one of")[2]


def test_no_follow_up_takes_the_place_of_a_webhook() -> None:
    with pytest.raises(ValueError, match="call the step something else"):
        FollowUp(step="webhook", kind="test.echo", params={})


@pytest.mark.parametrize("url", ["ftp://h/", "https://u:p@h/", "https://h/#f", "nonsense", "https://h/" + "x" * 2000])
def test_a_bad_url_is_named_at_submit(url: str) -> None:
    with pytest.raises(InvalidRequest, match="callback_url"):
        with_callback(url)


def test_where_a_url_leads_is_not_asked_at_submit() -> None:
    for number, url in enumerate(["http://127.0.0.1/", "https://postgres:5432/", "https://no-such-name.invalid/"]):
        assert with_callback(url, number).callback_url == url


# -- what is sent -----------------------------------------------------------------------------------------------------
def test_the_receiver_gets_a_signed_event(receiver: Receiver) -> None:
    job = with_callback(receiver.url, farm_id="farm")
    finish(claimed(job), Done())
    assert run(webhook_of(job)) == "succeeded"
    [got] = receiver.requests
    Webhook(SECRET).verify(got.body, got.headers)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.{got.body}".encode()
    by_hand = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    assert got.headers["webhook-signature"] == f"v1,{by_hand}"
    assert got.key == effects.key_of(job.id, "webhook:job.succeeded")
    assert got.headers["content-type"] == "application/json"
    job.refresh_from_db()
    sent = json.loads(got.body)
    assert sent.pop("timestamp") == job.finished_at.isoformat()  # type: ignore[union-attr]
    assert sent == {
        "type": "job.succeeded",
        "data": {
            "id": str(job.id),
            "kind": "test.echo",
            "farm_id": "farm",
            "status": "SUCCEEDED",
            "url": f"/api/v1/jobs/{job.id}",
            "error": None,
        },
    }


def test_the_published_vector_of_standard_webhooks() -> None:
    """From the specification's reference libraries; the time is not now, so nothing but the signature is compared."""
    secret, message = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = Webhook(secret).sign(message, datetime.fromtimestamp(1614265330, UTC), '{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_failure_says_why(receiver: Receiver) -> None:
    job = with_callback(receiver.url)
    fail(claimed(job), Permanent("the scene is gone"))
    run(webhook_of(job))
    sent = json.loads(receiver.requests[0].body)
    assert sent["type"] == "job.failed"
    assert sent["data"]["error"] == {"error_class": "Permanent", "message": "the scene is gone"}


def test_each_attempt_sends_the_same_bytes_under_the_same_key(receiver: Receiver) -> None:
    receiver.answer = status(503)
    webhook = succeeded(receiver)
    for _ in range(3):
        assert run(webhook) == "retried"
        move_back(webhook, CAP_SECONDS + 1)
    assert len({(got.key, got.body) for got in receiver.requests}) == 1
    assert len(receiver.requests) == 3
    assert list(receiver.applied.values()) == [1]


# -- what the answer does ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code)
    webhook = succeeded(receiver)
    assert run(webhook) == "succeeded"
    effect = Effect.objects.get()
    assert (effect.state, effect.name, effect.detail["status"]) == ("done", "webhook:job.succeeded", code)
    webhook.refresh_from_db()
    assert webhook.result == {"webhook_id": receiver.requests[0].key, "status": code}


@pytest.mark.parametrize("code", [301, 302, 307, 308, 400, 401, 404, 410, 422])
def test_what_repeating_cannot_mend_is_dead_at_once(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code, Location=receiver.url)
    webhook = succeeded(receiver)
    assert run(webhook) == "failed"
    letter = dead_letter_of(webhook)
    assert (letter.reason, letter.error_class, letter.owner) == ("permanent", "ReceiverRefused", "ada")
    assert str(code) in letter.error_message
    assert len(receiver.requests) == 1
    assert Effect.objects.get().state == "intended"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_repeated(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code)
    webhook = succeeded(receiver)
    assert run(webhook) == "retried"
    webhook.refresh_from_db()
    assert (webhook.state, webhook.error_class) == ("QUEUED", "ReceiverUnavailable")


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("30", 30, 33),
        ("999999999", CAP_SECONDS, 1.1 * CAP_SECONDS),
        ("Wed, 21 Oct 2150 07:28:00 GMT", CAP_SECONDS, 1.1 * CAP_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 0, 2),
        ("-5", 0, 2),
    ],
)
def test_retry_after_is_honoured_within_bounds(receiver: Receiver, asked: str, least: float, most: float) -> None:
    receiver.answer = status(429, Retry_After=asked)
    webhook = succeeded(receiver)
    assert run(webhook) == "retried"
    webhook.refresh_from_db()
    event = JobEvent.objects.get(job_id=webhook.id, event="retried")
    assert webhook.not_before is not None
    assert least - 0.1 <= (webhook.not_before - event.at).total_seconds() <= most + 0.1


def test_a_receiver_that_never_comes_back_ends_as_a_dead_letter(receiver: Receiver) -> None:
    receiver.answer = status(500)
    webhook = succeeded(receiver)
    outcomes = []
    for _ in range(delivery.MAX_ATTEMPTS):
        outcomes.append(run(webhook))
        move_back(webhook, CAP_SECONDS + 1)
    assert outcomes == ["retried"] * (delivery.MAX_ATTEMPTS - 1) + ["failed"]
    assert dead_letter_of(webhook).reason == "attempts_exhausted"


def test_a_dead_webhook_can_be_replayed_under_the_same_key(receiver: Receiver) -> None:
    receiver.answer = status(404)
    webhook = succeeded(receiver)
    run(webhook)
    receiver.answer = status(200)
    again = Job.objects.get(id=replay(dead_letter_of(webhook).id, Caller("ada")).job.id)
    assert run(again) == "succeeded"
    assert len({got.key for got in receiver.requests}) == 1
    assert list(receiver.applied.values()) == [1]


def test_a_receiver_inside_is_blocked_unless_its_network_is_opened(receiver: Receiver, settings: Settings) -> None:
    opened = settings.HOLDFAST.webhook_allow_cidrs
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"webhook_allow_cidrs": ()})
    webhook = succeeded(receiver)
    assert run(webhook) == "failed"
    letter = dead_letter_of(webhook)
    assert (letter.reason, letter.error_class) == ("permanent", "AddressRefused")
    assert "WEBHOOK_ALLOW_CIDRS" in letter.error_message
    assert receiver.connections == 0
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"webhook_allow_cidrs": opened})
    again = Job.objects.get(id=replay(letter.id, Caller("ada")).job.id)
    assert run(again) == "succeeded"
    assert receiver.connections == 1


def test_a_worker_without_the_secret_says_so_and_sends_nothing(receiver: Receiver, settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"webhook_secret": None})
    webhook = succeeded(receiver)
    assert run(webhook) == "retried"
    webhook.refresh_from_db()
    assert "make up" in webhook.error_message
    assert receiver.connections == 0


# -- once, whatever is repeated ---------------------------------------------------------------------------------------
def test_an_attempt_after_a_lost_confirmation_repeats_the_call_under_its_key(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise Retryable("the worker died here", after=0.0)

    webhook = succeeded(receiver)
    with monkeypatch.context() as patched:
        patched.setattr(effects, "confirm", lost)
        assert run(webhook) == "retried"
    assert run(webhook) == "succeeded"
    assert len(receiver.requests) == 2
    assert list(receiver.applied.values()) == [1]


def test_a_replayed_job_that_fails_again_is_not_told_twice(receiver: Receiver) -> None:
    job = with_callback(receiver.url)
    fail(claimed(job), Permanent("no"))
    run(webhook_of(job))
    again = Job.objects.get(id=replay(dead_letter_of(job).id, Caller("ada")).job.id)
    fail(claimed(again), Permanent("no"))
    webhook = webhook_of(again)
    assert run(webhook) == "succeeded"
    webhook.refresh_from_db()
    assert webhook.result == {"webhook_id": receiver.requests[0].key, "status": None}
    assert len(receiver.requests) == 1


def test_a_replayed_job_that_then_succeeds_is_told_as_another_event(receiver: Receiver) -> None:
    job = with_callback(receiver.url)
    fail(claimed(job), Permanent("no"))
    run(webhook_of(job))
    again = Job.objects.get(id=replay(dead_letter_of(job).id, Caller("ada")).job.id)
    finish(claimed(again), Done())
    run(webhook_of(again))
    types = [json.loads(got.body)["type"] for got in receiver.requests]
    keys = [effects.key_of(job.id, f"webhook:{name}") for name in types]
    assert types == ["job.failed", "job.succeeded"]
    assert [got.key for got in receiver.requests] == keys


def test_replaying_a_webhook_does_not_stand_in_for_its_job(receiver: Receiver) -> None:
    receiver.answer = status(404)
    job = with_callback(receiver.url)
    fail(claimed(job), Permanent("no"))
    webhook = webhook_of(job)
    run(webhook)
    replay(dead_letter_of(webhook).id, Caller("ada"))
    answer = replay(dead_letter_of(job).id, Caller("ada"))
    assert answer.created
    assert answer.job.kind == "test.echo"


def test_a_replay_after_retention_still_knows_where_to_and_names_the_job(receiver: Receiver) -> None:
    receiver.answer = status(404)
    webhook = succeeded(receiver)
    run(webhook)
    Job.objects.update(finished_at=timezone.now() - timedelta(days=31))
    call_command("prune_jobs")
    receiver.answer = status(200)
    again = Job.objects.get(id=replay(dead_letter_of(webhook).id, Caller("ada")).job.id)
    assert run(again) == "succeeded"
    assert json.loads(receiver.requests[-1].body)["data"]["id"] == webhook.params["job"]


def test_the_webhook_of_a_forgotten_job_is_dead(receiver: Receiver) -> None:
    webhook = succeeded(receiver)
    Job.objects.filter(id=webhook.params["job"]).delete()
    assert run(webhook) == "failed"
    assert re.search("retention", dead_letter_of(webhook).error_message)


def test_an_attempt_that_lost_its_lease_sends_nothing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = succeeded(receiver)
    monkeypatch.setattr(JobContext, "seconds_left", lambda _: 0.0)
    assert run(webhook) == "retried"
    assert receiver.connections == 0
