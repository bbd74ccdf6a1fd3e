"""Full load and nothing is broken: no Sentinel takes a node for down, nothing fails over, no process ends.

A Sentinel that is too quick, or a Redis that a busy machine starves, shows here: each false failover costs hints.

python3 -m scripts.drills quiet-load [--duration 1800] [--rate 150]
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, holdings, lives, outcome, workload
from scripts.drills.load import Answer, Load
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack import handover
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.redis_nodes import PRIMARY_NAME, SENTINELS, RedisNodes
from scripts.stack.sentinel_ears import SentinelEars

DURATION: Final = 1800.0
RATE: Final = 150.0

#: What a Sentinel says of a node that it takes for down, or replaces.
ALARMS: Final = ("+sdown", "+odown", "+switch-master")
#: It has been away itself, and judges nothing for 30 s.
TILT: Final = "+tilt"
#: Whose processes are to be there at the end, all of them.
SERVICES: Final = (*lives.WORKERS, "web", "bridge", "sweeper", "exporter")
_TELL_SECONDS: Final = 60.0


class Alarms:
    """What the Sentinels said, counted; each alarm is told at once. Safe from any thread."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._said: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hear(self, sentinel: str, event: str, message: str) -> None:
        if event not in {*ALARMS, TILT}:
            return
        with self._lock:
            self._said[event] += 1
        self._tell(f"{sentinel}: {event} {message}")

    def counted(self, *events: str) -> dict[str, int]:
        with self._lock:
            return {event: self._said[event] for event in events if self._said[event]}


def run(stack: Stack, *, rate: float, seconds: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, nodes, tag = Containers(stack.project), RedisNodes(stack), drill.new_tag()
    verdict = Verdict(
        f"{rate:g} jobs/s for {seconds:g} s and nothing is broken ({stack.mode}): no Sentinel takes a node for down, "
        "no process ends, 0 lost, 0 twice",
        judges_time=judges_time,
    )
    alarms = Alarms(verdict.note)
    ears = SentinelEars(nodes, alarms.hear)
    before, held, epochs = lives.look(containers), holdings.look(containers, SERVICES), config_epochs(nodes)
    load = workload.probe_load(stack, tag=tag, count=int(rate * seconds), rate=rate, work=workload.mixed)
    began = time.time()
    ears.start()
    load.start()
    try:
        answers = _watched(load, rate, seconds, verdict)
    finally:
        load.stop()
        ears.stop()
    outcome.judge_statuses(verdict, answers, jobs=load.count)
    outcome.judge(verdict, Truth(stack), client_ledger.settled(verdict, load, answers), tag=tag)
    judge_calm(verdict, alarms, deaf=ears.deaf, epochs=(epochs, config_epochs(nodes)))
    changed = lives.begun_anew(before, lives.look(containers))
    verdict.check(not changed, f"containers that ended or began anew: {', '.join(changed) or 'none'}")
    ended = lives.ended(holdings.process_ids(held), holdings.process_ids(holdings.look(containers, SERVICES)))
    verdict.check(not ended, f"processes that ended: {', '.join(ended) or 'none'}")
    left = lives.left(containers, since=began)
    verdict.check(not left, f"{left} workers left because they took nothing")
    return verdict.status()


def judge_calm(
    verdict: Verdict, alarms: Alarms, *, deaf: Sequence[str], epochs: tuple[dict[str, int], dict[str, int]]
) -> None:
    """What was heard counts only from Sentinels that could be heard; their epochs tell of a failover all the same."""
    verdict.check(not deaf, f"Sentinels that could not be heard to the end: {', '.join(deaf) or 'none'}")
    found = alarms.counted(*ALARMS)
    verdict.check(not found, f"false alarms of the Sentinels: {found or 'none'}")
    verdict.check(epochs[0] == epochs[1], f"epochs of failovers: {epochs[0]} before, {epochs[1]} after")
    verdict.note(f"       Sentinels that were away themselves: {alarms.counted(TILT) or 'none'}")


def config_epochs(nodes: RedisNodes) -> dict[str, int]:
    """The epoch of the last failover, as each Sentinel knows it. Raises OSError or RespError."""
    found = {}
    for sentinel in SENTINELS:
        reply = nodes.ask(sentinel, "SENTINEL", "MASTER", PRIMARY_NAME)
        assert isinstance(reply, list)
        words = [str(word) for word in reply]
        found[sentinel] = int(words[words.index("config-epoch") + 1])
    return found


def _watched(load: Load, rate: float, seconds: float, verdict: Verdict) -> list[Answer]:
    """The answers; meanwhile a line each minute."""
    for minute in range(1, int(seconds / _TELL_SECONDS) + 1):
        load.wait_for(int(minute * _TELL_SECONDS * rate))
        verdict.note(f"{minute:4} min: {len(load.answers)} of {load.count} requests answered")
    return load.join()


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=RATE)
    default = float(os.environ.get("DURATION") or DURATION)
    parser.add_argument("--duration", type=float, default=default, help="seconds of load")
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    handover.require_sentinels(stack)
    return run(stack, rate=chosen.rate, seconds=chosen.duration)
