"""The stock Celery app of `make failover-compare` with a job that leaves an effect.

STOCK_SETTINGS=default is a first project; `advised` adds `acks_late`, what is advised for Sentinel, and retries.
"""

from uuid import UUID

from django.db import transaction

from tests.others import work
from tests.stock.stock_app import CHOSEN, app

#: Its documentation's advice for errors that pass, capped under the visibility timeout: a later retry would run twice.
_RETRIES = {"autoretry_for": (Exception,), "max_retries": 10, "retry_backoff": 1, "retry_backoff_max": 5}

#: What a dead worker held comes back after the first; by default that is an hour, and looked for each 100 s.
RETURNS = {"visibility_timeout": 10, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}

app.conf.broker_transport_options |= RETURNS


@app.task(name="effect", **(_RETRIES if CHOSEN == "advised" else {}))
def effect(key: str) -> None:
    work.do(key)


def submit_inside(key: UUID) -> None:
    """`delay` where the view's transaction is: a refusal rolls the row back."""
    with transaction.atomic():
        work.accept(key)
        effect.delay(str(key))


def submit_on_commit(key: UUID) -> None:
    """`delay_on_commit`: no task overtakes its row; what the broker refuses leaves a row without a task."""
    with transaction.atomic():
        work.accept(key)
        effect.delay_on_commit(str(key))
