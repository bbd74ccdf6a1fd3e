"""Records of a run: kept as JSON lines, and the figures over its rounds."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """Median and spread of one number over the rounds."""

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


def append(path: Path, records: Iterable[Record], facts: Record) -> None:
    """One line per record, each with what the figure rests on: runs of other days and machines lie in one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for record in records:
            file.write(json.dumps({**facts, **record}, sort_keys=True) + "\n")
