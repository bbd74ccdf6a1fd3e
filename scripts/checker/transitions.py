"""From state to state: only what is legal, and no end is taken back."""

from collections.abc import Iterator
from typing import Final

from scripts.checker.evidence import Evidence, Finding, Life
from scripts.checker.history import ENDS, RETURNS, Event

_DEFECT: Final = "illegal transition"


def transitions(evidence: Evidence) -> Iterator[Finding]:
    """The timeline in the database, and what processes were told."""
    for life in evidence.lives.values():
        yield from _timeline(evidence, life)
        yield from _after_the_end(life)
        yield from _unknown_to_the_timeline(life)


def _timeline(evidence: Evidence, life: Life) -> Iterator[Finding]:
    before = ""
    for step in life.steps:
        if step["from"] != before:
            change = f"step {step['seq']} made it {step['to']} as if it were {step['from'] or 'nothing'}"
            yield Finding(_DEFECT, life.id, f"was {before or 'nothing'}, and {change}")
        if (step["from"], step["to"]) not in evidence.database.machine.legal:
            yield Finding(_DEFECT, life.id, f"{step['from'] or 'nothing'} became {step['to']}")
        before = step["to"]
    if life.steps and life.row is not None and life.row.state != before:
        yield Finding(_DEFECT, life.id, f"its row is {life.row.state}, its last step led to {before}")


def _after_the_end(life: Life) -> Iterator[Finding]:
    """Each acknowledged end is the only one, and nothing that was tried after it succeeds."""
    ends = life.all("ok", *ENDS)
    if len(ends) > 1:
        yield Finding(_DEFECT, life.id, f"ended {len(ends)} times: {', '.join(end.op for end in ends)}")
    if not ends:
        return
    first = ends[0]
    for event in life.all("ok", "claim", *RETURNS):
        if event.began is not None and event.began > first.time:
            yield Finding(_DEFECT, life.id, f"{event.op} was tried after its end ({first.op}) and succeeded")
    yield from _not_as_told(life, first)


def _not_as_told(life: Life, end: Event) -> Iterator[Finding]:
    told = end.text("state")
    if told and life.row is not None and life.row.state != told:
        yield Finding(_DEFECT, life.id, f"{end.actor} was told that it is {told}, and its row is {life.row.state}")


def _unknown_to_the_timeline(life: Life) -> Iterator[Finding]:
    if not life.steps:
        return
    known = {step.get("token") for step in life.steps}
    for claim in life.all("ok", "claim"):
        if claim.token is not None and claim.token not in known:
            yield Finding(_DEFECT, life.id, f"{claim.actor} won token {claim.token}, which its timeline does not know")
