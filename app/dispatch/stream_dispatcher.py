"""Stream mode: hints become entries of one stream, which the bridge turns into Celery messages."""

import time
from collections.abc import Sequence
from typing import Final

from dispatch.courier import Command, Courier
from dispatch.errors import DispatchRefused, Reason
from dispatch.hints import Hint

#: Seconds a length of the stream is believed while it is at its cap.
_LENGTH_VALID_SECONDS: Final = 1.0


class StreamDispatcher:
    """Adds entries; never with MAXLEN, which deletes unread and pending ones without a word.

    The cap is kept by refusing instead: each trip brings the length back, and at the cap one call per second looks.
    """

    def __init__(self, courier: Courier, *, stream: str, max_entries: int) -> None:
        self._courier = courier
        self._stream = stream
        self._max_entries = max_entries
        self._length = 0
        self._length_read_at = 0.0

    def dispatch(self, hints: Sequence[Hint], *, budget_seconds: float) -> None:
        """Raises DispatchRefused: none was taken, unless the reason is the deadline, when nobody knows."""
        if not hints:
            return
        self._require_room()
        commands: list[Command] = [_xadd(self._stream, hint) for hint in hints]
        replies = self._courier.send([*commands, ("XLEN", self._stream)], budget_seconds=budget_seconds)
        self._length, self._length_read_at = int(replies[-1]), time.monotonic()

    def _require_room(self) -> None:
        is_known = time.monotonic() - self._length_read_at < _LENGTH_VALID_SECONDS
        if is_known and self._length >= self._max_entries:
            raise DispatchRefused(Reason.STREAM_FULL, f"{self._length} entries in {self._stream}: is the bridge alive?")


def _xadd(stream: str, hint: Hint) -> Command:
    fields = (part for field in hint.to_fields().items() for part in field)
    return ("XADD", stream, "*", *fields)
