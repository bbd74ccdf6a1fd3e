"""Workers, bridge and sweeper are killed one after the other under load: nothing is lost, nothing is applied twice.

Each kill is a SIGKILL of a random container's main process (Docker starts it again by itself) or of one of its
children, at a random moment. Only who has run for 10 s and has forked its children is killed: Docker doubles its delay,
up to a minute, for each container that ends sooner, and a service that is never up is another drill.

python3 -m scripts.drills worker-kills [--kills 50] [--jobs 15000] [--rate 100] [--seed N]
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, workload
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers, Process
from scripts.stack.deployment import Stack
from scripts.stack.waiting import wait_until

SERVICES: Final = ("worker-fast", "worker-cpu", "worker-io", "bridge", "sweeper")
#: They work in children, and take no job before there is one.
PREFORK: Final = ("worker-fast", "worker-cpu")

#: Share of the load before the first kill and after the last.
_MARGIN: Final = 0.05
#: Seconds after which Docker forgets that a container had ended before.
_SETTLED_SECONDS: Final = 10.0
#: Seconds until one of the services has run that long.
_RESTART_SECONDS: Final = 180.0


@dataclass(frozen=True)
class Kill:
    """One SIGKILL. The two shares choose among what runs at that moment."""

    index: int  #: request that is due when it happens
    services: tuple[str, ...]  #: the first that has settled is hit
    takes_child: bool  #: where there is one
    container_share: float
    process_share: float


def plan(seed: int, *, kills: int, jobs: int) -> list[Kill]:
    """Kills spread over the load, in order of time."""
    chance = random.Random(seed)
    first, span = jobs * _MARGIN, jobs * (1 - 2 * _MARGIN)
    return [
        Kill(
            index=int(first + span * (number + chance.random()) / kills),
            services=tuple(chance.sample(SERVICES, len(SERVICES))),
            takes_child=chance.random() < 0.5,
            container_share=chance.random(),
            process_share=chance.random(),
        )
        for number in range(kills)
    ]


def victim_of(kill: Kill, processes: Sequence[Process]) -> Process:
    """The process to kill among a container's own, main one first."""
    main = processes[0]
    children = [process for process in processes if process.parent == main.id]
    if kill.takes_child and children:
        return children[int(kill.process_share * len(children))]
    return main


def carry_out(containers: Containers, kill: Kill) -> str:
    """Kills; says what. Raises StackError when nothing came back to be killed."""
    service, container, processes = wait_until(
        lambda: next(filter(None, (_settled(containers, service, kill) for service in kill.services)), None),
        within=_RESTART_SECONDS,
        otherwise="none of the killed services came back",
        fix="make ps",
    )
    victim = victim_of(kill, processes)
    containers.kill_process(container, victim)
    return f"{service} {'main process' if victim is processes[0] else 'child'}"


def _settled(containers: Containers, service: str, kill: Kill) -> tuple[str, str, list[Process]] | None:
    """One container of the service that has run for a while, as (service, id, processes)."""
    running = sorted(containers.inspect(service, running=True), key=lambda one: str(one["Id"]))
    found = [one["Id"] for one in running if age(one["State"]["StartedAt"]) >= _SETTLED_SECONDS]
    container = found[int(kill.container_share * len(found))] if found else ""
    processes = containers.processes(container) if container else []
    return (service, container, processes) if is_at_work(service, processes) else None


def is_at_work(service: str, processes: Sequence[Process]) -> bool:
    """Whether a container's own processes, main one first, are all that its work takes."""
    return len(processes) > (service in PREFORK)


def age(started_at: str) -> float:
    """Seconds since a moment as the Engine writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(started_at)).total_seconds()


def run(stack: Stack, *, kills: int, jobs: int, rate: float, seed: int, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, tag = Containers(stack.project), drill.new_tag()
    verdict = Verdict(
        f"{kills} SIGKILLs of workers, bridge and sweeper during {jobs} mixed jobs at {rate:g}/s ({stack.mode}): "
        f"lost 0, applied twice 0 (seed {seed})",
        judges_time=judges_time,
    )
    load = workload.probe_load(stack, tag=tag, count=jobs, rate=rate, work=workload.mixed)
    killed: Counter[str] = Counter()
    load.start()
    began = time.monotonic()
    try:
        for kill in plan(seed, kills=kills, jobs=jobs):
            load.wait_for(kill.index)
            what = carry_out(containers, kill)
            killed[what] += 1
            verdict.note(f"{time.monotonic() - began:6.1f} s  SIGKILL {what}")
        answers = load.join()
    finally:
        containers.recover(*SERVICES)
    verdict.note(f"killed: {', '.join(f'{what} {times}' for what, times in sorted(killed.items()))}")
    outcome.judge_statuses(verdict, answers, jobs=jobs)
    census = outcome.judge(verdict, Truth(stack), client_ledger.settled(verdict, load, answers), tag=tag)
    verdict.check(
        census.rescues > 0, f"{census.rescues} attempts were killed in the middle and taken over by their lease"
    )
    return verdict.status()


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=15000, rate=100)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS") or 50), help="SIGKILLs in all")
    drill.add_seed(parser)
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    return run(stack, kills=chosen.kills, jobs=chosen.jobs, rate=chosen.rate, seed=chosen.seed)
