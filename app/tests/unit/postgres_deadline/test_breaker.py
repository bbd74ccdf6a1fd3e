"""The Postgres breaker's probe, without a Postgres."""

import time

from postgres_deadline.breaker import Breaker


def test_a_probe_that_fails_unexpectedly_is_tried_again() -> None:
    faults: list[Exception] = [RuntimeError("cannot start a thread"), OSError("no file descriptor left")]

    def probe() -> None:
        if faults:
            raise faults.pop()

    breaker = Breaker(pause_seconds=0.001)
    breaker.probe_with(probe)
    breaker.trip("test")
    ends_at = time.monotonic() + 5
    while breaker.is_open() and time.monotonic() < ends_at:
        time.sleep(0.001)
    assert not breaker.is_open()
