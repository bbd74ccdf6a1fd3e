"""Faults of what Redis holds, of its memory and of its network. All are done as user `operator`, from the host."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final

from scripts.chaos.faults import Fault, restored
from scripts.chaos.plan import Step
from scripts.chaos.scene import Scene
from scripts.failover.cuts import Cuts
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import REDIS, SENTINELS
from scripts.stack.resp import Reply, RespError
from scripts.stack.waiting import wait_until

#: kombu's lists of one pool: the queue's name, and a priority step behind a separator.
PRIORITY_STEPS: Final = (0, 3, 6)
#: Seconds until something waits before who is frozen.
_PILE_UP_SECONDS: Final = 5.0
#: Below what an empty Redis takes: every command that adds is refused.
TOO_LITTLE: Final = "1mb"
#: What services/redis/entrypoint.sh gives Redis of the container's memory, percent.
SHARE_OF_MEMORY: Final = 65


def queue_lists(pool: str) -> list[str]:
    return [f"{pool}\x06\x16{step}" if step else pool for step in PRIORITY_STEPS]


class OnPrimary(Fault):
    """One command to the node that leads."""

    COMMANDS: Final[dict[str, Callable[[Scene], list[str]]]] = {
        "flush-all": lambda _scene: ["FLUSHALL"],
        "delete-stream": lambda scene: ["DEL", scene.stack.value("NDVI_STREAM_NAME")],
        "destroy-group": lambda scene: ["XGROUP", "DESTROY", *_group(scene)],
    }

    def inject(self) -> None:
        command = self.COMMANDS[self.step.fault](self.scene)
        primary = self.scene.primary()
        reply = self.scene.nodes.ask(primary, *command)
        if reply == 0:
            raise StackError(f"{' '.join(command[:2])} found nothing on {primary}", fix="make ps")
        self.hit = f"{primary}: {' '.join(command[:2])} answered {reply}"


class QueueDeleted(Fault):
    """The hints of a pool are deleted. Its worker is frozen meanwhile: before an idle one there are none."""

    def inject(self) -> None:
        pool = self.step.target.removeprefix("worker-")
        self.scene.containers.suspend(self.step.target)
        primary = self.scene.primary()
        lists = queue_lists(pool)
        count = wait_until(
            lambda: sum(int(str(self.scene.nodes.ask(primary, "LLEN", name))) for name in lists),
            within=_PILE_UP_SECONDS,
            otherwise=f"no hint came to stand in {pool}",
        )
        if not self.scene.nodes.ask(primary, "DEL", *lists):
            raise StackError(f"the hints of {pool} were gone", fix="make ps")
        self.hit = f"{count} hints of {pool}"

    def heal(self) -> None:
        restored(self.scene, self.step.target)


class ConsumerDeleted(Fault):
    """The bridge's consumer is deleted with the entries that it holds. It is frozen meanwhile, and they are read in its
    name: what it holds by itself it has passed on in milliseconds.
    """

    def inject(self) -> None:
        stream, group = _group(self.scene)
        consumer, primary = self.scene.stack.value("BRIDGE_CONSUMER_NAME"), self.scene.primary()
        self.scene.containers.suspend("bridge")
        read = ("XREADGROUP", "GROUP", group, consumer, "COUNT", "50", "STREAMS", stream, ">")
        wait_until(
            lambda: self.scene.nodes.ask(primary, *read),
            within=_PILE_UP_SECONDS,
            otherwise="no entry came to stand in the stream",
        )
        dropped = self.scene.nodes.ask(primary, "XGROUP", "DELCONSUMER", stream, group, consumer)
        self.hit = f"{consumer} with {dropped} pending entries"

    def heal(self) -> None:
        restored(self.scene, "bridge")


class Maxmemory(Fault):
    """Every node refuses what adds, as with a limit that is too small."""

    is_taken_over = False

    def inject(self) -> None:
        hit = 0
        for node in self.scene.redis:
            with suppress(OSError, RespError):  # another fault has it
                self.scene.nodes.ask(node, "CONFIG", "SET", "maxmemory", TOO_LITTLE)
                hit += 1
        if not hit:
            raise StackError("no Redis node answered", fix="make ps")
        self.hit = f"maxmemory {TOO_LITTLE} on {hit} nodes"

    def heal(self) -> None:
        restore_maxmemory(self.scene)


def restore_maxmemory(scene: Scene) -> list[str]:
    """Gives every node what its start gave it; returns the nodes that did not answer."""
    silent = []
    for container in scene.containers.inspect(*scene.redis):
        node = container["Config"]["Labels"]["com.docker.compose.service"]
        usual = int(container["HostConfig"]["Memory"]) * SHARE_OF_MEMORY // 100
        try:
            if _configured(scene.nodes.ask(node, "CONFIG", "GET", "maxmemory")) != str(usual):
                scene.nodes.ask(node, "CONFIG", "SET", "maxmemory", str(usual))
        except (OSError, RespError):
            silent.append(node)
    return silent


def _configured(reply: Reply) -> str:
    return str(reply[1]) if isinstance(reply, list) and len(reply) > 1 else ""


class LogLost(Fault):
    """A node is killed, its volume emptied, log, snapshot and role included, and it starts again with nothing."""

    def inject(self) -> None:
        node = self.scene.primary() if self.step.target == "primary" else self.scene.replica(self.step.dice)
        self.hit = node
        self.scene.containers.kill(node)
        self.scene.containers.erase("/data", node)

    def heal(self) -> None:
        if self.hit in self.scene.redis:
            self.scene.containers.recover(self.hit)


class CutOff(Fault):
    """partition: the primary is cut off from everybody; split: from its peers, clients still reach it."""

    def __init__(self, scene: Scene, step: Step) -> None:
        super().__init__(scene, step)
        self._cuts: Cuts = scene.cuts()

    def inject(self) -> None:
        self.hit = primary = self.scene.primary()
        peers = [self.scene.nodes.address(node) for node in REDIS | SENTINELS if node != primary]
        prefix = self.scene.stack.value("SUBNET_PREFIX")
        far = peers if self.step.fault == "split" else [f"{prefix}.0/24"]
        rules = [f"{side} {address}" for address in far for side in ("-s", "-d")]
        containers = self.scene.containers.ids(primary, running=True)
        if not containers:
            raise StackError(f"{primary} does not run", fix="make ps")
        self._cuts.prepare({container: rules for container in containers})
        self._cuts.cut()

    def heal(self) -> None:
        self._cuts.heal()


class SentinelMajority(Fault):
    """Two of three Sentinels are killed: nobody can be elected."""

    def inject(self) -> None:
        two = sorted(Random(self.step.dice).sample(sorted(SENTINELS), 2))
        self.hit = ", ".join(two)
        self.scene.containers.kill(*two)

    def heal(self) -> None:
        self.scene.containers.recover(*SENTINELS)


def _group(scene: Scene) -> tuple[str, str]:
    return scene.stack.value("NDVI_STREAM_NAME"), scene.stack.value("NDVI_STREAM_GROUP")
