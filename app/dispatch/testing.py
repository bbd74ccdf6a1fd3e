"""The public fake: lets a test see what would have been dispatched, and make the broker refuse."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dispatch import dispatcher
from dispatch.errors import DispatchRefused, Reason
from dispatch.hints import Hint


class RecordingDispatcher:
    """Takes every hint and keeps it, until `refuse_with` names a reason."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.calls = 0
        self.refuse_with: Reason | None = None

    def dispatch(self, hints: Sequence[Hint], *, budget_seconds: float) -> None:  # noqa: ARG002 - the protocol's
        """Raises DispatchRefused when told so."""
        self.calls += 1
        if self.refuse_with is not None:
            raise DispatchRefused(self.refuse_with)
        self.hints.extend(hints)


@contextmanager
def recording() -> Iterator[RecordingDispatcher]:
    """Puts a RecordingDispatcher in this process's place of the real one, with a closed breaker of its own."""
    recorder = RecordingDispatcher()
    process = dispatcher.Process(dispatcher=recorder)
    before = dispatcher.replace_process(process)
    try:
        yield recorder
    finally:
        dispatcher.replace_process(before)
        process.breaker.abandon()


def reset() -> None:
    """Forgets this process's courier and breaker, as a test that changed the settings must."""
    before = dispatcher.replace_process(None)
    if before is not None:
        before.breaker.abandon()
