"""Bounded waits: every one ends in a value or in its own sentence."""

import time
from collections.abc import Callable
from typing import TypeVar

from scripts.stack.errors import StackError

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value | None],
    *,
    within: float,
    otherwise: str,
    fix: str = "make logs",
    pause: float = 0.2,
) -> Value:
    """Call `condition` until it returns something true, for at most `within` seconds; then raise `otherwise`."""
    deadline = time.monotonic() + within
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise StackError(f"{otherwise} (waited {within:g} s)", fix=fix)
        time.sleep(pause)


def comes_true(condition: Callable[[], bool], *, within: float, pause: float = 0.2) -> bool:
    """Whether `condition` is true within so many seconds; False also when it raises StackError."""
    try:
        return wait_until(condition, within=within, otherwise="", pause=pause)
    except StackError:
        return False
