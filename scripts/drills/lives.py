"""Which containers and which of their processes have begun anew between two looks: a drill must find that nothing has
but what it aimed at.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.stack.containers import Containers

#: What a worker writes when it leaves because it takes nothing: app/worker/progress.py.
LEAVES: Final = "takes nothing from a queue that is not empty: it leaves"
WORKERS: Final = ("worker-fast", "worker-cpu", "worker-io")


@dataclass(frozen=True)
class Life:
    """One container since it last began."""

    service: str
    started: str  #: as the Engine writes it; a start by hand and one by the restart policy both change it
    restarts: int  #: by the restart policy, since the container was made
    running: bool


#: Container id -> its life.
Lives = Mapping[str, Life]


def look(containers: Containers) -> Lives:
    """Every container that is meant to run long."""
    found = (one for one in containers.inspect() if one["HostConfig"]["RestartPolicy"]["Name"] not in {"", "no"})
    return {one["Id"]: _life(one) for one in found}


def begun_anew(before: Lives, after: Lives, *, aimed: Collection[str] = ()) -> list[str]:
    """One phrase for each container that is not what it was; `aimed`: services that were to end."""
    phrases = []
    for container, was in before.items():
        now = after.get(container)
        if was.service in aimed:
            continue
        if now is None or not now.running:
            phrases.append(f"{was.service} ended")
        elif (now.started, now.restarts) != (was.started, was.restarts):
            phrases.append(f"{was.service} began anew")
    return phrases


def ended(before: Mapping[str, Collection[int]], after: Mapping[str, Collection[int]]) -> list[str]:
    """One phrase for each service of which a process is gone; process ids by service."""
    gone = {service: set(was) - set(after.get(service, ())) for service, was in before.items()}
    return [f"{len(ids)} processes of {service} ended" for service, ids in gone.items() if ids]


def left(containers: Containers, *, since: float, workers: Sequence[str] = WORKERS) -> int:
    """How often a worker has left by itself since a Unix time, because it took nothing."""
    return sum(len(containers.said(worker, LEAVES, since=since)) for worker in workers)


def _life(inspected: dict[str, Any]) -> Life:
    state = inspected["State"]
    service = str(inspected["Config"]["Labels"]["com.docker.compose.service"])
    return Life(service, state["StartedAt"], int(inspected["RestartCount"]), bool(state["Running"]))
