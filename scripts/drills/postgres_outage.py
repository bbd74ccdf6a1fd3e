"""While Postgres is down, frozen or starting again the API says so at once, stays alive, and loses nothing it accepted.

The client keeps its own list: ids, refusals, and requests whose fate it does not know. After the outage it repeats what
has no id under its Idempotency-Key, and ends with exactly one finished job for each request.

stopped  `docker stop`: sessions end, a checkpoint is written
killed   `docker kill`: stays down until the drill starts it, recovers from its log
crashed  SIGKILL of the postmaster inside: Docker starts it again by itself
paused   `docker pause`: connections stay open, nothing answers

python3 -m scripts.drills postgres-outage [--fault stopped|killed|crashed|paused] [--rate 100] [--seconds 30]
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, workload
from scripts.drills.load import Answer, Load, Target, spread
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack

FAULTS: Final[dict[str, Callable[..., None]]] = {
    "stopped": Containers.stop,
    "killed": Containers.kill,
    "crashed": Containers.crash,
    "paused": Containers.pause,
}
#: Lasts as long as Postgres takes to start, not as long as the drill says.
SHORT: Final = "crashed"

ANSWER_SECONDS: Final = 2.5
#: /livez touches nothing that can block; the rest is the host's own noise.
LIVENESS_SECONDS: Final = 1.0
#: Seconds of load before the fault and after the recovery.
LEAD_SECONDS, TAIL_SECONDS = 3.0, 15.0
#: Seconds after Postgres's return until requests are accepted again. Where it was killed, it replays its log first.
RESUME_SECONDS: Final = 10.0


@dataclass
class LivenessProbe:
    """Asks /livez twice a second from a thread of its own."""

    target: Target
    answers: list[tuple[int, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "LivenessProbe":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            started = time.monotonic()
            status, _, _ = self.target.send("GET", "/livez")
            self.answers.append((status, time.monotonic() - started))


@dataclass(frozen=True)
class Outage:
    """When Postgres was taken away and when it was given back, on the clock of time.monotonic."""

    failed: float  #: the fault was complete
    given_back: float  #: and began to be undone
    returned: float

    def is_inside(self, answer: Answer) -> bool:
        """Sent when nothing can be accepted: the first expiry, which takes the whole deadline, is over."""
        return self.failed + ANSWER_SECONDS < answer.sent < self.given_back - ANSWER_SECONDS


def run(stack: Stack, *, fault: str, rate: float, seconds: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    tag = drill.new_tag()
    lasts = "until it has started again" if fault == SHORT else f"for {seconds:g} s"
    verdict = Verdict(
        f"Postgres {fault} {lasts} under {rate:g} requests/s: 503 within {ANSWER_SECONDS} s, one job for each request",
        judges_time=judges_time,
    )
    count = int(rate * (LEAD_SECONDS + seconds + TAIL_SECONDS))
    load = workload.probe_load(stack, tag=tag, count=count, rate=rate)
    with LivenessProbe(workload.target_of(stack)) as liveness:
        outage = inject(Containers(stack.project), load, fault=fault, rate=rate, seconds=seconds)
        answers = load.join()
    check_answers(verdict, answers, outage, fault=fault)
    check_liveness(verdict, liveness)
    outcome.judge(verdict, Truth(stack), client_ledger.settled(verdict, load, answers), tag=tag)
    return verdict.status()


def inject(containers: Containers, load: Load, *, fault: str, rate: float, seconds: float) -> Outage:
    load.start()
    load.wait_for(int(rate * LEAD_SECONDS))
    try:
        FAULTS[fault](containers, "postgres")
        failed = time.monotonic()
        if fault != SHORT:
            load.wait_for(int(rate * (LEAD_SECONDS + seconds)))
            time.sleep(max(0.0, failed + seconds - time.monotonic()))  # a stop takes its time
    finally:
        given_back = time.monotonic()
        containers.recover("postgres")
    return Outage(failed, given_back, time.monotonic())


def check_answers(verdict: Verdict, answers: Sequence[Answer], outage: Outage, *, fault: str) -> None:
    statuses = Counter(answer.status for answer in answers)
    verdict.check(set(statuses) <= {202, 503}, f"answers {dict(statuses)}: {spread(answers)}")
    slow = [answer for answer in answers if answer.seconds > ANSWER_SECONDS]
    late = dict(Counter(answer.status for answer in slow)) if slow else ""
    verdict.check_time(not slow, f"{len(slow)} answers took longer than {ANSWER_SECONDS} s {late}".rstrip())
    refused = [answer for answer in answers if answer.status == 503]
    verdict.check(
        bool(refused) and all(answer.retry_after for answer in refused),
        f"{len(refused)} refusals, each with Retry-After",
    )
    inside = [answer for answer in answers if outage.is_inside(answer)]
    if fault != SHORT:
        verdict.check(
            bool(inside) and all(answer.status == 503 for answer in inside),
            f"{len(inside)} requests during the fault, all refused",
        )
    check_return(verdict, answers, outage)


def check_return(verdict: Verdict, answers: Sequence[Answer], outage: Outage) -> None:
    """From the recovery to the last refusal; a crash is over when the first request after it is accepted again."""
    later = [answer for answer in answers if answer.sent > outage.returned]
    refused = max((answer.sent for answer in later if answer.status != 202), default=outage.returned)
    resumed = any(answer.sent > refused for answer in later)
    took = refused - outage.returned
    shown = f"{took:.1f} s after Postgres was started" if resumed else "never"
    verdict.check_time(resumed and took <= RESUME_SECONDS, f"every request is accepted again {shown}")


def check_liveness(verdict: Verdict, liveness: LivenessProbe) -> None:
    statuses = Counter(status for status, _ in liveness.answers)
    slowest = max(took for _, took in liveness.answers)
    verdict.check(set(statuses) == {200}, f"/livez {dict(statuses)}")
    verdict.check_time(slowest <= LIVENESS_SECONDS, f"/livez slowest {slowest:.2f} s")


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=100)
    drill.add_faults(parser, tuple(FAULTS))
    default = float(os.environ.get("DURATION") or 30.0)
    parser.add_argument("--seconds", type=float, default=default, help="how long the fault lasts")
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    faults = chosen.fault or list(FAULTS)
    return drill.run_each(
        stack, faults, lambda fault: run(stack, fault=fault, rate=chosen.rate, seconds=chosen.seconds)
    )
