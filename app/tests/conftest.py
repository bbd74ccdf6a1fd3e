"""Fixtures for every test; the servers' own are in tests/servers/plugin.py."""

from collections.abc import Iterator

import pytest
from django_redis.pool import ConnectionFactory
from kombu import pools

from project.cache import Pause
from tests.servers.postgres import PostgresProcess


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres: PostgresProcess, django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django asks for this before it makes the test database: Postgres must run by then."""


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
