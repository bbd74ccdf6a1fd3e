"""Holdfast's bridge as a consumer under test, with its producer, its jobs and its sweeper. Needs a committing database.

An item is a job of kind probe.fast. Its work is begun when the bridge publishes a message; what a worker does with the
message is done here, in the test's own process, by the function that the Celery task calls.
"""

import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.db import connection

import dispatch
from dispatch import Hint, Priority, ensure_dispatched, messages
from dispatch import testing as dispatch_testing
from exporter.redis_truth import look_at_stream
from jobs.execution import run_jobs
from jobs.models import DeadLetter, Job, ProbeCount
from jobs.requests import JobRequest
from jobs.submission import submit_bulk
from jobs.sweeper import Sweeper
from tests.contract.stream_consumers.consumer import Consumer
from tests.integration.jobs.scenario import see_pools
from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.worker import AppProcess, BridgeProcess

POOL = "fast"
DELETED_PENDING = "bridge_stream_deleted_pending_total"


class Bridge(Consumer):
    """The process of compose.yaml's `bridge`."""

    stream, group = "holdfast:jobs", "bridge"

    def __init__(self, node: RedisProcess, folder: Path, postgres: PostgresProcess) -> None:
        super().__init__(node, folder)
        self._postgres = postgres
        self._database = str(connection.settings_dict["NAME"])
        self._messages: Counter[str] = Counter()
        self._sweeper = Sweeper()
        self._sweeper.tick()  # knows this Redis from now on

    def process(self, name: str) -> AppProcess:
        environment = {
            "DATABASE_URL": self._postgres.url_for(self._database),
            "REDIS_URL": self.node.bare_url,
            "DOMAIN_APPS": "",  # it starts faster, and knows no kind anyway
            "NDVI_STREAM_NAME": self.stream,
            "NDVI_STREAM_GROUP": self.group,
            "NDVI_STREAM_BATCH_SIZE": str(self.batch_size),
            "NDVI_STREAM_BLOCK_MS": "200",
            "NDVI_STREAM_CLAIM_IDLE_MS": str(self.claim_idle_ms),
        }
        return BridgeProcess(parent=self.folder, environment=environment, name=name)

    def send(self, items: Sequence[str]) -> None:
        """With more patience than a request has: a busy machine would leave the hints to the sweeper."""
        with dispatch_testing.recording() as accepted:
            self._submit(items)
        self._hint(accepted.hints)

    def send_in_a_request(self, item: str) -> None:
        self._submit([item])

    def send_again(self, item: str) -> None:
        self._hint(self._hints([item]))

    def send_at(self, item: str, due: datetime) -> None:
        self._submit([item], not_before=due)

    @contextmanager
    def in_work(self, items: Sequence[str]) -> Iterator[None]:
        """The bridge has its entries until Postgres answers which jobs are open."""
        with dispatch_testing.recording() as accepted:
            self._submit(items)
        with self._postgres.connect(self._database) as other, other.transaction():
            other.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
            with self._taken():
                self._hint(accepted.hints)
            yield

    def begun(self) -> Counter[str]:
        self._work()
        return self._messages

    def applied(self, *, with_sweeper: bool = False) -> Counter[str]:
        if with_sweeper:
            self._sweeper.tick()
        self._work()
        counts = dict(ProbeCount.objects.values_list("job_id", "n"))
        return Counter({tag: counts[job] for job, tag in self._tags().items() if job in counts})

    def lost_and_told(self, entry_ids: Sequence[str]) -> int:
        return int(sum(_metric(process, DELETED_PENDING) for process in self._processes.values()))

    def set_aside(self) -> Collection[str]:
        return set(DeadLetter.objects.values_list("original_id", flat=True))

    def backlog(self) -> list[int | None]:
        """What the sweeper and the exporter go by."""
        stream = look_at_stream(self.operator, self.stream, self.group)
        return [dispatch.ready_depth(POOL), stream.length - stream.pending, stream.lag]

    # -- jobs ---------------------------------------------------------------------------------------------------------
    def _submit(self, items: Sequence[str], *, not_before: datetime | None = None) -> None:
        see_pools()
        requests = [JobRequest("probe.fast", {"tag": item}, not_before=not_before, force=True) for item in items]
        submit_bulk(requests, owner="traps")

    def _hints(self, items: Sequence[str]) -> list[Hint]:
        rows = {row.params["tag"]: row for row in Job.objects.filter(params__tag__in=list(items))}
        return [
            Hint(row.id, row.dispatch_gen, row.kind, row.pool, Priority(row.priority), row.request_hash, "", 0)
            for row in (rows[item] for item in items)
        ]

    def _hint(self, hints: Sequence[Hint]) -> None:
        ensure_dispatched(hints, timeout_seconds=60)

    def _tags(self) -> dict[UUID, str]:
        return {job: params["tag"] for job, params in Job.objects.values_list("id", "params")}

    def _work(self) -> None:
        """Runs what lies in the pool's lists, as its workers do."""
        taken = [raw for name in messages.ready_lists(POOL) for raw in self.operator.rpop(name, 1000) or []]
        tags = self._tags() if taken else {}
        for raw in taken:
            jobs = messages.named_by(raw)
            self._messages.update(tags[job] for job in jobs)
            run_jobs(jobs, leased_by="traps")


def _metric(process: AppProcess, name: str) -> float:
    if not process.running:
        return 0.0
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))
