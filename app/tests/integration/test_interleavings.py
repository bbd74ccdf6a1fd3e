"""Any order of steps, with deaths at any call to a server: history, rows and invariants keep what was promised.

HOLDFAST_SEED=2 takes the seeds 5 to 8.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

import history
from dispatch import testing as dispatch_testing
from jobs import admission
from jobs.models import DeadLetter, JobEvent
from tests.integration.interleaving.run import Interleaving, refuse_void
from tests.integration.interleaving.worlds import BRIDGE_ALONE, EVERY_FAULT, World
from tests.integration.jobs.conftest import transactional_db as transactional_db  # a fixture here, too
from tests.integration.jobs.scenario import empty_tables
from tests.integration.recorded import events
from tests.servers.redis_server import RedisProcess

pytestmark = [pytest.mark.usefixtures("transactional_db"), pytest.mark.timeout(300)]

SEEDS = 4
STEPS = 120


@pytest.fixture(autouse=True)
def stream_mode(settings: Settings) -> Iterator[None]:
    """With more patience than a request has: a hint that a busy machine delays is no fault of this test."""
    settings.HOLDFAST = settings.HOLDFAST.model_copy(
        update={"ndvi_queue_backend": "stream", "dispatch_budget_ms": 10_000}
    )
    _forget()
    yield
    _forget()


def _forget() -> None:
    dispatch_testing.reset()
    admission.forget()


@pytest.mark.parametrize("world", [EVERY_FAULT, BRIDGE_ALONE], ids=lambda world: world.name)
def test_any_order_of_steps_and_deaths_keeps_the_promises(
    world: World, redis_server: RedisProcess, tmp_path: Path, settings: Settings
) -> None:
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"dispatch_window": world.window})
    seen: Counter[str] = Counter()
    first = SEEDS * (int(os.environ.get("HOLDFAST_SEED", "1")) - 1) + 1
    for seed in range(first, first + SEEDS):
        empty_tables()
        redis_server.flush()
        _forget()
        folder = tmp_path / str(seed) / "history"
        history.start(folder)
        assert history.recorder is not None
        try:
            run = Interleaving(seed, world, redis_server, folder, history.recorder)
            run.run(STEPS)
        finally:
            history.stop()
        seen += run.seen + _told_by(folder)
    refuse_void(seen, world.sometimes)


def _told_by(folder: Path) -> Counter[str]:
    return Counter(
        {
            "rescued": JobEvent.objects.filter(event="rescued").count(),
            "dead letter": DeadLetter.objects.filter(reason="attempts_exhausted").count(),
            "entry suppressed": sum(event["type"] == "fail" for event in events(folder, "bridge")),
        }
    )
