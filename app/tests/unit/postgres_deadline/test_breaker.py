"""The Postgres breaker's probe, without a Postgres."""

import threading

import pytest

from postgres_deadline.breaker import Breaker
from tests.servers.waiting import wait_until


def test_a_probe_that_fails_unexpectedly_is_tried_again() -> None:
    faults: list[Exception] = [RuntimeError("cannot start a thread"), OSError("no file descriptor left")]

    def probe() -> None:
        if faults:
            raise faults.pop()

    breaker = Breaker(pause_seconds=0.001)
    breaker.probe_with(probe)
    breaker.trip("test")
    wait_until(lambda: not breaker.is_open(), "the breaker did not close")


def test_a_probe_whose_thread_could_not_start_is_started_by_the_next_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    breaker = Breaker(pause_seconds=0.001)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        breaker.trip("test")
        assert breaker.is_open()
    wait_until(lambda: not breaker.is_open(), "the breaker did not close")
