"""Counters of the application's containers over a run, read every few seconds: a process that dies takes its own with
it, so what it had counted up to the last look is kept.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from scripts.drills import exposition
from scripts.stack.containers import Containers
from scripts.stack.errors import StackError

SERVICES: Final = ("worker-fast", "worker-cpu", "worker-io", "bridge", "sweeper")
_ANSWER_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 30.0

#: Series, as Prometheus's text format writes them, without a timestamp -> value.
Series = Mapping[str, float]


@dataclass
class Sums:
    """What all processes counted since the first look at each. A counter that fell began anew."""

    _last: dict[str, Series] = field(default_factory=dict)
    _grown: dict[str, float] = field(default_factory=dict)

    def add(self, container: str, series: Series) -> None:
        """One look at a container; the first only says where counting begins."""
        before = self._last.get(container)
        if before is not None:
            for name, value in series.items():
                old = before.get(name, 0.0)
                self._grown[name] = self._grown.get(name, 0.0) + (value - old if value >= old else value)
        self._last[container] = series

    def of(self, name: str, **labels: str) -> float:
        """Growth of one metric over the series that carry these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            grown
            for series, grown in self._grown.items()
            if exposition.metric_of(series) == name and all(one in series for one in wanted)
        ]
        return sum(found)


class Counters:
    """Looks from a thread of its own between `start` and `end`."""

    def __init__(self, containers: Containers, read: Callable[[str], str] | None = None) -> None:
        self.sums = Sums()
        self._containers, self._read = containers, read or partial(exposition.read, within=_ANSWER_SECONDS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def end(self) -> None:
        """Looks no more; safe to call before `start`."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_LOOK_SECONDS)

    def total(self) -> Sums:
        """A last look included."""
        self.look()
        return self.sums

    def look(self) -> None:
        try:
            running = self._containers.inspect(*SERVICES, running=True)
        except StackError:
            return
        addresses = {
            str(container["Id"]): str(network["IPAddress"])
            for container in running
            for network in container["NetworkSettings"]["Networks"].values()
        }
        with ThreadPoolExecutor(max(1, len(addresses))) as pool:
            for container, text in zip(addresses, pool.map(self._text, addresses.values()), strict=True):
                if text:
                    self.sums.add(container, parsed(text))

    def _text(self, address: str) -> str:
        try:
            return self._read(address)
        except OSError:
            return ""  # frozen, or not there yet

    def _repeat(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            self.look()


def parsed(text: str) -> Series:
    """Series -> value, without those of histograms' buckets."""
    found = exposition.series(text)
    return {name: value for name, value in found if not exposition.metric_of(name).endswith("_bucket")}
