"""Two bridges as production runs them, killed and stopped under load: each hint gives exactly one message."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from pytest_django.fixtures import Settings

from dispatch import Hint, Priority, ensure_dispatched, messages
from dispatch import testing as dispatch_testing
from tests.integration.jobs.scenario import seed
from tests.integration.worker.conftest import Stack, await_true, submit
from tests.servers.redis_server import RedisProcess
from tests.servers.worker import BridgeProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

JOBS = 6000
#: Hints of one dispatch, and the pause between two: faults meet a stream that is never idle.
BURST, PAUSE_SECONDS = 20, 0.05
#: At least so many while hints come.
FAULTS = 3


@pytest.fixture(autouse=True)
def _stream_mode(settings: Settings) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"ndvi_queue_backend": "stream"})
    dispatch_testing.reset()


@pytest.fixture
def bridges(stack: Stack) -> list[BridgeProcess]:
    stack.environment |= {"NDVI_STREAM_BATCH_SIZE": "10", "NDVI_STREAM_CLAIM_IDLE_MS": "1000"}
    return [stack.bridge(f"bridge-{number}") for number in (1, 2)]


@contextmanager
def hints_keep_coming(jobs: list[UUID], *, until: threading.Event | None = None) -> Iterator[threading.Event]:
    """Sends one hint per job in small bursts, the last not before `until`; yields an event: Redis took all of them."""
    done, stop = threading.Event(), threading.Event()

    def send() -> None:
        for first in range(0, len(jobs), BURST):
            burst = jobs[first : first + BURST]
            if until and burst[-1] == jobs[-1] and not until.wait(300):
                return
            hints = [Hint(job, 1, "probe.fast", "fast", Priority.NORMAL, "ab" * 32, "", 1) for job in burst]
            ensure_dispatched(hints, timeout_seconds=120)
            if stop.wait(PAUSE_SECONDS):
                return
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield done
    finally:
        stop.set()
        sender.join(timeout=150)


def message_counts(redis_server: RedisProcess) -> Counter[str]:
    with redis_server.client() as client:
        raw = [message for name in messages.ready_lists("fast") for message in client.lrange(name, 0, -1)]
    return Counter(f"{job}-{gen}" for message in raw for job, gen in messages.named_by(message).items())


def await_empty(redis_server: RedisProcess, stream: str) -> None:
    with redis_server.client() as client:
        await_true(lambda: client.xlen(stream) == 0, "the stream did not run empty")


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGTERM"])
def test_two_bridges_and_restarts_lose_and_duplicate_nothing(
    bridges: list[BridgeProcess], redis_server: RedisProcess, settings: Settings, fault: str
) -> None:
    chance = random.Random(seed())
    jobs = [job for _ in range(JOBS // 1000) for job in submit(1000)]
    restarts, enough = 0, threading.Event()
    with hints_keep_coming(jobs, until=enough) as done:
        while not done.is_set():
            bridge = bridges[chance.randrange(2)]
            done.wait(chance.uniform(0.1, 0.5))
            if fault == "SIGKILL":
                bridge.kill()
            else:
                assert bridge.terminate() == 0
            bridge.start()
            restarts += 1
            if restarts == FAULTS:
                enough.set()
    await_empty(redis_server, settings.HOLDFAST.ndvi_stream_name)
    counts = message_counts(redis_server)
    assert set(counts) == {f"{job}-1" for job in jobs}
    assert [task for task, count in counts.items() if count > 1] == []
    assert redis_server.denied() == []


def test_a_frozen_bridge_that_thaws_publishes_nothing_again(
    bridges: list[BridgeProcess], redis_server: RedisProcess, settings: Settings
) -> None:
    chance = random.Random(seed())
    jobs = [job for _ in range(3) for job in submit(1000)]
    frozen, enough = 0, threading.Event()
    with hints_keep_coming(jobs, until=enough) as done:
        while not done.is_set():
            bridge = bridges[frozen % 2]
            bridge.freeze()
            done.wait(chance.uniform(1.5, 2.5))  # longer than NDVI_STREAM_CLAIM_IDLE_MS: its entries are claimed
            bridge.thaw()
            frozen += 1
            if frozen == FAULTS:
                enough.set()
    await_empty(redis_server, settings.HOLDFAST.ndvi_stream_name)
    counts = message_counts(redis_server)
    assert set(counts) == {f"{job}-1" for job in jobs}
    assert [task for task, count in counts.items() if count > 1] == []


def test_a_full_redis_delays_and_loses_nothing(
    bridges: list[BridgeProcess], redis_server: RedisProcess, settings: Settings
) -> None:
    jobs = submit(1000)
    with redis_server.operator() as operator:
        usual = operator.config_get("maxmemory")["maxmemory"]
        try:
            with hints_keep_coming(jobs) as done:
                for _ in range(3):
                    operator.config_set("maxmemory", operator.info("memory")["used_memory"])
                    done.wait(1.5)
                    operator.config_set("maxmemory", usual)
                    done.wait(0.5)
                await_true(done.is_set, "Redis did not take the hints once it had memory")
        finally:
            operator.config_set("maxmemory", usual)
    await_empty(redis_server, settings.HOLDFAST.ndvi_stream_name)
    # A refused dispatch is repeated as a whole, so a hint may be there twice; the bridge adds none to that.
    assert set(message_counts(redis_server)) == {f"{job}-1" for job in jobs}
