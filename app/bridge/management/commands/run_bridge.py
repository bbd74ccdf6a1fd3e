"""`manage.py run_bridge`: the bridge's process."""

import signal
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from bridge.service import Service
from metrics import server


class Command(BaseCommand):
    help = "Turns stream entries into Celery messages until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        stopping = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        server.serve(settings.HOLDFAST.metrics_port)
        Service(stopping).run()
