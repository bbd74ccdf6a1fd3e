"""Lost, unexpected, and effects: what was promised is there once, and nothing else is."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from scripts.checker.database import Job
from scripts.checker.evidence import Evidence, Finding, Life


def lost(evidence: Evidence) -> Iterator[Finding]:
    """Accepted and not ended."""
    ends = evidence.database.machine.ends
    for life in evidence.lives.values():
        if life.row is None and life.all("ok", "accept"):
            yield Finding("lost", life.id, "was accepted and has no row")
        elif life.row is not None and life.row.state not in ends:
            yield Finding("lost", life.id, f"never ended: its row is {life.row.state}")


def unexpected(evidence: Evidence) -> Iterator[Finding]:
    """A row that nobody asked for, or that was refused; two of one request; an effect of what did not end well."""
    requests: defaultdict[str, list[Job]] = defaultdict(list)
    for life in evidence.lives.values():
        if life.row is not None:
            if reason := _unasked(evidence, life, life.row):
                yield Finding("unexpected", life.id, reason)
            if request := life.row.text("request"):
                requests[request].append(life.row)
        yield from _effect_of_nothing(evidence, life)
    for request, jobs in requests.items():
        # Replays of a job, and what was asked for again after its end, share its hash.
        if request in evidence.asked and len({job.text("hash") or job.id for job in jobs}) > 1:
            yield Finding("unexpected", jobs[-1].id, f"is one of {len(jobs)} rows of request {request}")


def effects(evidence: Evidence) -> Iterator[Finding]:
    """Applied more than once, or fewer than the row wants."""
    for life in evidence.lives.values():
        applied = _applied(life)
        for name, count in applied.items():
            if count > 1:
                yield Finding("duplicated effect", life.id, f"effect {name} was applied {count} times")
        wants = life.row.number("wants") if life.row else None
        if wants is None or life.row is None or life.row.state not in evidence.database.machine.good:
            continue
        if (there := sum(1 for count in applied.values() if count)) < wants:
            yield Finding("lost effect", life.id, f"ended well with {there} of {wants:g} effects")


def _applied(life: Life) -> Counter[str]:
    """How often each effect was applied: what the table says, else what was written down."""
    found: Counter[str] = Counter()
    for effect in life.effects:
        found[effect["name"]] += effect["count"]
    return found or Counter(event.text("name") for event in life.all("ok", "effect"))


def _unasked(evidence: Evidence, life: Life, row: Job) -> str:
    """Why the row should not be there, or ""."""
    of_request = evidence.asked.get(row.text("request"), ())
    of_job = [event for event in life.events if event.op == "accept"]
    if any(event.type != "fail" for event in of_job) or row.text("schedule"):
        return ""
    if any(row.text(origin) in evidence.lives for origin in ("parent", "replay_of") if row.text(origin)):
        return ""
    answers = [event.type for event in of_request if event.type != "invoke"]
    if not answers and not of_request:
        return "has a row that nobody asked for"
    # An invoke without an answer may have been accepted.
    is_refused = set(answers) == {"fail"} and len(answers) >= sum(event.type == "invoke" for event in of_request)
    return f"request {row.text('request')} was refused, and its row is there all the same" if is_refused else ""


def _effect_of_nothing(evidence: Evidence, life: Life) -> Iterator[Finding]:
    if not any(_applied(life).values()):
        return
    if life.row is None:
        yield Finding("unexpected", life.id, "has an effect and no row")
    elif life.row.state not in evidence.database.machine.good:
        yield Finding("unexpected", life.id, f"has an effect, and its row is {life.row.state}")
