"""A source is asked by its own thread: what hangs or fails costs a scrape its wait, and nothing else."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from exporter import source
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
        release.wait(600)
        return [single(catalogue.QUEUE_UNACKED, 1)]

    yield read
    release.set()


def test_a_source_that_fails_leaves_the_others() -> None:
    exposed = scrape(Source("postgres", answering(3)), Source("redis", failing))
    assert "jobs_dead_letters 3.0" in exposed
    assert 'jobs_truth_scrape_success{source="postgres"} 1.0' in exposed
    assert 'jobs_truth_scrape_success{source="redis"} 0.0' in exposed
    assert 'build_info{backend="celery",python="3",topology="standalone",version="1"} 1.0' in exposed


def test_a_source_that_hangs_costs_one_deadline_and_then_nothing(
    hanging: Callable[[], Sequence[Metric]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return super().wait(timeout)

    monkeypatch.setattr(source, "Event", Watched)
    redis = Source("redis", hanging, deadline_seconds=0.3)
    first = scrape(Source("postgres", answering(3), deadline_seconds=60.0), redis)
    assert all(timeout is not None for timeout in waits)
    waits.clear()
    second = scrape(redis)
    assert waits == [], "nobody waits for that read again"
    assert 'jobs_truth_scrape_success{source="redis"} 0.0' in first
    assert 'jobs_truth_scrape_success{source="postgres"} 1.0' in first
    assert "jobs_queue_unacked " not in second


def test_sources_that_hang_are_waited_for_together() -> None:
    """Each ends when all have begun: asked one after the other, none would."""
    together = threading.Barrier(3)

    def read() -> Sequence[Metric]:
        together.wait(60)
        return []

    exposed = scrape(*(Source(name, read, deadline_seconds=60.0) for name in ("postgres", "invariants", "redis")))
    for name in ("postgres", "invariants", "redis"):
        assert f'jobs_truth_scrape_success{{source="{name}"}} 1.0' in exposed


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of sources; it stands still unless a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(source, "monotonic", lambda: now[0])
    return now


def test_answers_from_the_cache_while_it_is_fresh(now: list[float]) -> None:
    reads = iter(range(10))
    asked = Source(
        "postgres", lambda: [single(catalogue.DEAD_LETTERS, next(reads))], cache_seconds=5.0, deadline_seconds=60.0
    )
    assert "jobs_dead_letters 0.0" in scrape(asked)
    now[0] += 4.9
    assert "jobs_dead_letters 0.0" in scrape(asked)
    now[0] += 0.2
    assert "jobs_dead_letters 1.0" in scrape(asked)


def test_never_shows_an_answer_older_than_the_cache(now: list[float]) -> None:
    answers = iter([answering(1), failing])
    asked = Source("postgres", lambda: next(answers)(), cache_seconds=5.0, deadline_seconds=60.0)
    assert "jobs_dead_letters 1.0" in scrape(asked)
    now[0] += 5.1
    assert "jobs_dead_letters " not in scrape(asked).replace("# HELP jobs_dead_letters ", "")
