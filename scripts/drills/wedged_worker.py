"""Every worker is wedged under load: each leaves by itself, Docker starts it again, and nothing is lost.

Celery's remote control tells the consumers to ask for no more messages. From outside that looks as every wedge does:
the process lives, its event loop turns, its queue grows, its slots are free, and nothing is popped.

python3 -m scripts.drills wedged-worker [--rate 50]
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, outcome, steady_state, workload
from scripts.drills.load import spread
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.waiting import comes_true, wait_until

WORKERS: Final = ("worker-fast", "worker-cpu", "worker-io")
#: In a worker's container: all three consumers hear it, and one answer from each is waited for.
WEDGE: Final = """
from project.celery import app
for queue in ("fast", "cpu", "io"):
    assert app.control.cancel_consumer(queue, reply=True, limit=3, timeout=10), "no worker answered"
"""

#: Seconds until each wedged worker has left and its container runs again: five looks and the two after which the queue
#: has grown and the last slot is free, a warm stop, a start.
RESTART_SECONDS: Final = 60.0
#: Seconds until it is healthy: Docker looks every 15.
HEALTHY_SECONDS: Final = 120.0
LEAD_SECONDS: Final = 3.0
_HOUR: Final = 3600


def run(stack: Stack, *, rate: float, judges_time: bool = True) -> int:
    """One drill against a running stack; 0 when the promise held."""
    containers, truth, tag = Containers(stack.project), Truth(stack), drill.new_tag()
    verdict = Verdict(
        f"every worker is wedged at {rate:g} jobs/s ({stack.mode}): each leaves and is started again, 0 lost",
        judges_time=judges_time,
    )
    load = workload.probe_load(stack, tag=tag, count=int(rate * _HOUR), rate=rate, work=workload.mixed)
    before = restarts(containers)
    load.start()
    try:
        time.sleep(LEAD_SECONDS)
        containers.run_in("worker-io", "python", "-c", WEDGE)
        began = time.monotonic()
        for service in WORKERS:
            back = await_restart(
                containers, service, before[service], within=began + RESTART_SECONDS - time.monotonic()
            )
            verdict.check(back, f"{service} left and runs again {time.monotonic() - began:.1f} s after it was wedged")
        time.sleep(LEAD_SECONDS)
    finally:
        load.stop()
        heal(containers, before)
    answers = load.join()
    ledger = client_ledger.settled(verdict, load, answers)
    verdict.note(f"       answers {dict(Counter(answer.status for answer in answers))}: {spread(answers)}")
    outcome.judge(verdict, truth, ledger, tag=tag)
    after = restarts(containers)
    verdict.check(
        all(after[service] == before[service] + 1 for service in WORKERS), f"each was started again once: {after}"
    )
    return verdict.status()


def restarts(containers: Containers) -> dict[str, int]:
    """How often Docker has started each worker again by itself."""
    return {service: int(containers.inspect(service)[0]["RestartCount"]) for service in WORKERS}


def await_restart(containers: Containers, service: str, before: int, *, within: float) -> bool:
    """Whether Docker starts it again in so many seconds."""
    return comes_true(lambda: restarts(containers)[service] > before, within=within)


def heal(containers: Containers, before: dict[str, int]) -> None:
    """Whoever is still wedged is restarted; returns when all are healthy."""
    now = restarts(containers)
    if stuck := [service for service in WORKERS if now[service] == before[service]]:
        containers.restart(*stuck)
    wait_until(
        lambda: not steady_state.ill_containers(containers.inspect(*WORKERS)),
        within=HEALTHY_SECONDS,
        otherwise="the workers are not healthy again",
        fix="make logs SERVICE=worker-fast",
    )


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=0, rate=50)
    chosen = parser.parse_args(argv)
    return run(drill.stack_of(chosen), rate=chosen.rate)
