"""`manage.py run_exporter`: serves the truth on METRICS_PORT until it is told to stop."""

import platform
import signal
from threading import Event
from typing import Final

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from prometheus_client import CollectorRegistry, ProcessCollector

from exporter import invariants, postgres_truth
from exporter.collector import TruthCollector
from exporter.redis_truth import RedisTruth
from exporter.source import Source
from metrics import liveness, server

HEARTBEAT_SECONDS: Final = 2.0

#: Invariants join tables; the others are read afresh for each scrape that is 5 s after the last.
INVARIANTS_CACHE_SECONDS: Final = 30.0

_log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Serves what Postgres and Redis hold as Prometheus metrics."

    def handle(self, *args: object, **options: object) -> None:
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        http, thread = server.serve(settings.HOLDFAST.metrics_port, registry())
        _log.info("exporter serves", port=settings.HOLDFAST.metrics_port)
        while thread.is_alive() and not stop.wait(HEARTBEAT_SECONDS):
            liveness.touch(settings.HOLDFAST.heartbeat_file)
        http.shutdown()


def registry() -> CollectorRegistry:
    """The exporter's own registry: the truth and this process, none of the counters that other processes keep."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    made.register(TruthCollector(sources(), build=build()))
    return made


def sources() -> list[Source]:
    """What a scrape asks."""
    return [
        Source("postgres", postgres_truth.read),
        Source("invariants", invariants.read, cache_seconds=INVARIANTS_CACHE_SECONDS),
        Source("redis", RedisTruth().read),
    ]


def build() -> dict[str, str]:
    """The labels of `build_info`."""
    return {
        "version": getattr(settings, "VERSION", "unknown"),
        "python": platform.python_version(),
        "backend": str(settings.HOLDFAST.ndvi_queue_backend),
        "topology": type(settings.REDIS_TOPOLOGY).__name__.lower(),
    }
