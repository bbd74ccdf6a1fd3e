"""The faults: each is done to whichever node leads, and all are healed by the same call. Nothing is simulated."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from scripts.failover.cuts import Cuts
from scripts.failover.timeline import Timeline
from scripts.stack import handover, restart
from scripts.stack.containers import Containers
from scripts.stack.redis_nodes import REDIS, SENTINELS, RedisNodes
from scripts.stack.waiting import wait_until

#: Seconds until Sentinel has another primary: detection of a silent one takes up to two of its timers, and a Sentinel
#: that cannot win an election tries again after ten.
SWITCH_SECONDS: Final = 60.0
#: Seconds for which the only node that is left is alone.
ALONE_SECONDS: Final = 4.0
#: What asks names; `web` reaches Postgres by name.
ASKERS: Final = ("web", "worker-fast", "worker-cpu", "worker-io", "bridge", "sweeper", "exporter")


@dataclass
class Scene:
    """What a fault is done to."""

    nodes: RedisNodes
    containers: Containers
    timeline: Timeline
    cuts: Cuts
    chance: Random
    primary: str  #: who led before

    def await_switch(self, former: str) -> str:
        """The new primary. Raises StackError."""
        return wait_until(
            lambda: leader if (leader := self.nodes.elected()) not in {"", former} else "",
            within=SWITCH_SECONDS,
            otherwise=f"the Sentinels name no other primary than {former}",
            fix="make logs SERVICE=sentinel-1",
            pause=0.05,
        )

    def peers(self) -> list[str]:
        """Addresses of all other nodes."""
        return [self.nodes.address(node) for node in REDIS | SENTINELS if node != self.primary]

    def heal(self) -> None:
        """Undoes every fault of this module; safe to call again."""
        self.cuts.heal()
        self.containers.recover(*REDIS, *SENTINELS)


def _nothing(_scene: Scene) -> None:
    """Most faults need no preparation."""


@dataclass(frozen=True)
class Fault:
    """One way to break Redis."""

    words: str  #: with %s for the node that leads
    inject: Callable[[Scene], None]
    recovers_within: float  #: seconds after the fault, the target
    prepare: Callable[[Scene], None] = _nothing  #: what would take time in the moment of the fault
    must_switch: bool = True
    write_gap: float = math.inf  #: seconds; a bound says, too, that no acknowledged write is lost
    counts_from: str = ""  #: how the moment begins from which recovery counts, if not from the fault
    switches: int = 1  #: at most; one more is a false one
    is_many: bool = False  #: several things happen one after the other: what counts is how long a flow stood still

    @property
    def bounds_writes(self) -> bool:
        """Whether this fault may lose no acknowledged write."""
        return math.isfinite(self.write_gap)


def _kill(scene: Scene) -> None:
    scene.containers.kill(scene.primary)


def _crash(scene: Scene) -> None:
    scene.containers.crash(scene.primary)


def _stop(scene: Scene) -> None:
    scene.containers.stop(scene.primary)
    for at in scene.containers.said(scene.primary, "hands over to", since=scene.timeline.began):
        scene.timeline.note(f"hand-over began: {scene.primary} pauses writes", at)


def _restart(scene: Scene) -> None:
    restart.restart(scene.nodes.stack, tell=scene.timeline.note)


def _freeze(scene: Scene) -> None:
    scene.containers.pause(scene.primary)


def _cut(scene: Scene) -> None:
    scene.cuts.cut()


def _prepare_partition(scene: Scene) -> None:
    _prepare_cut(scene, [f"{scene.nodes.stack.value('SUBNET_PREFIX')}.0/24"])


def _prepare_split(scene: Scene) -> None:
    _prepare_cut(scene, scene.peers())


def _prepare_cut(scene: Scene, addresses: Iterable[str]) -> None:
    rules = [f"{side} {address}" for address in addresses for side in ("-s", "-d")]
    scene.cuts.prepare({container: rules for container in scene.containers.ids(scene.primary, running=True)})


def _prepare_dead_dns(scene: Scene) -> None:
    """Questions leave each container's own namespace; Docker's resolver inside listens on another port. Sentinels and
    replicas lose theirs, too: one that asked for a name would hang just when it is needed.
    """
    rules = [f"-p {protocol} --dport 53" for protocol in ("udp", "tcp")]
    asked = (*ASKERS, *SENTINELS, *(node for node in REDIS if node != scene.primary))
    scene.cuts.prepare({container: rules for container in scene.containers.ids(*asked, running=True)})
    scene.cuts.cut()


def _kill_with_sentinel(scene: Scene) -> None:
    sentinel = scene.chance.choice(sorted(SENTINELS))
    scene.timeline.note(f"{sentinel} is killed too")
    scene.containers.kill(scene.primary, sentinel)


def _hand_over(scene: Scene) -> None:
    leader = handover.hand_over(scene.nodes)
    scene.timeline.note(f"handed over: {leader} leads, three Sentinels agree")


def _kill_twice(scene: Scene) -> None:
    scene.containers.kill(scene.primary)
    second = scene.await_switch(scene.primary)
    scene.timeline.note(f"{second}, the new primary, is killed too")
    scene.containers.kill(second)
    third = scene.await_switch(second)
    scene.timeline.note(f"{third} is alone: it leads and takes no write")
    time.sleep(ALONE_SECONDS)
    scene.containers.recover(scene.primary)
    scene.timeline.note(f"back: {scene.primary} is started")


FAULTS: Final = {
    "kill": Fault("docker kill %s: it stays down", _kill, 3.0),
    "freeze": Fault("docker pause %s: it acknowledges and answers nothing", _freeze, 3.5),
    "crash": Fault("SIGKILL inside %s: Docker starts it again", _crash, 3.0, must_switch=False),
    "stop": Fault("docker stop %s: it hands over first", _stop, 0.5, write_gap=0.5, counts_from="hand-over began"),
    "partition": Fault("%s is cut off from everybody", _cut, 3.5, prepare=_prepare_partition),
    "split": Fault("%s is cut off from its peers; clients reach it", _cut, 3.5, prepare=_prepare_split),
    "sentinel-and-primary": Fault("docker kill %s and one Sentinel", _kill_with_sentinel, 3.0),
    "dead-dns": Fault("docker kill %s without DNS beyond Docker's own", _kill, 3.0, prepare=_prepare_dead_dns),
    "planned": Fault("hand-over from %s (make handover)", _hand_over, 3.0, write_gap=0.25),
    "restart": Fault("all six made anew, one by one", _restart, 0.5, write_gap=0.25, is_many=True),
    "double": Fault("docker kill %s, then of who took over", _kill_twice, 5.0, switches=2, counts_from="back: "),
}
