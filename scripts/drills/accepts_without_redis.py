"""The API accepts every job while Redis is gone, and every job is done once when it is back.

python3 -m scripts.drills accepts-without-redis [--fault stopped|paused|all-paused] [--jobs 5000] [--rate 100]
"""

from collections.abc import Callable, Sequence

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, workload
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.redis_nodes import REDIS, SENTINELS

#: Which containers suffer, and how. `all-paused` differs from `paused` only beside Sentinels.
FAULTS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "stopped": (Containers.stop, tuple(REDIS)),
    "paused": (Containers.pause, tuple(REDIS)),
    "all-paused": (Containers.pause, (*REDIS, *SENTINELS)),
}

#: Share of the requests that are sent before the fault.
BEFORE = 0.1


def run(stack: Stack, *, fault: str, jobs: int, rate: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, tag, before = Containers(stack.project), drill.new_tag(), int(jobs * BEFORE)
    inject, victims = FAULTS[fault]
    hypothesis = f"Redis {fault} ({stack.topology}): {jobs} requests at {rate:g}/s, all 202, each done once"
    verdict = Verdict(hypothesis, judges_time=judges_time)
    load = workload.probe_load(stack, tag=tag, count=jobs, rate=rate)
    load.start()
    try:
        load.wait_for(before)
        inject(containers, *victims)
        answers = load.join()
    finally:
        containers.recover(*victims)
    outcome.judge_accepts(verdict, answers, jobs=jobs, before=before)
    outcome.judge(verdict, Truth(stack), client_ledger.settled(verdict, load, answers), tag=tag)
    return verdict.status()


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=5000, rate=100)
    drill.add_faults(parser, tuple(FAULTS))
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    faults = chosen.fault or [name for name in FAULTS if stack.topology == "sentinel" or name != "all-paused"]
    return drill.run_each(stack, faults, lambda fault: run(stack, fault=fault, jobs=chosen.jobs, rate=chosen.rate))
