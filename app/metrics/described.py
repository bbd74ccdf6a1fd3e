"""How a metric is described: name, unit, bounded labels; recorded once, made a prometheus_client object once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from metrics import multiprocess

multiprocess.choose_value_class()  # must come before the first metric is made

#: Seconds. One scale for every stage, so that stages can be added up and compared.
DURATION_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Open:
    """A label whose values are not listed here; `bound` says what keeps their number small."""

    bound: str


type LabelValues = tuple[str, ...] | Open


@dataclass(frozen=True, slots=True)
class Description:
    """One line of the catalogue. `name` is as exposed, with `_total` for counters; `unit` is a base unit."""

    name: str
    kind: str
    help: str
    unit: str
    labels: Mapping[str, LabelValues]

    def series_names(self) -> tuple[str, ...]:
        """The names that appear in PromQL."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{suffix}" for suffix in ("bucket", "count", "sum"))


class DescribedTwiceError(Exception):
    """A metric stands in the catalogue twice: remove one of the two."""


_DESCRIPTIONS: dict[str, Description] = {}


def descriptions() -> Mapping[str, Description]:
    """Every metric that was described so far, by name."""
    return _DESCRIPTIONS


def counter(name: str, help: str, *, unit: str = "events", **labels: LabelValues) -> Counter:
    """A counter. When all its labels are closed, every series exists from the start: a first event is an increase."""
    _describe(name, "counter", help, unit, labels)
    made = Counter(name, help, tuple(labels))
    _start_at_zero(made, labels)
    return made


def histogram(
    name: str,
    help: str,
    *,
    unit: str = "seconds",
    buckets: Sequence[float] = DURATION_BUCKETS,
    **labels: LabelValues,
) -> Histogram:
    """A histogram, of durations unless told otherwise."""
    _describe(name, "histogram", help, unit, labels)
    return Histogram(name, help, tuple(labels), buckets=buckets)


def gauge(name: str, help: str, *, unit: str, **labels: LabelValues) -> Gauge:
    """A gauge that one process sets. It needs a label: without one every process would export a zero it never set.

    Never set it from a pool's child: with several writers the newest value wins, which says nothing about the others.
    """
    if not labels:
        raise ValueError(f"{name}: a gauge needs at least one label")
    _describe(name, "gauge", help, unit, labels)
    return Gauge(name, help, tuple(labels), multiprocess_mode="mostrecent")


def truth(name: str, help: str, *, unit: str, **labels: LabelValues) -> Description:
    """A gauge that only the truth exporter makes, from what Postgres and Redis say at scrape time."""
    return _describe(name, "gauge", help, unit, labels)


def _describe(name: str, kind: str, help_text: str, unit: str, labels: Mapping[str, LabelValues]) -> Description:
    if name in _DESCRIPTIONS:
        raise DescribedTwiceError(name)
    _DESCRIPTIONS[name] = Description(name, kind, help_text, unit, dict(labels))
    return _DESCRIPTIONS[name]


def _start_at_zero(made: Counter, labels: Mapping[str, LabelValues]) -> None:
    match [values for values in labels.values() if not isinstance(values, Open)]:
        case [only] if len(labels) == 1:
            for value in only:
                made.labels(value)
        case [first, second] if len(labels) == 2:
            for one in first:
                for other in second:
                    made.labels(one, other)
