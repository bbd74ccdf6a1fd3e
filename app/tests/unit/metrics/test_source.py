"""A source is asked by its own thread: what hangs or fails costs a scrape its wait, and nothing else."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from exporter.collector import TruthCollector
from exporter.families import single
from exporter.source import Source
from metrics import catalogue

BUILD = {"version": "1", "python": "3", "backend": "celery", "topology": "standalone"}


def answering(value: float) -> Callable[[], Sequence[Metric]]:
    return lambda: [single(catalogue.DEAD_LETTERS, value)]


def failing() -> Sequence[Metric]:
    raise ConnectionError("no route")


def scrape(*sources: Source) -> str:
    registry = CollectorRegistry()
    registry.register(TruthCollector(sources, build=BUILD))
    return generate_latest(registry).decode()


@pytest.fixture
def hanging() -> Iterator[Callable[[], Sequence[Metric]]]:
    release = threading.Event()

    def read() -> Sequence[Metric]:
        release.wait(20)
        return [single(catalogue.QUEUE_UNACKED, 1)]

    yield read
    release.set()


def test_a_source_that_fails_leaves_the_others() -> None:
    exposed = scrape(Source("postgres", answering(3)), Source("redis", failing))
    assert "jobs_dead_letters 3.0" in exposed
    assert 'jobs_truth_scrape_success{source="postgres"} 1.0' in exposed
    assert 'jobs_truth_scrape_success{source="redis"} 0.0' in exposed
    assert 'build_info{backend="celery",python="3",topology="standalone",version="1"} 1.0' in exposed


def test_a_source_that_hangs_costs_one_deadline_and_then_nothing(hanging: Callable[[], Sequence[Metric]]) -> None:
    redis = Source("redis", hanging, deadline_seconds=0.3)
    began = time.monotonic()
    first = scrape(Source("postgres", answering(3)), redis)
    middle = time.monotonic()
    second = scrape(redis)
    ended = time.monotonic()
    assert 'jobs_truth_scrape_success{source="redis"} 0.0' in first
    assert 'jobs_truth_scrape_success{source="postgres"} 1.0' in first
    assert "jobs_queue_unacked " not in second
    assert 0.25 < middle - began < 1.5
    assert ended - middle < 0.2


def test_sources_that_hang_are_waited_for_together(hanging: Callable[[], Sequence[Metric]]) -> None:
    began = time.monotonic()
    scrape(*(Source(name, hanging, deadline_seconds=0.4) for name in ("postgres", "invariants", "redis")))
    assert time.monotonic() - began < 1.0


def test_answers_from_the_cache_while_it_is_fresh() -> None:
    reads = iter(range(10))
    source = Source("postgres", lambda: [single(catalogue.DEAD_LETTERS, next(reads))], cache_seconds=0.2)
    assert "jobs_dead_letters 0.0" in scrape(source)
    assert "jobs_dead_letters 0.0" in scrape(source)
    time.sleep(0.25)
    assert "jobs_dead_letters 1.0" in scrape(source)


def test_never_shows_an_answer_older_than_the_cache() -> None:
    answers = iter([answering(1), failing])
    source = Source("postgres", lambda: next(answers)(), cache_seconds=0.1)
    assert "jobs_dead_letters 1.0" in scrape(source)
    time.sleep(0.15)
    assert "jobs_dead_letters " not in scrape(source).replace("# HELP jobs_dead_letters ", "")
