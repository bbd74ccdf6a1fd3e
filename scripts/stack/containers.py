"""The containers of one stack, by the name of their compose service. Faults are injected here and nowhere else."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from scripts.stack import processes

#: Seconds that stopping a container may take: its grace and some.
ACT_SECONDS = 45.0


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

    def stop(self, *services: str) -> None:
        self._each("stop", *services)

    def start(self, *services: str) -> None:
        self._each("start", *services)

    def pause(self, *services: str) -> None:
        """Freeze: the kernel goes on acknowledging, nothing answers."""
        self._each("pause", *services)

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

    def _each(self, verb: str, *services: str) -> None:
        """At once in all: one after the other, a fault of six nodes would be six faults."""
        if found := self.ids(*services):
            with ThreadPoolExecutor(len(found)) as pool:
                list(pool.map(lambda one: processes.read(["docker", verb, one], timeout=ACT_SECONDS), found))
