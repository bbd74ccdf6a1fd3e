"""What is broken, for all systems at once, and how it is mended."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from tests.others.script import STRIKES
from tests.others.world import World, end
from tests.servers.process import ServerProcess

#: What a strike may break: the servers, the processes of every system, and a source of choices.
type Strike = Callable[[World, Sequence[Sequence[ServerProcess]], random.Random], None]

#: Seconds that children go on without their main process, until what watches over the service ends them.
_ORPHANED_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Fault:
    """`lasts`: seconds from the strike until it is mended; 0 = it mends itself."""

    name: str
    what: str
    strike: Strike
    lasts: float = 0.0
    times: int = 1
    of_redis: bool = False


def _nothing(_world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    pass


def _kill_child(_world: World, systems: Sequence[Sequence[ServerProcess]], chosen: random.Random) -> None:
    for processes in systems:
        family = _family(processes[0])
        children = sorted((child for child in family[1:] if _runs_jobs(child)), key=lambda child: child.pid)
        _kill([chosen.choice(children)] if children else family[:1])


def _kill_main(_world: World, systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    families = [family for processes in systems for process in processes if (family := _family(process))]
    _kill([family[0] for family in families])
    time.sleep(_ORPHANED_SECONDS)
    _kill([child for family in families for child in family[1:]])


def _kill_whole(_world: World, systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    _kill([member for processes in systems for process in processes for member in _family(process)])


def _kill_primary(world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    end(world.redis.primary)


def _freeze_primary(world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    world.redis.primary.freeze()


def _flush(world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    with world.redis.primary.operator() as client:
        client.flushall()


def _refuse(world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    for server in (*world.redis.sentinels, *world.redis.nodes):
        end(server)


def _kill_postgres(world: World, _systems: Sequence[Sequence[ServerProcess]], _chosen: random.Random) -> None:
    end(world.postgres)


def mend(world: World) -> None:
    """Whatever a strike broke runs again; the systems' own processes are their keepers' affair."""
    if not world.postgres.running:
        world.postgres.start()
    world.redis.heal()


FAULTS: Final = (
    Fault("none", "nothing is broken: the control", _nothing),
    Fault("process-kill", f"SIGKILL of a process that runs jobs, {STRIKES} times", _kill_child, times=STRIKES),
    Fault(
        "main-kill",
        f"SIGKILL of the worker's main process, of its children {_ORPHANED_SECONDS:g} s later, {STRIKES} times",
        _kill_main,
        times=STRIKES,
    ),
    Fault(
        "worker-kill", f"SIGKILL of every process of the system at once, {STRIKES} times", _kill_whole, times=STRIKES
    ),
    Fault("redis-kill", "SIGKILL of the Redis primary, back after 15 s", _kill_primary, lasts=15.0, of_redis=True),
    Fault("redis-freeze", "SIGSTOP of the Redis primary for 15 s", _freeze_primary, lasts=15.0, of_redis=True),
    Fault("redis-flush", "FLUSHALL: all that Redis holds is lost", _flush, of_redis=True),
    Fault("redis-away", "all of Redis and Sentinel refuses for 8 s", _refuse, lasts=8.0, of_redis=True),
    Fault("postgres-kill", "SIGKILL of Postgres, back after 3 s", _kill_postgres, lasts=3.0),
)


def _runs_jobs(child: psutil.Process) -> bool:
    """multiprocessing's tracker is a child that does not."""
    with suppress(psutil.NoSuchProcess):
        return "resource_tracker" not in " ".join(child.cmdline())
    return False


def _family(process: ServerProcess) -> list[psutil.Process]:
    """The main process and its descendants; empty while nothing of it runs."""
    with suppress(psutil.NoSuchProcess):
        if process.running:
            main = psutil.Process(process.pid)
            return [main, *main.children(recursive=True)]
    return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
