"""Dramatiq on Redis Sentinel, sent after the commit, with the time-outs of the advised Celery."""

from functools import partial
from typing import Final
from uuid import UUID

import django
import dramatiq
from django.apps import apps
from django.db import transaction
from dramatiq.brokers.redis import RedisBroker
from redis.sentinel import Sentinel

from tests.servers import acl
from tests.servers.sentinel import PRIMARY_NAME
from tests.stock.stock_app import ACCESS, DATABASE, SENTINELS, TIMEOUTS

if not apps.ready:
    django.setup()  # its command line imports this module first

from tests.others import work

#: What a dead worker held comes back 5 s after its last heartbeat, looked for by each tenth command; by default that is
#: a minute, and each thousandth. A task that failed is tried again after 1 to 5 s, by default after 15 s and more.
BROKER: Final = {"heartbeat_timeout": 5_000, "maintenance_chance": 100_000}
RETRIES: Final = {"max_retries": 20, "min_backoff": 1_000, "max_backoff": 5_000}

_sentinel = Sentinel(
    [(host, int(port)) for host, _, port in (one.partition(":") for one in SENTINELS)],
    sentinel_kwargs={**ACCESS["broker_transport_options"]["sentinel_kwargs"], "socket_timeout": 1},
)
# Its Lua uses KEYS, which the application's user may not.
_client = _sentinel.master_for(
    PRIMARY_NAME, username="operator", password=acl.PASSWORDS["operator"], db=int(DATABASE), **TIMEOUTS
)
dramatiq.set_broker(RedisBroker(client=_client, **BROKER))


@dramatiq.actor(**RETRIES)
def effect(key: str) -> None:
    work.do(key)


def submit(key: UUID) -> None:
    with transaction.atomic():
        work.accept(key)
        transaction.on_commit(partial(effect.send, str(key)))
