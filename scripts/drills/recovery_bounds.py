"""How long a loss goes unnoticed: the bounds that are stated, and what is measured, on an otherwise idle stack.

lost hint    20 hints are deleted from the queue in Redis: the sweeper sends them again when their grace is over
dead worker  worker-fast is killed in the middle of 4 jobs: they run again when their leases are over
flush        FLUSHALL while 20 hints wait: the sweeper sees a new broker and sends them again

python3 -m scripts.drills recovery-bounds [--rounds 5]
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from scripts.drills import arguments as drill
from scripts.drills import outcome
from scripts.drills.load import percentile
from scripts.drills.truth import Times, Truth
from scripts.drills.verdict import Verdict
from scripts.drills.workload import Work
from scripts.stack.api_client import ApiClient
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.resp import Reply
from scripts.stack.waiting import wait_until

POOL: Final = "fast"
SERVICE: Final = f"worker-{POOL}"
HINTS: Final = 20
INTERRUPTED: Final = Work(f"probe.{POOL}", 3000)
INTERRUPTED_AT_ONCE: Final = 4

#: Stated bounds, seconds. The lease is that of the pool in app/dispatch/pools.py.
LEASE_SECONDS: Final = 10.0
FLUSH_SECONDS: Final = 5.0
#: A tick may come a fifth late.
JITTER: Final = 1.2
#: Seconds that a tick and its publish take themselves.
TICK_SECONDS: Final = 0.5

SETTLE_SECONDS: Final = 30.0

#: kombu's list per priority: the queue's name, and the step behind a separator.
_LISTS: Final = (POOL, *(f"{POOL}\x06\x16{step}" for step in range(1, 10)))


class Found(NamedTuple):
    """One loss, in seconds since it happened."""

    hinted: float  #: the sweeper has found it
    claimed: float  #: a worker has it


@dataclass(frozen=True)
class Bound:
    """What is stated, in words and seconds, and what was seen."""

    name: str
    words: str
    seconds: float
    found: Sequence[Found]

    def holds(self) -> bool:
        """Judged by the hint: the claim waits for a free worker, and a killed one takes its time to start."""
        return bool(self.found) and max(one.hinted for one in self.found) <= self.seconds + TICK_SECONDS

    def row(self) -> str:
        hinted, claimed = [one.hinted for one in self.found], [one.claimed for one in self.found]
        figures = [percentile(values, share) for values in (hinted, claimed) for share in (0.5, 1.0)]
        shown = "".join(f"{seconds:>9.2f}" for seconds in figures)
        return f"{self.name:<12} {self.words:<26} {self.seconds:>6.1f} {shown} {len(self.found):>5}"


HEADER: Final = f"{'seconds':<12} {'stated':<26} {'bound':>6} {'hinted':>9}{'max':>9}{'claimed':>9}{'max':>9} {'n':>5}"


class Lost(NamedTuple):
    """Hints that were taken from Redis, and when (Unix time)."""

    hints: int
    at: float


class _Rounds:
    """One round of each measurement; each leaves an idle stack behind."""

    def __init__(self, stack: Stack) -> None:
        self._truth = Truth(stack)
        self._client = ApiClient.of(stack)
        self._containers = Containers(stack.project)
        self._nodes = RedisNodes(stack)

    def lost_hint(self) -> list[Found]:
        """Since the job was accepted, which is when the grace of its hint began."""
        tag = drill.new_tag()
        lost = self._lose_hints(tag, "DEL", *_LISTS)
        return self._last(tag, lost.hints, lambda job: job.accepted)

    def dead_worker(self) -> list[Found]:
        """Since the kill."""
        tag = drill.new_tag()
        self._submit(tag, INTERRUPTED, INTERRUPTED_AT_ONCE)
        wait_until(
            lambda: self._truth.running(tag, INTERRUPTED.work_ms, INTERRUPTED.kind) == INTERRUPTED_AT_ONCE,
            within=SETTLE_SECONDS,
            otherwise=f"{INTERRUPTED_AT_ONCE} jobs of {INTERRUPTED.kind} do not run at once",
            fix=f"make logs SERVICE={SERVICE}",
        )
        killed = time.time()
        self._containers.crash(SERVICE)
        return [Found(job.hinted - killed, job.rescued - killed) for job in self._times(tag)]

    def flush(self) -> list[Found]:
        """Since the flush."""
        tag = drill.new_tag()
        lost = self._lose_hints(tag, "FLUSHALL")
        return self._last(tag, lost.hints, lambda _job: lost.at)

    def _last(self, tag: str, count: int, since: Callable[[Times], float]) -> list[Found]:
        """The `count` jobs that were claimed last: those whose hint was taken."""
        times = sorted(self._times(tag), key=lambda job: job.claimed)[-count:]
        return [Found(job.hinted - since(job), job.claimed - since(job)) for job in times]

    def _lose_hints(self, tag: str, *command: str) -> Lost:
        """Hints pile up before a frozen worker until the command takes them.

        One more is in the worker's own hands: Redis gives it to the pop that waits.
        """
        try:
            self._containers.pause(SERVICE)
            self._submit(tag, Work(INTERRUPTED.kind), HINTS + 1)
            wait_until(
                lambda: self._ready() >= HINTS,
                within=SETTLE_SECONDS,
                otherwise=f"{HINTS} hints did not reach the queue",
                fix="make logs SERVICE=bridge",
                pause=0.05,
            )
            lost = Lost(self._ready(), time.time())
            self._ask(*command)
        finally:
            self._containers.recover(SERVICE)
        return lost

    def _submit(self, tag: str, work: Work, count: int) -> None:
        params = [{"tag": f"{tag}-{number}", "work_ms": work.work_ms} for number in range(count)]
        jobs = [{"kind": work.kind, "farm_id": "drill", "params": one, "force": True} for one in params]
        self._client.post("/jobs/bulk", {"jobs": jobs})

    def _times(self, tag: str) -> list[Times]:
        """Once all have ended. Raises StackError."""
        census = outcome.await_end(self._truth, tag, within=self._truth.hinted_by(tag) + SETTLE_SECONDS)
        if census.open:
            raise StackError(f"{census.open} of {census.jobs} jobs did not end.", fix=f"make logs SERVICE={SERVICE}")
        return self._truth.times(tag)

    def _ready(self) -> int:
        return sum(int(str(self._ask("LLEN", name))) for name in _LISTS)

    def _ask(self, *command: str) -> Reply:
        return self._nodes.ask(self._nodes.primaries()[0], *command)


def run(stack: Stack, *, rounds: int, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when every bound held."""
    verdict = Verdict(
        f"losses are found within the stated bounds ({stack.topology}, {stack.mode}, {rounds} rounds)",
        judges_time=judges_time,
    )
    truth, one = Truth(stack), _Rounds(stack)
    tick = JITTER * float(stack.value("SWEEPER_TICK_SECONDS"))
    grace = truth.grace(POOL)
    lost, dead, flushed = (
        [found for _ in range(rounds) for found in measure()] for measure in (one.lost_hint, one.dead_worker, one.flush)
    )
    grace = max(grace, truth.grace(POOL))
    bounds = (
        Bound("lost hint", f"grace {grace:g} s + tick {tick:g} s", grace + tick, lost),
        Bound("dead worker", f"lease {LEASE_SECONDS:g} s + tick {tick:g} s", LEASE_SECONDS + tick, dead),
        Bound("flush", "until jobs move again", FLUSH_SECONDS, flushed),
    )
    verdict.note(f"       {HEADER}")
    for bound in bounds:
        verdict.check_time(bound.holds(), bound.row())
    return verdict.status()


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=0)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS") or 5), help="of each measurement")
    chosen = parser.parse_args(argv)
    return run(drill.stack_of(chosen), rounds=chosen.rounds)
