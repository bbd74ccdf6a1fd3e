"""How long the calling context may still wait for Postgres: one point in time, carried by a context variable."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Final

#: Seconds one wait may take where nobody declared a deadline: a pool's own threads, a shell, a management command.
DEFAULT_WAIT_SECONDS: Final = 30.0

_UNBOUNDED: Final = float("inf")


@dataclass(slots=True)
class _Budget:
    ends_at: float  #: point of the monotonic clock


_current: ContextVar[_Budget | None] = ContextVar("postgres_deadline_budget", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Everything inside, in sum, takes at most `seconds` of Postgres's time and ours. A tighter one around it stays."""
    outer = _current.get()
    ends_at = monotonic() + seconds
    token = _current.set(_Budget(ends_at if outer is None else min(outer.ends_at, ends_at)))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def unbounded() -> Iterator[None]:
    """No bound inside: for migrations, whose statements may take minutes and whose operator watches."""
    token = _current.set(_Budget(_UNBOUNDED))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def paused() -> Iterator[None]:
    """The clock of the deadline stands still inside: for long work that is not Postgres's, such as writing a file."""
    began = monotonic()
    try:
        yield
    finally:
        extend(monotonic() - began)


def extend(seconds: float) -> None:
    """Gives back time that somebody else took, such as a client that sends its body slowly."""
    budget = _current.get()
    if budget is not None:
        budget.ends_at += seconds


def remaining() -> float | None:
    """Seconds the next wait may take; 0.0 when the budget is spent, None when unbounded."""
    budget = _current.get()
    if budget is None:
        return DEFAULT_WAIT_SECONDS
    return None if budget.ends_at == _UNBOUNDED else max(0.0, budget.ends_at - monotonic())
