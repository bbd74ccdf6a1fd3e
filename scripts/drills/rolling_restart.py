"""Every service is restarted under load, most one by one: nothing is lost and no job waits for a lease.

Before a worker is restarted it is given a job that is longer than its stop may take: that one has to be handed back.
`web` is one container with a published port, so its restart is seen: connections are refused until it is back, and the
client repeats by its keys. Postgres comes last: a finish that its stop leaves unanswered is decided by the lease.

python3 -m scripts.drills rolling-restart [--rate 100]
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, steady_state, workload
from scripts.drills.load import Answer, spread
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.drills.workload import Work
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.redis_nodes import REDIS, SENTINELS
from scripts.stack.waiting import wait_until

#: Worker -> a job that outlasts its warm stop (25 s) and fits its pool's soft limit (30 s for fast).
WORKERS: Final = {
    "worker-fast": Work("probe.fast", 29_000),
    "worker-cpu": Work("probe.cpu", 45_000),
    "worker-io": Work("probe.io", 45_000),
}
#: Restarted one by one, in this order; then the rest at once, and Postgres.
ORDER: Final = (*WORKERS, "bridge", "sweeper", "exporter", "web", *reversed(REDIS), *SENTINELS)
LAST: Final = "postgres"

#: Seconds until the long job runs; until a restarted service is healthy (Docker looks every 15 s).
CLAIM_SECONDS: Final = 30.0
HEALTHY_SECONDS: Final = 120.0
#: Seconds of load before the first restart and after the last.
LEAD_SECONDS: Final = 3.0
#: Most requests of one run: an hour's.
_HOUR: Final = 3600


class Interrupted:
    """The mixed load, in which single requests become long jobs on demand. The same index keeps its job."""

    def __init__(self) -> None:
        self._wanted: list[Work] = []
        self._given: dict[int, Work] = {}

    def want(self, work: Work) -> None:
        self._wanted.append(work)

    def __call__(self, index: int) -> Work:
        if index not in self._given:
            try:
                self._given[index] = self._wanted.pop()
            except IndexError:
                self._given[index] = workload.mixed(index)
        return self._given[index]


def steps(services: Sequence[str]) -> list[tuple[str, ...]]:
    """What is restarted together, step by step: all of the stack's long-running services, each once."""
    single = [(name,) for name in ORDER if name in services]
    rest = tuple(sorted(set(services) - set(ORDER) - {LAST}))
    return [*single, rest, (LAST,)]


def run(stack: Stack, *, rate: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, truth, tag = Containers(stack.project), Truth(stack), drill.new_tag()
    verdict = Verdict(
        f"every service restarted at {rate:g} jobs/s ({stack.topology}, {stack.mode}): lost 0, 0 wait for a lease",
        judges_time=judges_time,
    )
    work = Interrupted()
    load = workload.probe_load(stack, tag=tag, count=int(rate * _HOUR), rate=rate, work=work)
    services = long_running(containers)
    load.start()
    began = time.monotonic()
    rescues = 0
    try:
        time.sleep(LEAD_SECONDS)
        for step in steps(services):
            if step == (LAST,):
                rescues = truth.census(tag).rescues
            if step[0] in WORKERS:
                start_long(truth, work, WORKERS[step[0]], tag=tag)
            at, took = time.monotonic() - began, restart(containers, step)
            verdict.note(f"{at:6.1f} s  restarted {', '.join(step)}: back in {took:.1f} s")
        time.sleep(LEAD_SECONDS)
    finally:
        load.stop()
        containers.recover(*services)
    answers = load.join()
    verdict.note(f"       answers {dict(Counter(answer.status for answer in answers))}: {spread(answers)}")
    verdict.note(f"       {unanswered(answers)}")
    census = outcome.judge(verdict, truth, client_ledger.settled(verdict, load, answers), tag=tag)
    verdict.check(rescues == 0, f"{rescues} jobs waited for a lease while all but Postgres was restarted")
    verdict.note(f"       {census.rescues - rescues} jobs waited for a lease around the restart of Postgres")
    verdict.check(
        census.hand_backs >= len(WORKERS), f"{census.hand_backs} unfinished jobs handed back by {len(WORKERS)} workers"
    )
    return verdict.status()


def long_running(containers: Containers) -> list[str]:
    """Services that are up: what ended by itself (migrate) is not restarted."""
    running = containers.inspect(running=True)
    return sorted({container["Config"]["Labels"]["com.docker.compose.service"] for container in running})


def start_long(truth: Truth, work: Interrupted, long: Work, *, tag: str) -> None:
    """Returns when a worker is in the middle of the long job."""
    work.want(long)
    wait_until(
        lambda: truth.running(tag, long.work_ms, long.kind),
        within=CLAIM_SECONDS,
        otherwise=f"no worker took the {long.kind} of {long.work_ms} ms",
        fix=f"make logs SERVICE=worker-{long.kind.partition('.')[2]}",
    )


def restart(containers: Containers, step: Sequence[str]) -> float:
    """Seconds until all of the step are healthy again. Raises StackError."""
    began = time.monotonic()
    containers.restart(*step)
    wait_until(
        lambda: not steady_state.ill_containers(containers.inspect(*step)),
        within=HEALTHY_SECONDS,
        otherwise=f"{', '.join(step)} did not become healthy after a restart",
        fix=f"make logs SERVICE={step[0]}",
    )
    return time.monotonic() - began


def unanswered(answers: Sequence[Answer]) -> str:
    """What a client saw of the one container that has the port."""
    failed = [answer.sent for answer in answers if answer.status == 0]
    if not failed:
        return "no request was left without an answer"
    return f"{len(failed)} requests got no answer, over {max(failed) - min(failed):.1f} s: web has one container"


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=100)
    chosen = parser.parse_args(argv)
    return run(drill.stack_of(chosen), rate=chosen.rate)
