"""The invariants of `make verify-data`, asked again and again while faults are under way: what must never be true may
not be true for a moment either.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scripts.stack.errors import StackError
from scripts.stack.verify_data import Finding

#: Seconds between two looks; each is one snapshot over all rows.
_PAUSE_SECONDS: Final = 1.0
#: What one may take at most, on a Postgres that is being broken.
_LOOK_SECONDS: Final = 120.0
#: Looks under load; with fewer nobody can say that an invariant held.
_LEAST_LOOKS: Final = 3


class LiveInvariants:
    """Looks from a thread of its own between `start` and `end`."""

    def __init__(self, look: Callable[[], Sequence[Finding]]) -> None:
        self.looks = 0
        self._look = look
        self._broken: dict[str, tuple[str, ...]] = {}
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Looks no more; safe to call before `start`."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_LOOK_SECONDS)

    def require_looks(self) -> None:
        """To be asked when the load has ended. Raises StackError when it was hardly looked at."""
        if self.looks < _LEAST_LOOKS:
            said = f"The invariants were looked at {self.looks} times under load, less than {_LEAST_LOOKS}"
            raise StackError(f"{said}: {self._failure or 'Postgres did not answer'}.", fix="make chaos DURATION=60")

    def total(self) -> Mapping[str, tuple[str, ...]]:
        """Invariant -> the ids that broke it when it was first seen broken; a last look included. Raises StackError."""
        if self._failure is not None:
            raise StackError(f"A look at the invariants failed: {self._failure!r}.", fix="make ps") from self._failure
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
            try:
                self.look()
            except StackError:
                continue  # Postgres is what was broken
            except Exception as error:  # `total` tells: the thread would end without a word
                self._failure = error
