"""`manage.py run_sweeper`: ticks until SIGTERM or SIGINT."""

import random
import signal
from threading import Event
from types import FrameType
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseFault
from django.db import connections

import postgres_deadline
from dispatch import await_broker, breaker_is_open
from jobs import retention
from jobs.orphans import OrphanFiles
from jobs.sweeper import Sweeper
from metrics import liveness, server
from metrics.catalogue import SWEEPER_TICKS

#: Share by which two ticks differ, so that several sweepers do not march in step.
JITTER: Final = 0.2
#: Seconds between two rounds of retention when the last one found nothing more.
RETENTION_EVERY_SECONDS: Final = 60.0

log = structlog.get_logger()


class Command(BaseCommand):
    help = "Hints again what is due, fires schedules, fails lost jobs, prunes old ones; any number may run."
    # They would import the URLs, and with them the whole API, into a process that serves none.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        stop = Event()

        def ask_to_stop(_signum: int, _frame: FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, ask_to_stop)
        server.serve(settings.HOLDFAST.metrics_port)
        log.info("sweeper starts", tick_seconds=settings.HOLDFAST.sweeper_tick_seconds)
        _Loop().run(stop)
        log.info("sweeper stops")


class _Loop:
    def __init__(self) -> None:
        self._sweeper = Sweeper()
        self._orphans = OrphanFiles()
        self._ticks_to_retention = 0

    def run(self, stop: Event) -> None:
        while not stop.is_set():
            self._round()
            liveness.touch(settings.HOLDFAST.heartbeat_file)
            interval = settings.HOLDFAST.sweeper_tick_seconds * random.uniform(1 - JITTER, 1 + JITTER)
            if breaker_is_open():
                # What was accepted meanwhile moves when Redis is back, not up to a tick later.
                await_broker(interval)
            else:
                stop.wait(interval)

    def _round(self) -> None:
        """One tick. Postgres may be away: the loop lives on, and the gap is noticed by the next whole tick."""
        try:
            with postgres_deadline.deadline(settings.HOLDFAST.database_loop_seconds):
                tick = self._sweeper.tick()
                self._prune()
        except DatabaseFault as error:
            SWEEPER_TICKS.labels(result="failed").inc()
            log.warning("tick failed: Postgres did not answer", error=str(error))
            connections.close_all()
            return
        SWEEPER_TICKS.labels(result="done").inc()
        if tick.is_eventful:
            log.info(
                "swept", hinted=tick.hinted, refused=tick.refused, failed_lost=tick.failed_lost, fired=tick.fired,
                behind=sorted(tick.behind),
            )  # fmt: skip

    def _prune(self) -> None:
        self._ticks_to_retention -= 1
        if self._ticks_to_retention > 0:
            return
        pruned, swept = retention.prune_step(), self._orphans.step()
        if pruned.is_done and swept.is_done:
            self._ticks_to_retention = round(RETENTION_EVERY_SECONDS / settings.HOLDFAST.sweeper_tick_seconds)
