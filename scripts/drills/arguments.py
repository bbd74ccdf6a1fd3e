"""What drills take from their command line; JOBS=, RATE=, FAULT=, SEED= of make arrive as environment variables.

A drill adds --seed and --fault where it makes choices, and lets --jobs or --rate be where it sends no such load.
"""

import argparse
import os
import random
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from scripts.drills import steady_state
from scripts.stack import console, deployment, host_history
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError

ROOT: Final = Path(__file__).resolve().parents[2]

#: Seconds until the stack is whole again after one fault, so that the next meets a whole one: a Sentinel that was
#: frozen tilts for 30 s, and health is asked every 15.
_BETWEEN_SECONDS: Final = 120.0
#: Seconds that what another drill has just broken gets to be seen healthy again.
_LAST_DRILL_SECONDS: Final = 120.0


def parser(description: str, *, jobs: int, rate: float) -> argparse.ArgumentParser:
    """--env-file, --jobs, --rate; a drill adds its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--env-file", type=Path, help="a stack other than that of .env")
    made.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS") or jobs), help="requests in all")
    made.add_argument("--rate", type=float, default=float(os.environ.get("RATE") or rate), help="requests a second")
    return made


def add_seed(made: argparse.ArgumentParser) -> None:
    """--seed: the same one makes the same choices."""
    default = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
    made.add_argument("--seed", type=int, default=default, help="of every random choice; printed")


def add_faults(made: argparse.ArgumentParser, faults: Sequence[str]) -> None:
    """--fault: which of these, in this order; all when absent. FAULT of the environment stands for the option."""
    made.add_argument("--fault", choices=faults, action="append", help="may be given again; default all")
    if given := os.environ.get("FAULT"):
        if given not in faults:
            raise StackError(f"FAULT={given} is none of {', '.join(faults)}.", fix=f"name one: FAULT={faults[0]}")
        made.set_defaults(fault=[given])


def stack_of(arguments: argparse.Namespace) -> Stack:
    """The stack to break. Raises StackError when it does not run or is not whole: a drill would blame its own fault."""
    stack = deployment.load(ROOT, env_path=arguments.env_file.resolve() if arguments.env_file else None)
    running = Containers(stack.project)
    if stopped := [service for service in ("web", "postgres") if not running.ids(service, running=True)]:
        raise StackError(f"{stack.project} does not run: no container of {', '.join(stopped)}.", fix="make up")
    host_history.start(stack)
    steady_state.require(stack, within=_LAST_DRILL_SECONDS)
    console.say(
        f"{stack.project}: MODE={stack.mode} TOPOLOGY={stack.topology}, whole; one job of each pool went through"
    )
    return stack


def run_each(stack: Stack, faults: Sequence[str], run: Callable[[str], int]) -> int:
    """One fault after the other, each on a whole stack; the worst of their exit statuses."""
    statuses: list[int] = []
    for fault in faults:
        steady_state.require(stack, within=_BETWEEN_SECONDS if statuses else 0.0)
        statuses.append(run(fault))
    return max(statuses)


def new_tag() -> str:
    """Tells this run's jobs from all others."""
    return f"drill-{uuid.uuid4().hex[:12]}"
