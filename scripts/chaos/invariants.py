"""The invariants of `make verify-data`, asked again and again while faults are under way: what must never be true may
not be true for a moment either.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from scripts.stack.errors import StackError
from scripts.stack.verify_data import Finding

#: Seconds between two looks; each is one snapshot over all rows.
_PAUSE_SECONDS: Final = 3.0
#: What one may take at most, on a Postgres that is being broken.
_LOOK_SECONDS: Final = 120.0


class LiveInvariants:
    """Looks from a thread of its own between `start` and `end`."""

    def __init__(self, look: Callable[[], Sequence[Finding]]) -> None:
        self.looks = 0
        self._look = look
        self._broken: dict[str, tuple[str, ...]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Looks no more; safe to call before `start`."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_LOOK_SECONDS)

    def total(self) -> Mapping[str, tuple[str, ...]]:
        """Invariant -> the ids that broke it when it was first seen broken; a last look included. Raises StackError."""
        self.look()
        return self._broken

    def look(self) -> None:
        """Raises StackError while Postgres does not answer."""
        for finding in self._look():
            if finding.broken:
                self._broken.setdefault(finding.invariant, finding.ids)
        self.looks += 1

    def _repeat(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            with suppress(StackError):  # Postgres is what was broken
                self.look()
