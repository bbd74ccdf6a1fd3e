"""All that Redis holds is gone under load: accepts go on, every job finishes, every effect is applied once.

lost     every node is killed and its volume emptied, log and snapshot included; after a while all start again, empty
flushed  FLUSHALL on the primary, which the replicas repeat

Just before the fault some requests take longer, so that hints wait in Redis and are really lost.

python3 -m scripts.drills redis-loss [--fault lost|flushed] [--jobs 6000] [--rate 100]
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, workload
from scripts.drills.load import percentile
from scripts.drills.truth import Times, Truth
from scripts.drills.verdict import Verdict
from scripts.drills.workload import Work
from scripts.stack import host_history
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.redis_nodes import REDIS, RedisNodes
from scripts.stack.resp import RespError
from scripts.stack.waiting import wait_until

FAULTS: Final = ("lost", "flushed")

#: Share of the requests that are sent before the fault.
BEFORE: Final = 0.4
#: Seconds of load right before the fault in which each request takes half a second of a slot: they queue.
CROWDED_SECONDS: Final = 2.0
CROWDED: Final = Work("probe.fast", 500)
#: Seconds that the nodes are away.
AWAY_SECONDS: Final = 5.0
#: Seconds until the empty nodes have a primary that takes writes.
RETURN_SECONDS: Final = 180.0

#: Seconds from an empty Redis that takes writes until the first of the lost hints is a claim.
MOVE_SECONDS: Final = 5.0


def lose_everything(stack: Stack) -> None:
    """Returns when the empty Redis takes writes again."""
    containers = Containers(stack.project)
    try:
        containers.kill(*REDIS)
        containers.erase("/data", *REDIS)
        time.sleep(AWAY_SECONDS)
    finally:
        containers.recover(*REDIS)
    wait_until(
        lambda: writable(RedisNodes(stack)),
        within=RETURN_SECONDS,
        otherwise="no Redis node took a write after all had started empty",
        fix="make ps",
    )


def flush(stack: Stack) -> None:
    nodes = RedisNodes(stack)
    primary = wait_until(
        lambda: next(iter(nodes.primaries()), None),
        within=RETURN_SECONDS,
        otherwise="no Redis node leads",
        fix="make ps",
    )
    nodes.ask(primary, "FLUSHALL")
    host_history.fault("flush", primary)


INJECT: Final[dict[str, Callable[[Stack], None]]] = {"lost": lose_everything, "flushed": flush}


def writable(nodes: RedisNodes) -> str:
    """The primary that takes a write, or ""."""
    for node in nodes.primaries():
        try:
            nodes.ask(node, "SET", "holdfast:drill", "1", "EX", "10")
        except (OSError, RespError):
            continue
        return node
    return ""


def run(stack: Stack, *, fault: str, jobs: int, rate: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    truth, tag = Truth(stack), drill.new_tag()
    verdict = Verdict(
        f"Redis {fault} ({stack.topology}, {stack.mode}), {jobs} requests at {rate:g}/s: all 202, each done once",
        judges_time=judges_time,
    )
    fault_index = int(jobs * BEFORE)

    def work(index: int) -> Work:
        crowded = fault_index - rate * CROWDED_SECONDS <= index < fault_index and index % 2 == 0
        return CROWDED if crowded else workload.mixed(index)

    load = workload.probe_load(stack, tag=tag, count=jobs, rate=rate, work=work)
    load.start()
    load.wait_for(fault_index)
    failed = time.time()
    INJECT[fault](stack)
    returned = time.time()
    verdict.note(f"Redis was away or refused writes for {returned - failed:.1f} s")
    answers = load.join()
    outcome.judge_accepts(verdict, answers, jobs=jobs, before=fault_index)
    outcome.judge(verdict, truth, client_ledger.settled(verdict, load, answers), tag=tag)
    check_movement(verdict, moved_again(truth.times(tag), failed, returned))
    return verdict.status()


def moved_again(times: Sequence[Times], failed: float, returned: float) -> list[float]:
    """Seconds from Redis's return to the claims of jobs whose hint went with it, shortest first.

    Those were accepted before, and hinted again before their first claim.
    """
    return sorted(job.claimed - returned for job in times if job.accepted < failed < job.hinted < job.claimed)


def check_movement(verdict: Verdict, moved: Sequence[float]) -> None:
    verdict.check(bool(moved), f"{len(moved)} jobs had lost their hint when Redis was back")
    first, median, last = (percentile(moved, share) for share in (0.0, 0.5, 1.0))
    verdict.check_time(
        first <= MOVE_SECONDS,
        f"they move again {first:.1f} s after Redis takes writes (limit {MOVE_SECONDS:g} s), "
        f"half of them by {median:.1f} s, the last by {last:.1f} s",
    )


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=6000, rate=100)
    drill.add_faults(parser, FAULTS)
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    faults = chosen.fault or list(FAULTS)
    return drill.run_each(stack, faults, lambda fault: run(stack, fault=fault, jobs=chosen.jobs, rate=chosen.rate))
