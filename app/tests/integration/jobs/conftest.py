"""A recording broker, pools that a sweeper has just seen, and a clock that stands still."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from dispatch.testing import RecordingDispatcher, recording
from jobs import admission, epochs, execution, kind_breaker, sweeper
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


@dataclass
class Clock:
    """Monotonic seconds; time passes when a test says so."""

    now: float = field(default_factory=lambda: float(int(time.monotonic())))

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The sweeper's: between two of its ticks in a test lies no gap in which workers could not renew, and its feeds end
    because they are done and not because their time is up."""
    made = Clock()
    for module in (sweeper, epochs, kind_breaker):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.fixture(autouse=True)
def _batches_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no job of a batch is handed back because those before it took too long."""
    monkeypatch.setattr(execution, "START_WITHIN_SECONDS", 600.0)


@pytest.fixture
def pools() -> None:
    """Every pool seen just now, empty: submits hint at once."""
    see_pools()
