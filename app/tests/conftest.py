"""Fixtures for every test; the servers' own are in tests/servers/plugin.py."""

from collections.abc import Iterator

import hypothesis
import pytest
from django.db import connections
from django_redis.pool import ConnectionFactory
from kombu import pools

from project.cache import Pause
from project.celery import app
from tests.servers.postgres import PostgresProcess

# Property tests are not timed: a busy machine is no counter-example. Their examples are the same in every run, so that
# a change is refused for its own sake. A failure prints how to repeat it.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _celery_is_configured() -> None:
    """By the session's servers: Celery reads its settings once, and the first test to ask may have changed them."""
    assert app.conf.broker_url


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres: PostgresProcess, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django asks for this before it makes the test database: Postgres must run by then.

    In production a thread waits 1 s for a connection and then says that the pool is busy; here a busy machine is no
    verdict.
    """
    options = connections.settings["default"]["OPTIONS"]
    options["connect_timeout"] = options["pool"]["timeout"] = 60


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """For a test with servers of its own: no pool of kombu's or django-redis's comes from, or stays for, another test.

    Both keep them per process, by URL.
    """
    Pause.end()
    yield
    Pause.end()
    pools.reset()
    for pool in ConnectionFactory._pools.values():
        pool.disconnect()
    ConnectionFactory._pools.clear()
