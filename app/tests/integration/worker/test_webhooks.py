"""Workers that die between a webhook's call and its confirmation: the receiver sees one key, and one effect."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from jobs import effects
from jobs.cancellation import cancel
from jobs.models import Effect, Job
from jobs.submission import submit
from jobs.webhooks.creation import KIND
from tests.integration.jobs.scenario import move_back
from tests.integration.worker.conftest import Stack, await_true, hint
from tests.servers.receiver import Receiver, receiving, status
from tests.servers.worker import WorkerProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

KILLS = 3
JOBS = 8


class Held:
    """Answers only when told: until then every request it got is a call without a confirmation."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.waiting = 0
        self._lock = threading.Lock()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.waiting += 1
        self.release.wait(600)
        status(204)(handler)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def receiver(stack: Stack, held: Held) -> Iterator[Receiver]:
    secret = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
    stack.environment |= {"WEBHOOK_SECRET": secret, "WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8"}
    with receiving(answer=held) as made:
        try:
            yield made
        finally:
            held.release.set()


def ended_jobs(url: str) -> list[Job]:
    """Jobs that are terminal; each has its webhook."""
    made = []
    for number in range(JOBS):
        submitted = submit("probe.fast", owner="ada", params={"tag": str(number)}, callback_url=url)
        cancel(submitted.job.id, owner="ada")
        made.append(Job.objects.get(id=submitted.job.id))
    return made


def webhooks() -> list[Job]:
    return list(Job.objects.filter(kind=KIND))


def hint_open() -> None:
    """What the sweeper does, with leases that have run out: so much time passes here as a lease takes."""
    rows = [row for row in webhooks() if row.is_open]
    for row in rows:
        move_back(row, 60)
    hint([row.id for row in rows])


def kill_while_it_waits(stack: Stack, held: Held, number: int) -> None:
    before = held.waiting
    worker: WorkerProcess = stack.worker("io", name=f"worker-io-{number}")
    hint_open()
    await_true(lambda: held.waiting >= before + JOBS, f"worker {number} called the receiver for each job")
    worker.kill()


def test_a_receiver_that_obeys_the_key_sees_one_effect_however_often_the_worker_is_killed(
    stack: Stack, receiver: Receiver, held: Held
) -> None:
    jobs = ended_jobs(receiver.url)
    for number in range(KILLS):
        kill_while_it_waits(stack, held, number)
    assert set(Effect.objects.values_list("state", flat=True)) == {"intended"}
    held.release.set()
    stack.worker("io", name="worker-io-last")
    hint_open()
    await_true(lambda: {row.state for row in webhooks()} == {"SUCCEEDED"}, "all were delivered")
    assert {row.attempt for row in webhooks()} == {KILLS + 1}
    assert len(receiver.requests) == JOBS * (KILLS + 1)
    keys = {effects.key_of(job.id, "webhook:job.cancelled") for job in jobs}
    assert receiver.applied == dict.fromkeys(keys, 1)
    assert set(Effect.objects.values_list("state", flat=True)) == {"done"}
