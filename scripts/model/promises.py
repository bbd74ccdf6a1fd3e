"""What must hold, in every state and at every step."""

from enum import Enum
from typing import Final

from scripts.model.world import MAX_ATTEMPTS, OPEN, Job, State, Step, World, holds


class Promise(Enum):
    """Each one's value is what is printed when it breaks; the first words are those of the checker of histories."""

    ENDS = "lost: nothing that the system does by itself ends an accepted job"
    ONE_EFFECT = "duplicated effect"
    EFFECT_OF_SUCCESS = "lost effect: SUCCEEDED without its effect"
    TOKENS_GROW = "lease token: it does not grow"
    ENDED_BY_HOLDER = "lease token: a stale one is good enough to end an attempt"
    LEGAL = "illegal transition"
    LEASE_KEPT = "illegal transition: a lease is taken from its holder before it has run out"
    ATTEMPTS_BOUNDED = "illegal transition: more attempts than allowed"
    ONE_OPEN_ID = "two open ids of one request"
    DEAD_WITH_CAUSE = "dead letter without cause: not every attempt of it failed"


_LEGAL: Final = {
    ("", "QUEUED"),
    ("QUEUED", "RUNNING"),
    ("QUEUED", "CANCELLED"),
    *(("RUNNING", then) for then in ("RUNNING", "QUEUED", "SUCCEEDED", "FAILED", "CANCELLED")),
}


def broken_by(world: World, before: State, step: Step) -> Promise | None:
    """What this step breaks."""
    for job, (was, now) in enumerate(zip(before.jobs, step.after.jobs, strict=True)):
        if was is not now and (broken := _by_row(before, step, job, was, now)):
            return broken
    if world.same_request and sum(it.status in OPEN for it in step.after.jobs) > 1:
        return Promise.ONE_OPEN_ID
    return None


def has_drained(state: State) -> bool:
    """Whether every accepted job has ended."""
    return not any(it.status in OPEN for it in state.jobs)


def _by_row(before: State, step: Step, job: int, was: Job, now: Job) -> Promise | None:
    if now.effects > 1:
        return Promise.ONE_EFFECT
    if now.status == "SUCCEEDED" and not now.effects:
        return Promise.EFFECT_OF_SUCCESS
    if now.attempt > MAX_ATTEMPTS:
        return Promise.ATTEMPTS_BOUNDED
    if now.token < was.token:
        return Promise.TOKENS_GROW
    if (was.status, was.attempt, was.token) == (now.status, now.attempt, now.token):
        return None
    return _by_transition(before, step, job, was, now)


def _by_transition(before: State, step: Step, job: int, was: Job, now: Job) -> Promise | None:
    if (was.status, now.status) not in _LEGAL:
        return Promise.LEGAL
    if "RUNNING" in (was.status, now.status) and now.token == was.token:
        return Promise.TOKENS_GROW
    acts = before.workers[step.worker]
    if step.ends_attempt and not holds(acts, job, was):
        return Promise.ENDED_BY_HOLDER
    if was.status == now.status == "RUNNING" and not (was.clock.startswith("over") or holds(acts, job, was)):
        return Promise.LEASE_KEPT
    if now.status == "FAILED" and now.bad_ends < MAX_ATTEMPTS:
        return Promise.DEAD_WITH_CAUSE
    return None
