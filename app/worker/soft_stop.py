"""Stops the attempt that runs in a pool's child: SIGUSR1, sent to a child that runs none, does nothing.

What upstream would have to change: billiard raises SoftTimeLimitExceeded wherever the child is. The parent hears of an
attempt's end late, by seconds while it connects again; the error then ends a child that waits for its next task, and
loses the one that it was about to read.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import soft_timeout_sighandler

#: Celery's own, for its soft time limit.
SIGNAL: Final = signal.SIGUSR1

_is_running = False


@contextmanager
def heeded() -> Iterator[None]:
    """An attempt runs, or several of one message: a stop raises SoftTimeLimitExceeded in the one that runs then."""
    global _is_running
    if signal.getsignal(SIGNAL) is soft_timeout_sighandler:  # a child; billiard sets it after every hook of Celery's
        signal.signal(SIGNAL, _stop)
    _is_running = True
    try:
        yield
    finally:
        _is_running = False


def _stop(_number: int, _frame: object) -> None:
    if _is_running:
        raise SoftTimeLimitExceeded
