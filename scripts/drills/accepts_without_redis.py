"""The API accepts every job while Redis is gone, and every job is done once when it is back.

python3 -m scripts.drills.accepts_without_redis [--fault stopped|paused|all-paused] [--jobs 5000] [--rate 100]
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from scripts.drills import arguments as drill
from scripts.drills.load import Answer, percentile, spread
from scripts.drills.truth import Applied, Truth
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

ACCEPT_P99_SECONDS = 0.3
#: Seconds after Redis's return until 1,000 jobs are done.
DRAIN_SECONDS_PER_THOUSAND = 60.0


def run(stack: Stack, *, fault: str, jobs: int, rate: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, tag = Containers(stack.project), drill.new_tag()
    inject, victims = FAULTS[fault]
    hypothesis = f"Redis {fault} ({stack.topology}): {jobs} requests at {rate:g}/s, all 202, each done once"
    verdict = Verdict(hypothesis, judges_time=judges_time)
    load = drill.probe_load(stack, tag=tag, count=jobs, rate=rate)
    load.start()
    try:
        load.wait_for(int(jobs * BEFORE))
        inject(containers, *victims)
        answers = load.join()
    finally:
        containers.recover(*victims)
    returned = time.monotonic()
    check_answers(verdict, answers, jobs=jobs)
    check_effects(verdict, Truth(stack), answers, returned=returned)
    verdict.check(Truth(stack).applied_twice(tag) == 0, "no effect was applied twice")
    return verdict.status()


def check_answers(verdict: Verdict, answers: Sequence[Answer], *, jobs: int) -> None:
    statuses = Counter(answer.status for answer in answers)
    verdict.check(statuses == {202: jobs}, f"answers {dict(statuses)}")
    p99 = percentile([answer.seconds for answer in answers], 0.99)
    verdict.check_time(p99 < ACCEPT_P99_SECONDS, f"latency {spread(answers)}")


def check_effects(verdict: Verdict, truth: Truth, answers: Sequence[Answer], *, returned: float) -> None:
    """Wait, bounded, until every accepted job has had its effect."""
    accepted = [answer.job_id for answer in answers if answer.job_id]
    limit = max(DRAIN_SECONDS_PER_THOUSAND, DRAIN_SECONDS_PER_THOUSAND * len(accepted) / 1000)
    applied = drained(truth, accepted, until=returned + limit)
    took = time.monotonic() - returned
    verdict.check(
        applied == Applied(once=len(accepted), twice=0, never=0),
        f"{applied.once} of {len(accepted)} done once, {applied.twice} more often, {applied.never} not, "
        f"{took:.1f} s after Redis's return (limit {limit:.0f} s)",
    )


def drained(truth: Truth, accepted: Sequence[str], *, until: float) -> Applied:
    applied = truth.applied(accepted)
    while applied.never and time.monotonic() < until:
        time.sleep(1.0)
        applied = truth.applied(accepted)
    return applied


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=5000, rate=100)
    parser.add_argument("--fault", choices=sorted(FAULTS), action="append", help="may be given again; default all")
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    faults = chosen.fault or [name for name in FAULTS if stack.topology == "sentinel" or name != "all-paused"]
    return max(run(stack, fault=fault, jobs=chosen.jobs, rate=chosen.rate) for fault in faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
