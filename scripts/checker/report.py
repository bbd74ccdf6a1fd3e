"""The verdict in words, and in figures for whoever counts runs."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from scripts.checker import story
from scripts.checker.evidence import Evidence, Finding
from scripts.checker.history import open_ended

#: Jobs named of each defect.
_NAMED: Final = 3


@dataclass(frozen=True)
class Report:
    """What was looked at and what was found."""

    events: int
    jobs: int  #: rows
    accepted: int  #: jobs that somebody was promised
    ended: int
    unknown: int  #: operations of which nobody learned whether they took place
    recovered: int  #: requests of which the client never learned whether they were accepted, and which ended
    executions: int  #: claims won
    seen: Counter[str] = field(default_factory=Counter)  #: `op type`, `op type reason` and `step event`
    findings: Sequence[Finding] = ()

    @property
    def extra_executions(self) -> int:
        """Beyond one per job that was tried."""
        return self.seen["executions beyond the first"]


def summed_up(evidence: Evidence, findings: Sequence[Finding]) -> Report:
    """Counts over the whole evidence."""
    lives, ends = evidence.lives.values(), evidence.database.machine.ends
    seen: Counter[str] = Counter()
    for event in evidence.history:
        seen[f"{event.op} {event.type}"] += 1
        if reason := event.text("reason"):
            seen[f"{event.op} {event.type} {reason}"] += 1
    seen.update(f"step {step['event']}" for life in lives for step in life.steps if "event" in step)
    claims = [_executions(life.steps) or len(life.all("ok", "claim")) for life in lives]
    seen["executions beyond the first"] = sum(count - 1 for count in claims if count > 1)
    return Report(
        events=len(evidence.history),
        jobs=len(evidence.database.jobs),
        accepted=sum(1 for life in lives if life.all("ok", "accept")),
        ended=sum(1 for job in evidence.database.jobs.values() if job.state in ends),
        unknown=sum(event.type == "info" for event in evidence.history) + sum(1 for _ in open_ended(evidence.history)),
        recovered=len(_recovered(evidence)),
        executions=sum(claims),
        seen=seen,
        findings=findings,
    )


def lines(evidence: Evidence, report: Report) -> Iterator[str]:
    """What the command prints."""
    yield (
        f"{report.events} events, {report.jobs} jobs: {report.accepted} accepted, {report.ended} ended; "
        f"{report.unknown} operations of unknown end, {report.recovered} requests of unknown end that ended"
    )
    yield f"{report.executions} executions, {report.extra_executions} of them beyond the first of their job"
    by_defect: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_defect[finding.defect].append(finding)
    for defect, found in by_defect.items():
        about = list(dict.fromkeys(finding.about for finding in found))
        more = f" and {len(about) - _NAMED} more" if len(about) > _NAMED else ""
        yield f"{defect}: {len(found)} ({', '.join(about[:_NAMED])}{more})"
        shown = story.smallest(evidence, found)
        yield f"  {shown.about} {shown.what}"
        yield from (f"  {line}" for line in story.told(evidence, shown))
    yield f"verdict: {'held' if not report.findings else f'{len(report.findings)} finding(s)'}"


def _executions(steps: Sequence[object]) -> int:
    return sum(1 for step in steps if isinstance(step, dict) and step.get("event") in {"claimed", "rescued"})


def _recovered(evidence: Evidence) -> set[str]:
    """Requests whose client has no answer that says yes or no, and that have ended."""
    ends = evidence.database.machine.ends
    return {
        request
        for job in evidence.database.jobs.values()
        if job.state in ends and (request := job.text("request")) in evidence.asked
        if not any(event.type in {"ok", "fail"} for event in evidence.asked[request])
    }
