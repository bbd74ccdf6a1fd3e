"""One thing to ask, asked by a thread of its own, so that a source that hangs costs a scrape its wait and no more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final

import structlog
from prometheus_client.core import Metric

_log = structlog.get_logger(__name__)

type Read = Callable[[], Sequence[Metric]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source said, when (monotonic seconds), and how long it took."""

    families: Sequence[Metric]
    at: float
    seconds: float


class Source:
    """Reads at most once per `cache_seconds`, never twice at once, and never shows an answer older than that.

    A read that outlasts `deadline_seconds` is left to its thread: until it ends the source has failed, and scrapes do
    not wait for it again.
    """

    def __init__(self, name: str, read: Read, *, cache_seconds: float = 5.0, deadline_seconds: float = 4.0) -> None:
        self.name: Final = name
        self._read = read
        self._cache_seconds = cache_seconds
        self._deadline_seconds = deadline_seconds
        self._lock = Lock()
        self._answer: Answer | None = None
        self._started_at = 0.0
        self._ended: Event | None = None  #: of the read under way

    def start(self) -> None:
        """Begins a read when the cached answer is too old and none is under way. Returns at once."""
        with self._lock:
            if self._ended is not None or self._fresh() is not None:
                return
            self._started_at, self._ended = monotonic(), Event()
            Thread(target=self._refresh, args=(self._ended,), name=f"truth-{self.name}", daemon=True).start()

    def answer(self) -> Answer | None:
        """The answer, after waiting for the read under way until its deadline; None when the source failed."""
        with self._lock:
            ended, left = self._ended, self._started_at + self._deadline_seconds - monotonic()
        if ended is not None and left > 0:
            ended.wait(left)
        with self._lock:
            return self._fresh()

    def _fresh(self) -> Answer | None:
        answer = self._answer
        return answer if answer and monotonic() - answer.at <= self._cache_seconds else None

    def _refresh(self, ended: Event) -> None:
        try:
            families = self._read()
        except Exception as error:
            _log.warning("a source of the exporter failed", source=self.name, error=f"{type(error).__name__}: {error}")
        else:
            with self._lock:
                self._answer = Answer(families, monotonic(), monotonic() - self._started_at)
        finally:
            with self._lock:
                self._ended = None
            ended.set()
