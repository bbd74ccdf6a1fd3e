"""What a run must not have done. A judge takes the evidence and returns one phrase for each promise that broke.

Overlapping faults are judged on loss, duplicates and answers, never on time. A further judge is one more line in
`JUDGES`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from scripts.chaos.client import Request
from scripts.chaos.evidence import Evidence, Row
from scripts.chaos.scene import WORKERS

#: Why a job that nothing is wrong with may end as a dead letter: its worker was lost at each of its attempts.
KILLED: Final = "worker_lost"
#: Whose faults let leases run out: of workers, and of Postgres, without which none is renewed.
_HOLD_LEASES: Final = (*WORKERS, "postgres")
#: The same, of faults that name no target.
_END_LEASES: Final = frozenset(
    {"rolling-restart", "postgres-backends", "row-locks", "table-lock", "pool-exhausted", "disk-full-postgres"}
)
_SHOWN: Final = 5

Judge = Callable[[Evidence], list[str]]


def lost(evidence: Evidence) -> list[Row]:
    """Jobs that were promised, to the client or by a schedule, and that did not reach their end."""
    return [row for row in evidence.rows if row.is_promised and _is_lost(row)]


def _is_lost(row: Row) -> bool:
    if row.state == "SUCCEEDED":
        return row.effects == 0
    if row.state == "FAILED":
        return row.reason == "-"
    return row.state != "CANCELLED"


def applied_twice(evidence: Evidence) -> list[Row]:
    return [row for row in evidence.rows if row.effects > 1]


def loss(evidence: Evidence) -> list[str]:
    """Every accepted job has its end."""
    return _phrase("lost", (f"{row.id} {row.state}" for row in lost(evidence)))


def effects(evidence: Evidence) -> list[str]:
    """One effect for each success, none for anything else."""
    without = [row for row in evidence.rows if row.effects and row.state != "SUCCEEDED"]
    return [
        *_phrase("effects applied twice", (f"{row.id} {row.effects} times" for row in applied_twice(evidence))),
        *_phrase("effects without success", (f"{row.id} {row.state}" for row in without)),
    ]


def failures(evidence: Evidence) -> list[str]:
    """Only what was asked to fail does, and what lost its worker to faults at each attempt."""
    may_fail = evidence.ids_of(request for request in evidence.requests if request.may_fail)
    failed = [row for row in evidence.rows if row.state == "FAILED" and row.id not in may_fail]
    # A replay fails as its first job does; what a storm writes down as dead never ran.
    failed = [row for row in failed if row.origin != "replay" or row.root not in {row.id, *may_fail}]
    excused = {row.id for row in failed if row.reason == KILLED and row.was_lost_each_time and _took_leases(evidence)}
    return _phrase("failed", (f"{row.id} {row.reason}" for row in failed if row.id not in excused))


def _took_leases(evidence: Evidence) -> bool:
    """Whether a fault was tried that can cost attempts their leases: one that failed may have done half its work."""
    steps = [deed.step for deed in evidence.deeds if deed.began is not None]
    return any(step.target in _HOLD_LEASES or step.fault in _END_LEASES for step in steps)


def cancellations(evidence: Evidence) -> list[str]:
    """Cancelled is what somebody cancelled, and what was confirmed as cancelled is."""
    cancels = [request for request in evidence.requests if request.act == "cancel"]
    asked = evidence.ids_of(evidence.requests[request.of] for request in cancels)
    confirmed = evidence.ids_of(
        evidence.requests[request.of] for request in cancels if 200 in evidence.told_of(request).statuses
    )
    unasked = (row.id for row in evidence.rows if row.state == "CANCELLED" and row.id not in asked)
    alive = (f"{row.id} {row.state}" for row in evidence.rows if row.state != "CANCELLED" and row.id in confirmed)
    return [*_phrase("cancelled by nobody", unasked), *_phrase("cancelled, and not", alive)]


def acceptance(evidence: Evidence) -> list[str]:
    """Each request has its job in the end, no job is there that nobody was told of, and no clear refusal was untrue."""
    submits = [request for request in evidence.requests if request.is_submit]
    shared = {request.of for request in evidence.requests if request.act == "again"}
    own = [one for one in submits if one.act == "submit" and one.jobs[0]["force"] and one.index not in shared]
    return [
        *_phrase("without an id", (f"request {r.index}" for r in submits if not evidence.told_of(r).ids)),
        *_phrase("nobody was told", (row.id for row in evidence.rows if not row.is_promised)),
        *_phrase("refused, and accepted", (f"request {one.index}" for one in own if evidence.told_of(one).is_untrue)),
    ]


def identities(evidence: Evidence) -> list[str]:
    """The same key, and the same request, get the same ids; another body under a used key gets 409."""
    by_key = _answers((one for one in evidence.requests if one.act in ("submit", "again", "bulk")), evidence, _key)
    twins = {one.of for one in evidence.requests if one.act == "twin"}
    # A request whose job failed gets a new one.
    gone = {row.id for row in evidence.rows if row.state == "FAILED"}
    equal = (
        one
        for one in evidence.requests
        if (one.act == "twin" or one.index in twins) and not evidence.ids_of([one]) & gone
    )
    by_request = _answers(equal, evidence, lambda one: str(one.of if one.act == "twin" else one.index))
    conflicts = [
        f"request {one.index}: {status}"
        for one in evidence.requests
        if one.act == "conflict"
        for status in evidence.told_of(one).statuses
        if 200 <= status < 500 and status not in (409, 429)
    ]
    bulks = (one for one in evidence.requests if one.act == "bulk")
    uneven = [f"request {one.index}" for one in bulks for ids in evidence.told_of(one).ids if ids[0] != ids[-1]]
    return [
        *_phrase("one key, several ids", by_key),
        *_phrase("one request, several ids", by_request),
        *_phrase("another body under a used key was not answered 409", conflicts),
        *_phrase("equal jobs of one bulk with two ids", uneven),
    ]


def invariants(evidence: Evidence) -> list[str]:
    """What must never be true was not, at no look."""
    return [f"{name} ({', '.join(ids) or 'no ids'})" for name, ids in evidence.invariants.items()]


def history(evidence: Evidence) -> list[str]:
    """What each process wrote down, and the rows, tell one story that the promise allows."""
    return list(evidence.history)


def _key(request: Request) -> str:
    return request.key


def _answers(requests: Iterable[Request], evidence: Evidence, name: Callable[[Request], str]) -> list[str]:
    found: dict[str, set[tuple[str, ...]]] = {}
    for request in requests:
        found.setdefault(name(request), set()).update(evidence.told_of(request).ids)
    return [f"{one}: {len(ids)}" for one, ids in found.items() if len(ids) > 1]


def _phrase(what: str, cases: Iterable[str]) -> list[str]:
    found = list(cases)
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"{what}: {len(found)} ({', '.join(found[:_SHOWN])}{more})"] if found else []


#: All of them, in the order of the verdict: name of the promise and who judges it.
JUDGES: Final[Sequence[tuple[str, Judge]]] = (
    ("no accepted job is lost", loss),
    ("every effect is applied once", effects),
    ("only what has to fail fails", failures),
    ("cancelled is what was cancelled", cancellations),
    ("one job for each request, and each was told", acceptance),
    ("the same key and the same request get the same answer", identities),
    ("the invariants of verify-data held at each look", invariants),
    ("what every process wrote down agrees with the rows", history),
)


def tally(evidence: Evidence) -> dict[str, int]:
    """Counts for the results file."""
    states = Counter(row.state for row in evidence.rows)
    return {
        "requests": sum(request.is_submit for request in evidence.requests),
        "accepted": len(evidence.ids()),
        "lost": len(lost(evidence)),
        "duplicate_effects": len(applied_twice(evidence)),
        "executions": evidence.executions(),
        "extra_executions": evidence.extra_executions(),
        "succeeded": states["SUCCEEDED"],
        "failed": states["FAILED"],
        "cancelled": states["CANCELLED"],
        "replayed": sum(row.origin == "replay" for row in evidence.rows),
        "ticks": sum(row.origin == "tick" for row in evidence.rows),
    }
