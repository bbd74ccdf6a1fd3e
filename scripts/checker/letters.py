"""Dead letters have a cause, and replays lead where they say."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from scripts.checker.database import Job
from scripts.checker.evidence import Evidence, Finding

_DEFECT: Final = "dead letter"
_REPLAY: Final = "replay link"


def dead_letters(evidence: Evidence) -> Iterator[Finding]:
    """A letter's job failed, for a reason that is named or because its attempts were used up."""
    count = Counter(str(letter.get("job") or "") for letter in evidence.database.letters)
    del count[""]  # letters of stream entries, which no job could be found for
    for letter in evidence.database.letters:
        yield from _letter(evidence, str(letter.get("job") or ""), str(letter["reason"]))
    yield from (Finding(_DEFECT, job, "has two dead letters") for job, letters in count.items() if letters > 1)
    for job in evidence.database.jobs.values():
        if job.state in evidence.database.machine.lettered and job.id not in count:
            yield Finding(_DEFECT, job.id, f"is {job.state} without a dead letter")


def replays(evidence: Evidence) -> Iterator[Finding]:
    """Whoever is named is there, stands for the same request, and repeats what is dead."""
    jobs = evidence.database.jobs
    for letter in evidence.database.letters:
        if after := str(letter.get("replayed_as") or ""):
            yield from _replayed_as(jobs, str(letter.get("job") or ""), after)
    for job in jobs.values():
        if job.text("replay_of"):
            yield from _repeats(evidence, job, job.text("replay_of"))
    for event in evidence.history:
        if event.op == "replay" and event.type == "ok" and event.text("of") not in jobs:
            yield Finding(_REPLAY, event.job, f"{event.actor} was told that it repeats {event.text('of')}: no row")


def _repeats(evidence: Evidence, job: Job, before: str) -> Iterator[Finding]:
    dead = evidence.database.jobs.get(before)
    if dead is None:
        yield Finding(_REPLAY, job.id, f"repeats {before}, which has no row")
    elif dead.state not in evidence.database.machine.dead:
        yield Finding(_REPLAY, job.id, f"repeats {before}, which is {dead.state}")
    elif dead.text("hash") != job.text("hash"):
        yield Finding(_REPLAY, job.id, f"repeats {before}, which has another hash")


def _letter(evidence: Evidence, about: str, reason: str) -> Iterator[Finding]:
    if not reason:
        yield Finding(_DEFECT, about, "has a dead letter without a reason")
    if about and about not in evidence.database.jobs:
        yield Finding(_DEFECT, about, "has a dead letter and no row")
    elif about:
        yield from _cause(evidence, evidence.database.jobs[about], reason)


def _cause(evidence: Evidence, job: Job, reason: str) -> Iterator[Finding]:
    machine = evidence.database.machine
    if job.state not in machine.lettered:
        yield Finding(_DEFECT, job.id, f"has a dead letter ({reason}), and its row is {job.state}")
        return
    attempt, most = job.number("attempt"), job.number("max_attempts")
    if reason not in machine.named and attempt is not None and most is not None and attempt < most:
        yield Finding(_DEFECT, job.id, f"died of {reason} at attempt {attempt:g} of {most:g}")
    steps = evidence.database.steps.get(job.id)
    if steps and (said := steps[-1].get("reason")) and said != reason:
        yield Finding(_DEFECT, job.id, f"its dead letter says {reason}, its last step {said}")


def _replayed_as(jobs: dict[str, Job], dead: str, after: str) -> Iterator[Finding]:
    if after not in jobs:
        yield Finding(_REPLAY, dead, f"was replayed as {after}, which has no row")
    elif dead in jobs and jobs[after].text("replay_of") != dead and jobs[after].text("hash") != jobs[dead].text("hash"):
        yield Finding(_REPLAY, dead, f"was replayed as {after}, which is another request's")
