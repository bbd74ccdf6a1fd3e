"""The shapes: enqueue, drain, latency by the clock, accept through the API. Each returns records of one round."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

from tests.bench import usage
from tests.bench.contenders import Bare, Contender, Holdfast
from tests.servers import acl
from tests.servers.web import API_KEY, WebProcess

type Record = dict[str, Any]

#: Jobs before anything is measured.
WARMUP_JOBS: Final = 300
DRAIN_JOBS: Final = 3000
ENQUEUE_JOBS: Final = 1000
#: Within the dispatch window, so that every job is hinted.
SUBMIT_WARMUP_JOBS: Final = 1000
SUBMIT_JOBS: Final = 8000
#: Submits a second, and seconds of each pace.
PACES: Final = (50.0, 300.0)
PACE_SECONDS: Final = 4.0
#: Connections of the load on the API.
CONNECTIONS: Final = 8
ACCEPT_SECONDS: Final = 4.0


def prepare(contender: Contender) -> None:
    """Empty tables and queues, warm processes."""
    contender.await_ready()
    contender.empty()
    contender.submitter("bulk", count=WARMUP_JOBS, tag=_tag())
    contender.await_done(WARMUP_JOBS)
    contender.empty()


def enqueue(contender: Contender) -> Iterator[Record]:
    """One process that submits; nothing executes meanwhile. What it submitted is left for the drain."""
    contender.halt_workers()
    singles = contender.submitter("one_by_one", count=ENQUEUE_JOBS, tag=_tag())["seconds"]
    yield {"shape": "enqueue", "per_second": ENQUEUE_JOBS / singles}


def drain(contender: Contender) -> Iterator[Record]:
    """A queue that was filled before anybody executes; the end is the last effect."""
    contender.halt_workers()
    contender.submitter("bulk", count=DRAIN_JOBS - contender.waiting(), tag=_tag())
    before = usage.read(contender.measured, contender.statements, contender.database)
    began = time.time()
    contender.resume_workers()
    ended = contender.await_done(DRAIN_JOBS)
    after = usage.read(contender.measured, contender.statements, contender.database)
    yield {
        "shape": "drain",
        "per_second": DRAIN_JOBS / (ended - began),
        **after.per_job(before, DRAIN_JOBS),
        "memory_mib": usage.memory_bytes(contender.processes) / 2**20,
    }


def drain_of_nothing(contender: Bare) -> Iterator[Record]:
    """What Celery itself can do: jobs without an effect."""
    contender.empty()
    contender.halt_workers()
    contender.submitter("nothing", count=DRAIN_JOBS)
    began = time.time()
    contender.resume_workers()
    yield {"shape": "drain of nothing", "per_second": DRAIN_JOBS / (contender.await_done(2) - began)}


def latency(contender: Contender) -> Iterator[Record]:
    """Submits by the clock; from when a job was due to be submitted until its effect."""
    for rate in PACES:
        contender.empty()
        count = int(rate * PACE_SECONDS)
        sent = contender.submitter("paced", rate=rate, count=count, tag=_tag())["sent"]
        contender.await_done(count)
        ends = contender.ends([job_id for job_id, _ in sent])
        seconds = sorted(ends[job_id] - due for job_id, due in sent)
        yield {
            "shape": f"latency at {rate:g}/s",
            "p50_ms": 1000 * seconds[len(seconds) // 2],
            "p99_ms": 1000 * seconds[int(0.99 * len(seconds))],
        }


def dispatch(contender: Contender) -> Iterator[Record]:
    """Handing messages to Redis and nothing else: no row."""
    contender.halt_workers()
    batches = (1,) if isinstance(contender, Bare) else (1, 1000)
    for batch in batches:
        count = 2000 if batch == 1 else 10_000
        seconds = contender.submitter("dispatch", count=count, batch=batch)["seconds"]
        shape = "dispatch" if batch == 1 else f"dispatch by {batch}"
        yield {"shape": shape, "per_second": count / seconds}
        contender.drop_messages()
    contender.resume_workers()


def submit_bulk(contender: Holdfast) -> Iterator[Record]:
    """`jobs.submit_bulk` of 1,000 in one process, and the same rows by COPY; nothing executes meanwhile."""
    contender.halt_workers()
    for name, command in ((contender.name, "bulk"), ("bare copy", "bare_rows")):
        contender.submitter(command, count=SUBMIT_WARMUP_JOBS, tag=_tag())
        seconds = contender.submitter(command, count=SUBMIT_JOBS, tag=_tag())["seconds"]
        yield {"shape": "submit_bulk", "contender": name, "per_second": SUBMIT_JOBS / seconds}
        _discard(contender)


class Web:
    """A contender's API under the project's gunicorn settings; its workers are paused meanwhile."""

    def __init__(self, name: str, contender: Holdfast, *, port: int, settings: str = "project.settings") -> None:
        self.name = name
        self.contender = contender
        environment = {
            **contender.environment(),
            "DJANGO_SETTINGS_MODULE": settings,
            "METRICS_PORT": str(port + 1000 if port < 60_000 else port - 1000),
        }
        for folder in ("FILES_DIR", "SCRATCH_DIR", "STATIC_DIR"):
            del environment[folder]
        self.process = WebProcess(parent=contender.directory, port=port, environment=environment, name=f"web-{name}")

    def accept(self) -> Iterator[Record]:
        """Single submits over kept-alive connections."""
        outcome = self._load(path="/api/v1/jobs", seconds=ACCEPT_SECONDS)
        yield {"shape": "accept", "per_second": outcome["accepted"] / ACCEPT_SECONDS, **_answers(outcome)}

    def bulk(self) -> Iterator[Record]:
        """Bulks of 1,000."""
        outcome = self._load(path="/api/v1/jobs/bulk", seconds=ACCEPT_SECONDS, jobs_per_request=1000, connections=2)
        yield {
            "shape": "accept in bulk",
            "per_second": 1000 * outcome["accepted"] / ACCEPT_SECONDS,
            **_answers(outcome),
        }

    def _load(self, **plan: Any) -> dict[str, Any]:  # noqa: ANN401 - see scripts.bench.http_load.Plan
        asked = {
            "port": self.process.port,
            "tag": _tag(),
            "headers": {"Authorization": f"Bearer {API_KEY}"},
            "connections": CONNECTIONS,
            **plan,
        }
        done = subprocess.run(
            (sys.executable, "-m", "scripts.bench.http_load"),
            cwd=acl.CONFIG.parent,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=True,
        )
        outcome: dict[str, Any] = json.loads(done.stdout)
        if "202" not in outcome["statuses"]:
            raise RuntimeError(f"{self.name} accepted nothing: {outcome['statuses']}\n{self.process.log_tail()}")
        return {**outcome, "accepted": outcome["statuses"]["202"]}


def accept(web: Web, *, bulk: bool) -> Iterator[Record]:
    """The shapes of one API; rows and messages are thrown away after each."""
    web.process.thaw()
    web.contender.halt_workers()
    for shape in (web.accept, web.bulk) if bulk else (web.accept,):
        yield from shape()
        _discard(web.contender)
    web.process.freeze()


def _discard(contender: Holdfast) -> None:
    """Rows first: a message without a row is dropped by whoever reads it."""
    contender.observer.execute("SET lock_timeout = '10s'")
    contender.observer.execute(f"TRUNCATE {', '.join(contender.tables)}")
    contender.drop_messages()
    contender.resume_workers()
    contender.await_ready()
    contender.halt_workers()


def _answers(outcome: dict[str, Any]) -> Record:
    """Latencies, and how many requests were not accepted: a machine that does other work too may be past a deadline."""
    refused = outcome["answers"] - outcome["accepted"]
    return {"p50_ms": outcome["p50_ms"], "p99_ms": outcome["p99_ms"], "refused": refused}


def _tag() -> str:
    return uuid4().hex[:12]
