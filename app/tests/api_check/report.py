"""Reads schemathesis' NDJSON events: which operation was answered what, how often."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

#: The phase that draws cases at random; the coverage phase is a list of ways to be wrong.
_RANDOM = "fuzzing"


class Tally:
    """Statuses per operation (`POST /api/v1/jobs`): of every phase, and of the random one alone."""

    def __init__(self) -> None:
        self.every: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.random: defaultdict[str, Counter[int]] = defaultdict(Counter)

    @classmethod
    def of(cls, events: Path) -> Self:
        tally = cls()
        with events.open() as lines:
            for line in lines:
                for operation, phase, status in _answers(json.loads(line)):
                    tally.every[operation][status] += 1
                    if phase == _RANDOM:
                        tally.random[operation][status] += 1
        return tally

    def share_of_success(self, operation: str) -> float:
        """2xx among the answers to random cases; 0.0 when there was none."""
        counts = self.random[operation]
        return sum(count for status, count in counts.items() if 200 <= status < 300) / max(1, counts.total())

    def table(self) -> str:
        """One line per operation."""
        lines = [f"{'operation':50} {'cases':>5} {'random':>6} {'2xx of random':>13}  statuses of all"]
        for operation, counts in sorted(self.every.items()):
            statuses = " ".join(f"{status}:{count}" for status, count in sorted(counts.items()))
            share = self.share_of_success(operation)
            lines.append(
                f"{operation:50} {counts.total():5} {self.random[operation].total():6} {share:13.0%}  {statuses}"
            )
        return "\n".join(lines)


def _answers(event: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    scenario = event.get("ScenarioFinished")
    if scenario is None:
        return
    recorder = scenario["recorder"]
    for interaction in recorder.get("interactions", {}).values():
        if interaction.get("response"):
            yield recorder["label"], scenario["phase"], interaction["response"]["status_code"]
