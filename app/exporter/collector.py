"""What a scrape of the exporter collects."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.families import family, single
from exporter.source import Source
from metrics import catalogue


class TruthCollector(Collector):
    """All sources side by side: one that fails takes its own metrics along and nothing else."""

    def __init__(self, sources: Sequence[Source], *, build: Mapping[str, str]) -> None:
        self._sources = sources
        self._build = build

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not ask Postgres."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Starts every source before it waits for the first, so that their deadlines run together."""
        for source in self._sources:
            source.start()
        answers = {source.name: source.answer() for source in self._sources}
        yield single(catalogue.BUILD_INFO, 1, *(self._build[name] for name in catalogue.BUILD_INFO.labels))
        yield family(
            catalogue.TRUTH_SCRAPE_SUCCESS, [((name,), float(answer is not None)) for name, answer in answers.items()]
        )
        yield family(
            catalogue.TRUTH_SCRAPE_SECONDS, [((name,), answer.seconds) for name, answer in answers.items() if answer]
        )
        for answer in answers.values():
            if answer:
                yield from answer.families
