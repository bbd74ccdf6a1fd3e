"""One verdict per process on whether Postgres serves, so that only the first callers pay for finding out.

16 threads that each wait out a 2 s deadline answer 8 requests a second. After the first expiry the breaker is open
and everybody is answered at once, while one background thread asks Postgres until it answers.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

log = structlog.get_logger(__name__)

#: Seconds between two probes of a Postgres that refuses at once; one that hangs is held by the probe's own deadline.
PROBE_PAUSE_SECONDS: Final = 0.25


class Breaker:
    """Closed until tripped; then open until a probe succeeds. No caller of `is_open` ever probes or waits.

    The probing thread belongs to one process: a child forked with the breaker open starts its own on first use.
    """

    def __init__(self, *, pause_seconds: float = PROBE_PAUSE_SECONDS) -> None:
        self._pause = pause_seconds
        self._probe: Callable[[], None] | None = None
        self._listeners: list[Callable[[bool], None]] = []
        self._is_open = False
        self._prober_pid = 0
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget_threads)

    def probe_with(self, probe: Callable[[], None]) -> None:
        """`probe` makes one bounded round trip and raises psycopg.Error when Postgres does not serve."""
        self._probe = probe

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """`listener(is_open)` is called after each change, from whichever thread made it."""
        self._listeners.append(listener)

    def is_open(self) -> bool:
        """Whether Postgres is known not to serve. Never blocks."""
        if self._is_open and self._prober_pid != os.getpid():
            self._start_prober()
        return self._is_open

    def trip(self, reason: str) -> None:
        """Opens the breaker; the first probe follows at once, so a false alarm lasts milliseconds."""
        with self._lock:
            was_open, self._is_open = self._is_open, True
        if not was_open:
            log.warning("postgres breaker opened", reason=reason)
            self._tell(is_open=True)
        self._start_prober()

    def _start_prober(self) -> None:
        with self._lock:
            if self._prober_pid == os.getpid() or not self._is_open:
                return
            try:
                threading.Thread(target=self._probe_until_it_serves, name="postgres-breaker", daemon=True).start()
            except RuntimeError:
                # No thread to be had now: the next caller tries again, or the breaker would stay open for ever.
                log.exception("postgres probe could not start")
                return
            self._prober_pid = os.getpid()

    def _probe_until_it_serves(self) -> None:
        while not self._serves():
            time.sleep(self._pause)
        with self._lock:
            self._is_open = False
            self._prober_pid = 0
        log.info("postgres breaker closed")
        self._tell(is_open=False)

    def _serves(self) -> bool:
        try:
            if self._probe is not None:
                self._probe()
        except psycopg.Error:
            return False
        except Exception:
            # Whatever it is: a thread that died of it would leave the breaker open for ever.
            log.exception("postgres probe failed unexpectedly")
            return False
        return True

    def _tell(self, *, is_open: bool) -> None:
        for listener in self._listeners:
            listener(is_open)

    def _forget_threads(self) -> None:
        # The parent's thread does not exist here, and another thread may have held the lock at the fork.
        self._lock = threading.Lock()
        self._prober_pid = 0


#: The process's breaker.
breaker: Final = Breaker()
