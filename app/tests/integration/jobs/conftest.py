"""A recording broker, and pools that a sweeper has just seen."""

from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from dispatch.testing import RecordingDispatcher, recording
from jobs import admission
from tests.integration.jobs.scenario import empty_tables, script, see_pools


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's, with DELETE in the place of its flush, which costs 0.5 s per test."""
    with django_db_blocker.unblock():
        empty_tables()
        yield
        empty_tables()
        connections.close_all()


@pytest.fixture(autouse=True)
def broker(transactional_db: None) -> Iterator[RecordingDispatcher]:
    """The broker of every test here: it takes hints and keeps them."""
    with recording() as recorder:
        admission.forget()
        yield recorder
    script.clear()


@pytest.fixture
def pools() -> None:
    """Every pool seen just now, empty: submits hint at once."""
    see_pools()
