"""The stack that these tests start: its own project, subnet, ports, secrets and volumes, removed at the end.

HOLDFAST_TEST_PROJECT and HOLDFAST_TEST_SUBNET_PREFIX move it when the defaults are taken.
"""

import os
import shutil
import unittest
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from scripts.stack import console, deployment, env_file, processes
from scripts.stack.compose import Compose
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes
from scripts.stack.toolbox import Toolbox
from scripts.stack.waiting import wait_until

ROOT: Final = Path(__file__).resolve().parents[3]
PROJECT: Final = os.environ.get("HOLDFAST_TEST_PROJECT", "holdfast-test")
SUBNET_PREFIX: Final = os.environ.get("HOLDFAST_TEST_SUBNET_PREFIX", "10.92.94")
PORTS: Final = {
    "WEB_PORT": "18200",
    "PROMETHEUS_PORT": "18290",
    "ALERTMANAGER_PORT": "18293",
    "GRAFANA_PORT": "18230",
}
SIX: Final = (*REDIS, *SENTINELS)

#: Seconds that one call of Compose may take, waiting for health included.
COMPOSE_SECONDS: Final = 600.0

#: Seconds until six nodes that were just started agree: a Sentinel greets every 2 s, a thawed one tilts for 30.
WHOLE_SECONDS: Final = 180.0


@dataclass(frozen=True)
class Surroundings:
    """One test stack and the ways to look at it."""

    compose: Compose

    @property
    def stack(self) -> Stack:
        return self.compose.stack

    @property
    def containers(self) -> Containers:
        return Containers(self.stack.project)

    @property
    def nodes(self) -> RedisNodes:
        return RedisNodes(self.stack)

    def up(self, services: Sequence[str] = ()) -> None:
        """Start services, all when none is named, and wait until they are healthy."""
        try:
            self._run([*self.compose.up(wait_seconds=480), *services])
        except StackError:
            self._show_the_sick()
            raise

    def up_unchecked(self, services: Sequence[str]) -> None:
        """Start services without waiting for anything."""
        self._run(self.compose.argv("up", "--detach", *services))

    def down(self, *, volumes: bool = False) -> None:
        self._run(self.compose.down(volumes=volumes))

    def await_whole(self) -> str:
        """Wait until all six agree; returns the primary's name."""
        return wait_until(
            self.nodes.leader_of_whole, within=WHOLE_SECONDS, otherwise="the six nodes did not agree on one primary"
        )

    def story(self) -> str:
        """What the six decided and saw since they were made: the message of a failure."""
        pattern = "entrypoint.sh|[+-](switch-master|sdown|odown|tilt|failover|elected|convert|selected)|MASTER MODE"
        nodes = self.containers.ids(*SIX)
        logs = (f"docker logs -t {one} 2>&1 | grep -E '{pattern}' | sed 's/^/{one[:4]} /'" for one in nodes)
        lines = processes.read(["sh", "-c", f"({'; '.join(logs)}; true)"]).splitlines()
        return "\n".join(["", *sorted(lines, key=lambda line: line[5:])])

    def with_values(self, **values: str) -> "Surroundings":
        """The same stack, same images, with other lines in its env file."""
        env_file.rewrite(self.stack.env_path, values)
        loaded = deployment.load(ROOT, env_path=self.stack.env_path)
        stack = replace(loaded, topology=self.stack.topology, state=self.stack.state)
        stack.save_state()
        return Surroundings(replace(self.compose, stack=stack))

    def with_topology(self, topology: str) -> "Surroundings":
        """The same stack, same volumes, in the other topology."""
        stack = replace(self.stack, topology=topology)
        stack.save_state()
        return Surroundings(replace(self.compose, stack=stack))

    def remove(self) -> None:
        """Containers, networks, volumes, env file and secrets."""
        self.down(volumes=True)
        shutil.rmtree(self.stack.env_path.parent)

    def _show_the_sick(self) -> None:
        """The last words of every container that is not healthy: the stack is removed before anybody can look."""
        for container in self.containers.inspect():
            state = container["State"]
            if state.get("Health", {}).get("Status", "healthy") != "healthy" or state["ExitCode"]:
                console.warn(f"--- {container['Name']}: {state['Status']}, exit code {state['ExitCode']}")
                console.warn(processes.read(["sh", "-c", f"docker logs --tail 15 {container['Id']} 2>&1"]))

    def _run(self, argv: list[str]) -> None:
        processes.read(argv, env=self.compose.environment(), cwd=self.stack.root, timeout=COMPOSE_SECONDS)


def create(*, topology: str) -> Surroundings:
    """Describe the test stack, with its env file, secrets and images in place; starts nothing."""
    env_path = ROOT / ".state" / PROJECT / "env" / ".env"
    given = {**PORTS, "COMPOSE_PROJECT_NAME": PROJECT, "SUBNET_PREFIX": SUBNET_PREFIX, "HEALTH_INTERVAL": "2s"}
    env_file.ensure(env_path, ROOT / ".env.example", given=given)
    stack = replace(deployment.load(ROOT, env_path=env_path), topology=topology)
    toolbox = Toolbox(ROOT / ".tools")
    stack = ImageStore(stack, toolbox).ensure()
    names = env_file.secret_names((ROOT / ".env.example").read_text())
    env_file.write_secret_files(stack.values, names, stack.secrets_dir)
    stack.save_state()
    return Surroundings(Compose(toolbox.compose(), stack))


class OnSixNodes(unittest.TestCase):
    """Tests on three Redis and three Sentinels, whole before each."""

    stack: ClassVar[Surroundings]

    @classmethod
    def setUpClass(cls) -> None:
        cls.stack = create(topology="sentinel")
        cls.addClassCleanup(lambda: cls.stack.remove())
        cls.stack.up(SIX)

    def setUp(self) -> None:
        self.stack.containers.recover(*SIX)
        self.stack.await_whole()
