"""An ordinary Celery app on Redis Sentinel with nothing of Holdfast in it: what `make failover-compare` sets beside it,
and what `make others` gives a job with an effect.

STOCK_SETTINGS=default   what a first project has: the URL, the primary's name, the passwords
STOCK_SETTINGS=advised   what documentation, issues and blogs advise for Sentinel
Both need STOCK_SENTINELS (address:port, comma-separated), STOCK_PRIMARY_NAME and STOCK_PASSWORD of the Redis user
`app`; STOCK_DATABASE is a Redis database other than 0.
`python stock_app.py` prints the settings, without the password.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from celery import Celery

PASSWORD = os.environ["STOCK_PASSWORD"]
SENTINELS = os.environ["STOCK_SENTINELS"].split(",")
DATABASE = os.environ.get("STOCK_DATABASE", "0")
RESULTS = Path(os.environ.get("STOCK_RESULTS", "/results"))
DONE = RESULTS / "done"

#: Without these no Celery comes as far as Redis here.
ACCESS: dict[str, Any] = {
    "broker_url": ";".join(f"sentinel://app:{quote(PASSWORD, safe='')}@{one}/{DATABASE}" for one in SENTINELS),
    "broker_transport_options": {
        "master_name": os.environ["STOCK_PRIMARY_NAME"],
        "sentinel_kwargs": {"username": "app", "password": PASSWORD},
    },
    "task_ignore_result": True,
}

#: Five seconds are what most of the advice says; shorter ones are rare, and none wakes a worker that waits in BRPOP.
TIMEOUTS = {"socket_timeout": 5, "socket_connect_timeout": 5, "socket_keepalive": True}

ADVISED: dict[str, Any] = {
    "broker_transport_options": {
        **ACCESS["broker_transport_options"],
        **TIMEOUTS,
        "retry_on_timeout": True,
        "health_check_interval": 10,
        "sentinel_kwargs": {**ACCESS["broker_transport_options"]["sentinel_kwargs"], "socket_timeout": 1},
    },
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "task_publish_retry_policy": {"max_retries": 10, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
}

#: Flags of the worker, by settings.
FLAGS = {"default": [], "advised": ["--without-gossip", "--without-mingle", "--without-heartbeat"]}

CHOSEN = os.environ.get("STOCK_SETTINGS", "default")

app = Celery("stock")
app.conf.update(ACCESS | (ADVISED if CHOSEN == "advised" else {}))


@app.task(name="note")
def note(number: int) -> None:
    """One line: which task ended when. A line that short is written whole."""
    descriptor = os.open(DONE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, f"{number} {time.time()}\n".encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    shown = json.dumps({"settings": ACCESS | (ADVISED if CHOSEN == "advised" else {}), "flags": FLAGS[CHOSEN]})
    sys.stdout.write(shown.replace(quote(PASSWORD, safe=""), "…").replace(PASSWORD, "…") + "\n")
