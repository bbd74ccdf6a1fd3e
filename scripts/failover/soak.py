"""`make failover-soak [ROUNDS=200] [RATE=50] [SEED=] [EVERY=10] [RESUME=1]`: failover after failover under load.

The Redis primary of the running stack is killed, crashed, frozen, stopped and handed over in turn, each as often as the
others, in an order drawn from the seed; the next fault waits until both replicas are online and the Sentinels agree. At
the start, every EVERY turns and at the end the load rests: every job is judged, and every service's descriptors,
sockets and memory are read. Each turn and each look is a line of .state/failover-soak.jsonl. RESUME=1 goes on with the
newest soak from its last look. Exit status 0 when all turns are done and held.
"""

import argparse
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.bench import machine, results
from scripts.bench.results import Record
from scripts.drills import arguments as drill
from scripts.drills import client_ledger, holdings, lives, outcome, steady_state, workload
from scripts.drills.holdings import Holding
from scripts.drills.load import Answer, Load
from scripts.drills.truth import Truth
from scripts.drills.verdict import Verdict
from scripts.failover import soak_records
from scripts.failover.faults import ASKERS
from scripts.failover.soak_records import Soak
from scripts.failover.turn import FLOW_SECONDS, Turn, await_in_step
from scripts.failover.watching import POOLS, first_ends
from scripts.stack import command_line, console, deployment, handover
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import SENTINELS, RedisNodes
from scripts.stack.waiting import wait_until

ROUNDS: Final = 200
RATE: Final = 50.0
EVERY: Final = 10
RESULTS: Final = drill.ROOT / ".state" / "failover-soak.jsonl"

#: Services whose processes are to outlive every turn, and whose descriptors are counted.
HELD: Final = (*ASKERS, *SENTINELS)

#: Turns that may come to no verdict, one after the other, before the soak gives up.
MOST_STUMBLES: Final = 2
#: Seconds that a health check, which comes every 15, may take to see what is well again.
_HEALTHY_SECONDS: Final = 60.0
_LOOK_AT_POSTGRES: Final = 0.5
_HOUR: Final = 3600


class Session:
    """One call of the command: turns from where the soak was left until it is done or cut short."""

    def __init__(self, stack: Stack, soak: Soak, path: Path) -> None:
        self._stack, self._soak, self._path = stack, soak, path
        self._containers, self._truth = Containers(stack.project), Truth(stack)
        self._session = uuid.uuid4().hex[:8]
        self._facts: Record = {}
        self._stumbles = 0
        self._verdict = Verdict(
            f"{soak.name}: 0 lost, 0 twice, nothing ends or stands still but what a fault aims at, descriptors stay",
            judges_time=False,
        )
        self._held: dict[str, Holding] = {}

    def carry_out(self, every: int) -> None:
        """Raises StackError when turn after turn comes to no verdict."""
        number = soak_records.done(soak_records.of(self._soak, results.load(self._path)))
        self._look_at_rest(number)
        while number < self._soak.rounds:
            upto = min(number + every, self._soak.rounds)
            self._stretch(range(number + 1, upto + 1))
            number = upto

    def _look_at_rest(self, number: int) -> None:
        self._facts = machine.facts(self._stack.root)
        await_in_step(RedisNodes(self._stack))
        self._held = holdings.look(self._containers, HELD)
        self._keep("look", turns=number, held=_records(self._held), broken=[])

    def _stretch(self, numbers: range) -> None:
        """Turns under one load, and the look that judges them."""
        tag, began = drill.new_tag(), time.time()
        load = workload.probe_load(
            self._stack, tag=tag, count=int(self._soak.rate * _HOUR), rate=self._soak.rate, work=workload.even
        )
        load.start()
        try:
            self._await_flow(tag, began)
            for number in numbers:
                self._turn(number, tag)
        finally:
            load.stop()
        self._judge(load, tag, began, numbers[-1])

    def _turn(self, number: int, tag: str) -> None:
        """Done, or stumbled: a fault that could not be done says nothing of the stack, and its turn is repeated."""
        fault = self._soak.faults()[number - 1]
        while True:
            try:
                record = Turn(self._stack, fault, tag=tag, chance=self._soak.chance(number)).carry_out()
            except StackError as error:
                self._stumble(number, fault, error)
                continue
            self._stumbles = 0
            self._keep("turn", number=number, tag=tag, **record)
            console.say(soak_records.turn_line(self._soak, number, record))
            return

    def _stumble(self, number: int, fault: str, error: StackError) -> None:
        self._keep("stumble", number=number, fault=fault, what=error.what)
        console.warn(f"turn {number} ({fault}) came to no verdict: {error}")
        self._stumbles += 1
        if self._stumbles > MOST_STUMBLES:
            raise error

    def _await_flow(self, tag: str, since: float) -> None:
        wait_until(
            lambda: first_ends(self._truth, tag=tag, since=since).keys() >= set(POOLS),
            within=FLOW_SECONDS,
            otherwise="not every pool does jobs before the first fault",
            fix="make ps",
            pause=_LOOK_AT_POSTGRES,
        )

    def _judge(self, load: Load, tag: str, began: float, number: int) -> None:
        answers = load.join()
        broken_before = len(self._verdict.broken)
        outcome.judge_statuses(self._verdict, answers, jobs=load.count)
        ledger = client_ledger.settled(self._verdict, load, answers)
        census = outcome.judge(self._verdict, self._truth, ledger, tag=tag)
        left = lives.left(self._containers, since=began)
        self._verdict.check(not left, f"{left} workers left because they took nothing")
        self._check_services()
        self._keep(
            "look",
            turns=number,
            tag=tag,
            held=_records(self._held),
            accepted=len(ledger.ids),
            lost=len(ledger.ids) - self._truth.applied(ledger.ids.values()).once,
            twice=census.twice,
            extra_executions=census.executions - census.jobs,
            not_at_once=_not_at_once(answers),
            left=left,
            broken=self._verdict.broken[broken_before:],
        )
        self._facts = machine.facts(self._stack.root)

    def _check_services(self) -> None:
        """Well, with the processes that they had at the look before."""
        ill = self._ill()
        self._verdict.check(not ill, f"services that are not well: {', '.join(ill) or 'none'}")
        now = holdings.look(self._containers, HELD)
        ended = lives.ended(holdings.process_ids(self._held), holdings.process_ids(now))
        self._verdict.check(not ended, f"processes that ended: {', '.join(ended) or 'none'}")
        self._held = now
        for service, holding in now.items():
            shown = ", ".join(f"{name} {value:g}" for name, value in holding.record().items())
            self._verdict.note(f"       {service:<12} {shown}")

    def _ill(self) -> list[str]:
        """Health checks get their time: the next one may not have come yet."""

        def found() -> list[str]:
            return steady_state.ill_containers(self._containers.inspect(*HELD))

        try:
            wait_until(lambda: not found(), within=_HEALTHY_SECONDS, otherwise="", pause=1.0)
        except StackError:
            return found()
        return []

    def _keep(self, line: str, **members: Any) -> None:  # noqa: ANN401 - JSON
        record = {"line": line, "session": self._session, **self._soak.identity(), **members, "written": time.time()}
        results.append(self._path, [record], self._facts)


def _records(held: Mapping[str, Holding]) -> Record:
    return {service: holding.record() for service, holding in held.items()}


def _not_at_once(answers: Sequence[Answer]) -> int:
    return sum(not answer.job_id for answer in answers)


def carry_out(stack: Stack, soak: Soak, *, every: int, path: Path = RESULTS) -> int:
    """Exit status; the table and the verdict are printed on every way out."""
    try:
        Session(stack, soak, path).carry_out(every)
    finally:
        lines, status = soak_records.verdict(soak, soak_records.of(soak, results.load(path)))
        for line in ["", *lines]:
            console.say(line)
    return status


def chosen_soak(chosen: argparse.Namespace, stack: Stack, path: Path = RESULTS) -> Soak:
    """A new one, or with --resume the newest. Raises StackError when that cannot be gone on with, or began already."""
    records = results.load(path)
    if not chosen.resume:
        soak = Soak(chosen.rounds, chosen.rate, chosen.seed, stack.mode)
        if soak_records.of(soak, records):
            raise StackError(f"This soak stands in {path} already.", fix="make failover-soak RESUME=1, or another SEED")
        return soak
    soak = soak_records.newest(records)
    if soak.mode != stack.mode:
        raise StackError(f"The newest soak ran in {soak.mode} mode.", fix=f"make mode MODE={soak.mode}")
    return soak


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(
        lambda: _run(argv), interrupted="interrupted; what was broken is healed: make failover-soak RESUME=1"
    )


def _run(argv: Sequence[str]) -> int:
    chosen = _parser().parse_args(argv)
    if min(chosen.rounds, chosen.every) < 1:
        raise StackError("ROUNDS and EVERY are 1 or more.", fix="make failover-soak ROUNDS=200")
    handover.require_sentinels(deployment.load(drill.ROOT, env_path=chosen.env_file))
    stack = drill.stack_of(chosen)
    soak = chosen_soak(chosen, stack)
    console.say(f"{soak.name}: {', '.join(soak.faults()[:10])} ...")
    return carry_out(stack, soak, every=chosen.every)


def _parser() -> argparse.ArgumentParser:
    environment = os.environ.get
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--env-file", type=Path, help="a stack other than that of .env")
    made.add_argument("--rounds", type=int, default=int(environment("ROUNDS") or ROUNDS), help="turns in all")
    made.add_argument("--rate", type=float, default=float(environment("RATE") or RATE), help="requests a second")
    seed = int(environment("SEED") or random.SystemRandom().randrange(1_000_000))
    made.add_argument("--seed", type=int, default=seed, help="of the order and of every random choice; printed")
    made.add_argument("--every", type=int, default=int(environment("EVERY") or EVERY), help="turns between two looks")
    made.add_argument("--resume", action="store_true", default=bool(environment("RESUME")), help="the newest goes on")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
