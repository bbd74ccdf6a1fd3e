"""When the signal that stops an attempt is heeded."""

import signal
from collections.abc import Iterator

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import soft_timeout_sighandler

from worker import soft_stop


@pytest.fixture(autouse=True)
def _as_in_a_child() -> Iterator[None]:
    before = signal.signal(soft_stop.SIGNAL, soft_timeout_sighandler)
    yield
    signal.signal(soft_stop.SIGNAL, before)


def stop() -> None:
    signal.raise_signal(soft_stop.SIGNAL)


def test_each_attempt_of_a_message_can_be_stopped() -> None:
    """The next job of a batch runs on after one that was stopped; without a second stop the hard limit would kill."""
    with soft_stop.heeded():
        for _ in range(2):
            with pytest.raises(SoftTimeLimitExceeded):
                stop()


def test_between_attempts_nothing_happens() -> None:
    with soft_stop.heeded():
        pass
    stop()
    with pytest.raises(ZeroDivisionError), soft_stop.heeded():
        raise ZeroDivisionError
    stop()


def test_the_message_after_a_stopped_one_can_be_stopped_too() -> None:
    for _ in range(2):
        with pytest.raises(SoftTimeLimitExceeded), soft_stop.heeded():
            stop()


def test_whoever_else_takes_the_signal_keeps_it() -> None:
    """The parent's handler writes the stacks of its threads; threads of a pool run in it."""
    signal.signal(soft_stop.SIGNAL, signal.SIG_IGN)
    with soft_stop.heeded():
        stop()
    assert signal.getsignal(soft_stop.SIGNAL) is signal.SIG_IGN
