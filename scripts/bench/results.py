"""Records of a run: kept as JSON lines, and the figures over its rounds."""

import json
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Record = dict[str, Any]

_RESAMPLES: Final = 10_000


@dataclass(frozen=True)
class Figure:
    """A number over the rounds: the middle one, or their mean, and the bounds that come with it."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Figure":
        return Figure(statistics.median(values), min(values), max(values))


def select(records: Iterable[Record], shape: str, contender: str, field: str) -> dict[int, float]:
    """Round -> value."""
    return {
        int(one["round"]): float(one[field])
        for one in records
        if one["shape"] == shape and one.get("contender") == contender and field in one
    }


def ratio(mine: dict[int, float], theirs: dict[int, float]) -> Figure | None:
    """Of the same round each, so that what slowed a round down slowed both."""
    values = [mine[number] / theirs[number] for number in mine if theirs.get(number)]
    return Figure.of(values) if values else None


def mean_with_interval(values: Sequence[float]) -> Figure:
    """Mean, and the bounds between which the true one lies in 95 of 100 cases: bootstrap over the rounds, seeded."""
    chance = random.Random(0)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return Figure(statistics.fmean(values), means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES)])


def load(path: Path) -> list[Record]:
    """Every line, oldest first; one that was cut short by a crash is skipped, a file that is not there holds none."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def append(path: Path, records: Iterable[Record], facts: Record) -> None:
    """One line per record, each with what the figure rests on: runs of other days and machines lie in one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for record in records:
            file.write(json.dumps({**facts, **record}, sort_keys=True) + "\n")
