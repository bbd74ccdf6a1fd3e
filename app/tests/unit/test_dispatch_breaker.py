"""The dispatch breaker's probe, without a Redis."""

import threading

import pytest

from dispatch import Reason
from dispatch.breaker import Breaker


def test_a_probe_whose_thread_could_not_start_is_started_by_the_next_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    breaker = Breaker(lambda: None, probe_interval=0.001)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        breaker.trip(Reason.UNREACHABLE)
        assert breaker.is_open()
    assert breaker.wait_closed(60)
