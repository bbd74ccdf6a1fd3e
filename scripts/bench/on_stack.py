"""Accept to finished on the running stack, everything running: jobs over HTTP by the clock, at rising rates."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

from scripts.bench.http_load import Plan
from scripts.bench.results import Record
from scripts.drills.truth import Truth
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

RATES: Final = (100.0, 200.0, 300.0)
SECONDS: Final = 20.0
_CONNECTIONS: Final = 32
#: Seconds after the last request within which everything has to be done.
_DRAIN_SECONDS: Final = 120.0

_FINISHED = """
SELECT count(*) FILTER (WHERE state = 'SUCCEEDED'), count(*),
       extract(epoch FROM max(finished_at) - min(accepted_at)),
       1000 * percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - accepted_at)),
       1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - accepted_at))
FROM job WHERE params->>'tag' LIKE :'tag' || '-%';
"""


def measure(root: Path, stack: Stack) -> list[Record]:
    """One record per rate. Raises StackError when the stack does not run or leaves a job undone."""
    if not Containers(stack.project).ids("web", running=True):
        raise StackError(f"{stack.project} does not run.", fix="make up")
    return [_at(root, stack, rate) for rate in RATES]


def _at(root: Path, stack: Stack, rate: float) -> Record:
    tag = f"bench-{uuid.uuid4().hex[:12]}"
    plan = Plan(
        host=stack.value("PUBLISH_ADDRESS"),
        port=int(stack.value("WEB_PORT")),
        path="/api/v1/jobs",
        tag=tag,
        headers={"Authorization": f"Bearer {stack.value('HOLDFAST_API_KEY')}"},
        connections=_CONNECTIONS,
        warmup_seconds=0.0,
        seconds=SECONDS,
        rate=rate,
    )
    outcome = _load(root, plan)
    if set(outcome["statuses"]) != {"202"}:
        raise StackError(f"The API answered {outcome['statuses']}.", fix="make logs SERVICE=web")
    done, finished_seconds, p50, p99 = _await_finished(stack, tag)
    return {
        "shape": f"on the stack at {rate:g}/s",
        "contender": f"{stack.mode} mode, {stack.topology}",
        "round": 1,
        "per_second": done / finished_seconds,
        "accept_p50_ms": outcome["p50_ms"],
        "accept_p99_ms": outcome["p99_ms"],
        "p50_ms": p50,
        "p99_ms": p99,
    }


def _load(root: Path, plan: Plan) -> dict[str, Any]:
    argv = [sys.executable, "-m", "scripts.bench.http_load"]
    done = subprocess.run(argv, cwd=root, input=json.dumps(plan.__dict__), capture_output=True, text=True, check=True)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def _await_finished(stack: Stack, tag: str) -> tuple[int, float, float, float]:
    until = time.monotonic() + _DRAIN_SECONDS
    while True:
        row = Truth(stack).rows(_FINISHED, tag=tag)[0].split("|")
        done, accepted = int(row[0]), int(row[1])
        if done == accepted:
            return done, float(row[2]), float(row[3]), float(row[4])
        if time.monotonic() > until:
            raise StackError(f"{accepted - done} of {accepted} jobs are not done.", fix="make logs SERVICE=worker-fast")
        time.sleep(1.0)
