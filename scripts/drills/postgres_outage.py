"""While Postgres is down or frozen the API says so at once, stays alive, and loses nothing that it accepted.

python3 -m scripts.drills.postgres_outage [--fault stopped|paused] [--rate 100] [--seconds 30]
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scripts.drills import arguments as drill
from scripts.drills.accepts_without_redis import drained
from scripts.drills.load import Answer, Target, spread
from scripts.drills.truth import Applied, Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack

FAULTS: dict[str, Callable[..., None]] = {"stopped": Containers.stop, "paused": Containers.pause}

ANSWER_SECONDS = 2.5
#: /livez touches nothing that can block; the rest is the host's own noise.
LIVENESS_SECONDS = 1.0
#: Seconds of load before the fault and after the recovery.
LEAD_SECONDS, TAIL_SECONDS = 3.0, 15.0
#: Seconds after Postgres's return until requests are accepted again.
RESUME_SECONDS = 10.0
DRAIN_SECONDS = 90.0


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


def run(stack: Stack, *, fault: str, rate: float, seconds: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, tag = Containers(stack.project), drill.new_tag()
    hypothesis = f"Postgres {fault} for {seconds:g} s under {rate:g} requests/s: 503 within {ANSWER_SECONDS} s"
    verdict = Verdict(hypothesis, judges_time=judges_time)
    count = int(rate * (LEAD_SECONDS + seconds + TAIL_SECONDS))
    load = drill.probe_load(stack, tag=tag, count=count, rate=rate)
    load.start()
    with LivenessProbe(drill.target_of(stack)) as liveness:
        load.wait_for(int(rate * LEAD_SECONDS))
        try:
            FAULTS[fault](containers, "postgres")
            failed = time.monotonic()
            load.wait_for(int(rate * (LEAD_SECONDS + seconds)))
        finally:
            containers.recover("postgres")
        returned = time.monotonic()
        answers = load.join()
    check_answers(verdict, answers, failed=failed, returned=returned)
    slowest = max(took for _, took in liveness.answers)
    statuses = Counter(status for status, _ in liveness.answers)
    verdict.check(set(statuses) == {200}, f"/livez {dict(statuses)}")
    verdict.check_time(slowest <= LIVENESS_SECONDS, f"/livez slowest {slowest:.2f} s")
    check_effects(verdict, Truth(stack), answers, tag=tag)
    return verdict.status()


def check_answers(verdict: Verdict, answers: Sequence[Answer], *, failed: float, returned: float) -> None:
    statuses = Counter(answer.status for answer in answers)
    verdict.check(set(statuses) <= {202, 503}, f"answers {dict(statuses)}: {spread(answers)}")
    slow = [answer for answer in answers if answer.seconds > ANSWER_SECONDS]
    verdict.check_time(not slow, f"{len(slow)} answers took longer than {ANSWER_SECONDS} s")
    refused = [answer for answer in answers if answer.status == 503]
    verdict.check(all(answer.retry_after for answer in refused), f"{len(refused)} refusals, each with Retry-After")
    # The first expiry takes the request's whole deadline; after it nothing may be accepted until Postgres is back.
    settled = [answer for answer in answers if failed + ANSWER_SECONDS < answer.sent < returned - ANSWER_SECONDS]
    verdict.check(
        bool(settled) and all(answer.status == 503 for answer in settled),
        f"{len(settled)} requests during the fault, all refused",
    )
    resumed = min((answer.sent for answer in answers if answer.sent > returned and answer.status == 202), default=None)
    shown = "never" if resumed is None else f"{resumed - returned:.1f} s after the recovery"
    verdict.check(resumed is not None and resumed - returned <= RESUME_SECONDS, f"accepts again {shown}")


def check_effects(verdict: Verdict, truth: Truth, answers: Sequence[Answer], *, tag: str) -> None:
    accepted = [answer.job_id for answer in answers if answer.job_id]
    applied = drained(truth, accepted, until=time.monotonic() + DRAIN_SECONDS)
    verdict.check(
        applied == Applied(once=len(accepted), twice=0, never=0),
        f"{applied.once} of {len(accepted)} accepted jobs done once, {applied.twice} more often, {applied.never} not",
    )
    verdict.check(truth.applied_twice(tag) == 0, "no effect was applied twice, also where the answer was 503")


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=100)
    parser.add_argument("--fault", choices=sorted(FAULTS), action="append", help="may be given again; default all")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the fault lasts")
    chosen = parser.parse_args(argv)
    stack = drill.stack_of(chosen)
    faults = chosen.fault or list(FAULTS)
    return max(run(stack, fault=fault, rate=chosen.rate, seconds=chosen.seconds) for fault in faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
