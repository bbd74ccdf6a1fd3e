"""From a catalogue line to what prometheus_client exposes."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from metrics.described import Description

#: Label values in the order of the description's labels, and the value.
type Sample = tuple[tuple[str, ...], float]


def family(described: Description, samples: Iterable[Sample]) -> Metric:
    """One metric family with its samples."""
    made = GaugeMetricFamily(described.name, described.help, labels=tuple(described.labels))
    for labels, value in samples:
        made.add_metric(labels, value)
    return made


def single(described: Description, value: float, *labels: str) -> Metric:
    """A family with one sample."""
    return family(described, [(labels, value)])
