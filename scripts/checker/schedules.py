"""Each tick fires once."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from scripts.checker.evidence import Evidence, Finding

_DEFECT: Final = "schedule"


def schedules(evidence: Evidence) -> Iterator[Finding]:
    """By rows, and by what sweepers were told; ticks of a schedule without a row of its own only for firing twice."""
    fired = _fired(evidence)
    due = {str(row["name"]): {str(tick) for tick in row["due"]} for row in evidence.database.schedules}
    for (name, tick), jobs in fired.items():
        if len(jobs) > 1:
            yield Finding(_DEFECT, max(jobs), f"tick {tick} of {name} fired {len(jobs)} times")
        if name in due and tick not in due[name]:
            yield Finding(_DEFECT, max(jobs), f"tick {tick} of {name} fired and was not due")
    for name, ticks in due.items():
        for tick in sorted(ticks):
            if (name, tick) not in fired:
                yield Finding(_DEFECT, f"{name} {tick}", f"tick {tick} of {name} did not fire")


def _fired(evidence: Evidence) -> dict[tuple[str, str], set[str]]:
    """Jobs by schedule and tick."""
    fired: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for job in evidence.database.jobs.values():
        if name := job.text("schedule"):
            fired[name, job.text("tick")].add(job.id)
    for event in evidence.history:
        if event.op == "tick" and event.type == "ok" and event.job:
            fired[event.text("schedule"), event.text("tick")].add(event.job)
    return fired
