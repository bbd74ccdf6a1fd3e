"""The client of a run: what it sends is drawn from the seed, what it was told it writes down.

Beside plain submits it repeats a request under its key (`again`), sends an equal request under another key (`twin`), a
different body under a used key (`conflict`), bulks with a pair of equal jobs, and cancels. Some jobs start later, some
fail a few times, some for ever; of every fifth seed two kill their worker at each attempt.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import zip_longest
from random import Random
from typing import Any, Final

from scripts.chaos.plan import Plan
from scripts.drills.load import Answer, Load, Target
from scripts.stack import host_history

_JOBS: Final = "/api/v1/jobs"
_BULK: Final = f"{_JOBS}/bulk"
#: Status of what was not sent, because the request that it refers to has no id yet.
NOT_SENT: Final = -1

#: Act -> weight. What refers to an earlier request takes one of the last so many.
ACTS: Final = {"submit": 80, "twin": 5, "again": 5, "conflict": 2, "bulk": 3, "cancel": 5}
_LOOKS_BACK: Final = 80
_BULK_SIZE: Final = (4, 12)
#: Kind -> weight, and milliseconds of work with their weights: something is always in the middle of its work.
_KINDS: Final = {"probe.fast": 65, "probe.io": 25, "probe.cpu": 10}
_WORK: Final = {
    "probe.fast": ((0, 60, 200, 400), (60, 20, 12, 8)),
    "probe.io": ((0, 50, 400, 1500), (50, 30, 15, 5)),
    "probe.cpu": ((10, 40), (70, 30)),
}
_PRIORITIES: Final = ("high", "normal", "low")
#: Jobs that kill their worker, near the beginning: five leases of 10 s until they are dead letters. No other run has to
#: wait so long for its end; these seeds have faults that overlap, and no recovery to be measured.
_POISON_AT: Final = (5, 40)
POISON_EVERY: Final = 5  #: seeds
_FOR_EVER: Final = 100


@dataclass(frozen=True)
class Request:
    """One request of the run."""

    index: int
    act: str
    of: int = -1  #: the earlier request that it repeats, equals, contradicts or cancels
    jobs: Sequence[Mapping[str, Any]] = ()
    key: str = ""

    @property
    def is_submit(self) -> bool:
        """Whether it has to end with ids."""
        return self.act in ("submit", "twin", "again", "bulk")

    @property
    def may_fail(self) -> bool:
        """Whether a dead letter is a right end of its jobs."""
        params = [job["params"] for job in self.jobs]
        return any(one.get("crash") or one.get("fail_times", 0) >= _FOR_EVER for one in params)


def script(plan: Plan, *, tag: str, began: float) -> list[Request]:
    """Every request of a run. `began`: Unix time of the first; moments in bodies are counted from it."""
    chance = Random(plan.seed)
    requests: list[Request] = []
    poison: tuple[int, ...] = _POISON_AT if plan.seed % POISON_EVERY == 0 else ()
    for index in range(plan.count):
        if index in poison:
            requests.append(_poison(index, f"{tag}-{index}"))
            continue
        act = chance.choices(list(ACTS), list(ACTS.values()))[0] if index >= _LOOKS_BACK else "submit"
        requests.append(_request(index, act, requests, chance, tag=tag, now=began + index / plan.rate))
    return requests


def _request(index: int, act: str, before: Sequence[Request], chance: Random, *, tag: str, now: float) -> Request:
    key, name = f"{tag}-{index}", f"{tag}-{index}"
    if act == "bulk":
        jobs = [_job(chance, f"{name}-{number}", now, force=False) for number in range(chance.randint(*_BULK_SIZE))]
        return Request(index, act, jobs=[*jobs, jobs[0]], key=key)
    if act != "submit" and (found := _earlier(act, before, chance)):
        return _referring(index, act, found, key)
    return Request(index, "submit", jobs=[_job(chance, name, now, force=chance.random() < 0.5, may_fail=True)], key=key)


def _referring(index: int, act: str, of: Request, key: str) -> Request:
    if act == "cancel":
        return Request(index, act, of.index)
    if act == "conflict":
        other = {**of.jobs[0], "farm_id": "another"}
        return Request(index, act, of.index, [other], of.key)
    return Request(index, act, of.index, of.jobs, of.key if act == "again" else key)


def _earlier(act: str, before: Sequence[Request], chance: Random) -> Request | None:
    """A plain submit that nothing cancels; for a twin, and for a cancel, one that nothing else refers to."""
    taken = {one.of for one in before if one.act == "cancel"}
    if act in ("twin", "cancel"):
        others = ("twin", "again", "conflict") if act == "cancel" else ()
        taken |= {one.of for one in before if one.act in others}
    recent = [
        one
        for one in before[-_LOOKS_BACK:]
        if one.act == "submit" and not one.may_fail and one.index not in taken
        if act != "twin" or not one.jobs[0]["force"]
    ]
    return chance.choice(recent) if recent else None


def _poison(index: int, name: str) -> Request:
    body = {"kind": "probe.fast", "farm_id": "chaos", "params": {"tag": name, "crash": True}, "force": True}
    return Request(index, "submit", jobs=[body], key=name)


def _job(chance: Random, name: str, now: float, *, force: bool, may_fail: bool = False) -> dict[str, Any]:
    kind = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
    params: dict[str, Any] = {"tag": name, "work_ms": chance.choices(*_WORK[kind])[0]}
    fails = chance.random()
    if may_fail and fails < 0.03:
        params["fail_times"] = _FOR_EVER if fails < 0.005 else chance.randint(1, 2)
    body = {"kind": kind, "farm_id": "chaos", "params": params, "priority": chance.choice(_PRIORITIES), "force": force}
    if chance.random() < 0.05:
        body["not_before"] = datetime.fromtimestamp(now + chance.uniform(0.5, 6.0), UTC).isoformat()
    return body


@dataclass
class Told:
    """What the answers to one request said, first ones and repetitions."""

    ids: list[tuple[str, ...]] = field(default_factory=list)  #: of each accepting answer
    statuses: list[int] = field(default_factory=list)
    was_refused: bool = False  #: every answer so far said in clear words that nothing was accepted
    is_untrue: bool = False  #: all answers before said so, and the next that it was there already


class Client(Load):
    """Sends a script at its rate, and repeats what has no id. `told` belongs to it."""

    def __init__(self, target: Target, requests: Sequence[Request], *, rate: float) -> None:
        super().__init__(target, _JOBS, make_body=lambda _index: {}, count=len(requests), rate=rate)
        self.requests = requests
        self.told: dict[int, Told] = {}
        self._telling = threading.Lock()

    def send(self, index: int) -> Answer:
        request, sent = self.requests[index], time.monotonic()
        calls = _begun(request)
        status, retry_after, body = self._sent(request)
        ids = ids_of(status, body) if request.is_submit else ()
        answer = Answer(
            index, sent, time.monotonic() - sent, sent - self._started - index / self._rate, status, retry_after, body
        )
        _end(calls, answer, ids)
        with self._telling:
            _note(self.told.setdefault(index, Told()), answer, ids)
        # The ledger looks for one id: of a bulk the first stands for all.
        return replace(answer, body=json.dumps({"id": ids[0]}).encode()) if ids else answer

    def id_of(self, index: int) -> str:
        """The id that a request was told first, or ""."""
        with self._telling:
            told = self.told.get(index)
            return told.ids[0][0] if told and told.ids else ""

    def _sent(self, request: Request) -> tuple[int, str, bytes]:
        if request.act == "cancel":
            job = self.id_of(request.of)
            return self._target.send("POST", f"{_JOBS}/{job}/cancel") if job else (NOT_SENT, "", b"")
        if request.act == "conflict" and not self.id_of(request.of):
            return NOT_SENT, "", b""
        if request.act == "bulk":
            return self._target.send("POST", _BULK, {"jobs": list(request.jobs)}, key=request.key)
        return self._target.send("POST", _JOBS, request.jobs[0], key=request.key)


def ids_of(status: int, body: bytes) -> tuple[str, ...]:
    """Ids in an accepting answer, of one job or of a bulk."""
    if status not in (200, 202):
        return ()
    document = json.loads(body)
    return tuple(str(one["id"]) for one in document.get("jobs", [document]))


def _begun(request: Request) -> list[tuple[str, int]]:
    """For the history: tag and number of the call, for each job in the order of the request."""
    tags = [str(job["params"]["tag"]) for job in request.jobs] if request.is_submit else []
    return [(tag, host_history.begins("accept", request=tag)) for tag in tags]


def _end(calls: Sequence[tuple[str, int]], answer: Answer, ids: Sequence[str]) -> None:
    fate = "ok" if ids else "fail" if answer.is_clear_no else "info"
    for (tag, call), job in zip_longest(calls, ids if calls else ()):
        host_history.ended(fate, "accept", call, request=tag, job=job or "", status=answer.status)


def _note(told: Told, answer: Answer, ids: tuple[str, ...]) -> None:
    refused_before = told.was_refused if told.statuses else True
    told.is_untrue = told.is_untrue or bool(told.statuses and told.was_refused and answer.status == 200)
    told.was_refused = refused_before and answer.is_clear_no
    told.statuses.append(answer.status)
    if ids:
        told.ids.append(ids)
