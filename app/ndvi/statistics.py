"""Exact statistics of any number of float32 values in bounded memory, by two passes.

Quantiles by sorting need every value at once. Here the 32 bits of a float are turned into an
unsigned key with the same order. The first pass counts keys by their upper 16 bits; a wanted
rank then lies in one known bin. The second pass counts the lower 16 bits inside those bins,
which names the value at that rank to the last bit, however many ties there are.
Memory: 65,536 counters for the first pass and as many per wanted bin (at most ten) for the second.

    survey = Survey()
    for block in blocks: survey.add(block)
    refinement = Refinement(survey)
    for block in blocks: refinement.add(block)
    statistics = summarise(survey, refinement)
"""

import math
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ndvi.index import FloatArray

QUANTILES = {"p10": 0.10, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p90": 0.90}
HISTOGRAM_BINS = 40  #: bins of 0.05 over [-1, 1]
_KEY_BINS = 1 << 16
_SIGN = np.uint32(1 << 31)

type Counts = NDArray[np.int64]


class Histogram(TypedDict):
    edges: list[float]
    counts: list[int]


class Statistics(TypedDict):
    """What a result says of its pixels; the moments are None when no pixel has an index."""

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    p10: float | None
    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    histogram: Histogram


class PassesDiffer(RuntimeError):
    """The second pass saw other values than the first: feed both the same blocks."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def ordered_keys(values: FloatArray) -> NDArray[np.uint32]:
    """Unsigned keys that sort as the floats do; -0.0 and 0.0 share one."""
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def value_of_key(key: int) -> float:
    """The float32 that has this key, as a Python float."""
    bits = key & 0x7FFFFFFF if key & 0x80000000 else ~key & 0xFFFFFFFF
    return float(np.array([bits], dtype=np.uint32).view(np.float32)[0])


def _without_nan(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


@dataclass(slots=True)
class Survey:
    """First pass: moments, extremes, the histogram, and where each rank lies."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  #: sum of squared differences from the mean
    smallest: float = math.inf
    largest: float = -math.inf
    histogram: Counts = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, dtype=np.int64))
    coarse: Counts = field(default_factory=lambda: np.zeros(_KEY_BINS, dtype=np.int64))

    def add(self, values: FloatArray) -> None:
        """Count a block of any shape; NaN is passed over."""
        seen = _without_nan(values)
        if not seen.size:
            return
        self._add_moments(seen.astype(np.float64))
        self.histogram += np.histogram(seen, bins=HISTOGRAM_BINS, range=(-1.0, 1.0))[0]
        self.coarse += np.bincount(ordered_keys(seen) >> 16, minlength=_KEY_BINS)

    def _add_moments(self, seen: NDArray[np.float64]) -> None:
        # Chan's pairwise update: no catastrophic cancellation, whatever the order of the blocks.
        block_mean = float(seen.mean())
        total = self.count + seen.size
        delta = block_mean - self.mean
        self.squares += float(np.square(seen - block_mean).sum()) + delta**2 * self.count * seen.size / total
        self.mean += delta * seen.size / total
        self.count = total
        self.smallest = min(self.smallest, float(seen.min()))
        self.largest = max(self.largest, float(seen.max()))


class Refinement:
    """Second pass: the exact values at the ranks that the quantiles lie between."""

    def __init__(self, survey: Survey) -> None:
        self._count = survey.count
        ranks = {rank for share in QUANTILES.values() for rank in _neighbours(share, survey.count)}
        reached = np.cumsum(survey.coarse)
        self._bin_of_rank = {rank: int(np.searchsorted(reached, rank, side="right")) for rank in ranks}
        self._before = {bin_: int(reached[bin_] - survey.coarse[bin_]) for bin_ in self._bin_of_rank.values()}
        self._fine = {bin_: np.zeros(_KEY_BINS, dtype=np.int64) for bin_ in self._before}

    def add(self, values: FloatArray) -> None:
        """Count a block of any shape; NaN is passed over."""
        keys = ordered_keys(_without_nan(values))
        coarse = keys >> 16
        for bin_, counters in self._fine.items():
            inside = keys[coarse == bin_] & np.uint32(0xFFFF)
            counters += np.bincount(inside, minlength=_KEY_BINS)

    def quantile(self, share: float) -> float:
        """numpy's ``quantile(..., method="linear")`` of all values, in float64."""
        low, high = (self._value_at(rank) for rank in _neighbours(share, self._count))
        weight = math.modf(share * (self._count - 1))[0]
        return low + (high - low) * weight

    def _value_at(self, rank: int) -> float:
        bin_ = self._bin_of_rank[rank]
        reached = np.cumsum(self._fine[bin_])
        fine = int(np.searchsorted(reached, rank - self._before[bin_], side="right"))
        if fine == _KEY_BINS:
            raise PassesDiffer
        return value_of_key(bin_ << 16 | fine)


def _neighbours(share: float, count: int) -> tuple[int, ...]:
    """The two ranks (from 0) between which a quantile lies; none when there are no values."""
    if not count:
        return ()
    low = math.floor(share * (count - 1))
    return low, min(low + 1, count - 1)


def summarise(survey: Survey, refinement: Refinement) -> Statistics:
    """The statistics of all values; ``std`` is the population's (numpy's default)."""
    known = survey.count > 0
    quantiles = {name: refinement.quantile(share) if known else None for name, share in QUANTILES.items()}
    edges = [round(edge, 6) for edge in np.linspace(-1, 1, HISTOGRAM_BINS + 1).tolist()]
    return Statistics(
        count=survey.count,
        mean=survey.mean if known else None,
        std=math.sqrt(survey.squares / survey.count) if known else None,
        min=survey.smallest if known else None,
        max=survey.largest if known else None,
        p10=quantiles["p10"],
        p25=quantiles["p25"],
        p50=quantiles["p50"],
        p75=quantiles["p75"],
        p90=quantiles["p90"],
        histogram=Histogram(edges=edges, counts=survey.histogram.tolist()),
    )
