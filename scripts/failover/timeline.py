"""What happened when, in seconds since the fault; each moment is printed once, as soon as it is known.

Moments are Unix times, because Postgres tells its own in them: host and containers share one clock.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.stack import console
from scripts.stack.redis_nodes import RedisNodes
from scripts.stack.sentinel_ears import SentinelEars

#: What Sentinel says about the primary itself on its way to another: the wire's word, ours.
_EVENTS = {
    "+sdown": "does not answer one Sentinel",
    "+odown": "is down by quorum",
    "+elected-leader": "a Sentinel was elected to replace",
    "+switch-master": "",
}


@dataclass
class Timeline:
    """Safe from any thread. Before `begin` nothing is noted."""

    began: float = 0.0
    say: Callable[[str], None] = console.say  #: who runs many faults says less of each
    _moments: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, what: str) -> None:
        """The fault, now."""
        self.began = time.time()
        self.note(what, self.began)

    def note(self, what: str, at: float | None = None) -> None:
        """A moment, by default now; only the first of the same words counts."""
        seen = time.time() if at is None else at
        with self._lock:
            if not self.began or what in self._moments:
                return
            self._moments[what] = seen
        self.say(f"  {seen - self.began:+8.2f} s  {what}")

    def seconds(self, beginning: str) -> list[float]:
        """Since the fault, of each moment whose words begin so, in order of time."""
        with self._lock:
            return sorted(at - self.began for what, at in self._moments.items() if what.startswith(beginning))

    def successors(self) -> set[str]:
        """Nodes that came to lead. A Sentinel that missed one switch tells of the next from where it stood itself, so
        they are not as many as the events.
        """
        with self._lock:
            return {what.rsplit(" ", 1)[1] for what in self._moments if what.startswith("+switch-master: ")}

    def record(self) -> list[tuple[float, str]]:
        """(seconds since the fault, words), in order of time."""
        with self._lock:
            return sorted((round(at - self.began, 3), what) for what, at in self._moments.items())


class SentinelEvents(SentinelEars):
    """Listens to every Sentinel and notes the first to say a thing."""

    def __init__(self, nodes: RedisNodes, timeline: Timeline) -> None:
        super().__init__(nodes, self._note)
        self._nodes, self._timeline = nodes, timeline

    def _note(self, _sentinel: str, event: str, message: str) -> None:
        if said := sentence(self._nodes, event, message):
            self._timeline.note(said)


def sentence(nodes: RedisNodes, event: str, message: str) -> str:
    """The event in words, or "" when it is not about who leads."""
    words = message.split()
    if event == "+switch-master":
        return f"+switch-master: {nodes.node_of(words[1])} -> {nodes.node_of(words[3])}"
    if event not in _EVENTS or words[0] != "master":
        return ""
    node = nodes.node_of(words[2])
    return f"{event}: {_EVENTS[event]} {node}" if event == "+elected-leader" else f"{event}: {node} {_EVENTS[event]}"
