"""Whether a worker takes messages follows from whether its leases can be renewed now."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from dispatch.pools import POOLS
from worker import lifeline
from worker.lifeline import Lifeline


class Loop:
    """Runs what was called soon in an order of its own, as kombu's hub does, which keeps it in a set."""

    def __init__(self, order: Callable[[list[Any]], Iterable[Any]]) -> None:
        self.order = order
        self.waiting: list[Any] = []
        self.task_consumer = mock.Mock()

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        self.waiting.append(lambda: callback(*arguments))

    def run(self) -> list[str]:
        """What became of the consumer."""
        for callback in self.order(self.waiting):
            callback()
        return [name for name, _, _ in self.task_consumer.method_calls]


@pytest.mark.parametrize("order", [list, reversed])
@pytest.mark.parametrize(("can_renew", "ends"), [(True, "consume"), (False, "cancel")])
def test_what_was_asked_for_while_the_loop_stood_still_ends_in_what_holds_now(
    monkeypatch: pytest.MonkeyPatch, order: Callable[[list[Any]], Iterable[Any]], can_renew: bool, ends: str
) -> None:
    monkeypatch.setattr(lifeline, "pool_of", lambda _queues: POOLS["fast"])
    loop = Loop(order)
    queues = SimpleNamespace(consume_from={})
    worker = SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)), consumer=loop)
    line = Lifeline(worker)
    line._keeper = SimpleNamespace(can_renew=can_renew)  # type: ignore[assignment]
    for change in (not can_renew, can_renew):
        line._pause_or_resume(change)
    assert loop.run()[-1] == ends
