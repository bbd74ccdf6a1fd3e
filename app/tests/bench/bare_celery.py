"""Bare Celery as its documentation advises for work that must not be lost: `acks_late`, prefetch 1, no results.

Its job writes one row, as a Holdfast job's effect does. It promises less: 7 of 40,000 such jobs were lost over 20
SIGKILLs of workers.
"""

import os
from pathlib import Path
from typing import Any

import psycopg
from celery import Celery, signals

app = Celery("bare", broker=os.environ["BENCH_BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=os.environ["BENCH_QUEUE"],
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)

_connection: psycopg.Connection[Any] | None = None


@app.task
def effect(key: str) -> None:
    """One row, in one statement that is its own transaction, on a connection that stays."""
    global _connection
    if _connection is None:
        _connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    _connection.execute("INSERT INTO bare_effect (id, at) VALUES (%s, clock_timestamp())", (key,))


@app.task
def nothing(key: str) -> None:
    """No effect at all: what Celery itself costs. The last of a run says when it was reached."""
    if key:
        effect.run(key)


@signals.worker_ready.connect
def _ready(**_: object) -> None:
    Path(os.environ["HEARTBEAT_FILE"]).touch()
