"""`make chaos [SEED=n] [DURATION=s] [RATE=jobs/s] [MODE=…] [TOPOLOGY=…] [PLAN=file] [TIMES=print]`: one run.
TIMES=print: how long a single fault was felt is told and not judged, on a machine that does other work too.
`make chaos RUNS=n [RESUME=1] [RESULTS=file]`: a campaign of consecutive seeds, half of them in each mode unless MODE
names one.
`make chaos-shrink SEED=n | PLAN=file`: the smallest plan that still fails. `make chaos-down`: no stack is left.

Exit status 0 when every promise held, 1 when one broke, a campaign is void or cut short, or the stack was not healed.
"""

import argparse
import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.bench import machine, results
from scripts.chaos import campaign, own_stack, plan, restore, run, shrink
from scripts.chaos.campaign import Campaign
from scripts.chaos.catalogue import KINDS
from scripts.chaos.plan import Plan
from scripts.chaos.run import Record
from scripts.chaos.scene import Scene
from scripts.drills.arguments import ROOT
from scripts.stack import command_line, console
from scripts.stack.deployment import MODES, TOPOLOGIES, Stack
from scripts.stack.errors import StackError

#: Of one run: 2,080 requests, from which at least 2,000 jobs come.
DURATION: Final = 26.0
RATE: Final = 80.0
TIMES: Final = ("judge", "print")
#: Runs that may fail to begin or end, one after the other, before a campaign gives up.
_MOST_STUMBLES: Final = 2

RESULTS: Final = Path(os.environ.get("RESULTS") or ROOT / ".state" / "chaos.jsonl")
_PLANS: Final = ROOT / ".state" / own_stack.PROJECT / "plans"


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, command_line.interrupt)
    return command_line.exit_status(lambda: _run(argv), interrupted="interrupted; what was broken is healed")


def _run(argv: Sequence[str]) -> int:
    chosen = _parser().parse_args(argv)
    if chosen.times not in TIMES:  # from the environment
        raise StackError(f"TIMES={chosen.times} is none of {', '.join(TIMES)}.", fix="make chaos TIMES=print")
    if chosen.verb == "down":
        console.say("removed" if own_stack.remove(ROOT) else "There is no stack of chaos.")
        return 0
    if chosen.verb == "shrink":
        return smallest(_plan(chosen), judges_time=chosen.times == TIMES[0])
    if chosen.runs:
        wanted = Campaign(
            *(chosen.seed, chosen.runs, campaign.modes_of(chosen.mode)),
            *(chosen.topology, chosen.duration, chosen.rate),
            code=machine.code(ROOT),
            times=chosen.times,
        )
        return many(wanted, resume=chosen.resume)
    status = one(_plan(chosen), judges_time=chosen.times == TIMES[0]).status
    console.say(f"  {own_stack.PROJECT} stays up for the next run: make chaos-down removes it")
    return status


def one(
    drawn: Plan, *, judges_time: bool = True, stack: Stack | None = None, is_healed: bool = False, **extra: str
) -> run.Result:
    """One run of a plan, on the stack that is kept for it or on one that is up in its mode; its record is appended."""
    path = keep(drawn)
    console.say(f"plan, kept in {path}:\n{drawn.text()}")
    stack = stack or ready(drawn.mode, drawn.topology)
    facts = machine.facts(ROOT)
    result = run.carry_out(Scene.of(stack), drawn, judges_time=judges_time, is_healed=is_healed)
    if drawn.steps and not result.record["applied"]:
        raise StackError(
            f"No fault of seed {drawn.seed} broke anything: the run shows nothing.", fix="make chaos SEED=…"
        )
    results.append(RESULTS, [{**result.record, **extra}], facts)
    if result.status:
        console.say(f"  again: make chaos PLAN={path}; smaller: make chaos-shrink PLAN={path}")
    return result


def ready(mode: str, topology: str) -> Stack:
    """The stack of chaos, up in this mode; what a run that was killed left broken is healed first."""
    left = own_stack.left(ROOT)
    if left is not None:
        # What cannot be healed may still start.
        with suppress(StackError):
            restore.heal(Scene.of(left))
    return own_stack.ensure(ROOT, mode=mode, topology=topology)


def many(wanted: Campaign, *, resume: bool) -> int:
    """Exit status of the campaign; its table is printed on every way out."""
    done = campaign.load(RESULTS, wanted.name)
    if done and not resume:
        what = f"{len(done)} runs of this campaign stand in {RESULTS}."
        raise StackError(what, fix=f"make chaos RUNS={wanted.runs} SEED={wanted.seed} RESUME=1, or another SEED")
    try:
        _runs(wanted, done)
    finally:
        done = campaign.load(RESULTS, wanted.name)
        lines, status = campaign.verdict(wanted, done)
        for line in [*campaign.table(campaign.judged(done)), *lines]:
            console.say(line)
    return status


def _runs(wanted: Campaign, done: Sequence[Record]) -> None:
    stumbles, stack, is_healed = 0, None, False
    judges_time = wanted.times == TIMES[0]
    for seed, mode in wanted.still_to_do(done):
        if machine.code(ROOT) != wanted.code:
            # The image was built from what was there before.
            raise StackError("The code has changed since the campaign began.", fix=f"make chaos RUNS={wanted.runs}")
        drawn = _drawn(seed, mode, wanted.topology, wanted.duration, wanted.rate)
        try:
            if stack is None or stack.mode != mode:
                stack = ready(mode, wanted.topology)
            one(drawn, judges_time=judges_time, stack=stack, is_healed=is_healed, campaign=wanted.name)
            stumbles, is_healed = 0, True
        except StackError as error:
            # No verdict is no success: RESUME tries it again, and the table tells of it.
            console.warn(f"seed {seed} in {mode} mode came to no verdict: {error}")
            told = {"campaign": wanted.name, "seed": seed, "mode": mode, "reason": error.what}
            results.append(RESULTS, [{**told, "verdict": campaign.NO_VERDICT}], machine.facts(ROOT))
            stumbles, stack, is_healed = stumbles + 1, None, False
            if stumbles >= _MOST_STUMBLES:
                raise


def smallest(failing: Plan, *, judges_time: bool) -> int:
    """0 when a plan that breaks the same promise was found, and kept."""

    def broken(candidate: Plan) -> set[str]:
        return shrink.promises(one(candidate, judges_time=judges_time, shrinking=failing.text()).record["broken"])

    wanted = shrink.worst(broken(failing))
    if not wanted:
        raise StackError("The plan held: there is nothing to make smaller.", fix="make chaos-shrink, once more")
    path = keep(shrink.shrink(failing, lambda candidate: bool(wanted & broken(candidate))), suffix="-small")
    console.say(f"the smallest that broke the same, kept in {path}:\n{path.read_text()}")
    return 0


def keep(drawn: Plan, suffix: str = "") -> Path:
    """Where a later `PLAN=` finds it."""
    _PLANS.mkdir(parents=True, exist_ok=True)
    path = _PLANS / f"{drawn.mode}-{drawn.topology}-{drawn.seed}-{len(drawn.steps)}{suffix}.json"
    path.write_text(drawn.text())
    return path


def _plan(chosen: argparse.Namespace) -> Plan:
    if chosen.plan:
        return plan.read(chosen.plan, KINDS)
    return _drawn(chosen.seed, chosen.mode or MODES[1], chosen.topology, chosen.duration, chosen.rate)


def _drawn(seed: int, mode: str, topology: str, duration: float, rate: float) -> Plan:
    return plan.draw(seed, KINDS, mode=mode, topology=topology, duration=duration, rate=rate)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("verb", nargs="?", choices=("run", "shrink", "down"), default="run")
    environment = os.environ.get
    # A campaign that is to be resumed must not begin anywhere.
    seed = int(environment("SEED") or (1 if environment("RUNS") else random.SystemRandom().randrange(1_000_000)))
    made.add_argument("--seed", type=int, default=seed, help="of the plan and of the load")
    made.add_argument("--duration", type=float, default=float(environment("DURATION") or DURATION), help="seconds")
    made.add_argument("--rate", type=float, default=float(environment("RATE") or RATE), help="requests a second")
    made.add_argument("--mode", choices=("", *MODES), default=environment("MODE") or "")
    made.add_argument("--topology", choices=TOPOLOGIES, default=environment("TOPOLOGY") or "sentinel")
    made.add_argument("--plan", type=Path, default=environment("PLAN") or None, help="a plan that was kept")
    made.add_argument("--runs", type=int, default=int(environment("RUNS") or 0), help="a campaign of so many")
    made.add_argument(
        "--times", choices=TIMES, default=environment("TIMES") or TIMES[0], help="recovery is judged, or told alone"
    )
    made.add_argument("--resume", action="store_true", default=bool(environment("RESUME")), help="goes on with it")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
