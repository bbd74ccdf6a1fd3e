"""Celery mode: hints become Celery messages in the pools' lists."""

from collections.abc import Sequence

from dispatch import messages
from dispatch.courier import Courier
from dispatch.hints import Hint


class CeleryDispatcher:
    """Pushes messages that kombu rendered; one round trip and one transaction per call."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    def dispatch(self, hints: Sequence[Hint], *, budget_seconds: float) -> None:
        """Raises DispatchRefused: none was taken, unless the reason is the deadline, when nobody knows."""
        if hints:
            self._courier.send(messages.render(hints), budget_seconds=budget_seconds)
