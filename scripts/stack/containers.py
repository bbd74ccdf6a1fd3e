"""The containers of one stack, by the name of their compose service. Faults are injected here and nowhere else."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from scripts.stack import host_history, processes
from scripts.stack.errors import StackError
from scripts.stack.waiting import wait_until

Result = TypeVar("Result")

#: Seconds that stopping a container may take: its grace and some.
ACT_SECONDS = 45.0

#: Seconds before a health check is due in which it counts as begun; until one has ended: after a thaw the first is an
#: interval away.
PROBE_MARGIN_SECONDS = 0.7
_PROBE_SECONDS = 20.0

#: Both streams of a container's log since a Unix time.
_READ_LOG = 'docker logs --timestamps --since="$1" "$2" 2>&1'

_ID_AND_SERVICE = '{{.ID}} {{.Label "com.docker.compose.service"}}'

#: Every process of a container as the kernel tells it: works in any image that has a shell.
_LIST_PROCESSES = 'for one in /proc/[0-9]*; do cat "$one/stat" 2>/dev/null; done; true'

#: Words of a runtime (runc) that has thawed again what it could not freeze at once: each process has to get a core for
#: that, and it waits for a fraction of a second. So long the drill tries in all, and between two tries.
_NOT_YET_FROZEN = "unable to freeze"
_FREEZE_SECONDS = 20.0
_FREEZE_PAUSE_SECONDS = 0.1

#: Fails where there is no such process or container. Other statuses come of a main process: the container that ends
#: with it takes the sender along.
_KILL = 'docker exec "$1" sh -c "kill -KILL $2"; case $? in 1 | 125 | 126 | 127) exit 1 ;; esac'


@dataclass(frozen=True)
class Process:
    """One process, numbered as inside its container."""

    id: int
    parent: int  #: 1 = the container's init; 0 = came in from outside, as `docker exec` does


@dataclass(frozen=True)
class Containers:
    """Containers of one compose project; a service that does not exist is ignored, so that recovery never fails."""

    project: str

    def ids(self, *services: str, running: bool = False) -> list[str]:
        """Container ids, of all services when none is named; stopped ones too unless `running`."""
        argv = ["docker", "ps", "--no-trunc", f"--filter=label=com.docker.compose.project={self.project}"]
        argv += ["--format", _ID_AND_SERVICE, *([] if running else ["--all"])]
        found = [line.partition(" ")[::2] for line in processes.read(argv).splitlines()]
        if not services:
            return [container for container, _ in found]
        return [container for name in services for container, service in found if service == name]

    def running(self, service: str) -> str:
        """The id of its container, the first where it has several. Raises StackError when it does not run."""
        if found := self.ids(service, running=True):
            return found[0]
        raise StackError(f"{service} does not run: {self.project} has no container of it.", fix="make up")

    def inspect(self, *services: str, running: bool = False) -> list[dict[str, Any]]:
        """What the Engine says about each container."""
        found = self.ids(*services, running=running)
        inspected: list[dict[str, Any]] = json.loads(processes.read(["docker", "inspect", *found])) if found else []
        return inspected

    def kill(self, *services: str) -> None:
        """SIGKILL from outside: Docker does not restart the container."""
        self._each("kill", *services)

    def crash(self, *services: str) -> None:
        """SIGKILL of each main process from inside: the container ends with it, and Docker starts it again.

        Raises StackError when none was killed.
        """
        if not any(self._at_once(self._crash_one, self.ids(*services, running=True))):
            raise StackError(f"no process of {', '.join(services)} was killed", fix="make ps")
        host_history.fault("crash", *services)

    def stop(self, *services: str) -> None:
        self._each("stop", *services)

    def start(self, *services: str) -> None:
        self._each("start", *services)

    def pause(self, *services: str) -> None:
        """Freeze: the kernel goes on acknowledging, nothing answers. Raises StackError."""
        self._at_once(_pause, self.ids(*services))
        host_history.fault("pause", *services)

    def await_no_probe(self, *services: str) -> None:
        """Until no health check runs or is about to: see `suspend` for what an Engine may do to who pauses then.
        Raises StackError.
        """
        self._at_once(_await_no_probe, self.ids(*services, running=True))

    def freeze(self, container: str) -> None:
        """As `pause`, of one container of a service that has several."""
        _pause(container)
        host_history.fault("pause", container)

    def suspend(self, *services: str) -> None:
        """SIGSTOP of every process: as `pause`, without Docker's part in it. An Engine (20.10) that pauses a container
        in the moment in which it starts a probe there waits for ever, and answers no question about it.
        """
        self._signal("STOP", *services)

    def resume(self, *services: str) -> None:
        """Undo `suspend`; safe to call when nothing is suspended."""
        self._signal("CONT", *services)

    def restart(self, *services: str) -> None:
        """TERM, the grace that compose.yaml gives, and up again."""
        self._each("restart", *services)

    def recover(self, *services: str) -> None:
        """Undo pause, stop and kill; safe to call when nothing is wrong."""
        for container in self.inspect(*services):
            if container["State"]["Paused"]:
                processes.read(["docker", "unpause", container["Id"]])
        self.start(*services)

    def run_in(self, service: str, *argv: str, stdin: str = "") -> str:
        """Output of a command in the service's container. Raises StackError, also when it does not run."""
        container = self.running(service)
        return processes.read(["docker", "exec", "--interactive", container, *argv], stdin=stdin, timeout=120)

    def said(self, service: str, words: str, *, since: float) -> list[float]:
        """Unix times at which a container of the service wrote lines with these words."""
        texts = [processes.read(["sh", "-c", _READ_LOG, "sh", f"{since:.3f}", one]) for one in self.ids(service)]
        return [_unix_time(line.split()[0]) for text in texts for line in text.splitlines() if words in line]

    def processes(self, container: str) -> list[Process]:
        """The container's own processes, the main one first. Empty when it does not run."""
        try:
            stats = processes.read(["docker", "exec", container, "sh", "-c", _LIST_PROCESSES])
        except StackError:
            return []
        return parse_processes(stats)

    def kill_process(self, container: str, process: Process) -> bool:
        """SIGKILL; False when it had ended before."""
        is_killed = processes.succeeds(["sh", "-c", _KILL, "sh", container, str(process.id)])
        host_history.fault("kill process", container, str(process.id))
        return is_killed

    def erase(self, folder: str, *services: str) -> None:
        """Deletes everything in a folder of stopped containers' volumes, by a container that lives for nothing else."""
        for container in self.inspect(*services):
            volume = next(mount["Name"] for mount in container["Mounts"] if mount["Destination"] == folder)
            argv = ["docker", "run", "--rm", "--network=none", f"--user={container['Config']['User']}"]
            argv += [f"--volume={volume}:{folder}", "--entrypoint=find", container["Image"]]
            processes.read([*argv, folder, "-mindepth", "1", "-delete"], timeout=ACT_SECONDS)
        host_history.fault("erase", *services)

    def _signal(self, name: str, *services: str) -> None:
        """To all processes but init and the sender."""
        found = self.ids(*services, running=True)
        self._at_once(lambda one: processes.read(["docker", "exec", one, "sh", "-c", f"kill -{name} -1; true"]), found)

    def _crash_one(self, container: str) -> bool:
        return any(self.kill_process(container, process) for process in self.processes(container)[:1])

    def _each(self, verb: str, *services: str) -> None:
        self._at_once(lambda one: processes.read(["docker", verb, one], timeout=ACT_SECONDS), self.ids(*services))
        host_history.fault(verb, *services)

    @staticmethod
    def _at_once(act: Callable[[str], Result], containers: Sequence[str]) -> list[Result]:
        """In all at the same time: one after the other, a fault of six nodes would be six faults."""
        if not containers:
            return []
        with ThreadPoolExecutor(len(containers)) as pool:
            return list(pool.map(act, containers))


def _pause(container: str) -> None:
    """`docker pause` between two health checks (see `suspend`), again and again on a busy host. Raises StackError."""
    _await_no_probe(container)
    deadline = time.monotonic() + _FREEZE_SECONDS
    while True:
        try:
            processes.read(["docker", "pause", container], timeout=ACT_SECONDS)
            return
        except StackError as error:
            if _NOT_YET_FROZEN not in error.what or time.monotonic() >= deadline:
                raise
        time.sleep(_FREEZE_PAUSE_SECONDS)


def _await_no_probe(container: str) -> None:
    wait_until(
        lambda: is_between_probes(_inspected(container), now=time.time()),
        within=_PROBE_SECONDS,
        otherwise=f"a health check of {container} does not end",
        fix="make ps",
        pause=0.05,
    )


def _inspected(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(processes.read(["docker", "inspect", container]))[0]
    return found


def is_between_probes(inspected: dict[str, Any], *, now: float) -> bool:
    """Whether the next health check, an interval after the last one's end, is not due yet; True without any."""
    interval = inspected["Config"].get("Healthcheck", {}).get("Interval", 0) / 1e9
    if not interval:
        return True
    log = inspected["State"].get("Health", {}).get("Log") or []
    last = log[-1]["End"] if log else inspected["State"]["StartedAt"]
    return now < _unix_time(str(last)) + float(interval) - PROBE_MARGIN_SECONDS


def _unix_time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def parse_processes(stats: str) -> list[Process]:
    """Lines of /proc/<pid>/stat as processes, by id; without init, zombies and what `docker exec` brought in."""
    found = []
    for line in stats.splitlines():
        head, _, tail = line.rpartition(") ")  # the name in brackets may hold anything
        state, parent = tail.split()[:2]
        found.append((state, Process(int(head.split()[0]), int(parent))))
    guests = {process.id for _, process in found if process.parent == 0 and process.id != 1}
    while brought := {process.id for _, process in found if process.parent in guests} - guests:
        guests |= brought
    own = [one for state, one in found if state != "Z" and one.id not in {1, *guests}]
    return sorted(own, key=lambda process: process.id)
