"""`restart`: containers are made anew one by one, and Redis without an error and without a lost write.

Replicas go first; then another node takes over and the former primary follows; then the Sentinels. Each waits until all
six agree and both replicas are in step. A new image or an edited configuration takes effect: this is the upgrade, too.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Final

from scripts.stack import console, handover
from scripts.stack.compose import Compose
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes
from scripts.stack.services import listed
from scripts.stack.toolbox import Toolbox
from scripts.stack.waiting import wait_until

#: Seconds until six nodes agree after one of them came back; until another service is healthy.
WHOLE_SECONDS: Final = 180.0
HEALTHY_SECONDS: Final = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="*", help="default: every Redis and Sentinel node")


def run(arguments: argparse.Namespace, stack: Stack) -> int:
    restart(stack, arguments.service, tell=console.say)
    return 0


def restart(stack: Stack, services: Sequence[str] = (), *, tell: Callable[[str], None]) -> None:
    """One by one, saying each. Raises StackError, and then goes no further: the others run as before."""
    compose = Compose(Toolbox(stack.root / ".tools").compose(), stack)
    known = {service.name for service in listed(compose)}
    if strange := sorted(set(services) - known):
        raise StackError(f"{stack.project} runs no {', '.join(strange)}.", fix="make ps")
    wanted = set(services) or known & {*REDIS, *SENTINELS}
    if stack.topology == "sentinel":
        _restart_nodes(compose, wanted & {*REDIS, *SENTINELS}, tell)
        wanted -= {*REDIS, *SENTINELS}
    for name in sorted(wanted):
        _recreate(compose, name, "--wait", f"--wait-timeout={HEALTHY_SECONDS}")
        tell(f"{name} is back")


def _restart_nodes(compose: Compose, wanted: set[str], tell: Callable[[str], None]) -> None:
    nodes = RedisNodes(compose.stack)
    if wanted and not is_in_step(nodes):
        raise StackError("Not every node is there and in step: nothing was restarted.", fix="make ps")
    former = nodes.elected()
    for name in order(wanted, primary=former):
        if name == former:
            tell(f"{handover.hand_over(nodes)} leads, {former} follows")
        began = time.monotonic()
        _recreate(compose, name)
        wait_until(
            lambda: is_in_step(nodes),
            within=WHOLE_SECONDS,
            otherwise=f"The nodes do not agree since {name} was restarted; the others were left alone",
            fix=f"make logs SERVICE={name}",
        )
        tell(f"{name} is back, all in step after {time.monotonic() - began:.1f} s")


def order(services: set[str], *, primary: str) -> list[str]:
    """Replicas, the primary, Sentinels."""
    redis = sorted(services & REDIS.keys(), key=lambda name: (name == primary, name))
    return [*redis, *sorted(services & SENTINELS.keys())]


def is_in_step(nodes: RedisNodes) -> bool:
    """Whole as the Sentinels see it, and both replicas in step as the primary sees them: a Sentinel looks every 10 s,
    and the primary refuses writes when the second replica leaves before the first is back."""
    leader = nodes.leader_of_whole()
    return bool(leader and handover.furthest_in_step(nodes, leader))


def _recreate(compose: Compose, name: str, *options: str) -> None:
    *argv, last = compose.recreate([name])
    if compose.call_quietly([*argv, *options, last]) != 0:
        raise StackError(f"{name} could not be restarted.", fix=f"read {compose.log_path}")
