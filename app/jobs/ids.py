"""Job ids: UUID version 7, so that rows of one time lie together and `ORDER BY id` is the order of acceptance."""

import os
import time
from datetime import datetime
from typing import Final
from uuid import UUID

_VERSION_AND_VARIANT: Final = (7 << 76) | (0b10 << 62)
_RANDOM_A: Final = ((1 << 12) - 1) << 64
_RANDOM_B: Final = (1 << 62) - 1


def new_id() -> UUID:
    """A fresh UUIDv7: 48 bits of milliseconds since 1970, 12 of their fraction, 62 random bits (RFC 9562 §6.2, 3).

    The fraction puts jobs that one process accepts in one millisecond in their order.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    return _at(milliseconds, fraction << 64 | int.from_bytes(os.urandom(8)) & _RANDOM_B)


def floor(moment: datetime) -> UUID:
    """The smallest id that could be made at `moment` (aware); for range scans over time."""
    return _at(int(moment.timestamp() * 1000), 0)


def _at(milliseconds: int, random: int) -> UUID:
    return UUID(int=(milliseconds << 80) | _VERSION_AND_VARIANT | (random & (_RANDOM_A | _RANDOM_B)))
