"""The end of every job is told, under one key, while the workers that tell it are killed again and again.

First the receiver's network is closed, as delivered: the webhook is refused. Then it is opened for the run.

python3 -m scripts.drills webhooks [--jobs 1000] [--rate 50] [--seed N]
"""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.drills import arguments as drill
from scripts.drills import client_ledger, workload
from scripts.drills.load import Load
from scripts.drills.receiver import Receiver, Request, compose_of, opened, receiver, value_of
from scripts.drills.truth import Applied, Truth
from scripts.drills.verdict import Verdict
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

#: Webhook jobs of a run, whose URL ends with the tag.
_STATES = """
SELECT state, count(*) FROM job
WHERE kind = 'webhook.deliver' AND params->>'url' LIKE '%/' || :'tag' GROUP BY state;
"""

_REFUSED = """
SELECT error_class FROM dead_letter
WHERE kind = 'webhook.deliver' AND payload->'params'->>'url' LIKE '%/' || :'tag';
"""

#: Every job of a run: kind, state, attempts, seconds until it is due, until its hint and until its lease end.
_STORY = """
SELECT kind, state, attempt, not_before - now(), next_dispatch_at - now(), lease_until - now() FROM job
WHERE params->>'url' LIKE '%/' || :'tag' OR params->>'tag' LIKE :'tag' || '%';
"""

#: Requests that the receiver gets between two kills, at least and at most: calls are in flight when it comes.
BETWEEN_KILLS = (20, 100)
#: Seconds after which the next kill comes without them.
PATIENCE_SECONDS = 20.0
#: Seconds until a webhook is refused, from submit to the dead letter.
#: Two jobs in a row, the hint of each may be lost: on a slow machine the sweeper gives it 30 s.
REFUSAL_SECONDS = 300.0
#: Seconds for the first thousand webhooks: each kill costs those in flight a lease of 20 s.
SECONDS_PER_THOUSAND = 480.0


@dataclass
class Killer:
    """SIGKILLs worker-io, and worker-fast in every third turn, until it is stopped; what it kills it starts again."""

    containers: Containers
    receiver: Receiver
    tag: str
    random: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    failure: StackError | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Killer":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=300)
        self.containers.recover("worker-io", "worker-fast")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._await_progress(self.random.randint(*BETWEEN_KILLS))
                if not self._stop.is_set():
                    self._kill("worker-fast" if self.kills.total() % 3 == 2 else "worker-io")
        except StackError as error:
            self.failure = error

    def _await_progress(self, count: int) -> None:
        seen, until = len(self.receiver.requests(self.tag)), time.monotonic() + PATIENCE_SECONDS
        while len(self.receiver.requests(self.tag)) < seen + count and time.monotonic() < until:
            if self._stop.wait(0.5):
                return

    def _kill(self, service: str) -> None:
        self.containers.kill(service)
        self.containers.start(service)
        self.kills[service] += 1


def run(stack: Stack, *, jobs: int, rate: float, seed: int) -> int:
    """One drill against a running stack; 0 when the promise held."""
    compose, truth = compose_of(stack), Truth(stack)
    verdict = Verdict(f"{jobs} jobs with a callback_url, workers killed throughout: each is told once (seed {seed})")
    with receiver(compose) as listening:
        if value_of(stack):
            verdict.note("WEBHOOK_ALLOW_CIDRS is set: the refusal of a closed network is not tried")
        else:
            check_refusal(verdict, stack, listening)
        with opened(compose, listening.address):
            check_deliveries(verdict, stack, truth, listening, jobs=jobs, rate=rate, seed=seed)
    return verdict.status()


def check_refusal(verdict: Verdict, stack: Stack, listening: Receiver) -> None:
    """The receiver stands in a private network, which nobody has opened yet."""
    tag, truth = drill.new_tag(), Truth(stack)
    load = load_of(stack, listening, tag=tag, jobs=1, rate=1.0)
    load.start()
    load.join()
    try:
        letters = wait_until(
            lambda: truth.rows(_REFUSED, tag=tag),
            within=REFUSAL_SECONDS,
            otherwise="the webhook was not dead-lettered",
            fix="make logs SERVICE=worker-io",
        )
    except StackError as error:
        raise StackError(f"{error.what}: {'; '.join(truth.rows(_STORY, tag=tag))}", fix=error.fix) from None
    came = len(listening.requests(tag))
    verdict.check(
        letters == ["AddressRefused"] and not came,
        f"closed network: dead letter {', '.join(letters)}, {came} requests at the receiver",
    )


def check_deliveries(
    verdict: Verdict, stack: Stack, truth: Truth, listening: Receiver, *, jobs: int, rate: float, seed: int
) -> None:
    tag, began = drill.new_tag(), time.monotonic()
    until = began + max(SECONDS_PER_THOUSAND, SECONDS_PER_THOUSAND * jobs / 1000)
    load = load_of(stack, listening, tag=tag, jobs=jobs, rate=rate)
    with Killer(Containers(stack.project), listening, tag, random.Random(seed)) as killer:
        load.start()
        accepted = list(client_ledger.settled(verdict, load, load.join()).ids.values())
        await_keys(listening, tag, len(accepted), until=until)
    await_confirmed(truth, tag, len(accepted), until=until)
    if killer.failure:
        raise killer.failure
    verdict.check(killer.kills["worker-io"] > 0, f"SIGKILLs {dict(killer.kills)}")
    verdict.check(truth.applied(accepted) == Applied(jobs, 0, 0), f"{jobs} jobs done, each once")
    states = webhooks(truth, tag)
    verdict.check(states == {"SUCCEEDED": jobs}, f"webhooks {states}, {time.monotonic() - began:.0f} s after the first")
    check_requests(verdict, listening.requests(tag), accepted, secret=stack.value("WEBHOOK_SECRET"))


def check_requests(verdict: Verdict, requests: Sequence[Request], accepted: Sequence[str], *, secret: str) -> None:
    """What the receiver saw."""
    keys: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        keys[request.job_id].add(request.key)
    applied = Counter(request.key for request in requests if request.applied)
    one_key = sum(len(found) == 1 for found in keys.values())
    missing, foreign = set(accepted) - keys.keys(), keys.keys() - set(accepted)
    distinct = len({request.key for request in requests})
    repeated = len(requests) - distinct
    verdict.check(
        one_key == len(accepted) == distinct and not missing and not foreign,
        f"{one_key} of {len(accepted)} jobs told under exactly one key, {len(missing)} never, {len(foreign)} unasked",
    )
    verdict.check(
        set(applied.values()) == {1} and len(applied) == len(accepted), f"{len(applied)} effects, each key's once"
    )
    verdict.check(repeated > 0, f"{len(requests)} requests: {repeated} repeat a call whose worker died before it heard")
    signed = sum(request.is_signed_with(secret) for request in requests)
    verdict.check(signed == len(requests), f"{signed} of {len(requests)} signatures verify")


def load_of(stack: Stack, listening: Receiver, *, tag: str, jobs: int, rate: float) -> Load:
    def body(index: int) -> dict[str, object]:
        params = {"tag": f"{tag}-{index}", "work_ms": 20}
        return {"kind": "probe.fast", "farm_id": "drill", "params": params, "callback_url": listening.url(tag)}

    return Load(workload.target_of(stack), "/api/v1/jobs", make_body=body, count=jobs, rate=rate, key=tag)


def await_keys(listening: Receiver, tag: str, count: int, *, until: float) -> None:
    """Return when the receiver has heard of that many jobs, or when the time is over: the checks say which."""
    while len({request.key for request in listening.requests(tag)}) < count and time.monotonic() < until:
        time.sleep(1.0)


def await_confirmed(truth: Truth, tag: str, count: int, *, until: float) -> None:
    while webhooks(truth, tag) != {"SUCCEEDED": count} and time.monotonic() < until:
        time.sleep(1.0)


def webhooks(truth: Truth, tag: str) -> dict[str, int]:
    """How many webhook jobs of a run are in which state."""
    pairs = (row.split("|") for row in truth.rows(_STATES, tag=tag))
    return {state: int(count) for state, count in pairs}


def main(argv: Sequence[str]) -> int:
    parser = drill.parser(__doc__ or "", jobs=1000, rate=50)
    drill.add_seed(parser)
    chosen = parser.parse_args(argv)
    return run(drill.stack_of(chosen), jobs=chosen.jobs, rate=chosen.rate, seed=chosen.seed)
