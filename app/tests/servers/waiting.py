"""Bounded waits: every wait ends with success or with a sentence that says what did not happen.

A bound ends a hang and judges nothing: on a machine that is starved for a while the condition comes late, and it comes.
"""

import time
from collections.abc import Callable


class DidNotHappen(AssertionError):
    """A bounded wait ended without its condition."""


def wait_until[T](check: Callable[[], T], sentence: str, *, seconds: float = 60.0, every: float = 0.02) -> T:
    """Return the first truthy value of `check`; after `seconds` raise DidNotHappen with the sentence.

    An exception inside `check` counts as "not yet" and is quoted when time is up.
    """
    give_up = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            value = check()
        except Exception as error:  # the server may not listen yet, in any of its libraries' words
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() >= give_up:
            raise DidNotHappen(f"{sentence} (waited {seconds:g} s; last seen: {last!r})")
        time.sleep(every)
