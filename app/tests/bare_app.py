"""An ordinary Celery app on Sentinel: `celery -A tests.bare_app worker`. Nothing of Holdfast is in it but three lines.

BARE_SETTINGS   Celery's settings as JSON: `broker_url`, and what Sentinel asks for
BARE_FOLLOWS    1 = its connections follow the primary, by the three lines; 0 = they are kombu's own
BARE_NOTES      a file to which `bare.note` appends a line
"""

import json
import os
from pathlib import Path

from celery import Celery, signals
from kombu.transport.redis import SentinelChannel

from redis_topology.connections import PrimaryConnection

if os.environ["BARE_FOLLOWS"] == "1":
    SentinelChannel.connection_class = PrimaryConnection

# Without the Django fixup: tests run where Django's settings are named.
app = Celery("bare", fixups=())
app.conf.update(json.loads(os.environ["BARE_SETTINGS"]))


@app.task(name="bare.note")
def note(number: int) -> None:
    """One line, written whole."""
    with Path(os.environ["BARE_NOTES"]).open("a") as notes:
        notes.write(f"{number}\n")


@app.task(name="bare.nothing")
def nothing() -> None:
    """What Celery itself costs."""


@signals.worker_ready.connect
def _ready(**_: object) -> None:
    Path(os.environ["HEARTBEAT_FILE"]).touch()
