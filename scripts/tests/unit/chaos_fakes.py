"""A stack for tests of chaos that is no stack: it writes down what is done to it, and fails where it is told to."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from scripts.chaos.scene import Scene
from scripts.drills.truth import Truth
from scripts.stack.compose import Compose
from scripts.stack.containers import Containers, Process
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes

VALUES: Mapping[str, str] = {
    "COMPOSE_PROJECT_NAME": "fake",
    "SUBNET_PREFIX": "10.9.9",
    "NDVI_STREAM_NAME": "s",
    "NDVI_STREAM_GROUP": "g",
    "BRIDGE_CONSUMER_NAME": "b-1",
}
STACK = Stack(Path("/nowhere"), Path("/nowhere/.env"), VALUES, "stream", "sentinel")


class FakeContainers:
    """`broken`: service -> the last thing that was done to it. `refuses`: verbs that fail as often as named."""

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}
        self.said: list[str] = []
        self.refuses: dict[str, int] = {}
        self.images: defaultdict[str, str] = defaultdict(lambda: "holdfast/app:1")
        self.kills = True  #: whether a process that is to be killed is still there

    def kill(self, *services: str) -> None:
        self._do("kill", services)

    def crash(self, *services: str) -> None:
        self._do("crash", services)

    def suspend(self, *services: str) -> None:
        self._do("suspend", services)

    def stop(self, *services: str) -> None:
        self._do("stop", services)

    def restart(self, *services: str) -> None:
        self._do("restart", services)

    def erase(self, folder: str, *services: str) -> None:
        self._do(f"erase {folder}", services)

    def run_in(self, service: str, *argv: str, stdin: str = "") -> str:
        del stdin
        self.said.append(f"{service}: {argv[0]}")
        return "150\n"

    def recover(self, *services: str) -> None:
        self._refuse("recover")
        self.said.append(f"recover {' '.join(services)}")
        for service in services:
            if self.broken.get(service) != "suspend":
                self.broken.pop(service, None)

    def resume(self, *services: str) -> None:
        self._refuse("resume")
        self.said.append(f"resume {' '.join(services)}")
        for service in services:
            if self.broken.get(service) == "suspend":
                del self.broken[service]

    def ids(self, *services: str, running: bool = False) -> list[str]:
        return [one for one in services if not (running and self.broken.get(one, "suspend") != "suspend")]

    def processes(self, container: str) -> list[Process]:
        del container
        return [Process(7, 1), Process(41, 7)]

    def kill_process(self, container: str, process: Process) -> bool:
        self.said.append(f"kill process {process.id} of {container}")
        return self.kills

    def inspect(self, *services: str, running: bool = False) -> list[dict[str, Any]]:
        label, memory = "com.docker.compose.service", {"Memory": 1000}
        return [
            {"Id": one, "Config": {"Labels": {label: one}, "Image": self.images[one]}, "HostConfig": memory}
            for one in self.ids(*services, running=running)
        ]

    def _do(self, verb: str, services: tuple[str, ...]) -> None:
        self._refuse(verb)
        self.said.append(f"{verb} {' '.join(services)}")
        self.broken |= dict.fromkeys(services, verb)

    def _refuse(self, verb: str) -> None:
        if self.refuses.get(verb, 0) > 0:
            self.refuses[verb] -= 1
            raise StackError(f"{verb} was refused", fix="none")


class FakeNodes:
    """redis-2 leads; `memory` is what CONFIG SET left on each node."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.memory: dict[str, str] = dict.fromkeys(REDIS, "650")
        self.silent: set[str] = set()
        self.answer: object = 1  #: to what is no question about memory

    def elected(self) -> str:
        return "redis-2"

    def primaries(self) -> list[str]:
        return ["redis-2"]

    def address(self, node: str) -> str:
        return f"10.9.9.{(REDIS | SENTINELS)[node]}"

    def ask(self, node: str, *command: str, timeout: float = 1.0) -> object:
        del timeout
        if node in self.silent:
            raise ConnectionRefusedError("nobody there")
        self.commands.append((node, *command))
        if command[:2] == ("CONFIG", "SET"):
            self.memory[node] = command[3]
            return "OK"
        return ["maxmemory", self.memory[node]] if command[:2] == ("CONFIG", "GET") else self.answer


class FakeTruth:
    """Keeps the scripts that it was given; `answers` are the rows of each."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.variables: list[dict[str, str]] = []
        self.answers = ["0"]

    def rows(self, script: str, **variables: str) -> list[str]:
        self.scripts.append(script)
        self.variables.append(variables)
        return self.answers


def scene(containers: FakeContainers | None = None, nodes: FakeNodes | None = None) -> Scene:
    return Scene(
        STACK,
        cast(Containers, containers or FakeContainers()),
        cast(RedisNodes, nodes or FakeNodes()),
        cast(Truth, FakeTruth()),
        Compose(("true",), STACK),
        lambda: "netfilter",
        lambda: "holdfast/skewed:1",
    )
