"""Sessions in which Postgres itself refuses writes, while code runs that must not write.

    with read_only.sessions():        # in this process, whatever alias, whatever thread opens a connection
        handler(…)
        with read_only.lifted():      # this context alone: what bookkeeping opens meanwhile may write
            ...

The pool sets the session with the round trip that checks it when it is lent, so this costs none of its own. A guard
against mistakes: code that sets `default_transaction_read_only` itself writes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_lifted: ContextVar[bool] = ContextVar("postgres_deadline_read_only_lifted", default=False)
_lock = threading.Lock()
_holders = 0  #: blocks of `sessions()` that run in this process; new threads have no context to inherit it from


@contextmanager
def sessions() -> Iterator[None]:
    """Until it ends, connections that this process takes from a pool refuse writes. Those in hand stay as they are."""
    global _holders
    token = _lifted.set(False)
    with _lock:
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
        _lifted.reset(token)


@contextmanager
def lifted() -> Iterator[None]:
    """Connections that this context takes from a pool may write, whoever else runs in the process."""
    token = _lifted.set(True)
    try:
        yield
    finally:
        _lifted.reset(token)


def is_wanted() -> bool:
    """Whether a connection that is taken from a pool now must refuse writes."""
    return _holders > 0 and not _lifted.get()
