"""What bridge, workers and sweeper write down of themselves, one of them killed, is clean to the checker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

import history
from dispatch import testing as dispatch_testing
from jobs.models import Job
from tests.integration.recorded import events, verdict
from tests.integration.worker.conftest import Stack, await_finished, await_running, hint, submit
from tests.servers.process import hand_over

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]


@pytest.fixture
def folder(stack: Stack) -> Iterator[Path]:
    """Where this process and the roles of the stack write."""
    folder = stack.parent / "history"
    folder.mkdir()
    hand_over(folder)
    stack.environment |= {"HOLDFAST_HISTORY": "1", "HISTORY_DIR": str(folder)}
    history.start(folder)
    yield folder
    history.stop()


def test_a_run_with_a_killed_worker_is_clean(stack: Stack, folder: Path, settings: Settings) -> None:
    stack.environment["NDVI_QUEUE_BACKEND"] = "stream"
    settings.HOLDFAST = settings.HOLDFAST.model_copy(update={"ndvi_queue_backend": "stream"})
    dispatch_testing.reset()
    worker = stack.worker("fast", concurrency=2)
    stack.bridge()
    stack.sweeper()
    jobs = submit(20, work_ms=20)
    [long] = submit(1, work_ms=8000)
    hint([long])
    await_running(long)
    hint(jobs)
    worker.kill()
    stack.worker("fast", name="worker-again", concurrency=2)
    await_finished([*jobs, long])
    actors = {event["actor"].split("-")[0] for event in events(folder, "claim", "bridge", "dispatch", "finish")}
    assert {"bridge", "sweeper", "worker"} <= actors
    claims = {event["actor"] for event in events(folder, "claim")}
    assert len(claims) >= 2, "each child writes to a file of its own"
    killed = [event for event in events(folder, "claim") if event["job"] == str(long)]
    assert [event["token"] for event in killed if event["type"] == "ok"] == [1, 2]
    assert Job.objects.get(id=long).attempt == 2
    status, said = verdict(folder)
    assert status == 0, said
    assert "21 jobs: 21 accepted, 21 ended" in said
