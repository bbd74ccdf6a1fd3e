"""Workers and bridges as child processes over the test database."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from dispatch import Hint, Priority, ensure_dispatched
from dispatch import testing as dispatch_testing
from jobs.models import Job, ProbeCount
from jobs.requests import JobRequest
from jobs.submission import submit_bulk
from tests.servers.plugin import Servers
from tests.servers.postgres import PostgresProcess
from tests.servers.waiting import wait_until
from tests.servers.worker import AppProcess, BridgeProcess, SweeperProcess, WorkerProcess


@pytest.fixture(autouse=True)
def _own_dispatch(transactional_db: None) -> Iterator[None]:
    """The children see only what is committed, hence `transactional_db`."""
    dispatch_testing.reset()
    yield
    dispatch_testing.reset()


class Stack:
    """Starts roles and stops them after the test."""

    def __init__(self, parent: Path, environment: dict[str, str]) -> None:
        self.parent = parent
        self.environment = environment
        self.started: list[AppProcess] = []

    def worker(
        self, pool: str, *, name: str = "", concurrency: int | None = None, kind: type[WorkerProcess] = WorkerProcess
    ) -> WorkerProcess:
        made = kind(pool, parent=self.parent, environment=self.environment, name=name, concurrency=concurrency)
        return self._start(made)

    def bridge(self, name: str = "bridge-1") -> BridgeProcess:
        return self._start(BridgeProcess(parent=self.parent, environment=self.environment, name=name))

    def sweeper(self, name: str = "sweeper") -> SweeperProcess:
        return self._start(SweeperProcess(parent=self.parent, environment=self.environment, name=name))

    def stop(self) -> None:
        for process in self.started:
            process.kill()

    def logs(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.log_tail(60)}" for process in self.started)

    def _start[P: AppProcess](self, process: P) -> P:
        self.started.append(process)
        process.start()
        return process


@pytest.fixture
def stack(servers: Servers, postgres: PostgresProcess, request: pytest.FixtureRequest) -> Iterator[Stack]:
    environment = {"DATABASE_URL": postgres.url_for(str(connection.settings_dict["NAME"]))}
    with tempfile.TemporaryDirectory(prefix="holdfast-roles-", dir=servers.parent, ignore_cleanup_errors=True) as name:
        parent = Path(name)
        parent.chmod(0o755)
        stack = Stack(parent, environment)
        try:
            yield stack
        finally:
            sys.stdout.write(stack.logs())
            stack.stop()


def submit(count: int, *, kind: str = "probe.fast", **params: object) -> list[UUID]:
    """Accepts jobs without hinting them: no sweeper has seen the pools."""
    requests = [JobRequest(kind, {"tag": str(number), **params}, force=True) for number in range(count)]
    with dispatch_testing.recording():
        return [submitted.job.id for submitted in submit_bulk(requests, owner="worker-test")]


def hint(job_ids: Sequence[UUID], *, batchable: bool = False) -> None:
    """Hands hints to the broker, as submit and sweeper do. Those of batchable jobs may share messages."""
    rows = Job.objects.filter(id__in=job_ids)
    hints = [
        Hint(row.id, row.dispatch_gen, row.kind, row.pool, Priority(row.priority), row.request_hash, "", 0, batchable)
        for row in rows
    ]
    ensure_dispatched(hints, timeout_seconds=60)


def await_finished(job_ids: Sequence[UUID], *, seconds: float = 180.0) -> None:
    """Waits until all are SUCCEEDED, and checks that each effect was applied once.

    Does for what a busy machine could not start in time what the sweeper does: it is hinted again.
    """
    again: set[tuple[UUID, int]] = set()

    def unfinished() -> list[str]:
        rows = list(Job.objects.filter(id__in=job_ids).exclude(state="SUCCEEDED"))
        if back := [row for row in rows if was_handed_back(row) and (row.id, row.lease_token) not in again]:
            again.update((row.id, row.lease_token) for row in back)
            hint([row.id for row in back])
        return [f"{row.id} {row.state}" for row in rows]

    wait_until(lambda: not unfinished(), f"{len(job_ids)} jobs did not finish", seconds=seconds, every=0.05)
    counts = dict(ProbeCount.objects.filter(job_id__in=job_ids).values_list("job_id", "n"))
    assert counts == dict.fromkeys(job_ids, 1)


def was_handed_back(job: Job) -> bool:
    """Claimed in a batch, and not started in the time that a batch has for it."""
    return (job.state, job.attempt) == ("QUEUED", 0) and job.lease_token > 0


def await_renewed(job: Job) -> None:
    """Waits until its worker has renewed the lease since: from now on it would notice its loss."""
    wait_until(
        lambda: Job.objects.get(id=job.id).lease_until != job.lease_until, "the lease was not renewed", seconds=180
    )


def await_running(job_id: UUID, *, seconds: float = 180.0) -> Job:
    def running() -> Job | None:
        return Job.objects.filter(id=job_id, state="RUNNING").first()

    found = wait_until(running, "the job was not claimed", seconds=seconds)
    assert found is not None
    return found


def await_true(check: Callable[[], object], sentence: str, *, seconds: float = 180.0) -> None:
    wait_until(check, sentence, seconds=seconds, every=0.05)
