"""One failover in the middle of a soak: fault, jobs flow again, healing, all six agree. No wait is a fixed time.

What it says is one record; jobs and effects are judged later, over many turns.
"""

import time
from random import Random
from typing import Any, Final

from scripts.drills import arguments as drill
from scripts.drills import lives
from scripts.drills.lives import Lives
from scripts.drills.truth import Truth
from scripts.failover.cuts import Cuts
from scripts.failover.faults import FAULTS, SWITCH_SECONDS, Scene
from scripts.failover.timeline import SentinelEvents, Timeline
from scripts.failover.watching import FIRST_ENTRY, FIRST_JOB, POOLS, Watch, first_ends
from scripts.failover.writes import NumberedWrites, longest_silence
from scripts.stack import restart
from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.waiting import comes_true, wait_until

Record = dict[str, Any]

#: What a soak does in turn; all of them need no more than the Engine and the nodes themselves.
TURNS: Final = ("kill", "crash", "freeze", "stop", "planned")
#: Those of them that end the node's container.
_ENDS_ITS_NODE: Final = frozenset({"kill", "crash", "stop"})

#: Seconds until every flow is back after the switch, a worker that leaves and is started again included; until six
#: nodes agree: a Sentinel looks at a node that came back every 10; until the writer has begun.
FLOW_SECONDS: Final = 60.0
WHOLE_SECONDS: Final = 120.0
_READY_SECONDS: Final = 30.0
_LOOK: Final = 0.02
_LOOK_AT_NODES: Final = 0.25
_LOOK_AT_POSTGRES: Final = 0.5


class Turn:
    """One fault under a load that runs already; `tag` is the load's."""

    def __init__(self, stack: Stack, fault: str, *, tag: str, chance: Random) -> None:
        nodes = RedisNodes(stack)
        await_in_step(nodes)
        self._stack, self._name, self._fault = stack, fault, FAULTS[fault]
        self._tag, self._chance = tag, chance
        self._truth, self._timeline = Truth(stack), Timeline(say=_nothing)
        self._scene = Scene(
            nodes, Containers(stack.project), self._timeline, Cuts(_no_image), chance, primary=nodes.elected()
        )
        self._writes = NumberedWrites(nodes, key=f"holdfast:failover:{drill.new_tag()}")
        self._watch = Watch(stack, self._scene, self._writes, tag=tag)
        self._ears = SentinelEvents(nodes, self._timeline)
        self._broken: list[str] = []

    def carry_out(self) -> Record:
        """Raises StackError when the fault could not be done; it is healed then, too."""
        began, before = time.monotonic(), lives.look(self._scene.containers)
        try:
            for part in (self._ears, self._writes, self._watch):
                part.start()
            wait_until(lambda: self._writes.acknowledged, within=_READY_SECONDS, otherwise="Redis takes no write")
            time.sleep(self._chance.random())  # the fault meets Sentinel's timers anywhere
            self._break_and_heal()
            whole = self._await_whole()
            if not self._fault.must_switch:
                self._await_flow_if_any(time.time())
        finally:
            for end in (self._watch.stop, self._writes.stop, self._ears.stop):
                end()
        return self._record(before, whole, time.monotonic() - began)

    def _break_and_heal(self) -> None:
        try:
            self._fault.prepare(self._scene)
            self._scene.containers.await_no_probe(self._scene.primary)
            self._timeline.begin(f"fault: {self._name}")
            self._fault.inject(self._scene)
            if self._fault.must_switch:
                self._await_flow()
        finally:
            self._scene.heal()

    def _await_whole(self) -> float | None:
        """Seconds since the fault; None when the nodes do not agree, which the next turn waits for once more."""
        try:
            return await_in_step(self._scene.nodes) - self._timeline.began
        except StackError as error:
            self._broken.append(error.what)
            return None

    def _await_flow(self) -> None:
        if not comes_true(lambda: bool(self._switches()), within=SWITCH_SECONDS, pause=_LOOK):
            self._broken.append(f"no +switch-master within {SWITCH_SECONDS:g} s")
        elif not comes_true(lambda: self._flows().keys() >= self._wanted(), within=FLOW_SECONDS, pause=_LOOK):
            self._broken.append(f"{_named(self._wanted() - self._flows().keys())} stands still after the switch")

    def _await_flow_if_any(self, since: float) -> None:
        """A node may be back before anybody missed it: then jobs that are claimed from `since` on end."""
        if self._switches():
            self._await_flow()
            return

        def standing() -> set[str]:
            return set(POOLS) - first_ends(self._truth, tag=self._tag, since=since).keys()

        if not comes_true(lambda: not standing(), within=FLOW_SECONDS, pause=_LOOK_AT_POSTGRES):
            self._broken.append(f"{_named(standing())} stands still after the fault")

    def _wanted(self) -> set[str]:
        return {*POOLS, "bridge"} if self._stack.mode == "stream" else set(POOLS)

    def _switches(self) -> list[float]:
        return self._timeline.seconds("+switch-master")

    def _flows(self) -> dict[str, float]:
        """Seconds from the last switch until each flow was back; one that is not is missing."""
        found = {pool: self._timeline.seconds(f"{FIRST_JOB}{pool} ") for pool in POOLS}
        found["bridge"] = self._timeline.seconds(FIRST_ENTRY)
        switched = max(self._switches(), default=0.0)
        return {name: max(0.0, seconds[0] - switched) for name, seconds in found.items() if seconds}

    def _record(self, before: Lives, whole: float | None, seconds: float) -> Record:
        aimed = {self._scene.primary} if self._name in _ENDS_ITS_NODE else set()
        self._broken += lives.begun_anew(before, lives.look(self._scene.containers), aimed=aimed)
        switches, flows, lost = self._switches(), self._flows(), self._writes.lost()
        if (replaced := len(self._timeline.successors())) > self._fault.switches:
            self._broken.append(f"{replaced} primaries were replaced instead of {self._fault.switches}")
        if self._fault.bounds_writes and lost:
            self._broken.append(f"{lost} acknowledged writes lost")
        written = self._writes.acknowledged
        return {
            "fault": self._name,
            "fault_at": self._timeline.began,
            "primary": self._scene.primary,
            "leader": self._scene.nodes.elected(),
            "switches": len(switches),
            "switch_s": round(switches[-1], 3) if switches else None,
            "flows": {name: round(after, 3) for name, after in flows.items()} if switches else {},
            "whole_s": None if whole is None else round(whole, 3),
            "seconds": round(seconds, 1),
            "writes_acked": len(written),
            "writes_lost": lost,
            "write_gap_s": round(longest_silence(written, after=self._timeline.began), 3),
            "broken": self._broken,
        }


def await_in_step(nodes: RedisNodes) -> float:
    """When all six agreed and both replicas were online, Unix time. Raises StackError."""
    wait_until(
        lambda: restart.is_in_step(nodes),
        within=WHOLE_SECONDS,
        otherwise="the nodes do not agree on one primary with two replicas in step",
        fix="make ps",
        pause=_LOOK_AT_NODES,
    )
    return time.time()


def _named(flows: set[str]) -> str:
    return ", ".join(sorted(flows))


def _nothing(_text: str) -> None:
    """A soak says one line for each turn."""


def _no_image() -> str:
    raise StackError("No fault of a soak cuts the network.", fix="make failover FAULT=partition")
