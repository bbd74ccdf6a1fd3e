"""Looks at the stack while it fails over, and notes each moment when it is seen first."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import quote
from urllib.request import urlopen
from uuid import UUID

from scripts.drills.truth import Truth
from scripts.failover.faults import Scene
from scripts.failover.writes import NumberedWrites
from scripts.stack.deployment import Stack
from scripts.stack.errors import StackError
from scripts.stack.postgres import Session
from scripts.stack.resp import RespError

#: Seconds between two looks. What looks takes its share of the machine from what it looks at, most of all in the moment
#: that counts: /readyz asks Redis and Postgres, Prometheus scrapes every 15.
_LOOK: Final = 0.05
_LOOK_AT_WEB: Final = 0.2
_LOOK_AT_POSTGRES: Final = 0.2
_LOOK_AT_PROMETHEUS: Final = 1.0
_ANSWER: Final = 1.0
#: Of a node that may be dead: without it a connection hangs for 3 s, and what came back meanwhile is seen that late.
_NODE_ANSWER: Final = 0.2

#: First end of a job that was claimed after a moment, by pool. Ids are in the order of time: without the first of them
#: each look would read every job there is.
_FIRST_ENDS: Final = """
SELECT pool, extract(epoch FROM min(finished_at)) FROM job
WHERE id >= :'recent' AND params->>'tag' LIKE :'tag' || '-%' AND state = 'SUCCEEDED'
    AND started_at > to_timestamp(:'since'::float8)
GROUP BY pool;
"""
#: Every end of a job of the run, by pool, in order.
_ENDS: Final = """
SELECT pool, extract(epoch FROM finished_at) FROM job
WHERE params->>'tag' LIKE :'tag' || '-%' AND finished_at IS NOT NULL ORDER BY finished_at;
"""
_RECENT: Final = 600.0
POOLS: Final = ("cpu", "fast", "io")

#: How the moments begin at which jobs flow again: of a pool, which is named next, and of the bridge.
FIRST_JOB: Final = "first job of pool "
FIRST_ENTRY: Final = "first stream entry bridged"


def first_ends(postgres: Truth | Session, *, tag: str, since: float) -> dict[str, float]:
    """Unix time of the first end of a job of the run that was claimed after `since`, by pool; a pool may be missing.
    Jobs that were accepted more than ten minutes before are not looked at.
    """
    recent = UUID(int=int((since - _RECENT) * 1000) << 80)  # UUIDv7: milliseconds since 1970, then chance
    rows = (row.split("|") for row in postgres.rows(_FIRST_ENDS, tag=tag, since=str(since), recent=str(recent)))
    return {pool: float(at) for pool, at in rows}


class Watch:
    """Threads that look until they have seen what they wait for, or `stop`."""

    def __init__(self, stack: Stack, scene: Scene, writes: NumberedWrites, *, tag: str) -> None:
        self._stack, self._scene, self._writes, self._tag = stack, scene, writes, tag
        self._truth = Truth(stack)
        self._session: Session | None = None
        self._leader = (0, scene.primary)  #: after how many switches, who
        self._stopping = threading.Event()
        self._newest = ""
        self.bridged: list[float] = []  #: Unix times at which the newest bridged entry was seen to change

    def start(self) -> None:
        """Before the fault. Raises StackError when Postgres is not there."""
        self._session = Session(self._stack)
        looks: list[tuple[Callable[[], bool], float]] = [
            (self._moved, 0.01),
            (self._web_reaches_redis, _LOOK_AT_WEB),
            (self._writes_go_on, _LOOK),
            (self._pools, _LOOK_AT_POSTGRES),
            (self._former_follows, _LOOK_AT_WEB),
            (self._prometheus, _LOOK_AT_PROMETHEUS),
        ]
        if self._stack.mode == "stream":
            looks.append((self._bridge, _LOOK))
        for look, pause in looks:
            threading.Thread(target=self._repeat, args=(look, pause), daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        if self._session:
            self._session.close()

    def ends(self) -> dict[str, list[float]]:
        """Unix times at which jobs of the run ended, by pool."""
        found: dict[str, list[float]] = {pool: [] for pool in POOLS}
        for row in self._truth.rows(_ENDS, tag=self._tag):
            pool, at = row.split("|")
            found[pool].append(float(at))
        return found

    def _repeat(self, look: Callable[[], bool], pause: float) -> None:
        while not self._stopping.wait(pause):
            with suppress(OSError, RespError, StackError, ValueError, KeyError):
                if look():
                    return

    @property
    def _began(self) -> float:
        return self._scene.timeline.began

    def _switched_at(self) -> float | None:
        seen = self._scene.timeline.seconds("+switch-master")
        return self._began + seen[-1] if seen else None

    def _moved(self) -> bool:
        if self._switched_at() is None:
            return False
        self._writes.moved()
        return True

    def _web_reaches_redis(self) -> bool:
        if not self._began:
            return False
        with urlopen(f"{self._stack.web_url}/readyz", timeout=_ANSWER) as answer:
            is_up = json.load(answer)["redis"] == "up"
        if not is_up:
            self._scene.timeline.note("web has lost Redis: hints wait in Postgres")
        elif self._switched_at():
            self._scene.timeline.note("web reaches Redis")
            return True
        return False

    def _writes_go_on(self) -> bool:
        switched = self._switched_at()
        if switched is None:
            return False
        after = [at for at in self._writes.acknowledged if at > switched]
        if after:
            self._scene.timeline.note("first write to Redis", after[0])
        return bool(after)

    def _pools(self) -> bool:
        switched = self._switched_at()
        if switched is None or self._session is None:
            return False
        try:
            found = first_ends(self._session, tag=self._tag, since=switched)
        except StackError:
            self._session.close()
            if not self._stopping.is_set():
                self._session = Session(self._stack)
            raise
        for pool, at in found.items():
            self._scene.timeline.note(f"{FIRST_JOB}{pool} done that was claimed after the switch", at)
        return len(found) == len(POOLS)

    def _former_follows(self) -> bool:
        scene = self._scene
        if self._switched_at() is None or scene.nodes.info(scene.primary, "replication").get("role") != "slave":
            return False
        scene.timeline.note(f"{scene.primary} follows as a replica")
        return True

    def _leads(self) -> str:
        """Asks the Sentinels only until the last switch is known to them."""
        switches = len(self._scene.timeline.seconds("+switch-master"))
        if switches != self._leader[0]:
            leader = self._scene.nodes.elected(timeout=_NODE_ANSWER)
            if leader in ("", self._leader[1]):
                return leader
            self._leader = switches, leader
        return self._leader[1]

    def _prometheus(self) -> bool:
        leader = self._scene.nodes.elected()
        if self._switched_at() is None or leader == self._scene.primary:
            return False
        query = quote(f'redis_instance_info{{role="master",instance="{leader}"}} == 1')
        port, host = self._stack.value("PROMETHEUS_PORT"), self._stack.value("PUBLISH_ADDRESS")
        with urlopen(f"http://{host}:{port}/api/v1/query?query={query}", timeout=_ANSWER) as answer:
            seen = bool(json.load(answer)["data"]["result"])
        if seen:
            self._scene.timeline.note("Prometheus sees the new primary")
        return seen

    def _bridge(self) -> bool:
        """The newest entry that was deleted is the newest that became a message."""
        switched = self._switched_at()
        leader = self._leads()
        stream = self._stack.value("NDVI_STREAM_NAME")
        reply = self._scene.nodes.ask(leader, "XINFO", "STREAM", stream, timeout=_NODE_ANSWER)
        assert isinstance(reply, list)
        newest = str(reply[reply.index("max-deleted-entry-id") + 1])
        if newest != self._newest:
            self._newest = newest
            self.bridged.append(time.time())
            if switched:
                self._scene.timeline.note(FIRST_ENTRY)
        return False
