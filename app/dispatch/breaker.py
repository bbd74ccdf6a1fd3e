"""Circuit breaker of this process's way to the broker.

    closed --trip()--> open --the probe answers--> closed

One fault opens it. While it is open nobody tries Redis but one background thread, which exists only then. The state is
copied by a fork, threads are not: the first to ask in the child starts the child's own probe.
"""

import os
import random
from collections.abc import Callable
from threading import Condition, Thread
from typing import Final

import structlog

from dispatch.errors import DispatchRefused, Reason
from metrics.catalogue import DISPATCH_BREAKER

_log = structlog.get_logger(__name__)

#: Seconds between probes, ± 20 %: what an outage may outlast Redis's return by.
PROBE_INTERVAL_SECONDS: Final = 0.1


class Breaker:
    """Opens on the first fault, closes when `probe` stops raising DispatchRefused. `probe` must bound its own time."""

    def __init__(self, probe: Callable[[], None], *, probe_interval: float = PROBE_INTERVAL_SECONDS) -> None:
        self._probe = probe
        self._probe_interval = probe_interval
        self._reason: Reason | None = None
        self._prober_pid = 0
        self._abandoned = False
        self._changed = Condition()

    def is_open(self) -> bool:
        """Whether a dispatch would be refused unseen. Never waits and never touches the network."""
        if self._reason is None:
            return False
        if self._prober_pid != os.getpid():
            self._start_prober()
        return True

    def trip(self, reason: Reason) -> None:
        """Opens the breaker; nothing happens when it is open."""
        with self._changed:
            if self._reason is not None:
                return
            self._reason = reason
        DISPATCH_BREAKER.labels("open").inc()
        _log.warning("dispatch breaker opened: hints wait in Postgres", reason=reason.value)
        self._start_prober()

    def wait_closed(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the breaker to close; says whether it is closed."""
        if not self.is_open():
            return True
        with self._changed:
            return self._changed.wait_for(lambda: self._reason is None, timeout)

    def abandon(self) -> None:
        """Ends the probe without a word: nobody asks this breaker any more."""
        self._abandoned = True

    def after_fork(self) -> None:
        """To call in the child: a lock another thread held at the fork stays taken for ever."""
        self._changed = Condition()

    def _start_prober(self) -> None:
        with self._changed:
            if self._prober_pid == os.getpid() or self._reason is None:
                return
            try:
                Thread(target=self._probe_until_closed, name="dispatch-probe", daemon=True).start()
            except RuntimeError:
                # No thread to be had now: the next caller tries again, or the breaker would stay open for ever.
                _log.exception("dispatch probe could not start")
                return
            self._prober_pid = os.getpid()

    def _probe_until_closed(self) -> None:
        pause = Condition()
        while not self._abandoned:
            with pause:
                pause.wait(self._probe_interval * random.uniform(0.8, 1.2))
            try:
                self._probe()
            except DispatchRefused:
                continue
            except Exception:
                _log.exception("dispatch probe failed unexpectedly")
                continue
            if not self._abandoned:
                self._close()
            return

    def _close(self) -> None:
        with self._changed:
            self._reason = None
            self._prober_pid = 0
            self._changed.notify_all()
        DISPATCH_BREAKER.labels("closed").inc()
        _log.info("dispatch breaker closed")
