"""The closed list of faults: where each applies, how long it stays, how soon the stack is back, and who does it.

To add one: a class with `inject` and `heal` in one of the modules of faults, and a row here.
"""

from collections.abc import Iterator
from typing import Final

from scripts.chaos.clock_faults import ClockStep
from scripts.chaos.faults import Fault, OfChild, OfContainer
from scripts.chaos.operation_faults import Handover, ReplayStorm, RollingRestart, ScheduleStorm, Twice
from scripts.chaos.plan import Kind, Step
from scripts.chaos.postgres_faults import BackendsKilled, DiskFull, LongTransaction, PoolExhausted
from scripts.chaos.redis_faults import (
    ConsumerDeleted,
    CutOff,
    LogLost,
    Maxmemory,
    OnPrimary,
    QueueDeleted,
    SentinelMajority,
)
from scripts.chaos.scene import WORKERS, Scene
from scripts.stack.redis_nodes import SENTINELS

_SENTINEL: Final = ("sentinel",)
_STREAM: Final = ("stream",)

#: Group in a fault's name -> services or roles, and the topologies that have them.
_GROUPS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "worker": (WORKERS, ("sentinel", "standalone")),
    "web": (("web",), ("sentinel", "standalone")),
    "bridge": (("bridge",), ("sentinel", "standalone")),
    "sweeper": (("sweeper",), ("sentinel", "standalone")),
    "postgres": (("postgres",), ("sentinel", "standalone")),
    "primary": (("primary",), ("sentinel", "standalone")),
    "replica": (("replica",), _SENTINEL),
    "sentinel": (tuple(SENTINELS), _SENTINEL),
}
#: Verb -> seconds. A worker's lease is 10 s to 30 s: a longer freeze makes its late finish meet the fence.
_VERBS: Final = {"kill": (3.0, 10.0), "crash": (2.0, 4.0), "freeze": (3.0, 9.0), "stop": (2.0, 6.0)}
_FREEZE_WORKER: Final = (12.0, 18.0)


def _of_containers() -> Iterator[tuple[Kind, type[Fault]]]:
    for group, (targets, topologies) in _GROUPS.items():
        for verb, lasts in _VERBS.items():
            name = f"{verb}-{group}"
            stays = _FREEZE_WORKER if name == "freeze-worker" else lasts
            # In celery mode no job passes the bridge.
            modes = _STREAM if group == "bridge" else ("celery", "stream")
            yield Kind(name, stays, targets, modes, topologies), OfContainer


_ROWS: Final[tuple[tuple[Kind, type[Fault]], ...]] = (
    *_of_containers(),
    (Kind("restart-service", targets=(*WORKERS, "web", "bridge", "sweeper", "postgres")), OfContainer),
    (Kind("oom-child", targets=("worker-fast", "worker-cpu")), OfChild),
    (Kind("clock-worker", lasts=(4.0, 10.0), targets=WORKERS), ClockStep),
    (Kind("clock-sweeper", lasts=(4.0, 10.0), targets=("sweeper",)), ClockStep),
    (Kind("clock-bridge", lasts=(4.0, 10.0), targets=("bridge",), modes=_STREAM), ClockStep),
    (Kind("partition", lasts=(4.0, 10.0), topologies=_SENTINEL), CutOff),
    (Kind("split", lasts=(4.0, 10.0), topologies=_SENTINEL), CutOff),
    (Kind("flush-all"), OnPrimary),
    (Kind("delete-stream", modes=_STREAM), OnPrimary),
    (Kind("delete-queue", lasts=(1.0, 3.0), targets=WORKERS), QueueDeleted),
    (Kind("destroy-group", modes=_STREAM), OnPrimary),
    (Kind("delete-consumer", lasts=(1.0, 3.0), modes=_STREAM), ConsumerDeleted),
    (Kind("maxmemory", lasts=(3.0, 10.0)), Maxmemory),
    (Kind("lose-log-primary", (1.0, 6.0), ("primary",)), LogLost),
    (Kind("lose-log-replica", (1.0, 6.0), ("replica",), topologies=_SENTINEL), LogLost),
    (Kind("sentinel-majority", lasts=(4.0, 12.0), topologies=_SENTINEL), SentinelMajority),
    (Kind("postgres-backends"), BackendsKilled),
    (Kind("row-locks", lasts=(2.0, 6.0)), LongTransaction),
    (Kind("table-lock", lasts=(2.0, 6.0)), LongTransaction),
    (Kind("pool-exhausted", lasts=(3.0, 10.0)), PoolExhausted),
    (Kind("disk-full-postgres", lasts=(3.0, 8.0), back_within=30.0), DiskFull),
    (Kind("two-sweepers", lasts=(5.0, 15.0), targets=("sweeper",)), Twice),
    (Kind("two-bridges", lasts=(5.0, 15.0), targets=("bridge",), modes=_STREAM), Twice),
    (Kind("rolling-restart"), RollingRestart),
    (Kind("replay-storm"), ReplayStorm),
    (Kind("schedule-storm", lasts=(4.0, 8.0)), ScheduleStorm),
    (Kind("handover", topologies=_SENTINEL), Handover),
)

KINDS: Final = {kind.name: kind for kind, _ in _ROWS}
_CLASSES: Final = {kind.name: made for kind, made in _ROWS}


def fault_of(scene: Scene, step: Step) -> Fault:
    """The step, bound to a stack."""
    return _CLASSES[step.fault](scene, step)
