"""Lease tokens grow, and who holds an old one ends nothing."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from scripts.checker.evidence import Evidence, Finding, Life
from scripts.checker.history import ENDS, RETURNS

_DEFECT: Final = "lease token"


def leases(evidence: Evidence) -> Iterator[Finding]:
    """In the order of the database's timeline, and in that of what processes saw."""
    for life in evidence.lives.values():
        yield from _steps(life)
        yield from _same_token(life)
        yield from _claims(life)


def _steps(life: Life) -> Iterator[Finding]:
    before = None
    for step in life.steps:
        token = step.get("token")
        if token is None:
            continue
        if before is not None and token <= before:
            yield Finding(_DEFECT, life.id, f"step {step['seq']} ({step['to']}) has token {token} after {before}")
        before = token


def _same_token(life: Life) -> Iterator[Finding]:
    holder: dict[int, str] = {}
    for claim in life.all("ok", "claim"):
        if claim.token is None:
            continue
        if claim.token in holder:
            yield Finding(_DEFECT, life.id, f"{holder[claim.token]} and {claim.actor} both hold token {claim.token}")
        holder[claim.token] = claim.actor


def _claims(life: Life) -> Iterator[Finding]:
    """An operation takes place between its invoke and its end: only what was over before another began is before it."""
    times: list[float] = []
    highest: list[int] = []  # the highest token won so far, at each of these times
    for event in life.all("ok", "claim", *ENDS, *RETURNS):
        if event.token is None:
            continue
        earlier = 0 if event.began is None else bisect_left(times, event.began)
        won = highest[earlier - 1] if earlier else event.token
        if event.token < won:
            what = "an old token was won" if event.op == "claim" else f"a stale {event.op} was accepted"
            yield Finding(_DEFECT, life.id, f"{what}: token {event.token} of {event.actor} after {won} had been won")
        if event.op == "claim":
            times.append(event.time)
            highest.append(max(event.token, highest[-1] if highest else event.token))
