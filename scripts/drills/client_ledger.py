"""What a careful client writes down: the ids it was told, and the requests whose fate it does not know.

A request without an id is repeated under its Idempotency-Key until it has one. Then there is one job for each request,
whatever the first answer was.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from scripts.drills.load import Answer, Load
from scripts.drills.verdict import Verdict

#: Requests that the client repeats at once.
_SIDE_BY_SIDE: Final = 8
#: Seconds the client waits before it repeats what was refused again, and in which every request has an id.
_PAUSE_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 60.0


@dataclass
class ClientLedger:
    """Request index -> id, and what each first answer left open."""

    ids: dict[int, str] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)  #: the answer says that nothing was accepted
    unknown: list[int] = field(default_factory=list)  #: no answer, or one that does not say

    def note(self, answer: Answer) -> None:
        """Takes down one first answer."""
        if answer.job_id:
            self.ids[answer.index] = answer.job_id
        elif is_clear_no(answer):
            self.refused.append(answer.index)
        else:
            self.unknown.append(answer.index)

    def without_id(self) -> list[int]:
        return [index for index in (*self.unknown, *self.refused) if index not in self.ids]

    def settle(self, send: Callable[[int], Answer], *, within: float) -> None:
        """Repeats until every request has an id, or `within` seconds are over."""
        deadline = time.monotonic() + within
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            while (left := self.without_id()) and time.monotonic() < deadline:
                for answer in pool.map(send, left):
                    if answer.job_id:
                        self.ids[answer.index] = answer.job_id
                if self.without_id():
                    time.sleep(_PAUSE_SECONDS)


def settled(verdict: Verdict, load: Load, answers: Sequence[Answer]) -> ClientLedger:
    """The ledger after all repetitions, and what the verdict says of it."""
    ledger = ClientLedger()
    for answer in answers:
        ledger.note(answer)
    verdict.note(f"       client: {len(ledger.ids)} ids, {len(ledger.refused)} refused, {len(ledger.unknown)} unknown")
    ledger.settle(load.send, within=_SETTLE_SECONDS)
    distinct = len(set(ledger.ids.values()))
    verdict.check(
        distinct == len(ledger.ids) == load.count,
        f"{load.count} requests, {distinct} ids once each was repeated by its key until it had one",
    )
    return ledger


def is_clear_no(answer: Answer) -> bool:
    """Whether the server said that nothing was accepted: a 4xx, or a 503 in so many words."""
    return 400 <= answer.status < 500 or (answer.status == 503 and b"accepted is unknown" not in answer.body)
