"""One run."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from unittest import mock
from uuid import UUID

import redis
from django.db import connection, connections, transaction

import history
import redis_topology
import redis_topology.clients
from bridge.bridge import POISON_DELIVERIES, Bridge
from bridge.consumer_group import RETIRE_IDLE_MS, ConsumerGroup
from dispatch import await_broker, messages
from jobs import prepared, sql
from jobs.cancellation import cancel
from jobs.claim import Claimed, hand_back, try_claim_all
from jobs.context import Done
from jobs.errors import NotCancellable, Retryable, StaleLease
from jobs.execution import run_jobs
from jobs.finish import fail, finish
from jobs.models import Job
from jobs.states import OPEN
from jobs.submission import submit
from jobs.sweeper import Sweeper
from tests.integration.interleaving.fuse import Fuse, Killed, burning
from tests.integration.interleaving.worlds import World
from tests.integration.invariants import violations
from tests.integration.jobs.scenario import see_pools, trust_leases
from tests.integration.recorded import verdict
from tests.servers.redis_server import RedisProcess

OWNER: Final = "ada"
STREAM, GROUP = "holdfast:jobs", "bridge"
POOLS: Final = ("fast", "cpu")

#: kombu's record of what workers hold: what a dead one held stays in it until the visibility timeout.
UNACKED: Final = "unacked"

_PAST_EVERY_LEASE: Final = 40.0
#: Seconds of one passage of time: past a grace, past every lease, past the longest grace.
PASSAGES: Final = (6.0, _PAST_EVERY_LEASE, 700.0)
#: Rounds in which everything that is open must end once nobody dies any more.
DRAIN_ROUNDS: Final = 30
#: Steps between two looks at the invariants.
LOOK_EVERY: Final = 10
#: Milliseconds for which consumers were silent, as those see it that retire them: longer than they wait.
_SILENCE_MS: Final = RETIRE_IDLE_MS + 100_000
#: Seconds by which a worker's clock may be wrong.
SKEWS: Final = (0.0, 0.0, 86_400.0, -86_400.0)

#: Two lines of the checker: a defect and how often it was found, then one job and a sentence about it.
_DEFECT: Final = re.compile(r"^(\w[\w ]*): \d+ \(.*\n  \S+ (.+)$", re.MULTILINE)


class PromiseBroken(AssertionError):
    """What the checker and the invariants found, and the steps that led there."""


class RunVoid(Exception):
    """What was to be survived never came about: these runs prove nothing."""


@dataclass
class Interleaving:
    """One run. `told` holds its steps, `seen` what came about."""

    seed: int
    world: World
    node: RedisProcess
    folder: Path  #: of the history
    recorder: history.Recorder  #: which is being written
    told: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chosen = random.Random(f"{self.world.name} {self.seed}")
        self.operator = self.node.operator()
        self.bridges = {name: self._new_bridge(name) for name in ("bridge-1", "bridge-2")}
        self.sweeper = Sweeper()
        self.deaths = 0
        self.workers = 0  #: instances so far
        self.tags = 0
        self.held: list[str] = []  #: messages on their way to a worker
        self.frozen: list[Claimed] = []
        # Whoever is not the client has a connection of its own.
        self.others = ThreadPoolExecutor(1)

    def run(self, steps: int) -> None:
        """Raises PromiseBroken."""
        names, weights = list(self.world.steps), list(self.world.steps.values())
        try:
            for number in range(1, steps + 1):
                self._step(self.chosen.choices(names, weights)[0])
                if number % LOOK_EVERY == 0:
                    self._judge_rows()
            self._drain()
            self._judge()
        finally:
            self.others.submit(connections.close_all).result()
            self.others.shutdown()
            for bridge in self.bridges.values():
                bridge.client.close()
            self.operator.close()

    def _step(self, name: str) -> None:
        self.told.append(name)
        getattr(self, f"_{name}")()

    def _elsewhere[T](self, work: Callable[[], T]) -> T:
        """In the thread of whoever is not the client."""
        return self.others.submit(work).result(60)

    # -- the client ---------------------------------------------------------------------------------------------------
    def _submit(self) -> None:
        for _ in range(self.chosen.randint(1, 4)):
            with self._may_die("client"):
                self._submit_one()

    def _submit_in_transaction(self) -> None:
        """While it is open the others go on; it may be rolled back."""
        with transaction.atomic():
            self._submit_one()
            self._bridge()
            self._work()
            if self.chosen.random() < 0.2:
                transaction.set_rollback(True)

    def _submit_one(self) -> None:
        """A new request, or one that was sent before."""
        is_new = not self.tags or self.chosen.random() < 0.8
        self.tags += is_new
        number = self.tags if is_new else self.chosen.randint(1, self.tags)
        params: dict[str, object] = {"tag": f"request-{number}"}
        if self.world.has_sweeper:  # a retry waits for it
            params["fail_times"] = {3: 1, 5: 9}.get(number % 7, 0)
        if not self.world.has_sweeper:
            see_pools()
        asked = {"request": params["tag"]}
        self.recorder.note("invoke", "accept", [asked])
        answer = submit(f"probe.{POOLS[number % 2]}", owner=OWNER, params=params)
        if not connection.in_atomic_block:  # else it is a promise only if it is committed
            self.recorder.note("ok", "accept", [{**asked, "job": answer.job.id}])

    def _cancel(self) -> None:
        jobs = list(Job.objects.filter(state__in=OPEN).order_by("id"))
        if jobs:
            try:
                cancel(self.chosen.choice(jobs).id, owner=OWNER)
            except NotCancellable:
                return
            self.seen["cancelled"] += 1

    # -- Redis and the bridge -----------------------------------------------------------------------------------------
    def _new_bridge(self, name: str) -> "_Process":
        client = redis_topology.clients.primary(redis_topology.parse(self.node.url), socket_timeout=5)
        group = ConsumerGroup(client, stream=STREAM, group=GROUP, consumer=name, batch_size=8, claim_idle_ms=1)
        return _Process(client, group, Bridge(group))

    def _bridge(self) -> None:
        name = self.chosen.choice(list(self.bridges))
        one = self.bridges[name]

        def round_() -> None:
            with self._may_die("bridge", one.client):
                one.bridge.run_once(block_ms=1)
                return
            one.client.close()
            self.bridges[name] = self._new_bridge(name)

        self._elsewhere(round_)

    def _retire(self) -> None:
        """However long a consumer was silent, one that holds something stays."""
        one = self.chosen.choice(list(self.bridges.values()))
        # Redis's clock cannot be moved: the limit comes nearer by the time that has passed.
        self._elsewhere(lambda: one.group.retire_idle_consumers(idle_ms=RETIRE_IDLE_MS - _SILENCE_MS))

    def _abandon(self) -> None:
        """A bridge dies with what it has just read. All are silent for long; the first that comes back retires."""
        if self._is_near_poison():
            return
        self._submit_one()
        name = self.chosen.choice(list(self.bridges))
        one = self.bridges[name]

        def die() -> None:
            self.seen["entries abandoned"] += len(one.group.read(block_ms=1))
            one.client.close()
            del self.bridges[name]

        self._elsewhere(die)
        self._retire()
        self.bridges[name] = self._new_bridge(name)

    def _flush(self) -> None:
        self.seen["flushed"] += 1
        self.node.flush()

    def _destroy_group(self) -> None:
        if self.operator.exists(STREAM):
            self.seen["group destroyed"] += self.operator.xgroup_destroy(STREAM, GROUP)

    # -- workers ------------------------------------------------------------------------------------------------------
    def _work(self) -> None:
        if message := self._taken():
            self._elsewhere(partial(self._run, message))

    def _run(self, message: str) -> None:
        jobs = messages.named_by(message)
        with self._may_die("worker"), self._wrong_clock():
            run_jobs(jobs, leased_by=self._instance())
            self.operator.hdel(UNACKED, message)

    def _hold_message(self) -> None:
        """A hint that takes long."""
        if message := self._popped():
            self.held.append(message)

    def _freeze(self) -> None:
        if message := self._taken():
            jobs, instance = messages.named_by(message), self._instance()
            self.frozen += self._elsewhere(partial(self._claimed, list(jobs), instance))

    def _claimed(self, jobs: list[UUID], instance: str) -> list[Claimed]:
        with self._wrong_clock():
            answers = try_claim_all(jobs, leased_by=instance)
        return [answer for answer in answers.values() if isinstance(answer, Claimed)]

    def _overtake(self) -> None:
        """A frozen worker's lease runs out, another worker claims the job and freezes, and the first one thaws."""
        if self.frozen:
            pass_time(_PAST_EVERY_LEASE)
            lease, instance = self.chosen.choice(self.frozen), self._instance()
            won = self._elsewhere(partial(self._claimed, [lease.id], instance))
            self.seen["overtaken"] += len(won)
            self.frozen.remove(lease)
            self.frozen += won
            self._elsewhere(partial(self._end, lease, fails=False))

    def _thaw(self) -> None:
        if self.frozen:
            lease = self.frozen.pop(self.chosen.randrange(len(self.frozen)))
            fails = self.world.has_sweeper and self.chosen.random() < 0.3
            self._elsewhere(partial(self._end, lease, fails=fails))

    def _end(self, lease: Claimed, *, fails: bool) -> None:
        effect = partial(prepared.execute, sql.COUNT_PROBE, {"id": lease.id})
        try:
            if fails:
                fail(lease, Retryable("thawed", after=0.0))
            else:
                finish(lease, Done(effects=[effect]))
        except StaleLease:
            self.seen["stale end"] += 1

    def _hand_back(self) -> None:
        """A worker that is stopped; its child may live on and thaw all the same."""
        if self.frozen:
            lease = self.chosen.choice(self.frozen)
            self.seen["handed back"] += self._elsewhere(lambda: hand_back([lease.id], lease.leased_by))

    def _instance(self) -> str:
        self.workers += 1
        return f"worker-{self.workers}"

    def _taken(self) -> str:
        if self.held and self.chosen.random() < 0.3:
            return self.held.pop(0)
        return self._popped()

    def _popped(self) -> str:
        """As kombu does it: out of the list, then into what is unacknowledged. Empty when nothing waits."""
        for name in self.chosen.sample([name for pool in POOLS for name in messages.ready_lists(pool)], 6):
            if message := self.operator.rpop(name):
                self.operator.hset(UNACKED, message, "")
                return str(message)
        return ""

    # -- time and the sweeper -----------------------------------------------------------------------------------------
    def _time_passes(self) -> None:
        pass_time(self.chosen.choice(PASSAGES))

    def _sweep(self) -> None:
        self._elsewhere(self._tick)

    def _tick(self) -> None:
        trust_leases(self.sweeper)
        with self._may_die("sweeper"):
            self.seen["hinted again"] += self.sweeper.tick().hinted
            return
        self.sweeper = Sweeper()

    # -- faults -------------------------------------------------------------------------------------------------------
    @contextmanager
    def _may_die(self, who: str, client: redis.Redis | None = None) -> Iterator[None]:
        """The block may end anywhere. What stands behind it then runs; a `return` inside skips that."""
        if self.deaths >= self.world.deaths or not self._is_mortal(who) or self.chosen.random() < 0.6:
            yield
            return
        fuse = Fuse(self.chosen.randint(1, 6), late=self.chosen.random() < 0.5)
        try:
            with connection.execute_wrapper(fuse), burning(client, fuse):
                yield
        except Killed:
            self.deaths += 1
            self.seen[f"{who} died"] += 1
            self.told.append(f"({who} dies)")

    def _is_mortal(self, who: str) -> bool:
        """Without the sweeper nobody else can be missed."""
        return self.world.has_sweeper or (who == "bridge" and not self._is_near_poison())

    def _is_near_poison(self) -> bool:
        """Whether a bridge that dies now might make an entry look as if it killed bridges."""
        if not self.operator.exists(STREAM) or not self.operator.xinfo_groups(STREAM):
            return False
        waiting = self.operator.xpending_range(STREAM, GROUP, min="-", max="+", count=1000)
        return any(entry["times_delivered"] >= POISON_DELIVERIES - 2 for entry in waiting)

    @contextmanager
    def _wrong_clock(self) -> Iterator[None]:
        right, skew = time.time, self.chosen.choice(SKEWS)

        def wrong() -> float:
            return right() + skew

        with mock.patch("time.time", wrong):
            yield

    # -- the end ------------------------------------------------------------------------------------------------------
    def _drain(self) -> None:
        """Nobody dies any more. Whoever was frozen thaws when the others are done."""
        self.told.append("drain")
        self.deaths = self.world.deaths
        for _ in range(DRAIN_ROUNDS):
            if not self.held and not Job.objects.filter(state__in=OPEN).exists():
                break
            if self.world.has_sweeper:
                await_broker(30)  # an answer that a busy machine delayed suspends dispatch for a moment
                pass_time(max(PASSAGES))
                self._sweep()
            time.sleep(0.002)  # what a dead bridge had is stale after 1 ms
            self._settle()
        while self.frozen:
            self._thaw()

    def _settle(self) -> None:
        for one in self.bridges.values():
            self._elsewhere(partial(one.bridge.run_once, block_ms=1))
        while message := self.held.pop() if self.held else self._popped():
            self._elsewhere(partial(self._run, message))

    def _judge_rows(self) -> None:
        if broken := list(violations()):
            raise PromiseBroken(self._sentence(broken))

    def _judge(self) -> None:
        status, said = verdict(self.folder)
        found = [*broken_promises(said), *violations()]
        if found or status:
            raise PromiseBroken(f"{self._sentence(found)}\n{said}")

    def _sentence(self, found: list[str]) -> str:
        return f"{'; '.join(found)} ({self.world.name}, seed {self.seed})\nsteps: {' '.join(self.told)}"


@dataclass
class _Process:
    """A bridge."""

    client: redis.Redis
    group: ConsumerGroup
    bridge: Bridge


def pass_time(seconds: float) -> None:
    """For every open job: its lease, its hint, its grace and its delay lie so much further back."""
    moved = ", ".join(
        f"{column} = {column} - make_interval(secs => %(seconds)s)"
        for column in ("lease_until", "next_dispatch_at", "hinted_at", "not_before")
    )
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE job SET {moved} WHERE state IN ('QUEUED', 'RUNNING')", {"seconds": seconds})


def refuse_void(seen: Counter[str], sometimes: Iterable[str]) -> None:
    """Raises RunVoid unless each of these came about."""
    if missing := [name for name in sometimes if not seen[name]]:
        raise RunVoid(f"never seen: {', '.join(missing)}")


def broken_promises(said: str) -> list[str]:
    """The checker's report, a sentence for each defect: what became of the job with the shortest story."""
    return [f"{defect}: {what}" for defect, what in _DEFECT.findall(said)]
