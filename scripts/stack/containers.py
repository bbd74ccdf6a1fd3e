"""The containers of one stack, by the name of their compose service. Faults are injected here and nowhere else."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from scripts.stack import processes
from scripts.stack.errors import StackError

#: Seconds that stopping a container may take: its grace and some.
ACT_SECONDS = 45.0

#: Every process of a container as the kernel tells it: works in any image that has a shell.
_LIST_PROCESSES = 'for one in /proc/[0-9]*; do cat "$one/stat" 2>/dev/null; done; true'


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
        label = "com.docker.compose.service"
        argv = ["docker", "ps", "--quiet", "--no-trunc", f"--filter=label=com.docker.compose.project={self.project}"]
        argv += [] if running else ["--all"]
        if not services:
            return processes.read(argv).split()
        return [one for name in services for one in processes.read([*argv, f"--filter=label={label}={name}"]).split()]

    def inspect(self, *services: str, running: bool = False) -> list[dict[str, Any]]:
        """What the Engine says about each container."""
        found = self.ids(*services, running=running)
        inspected: list[dict[str, Any]] = json.loads(processes.read(["docker", "inspect", *found])) if found else []
        return inspected

    def kill(self, *services: str) -> None:
        """SIGKILL from outside: Docker does not restart the container."""
        self._each("kill", *services)

    def crash(self, *services: str) -> None:
        """SIGKILL of each main process from inside: the container ends with it, and Docker starts it again."""
        self._at_once(self._crash_one, self.ids(*services, running=True))

    def stop(self, *services: str) -> None:
        self._each("stop", *services)

    def start(self, *services: str) -> None:
        self._each("start", *services)

    def pause(self, *services: str) -> None:
        """Freeze: the kernel goes on acknowledging, nothing answers."""
        self._each("pause", *services)

    def freeze(self, container: str) -> None:
        """As `pause`, of one container of a service that has several."""
        processes.read(["docker", "pause", container])

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
        """Output of a command in the service's container."""
        container = self.ids(service, running=True)[0]
        return processes.read(["docker", "exec", "--interactive", container, *argv], stdin=stdin, timeout=120)

    def processes(self, container: str) -> list[Process]:
        """The container's own processes, the main one first. Empty when it does not run."""
        try:
            stats = processes.read(["docker", "exec", container, "sh", "-c", _LIST_PROCESSES])
        except StackError:
            return []
        return parse_processes(stats)

    def kill_process(self, container: str, process: Process) -> bool:
        """SIGKILL; False when it had ended before."""
        return processes.succeeds(["docker", "exec", container, "sh", "-c", f"kill -KILL {process.id}"])

    def erase(self, folder: str, *services: str) -> None:
        """Deletes everything in a folder of stopped containers' volumes, by a container that lives for nothing else."""
        for container in self.inspect(*services):
            volume = next(mount["Name"] for mount in container["Mounts"] if mount["Destination"] == folder)
            argv = ["docker", "run", "--rm", "--network=none", f"--user={container['Config']['User']}"]
            argv += [f"--volume={volume}:{folder}", "--entrypoint=find", container["Image"]]
            processes.read([*argv, folder, "-mindepth", "1", "-delete"], timeout=ACT_SECONDS)

    def _crash_one(self, container: str) -> None:
        for process in self.processes(container)[:1]:
            self.kill_process(container, process)

    def _each(self, verb: str, *services: str) -> None:
        self._at_once(lambda one: processes.read(["docker", verb, one], timeout=ACT_SECONDS), self.ids(*services))

    @staticmethod
    def _at_once(act: Callable[[str], object], containers: Sequence[str]) -> None:
        """In all at the same time: one after the other, a fault of six nodes would be six faults."""
        if containers:
            with ThreadPoolExecutor(len(containers)) as pool:
                list(pool.map(act, containers))


def parse_processes(stats: str) -> list[Process]:
    """Lines of /proc/<pid>/stat as processes, by id; without init, zombies and what `docker exec` brought in."""
    found = []
    for line in stats.splitlines():
        head, _, tail = line.rpartition(") ")  # the name in brackets may hold anything
        state, parent = tail.split()[:2]
        found.append((state, Process(int(head.split()[0]), int(parent))))
    guests = {process.id for _, process in found if process.parent == 0 and process.id != 1}
    own = [one for state, one in found if state != "Z" and one.id != 1 and not {one.id, one.parent} & guests]
    return sorted(own, key=lambda process: process.id)
