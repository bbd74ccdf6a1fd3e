"""What faults are done to: one stack, seen from the host."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from scripts.drills.truth import Truth
from scripts.failover.cuts import Cuts
from scripts.stack.compose import Compose
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.image_store import ImageStore
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes
from scripts.stack.toolbox import Toolbox

#: Signs the sessions that faults open in Postgres.
SESSION_NAME: Final = "holdfast-chaos"
WORKERS: Final = ("worker-fast", "worker-cpu", "worker-io")


@dataclass(frozen=True)
class Scene:
    """One stack, the ways to reach it, and the run that is under way."""

    stack: Stack
    containers: Containers
    nodes: RedisNodes
    truth: Truth
    compose: Compose
    find_netfilter: Callable[[], str]
    find_skewed: Callable[[], str]
    tag: str = ""  #: of the run that is under way: every job of it carries one that begins so

    @classmethod
    def of(cls, stack: Stack) -> "Scene":
        toolbox = Toolbox(stack.root / ".tools")
        return cls(
            stack,
            Containers(stack.project),
            RedisNodes(stack),
            Truth(stack),
            Compose(toolbox.compose(), stack),
            ImageStore(stack, toolbox).ensure_netfilter,
            ImageStore(stack, toolbox).ensure_skewed,
        )

    @property
    def redis(self) -> tuple[str, ...]:
        return tuple(REDIS) if self.stack.topology == "sentinel" else ("redis-1",)

    @property
    def services(self) -> tuple[str, ...]:
        """All that a fault may break."""
        sentinels = tuple(SENTINELS) if self.stack.topology == "sentinel" else ()
        return (*WORKERS, "bridge", "sweeper", "web", "exporter", "postgres", *self.redis, *sentinels)

    def primary(self) -> str:
        """The Redis node that leads. Raises StackError when there is none."""
        if self.stack.topology != "sentinel":
            return "redis-1"
        if leader := self.nodes.elected() or next(iter(self.nodes.primaries()), ""):
            return leader
        raise StackError("no Redis node leads", fix="make ps")

    def replica(self, dice: int) -> str:
        primary = self.primary()
        return Random(dice).choice([node for node in self.redis if node != primary])

    def cuts(self) -> Cuts:
        return Cuts(self.find_netfilter)
