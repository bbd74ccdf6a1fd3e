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
_SETTLE_SECONDS: Final = 180.0
#: The answer to a request whose job is there already.
IS_THERE: Final = 200


@dataclass
class ClientLedger:
    """Request index -> id, and what each first answer left open."""

    ids: dict[int, str] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)  #: the answer says that nothing was accepted
    unknown: list[int] = field(default_factory=list)  #: no answer, or one that does not say
    untrue: list[int] = field(default_factory=list)  #: refused in clear words, and accepted all the same

    def note(self, answer: Answer) -> None:
        """Takes down one first answer."""
        if answer.job_id:
            self.ids[answer.index] = answer.job_id
        elif answer.is_clear_no:
            self.refused.append(answer.index)
        else:
            self.unknown.append(answer.index)

    def without_id(self) -> list[int]:
        return [index for index in (*self.unknown, *self.refused) if index not in self.ids]

    def settle(self, send: Callable[[int], Answer], *, within: float) -> None:
        """Repeats until every request has an id, or `within` seconds are over."""
        deadline = time.monotonic() + within
        clear = set(self.refused)
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            while (left := self.without_id()) and time.monotonic() < deadline:
                for answer in pool.map(send, left):
                    if answer.job_id:
                        self.ids[answer.index] = answer.job_id
                        if answer.status == IS_THERE and answer.index in clear:
                            self.untrue.append(answer.index)
                    elif not answer.is_clear_no:
                        clear.discard(answer.index)
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
    if ledger.refused:
        verdict.check(
            not ledger.untrue, f"{len(ledger.refused)} refusals, {len(ledger.untrue)} of what was accepted all the same"
        )
    return ledger
