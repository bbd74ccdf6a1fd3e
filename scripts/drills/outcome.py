"""The end of every drill: wait, bounded, until all jobs have ended, then judge what was lost and what came twice."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from scripts.drills.client_ledger import ClientLedger
from scripts.drills.load import Answer, percentile, spread
from scripts.drills.truth import Census, Truth
from scripts.drills.verdict import Verdict
from scripts.stack.errors import StackError

#: Seconds from the moment at which every open job has been hinted again until all have ended: the backlog.
BACKLOG_SECONDS: Final = 300.0
#: Seconds within which 99 of 100 requests are accepted, Redis or no Redis.
ACCEPT_P99_SECONDS: Final = 0.3


def judge_accepts(verdict: Verdict, answers: Sequence[Answer], *, jobs: int, before: int) -> None:
    """No fault of Redis is a reason to refuse, nor to wait.

    The first `before` requests were due before the fault: what they took is the machine's part.
    """
    judge_statuses(verdict, answers, jobs=jobs)
    p99 = percentile([answer.since_due for answer in answers], 0.99)
    verdict.check_time(p99 < ACCEPT_P99_SECONDS, f"p99 {p99 * 1000:.0f} ms, limit {ACCEPT_P99_SECONDS * 1000:g} ms")
    verdict.note(f"       before the fault {spread([answer for answer in answers if answer.index < before])}")


def judge_statuses(verdict: Verdict, answers: Sequence[Answer], *, jobs: int) -> None:
    """Every request is accepted. On a machine whose times are not judged Postgres's deadline may refuse some."""
    statuses = Counter(answer.status for answer in answers)
    allowed = {202} if verdict.judges_time else {202, 503}
    verdict.check(len(answers) == jobs and set(statuses) <= allowed, f"answers {dict(statuses)}: {spread(answers)}")


def await_end(truth: Truth, tag: str, *, within: float) -> Census:
    """The run's census once no job is open any more, or as it stands after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        with suppress(StackError):  # Postgres may still be coming back
            census = truth.census(tag)
            if not census.open or time.monotonic() >= deadline:
                return census
        if time.monotonic() >= deadline:
            return truth.census(tag)
        time.sleep(1.0)


def judge(verdict: Verdict, truth: Truth, ledger: ClientLedger, *, tag: str) -> Census:
    """Lost is what the client was told an id of and what has not had its one effect."""
    began = time.monotonic()
    hinted_by = truth.hinted_by(tag)
    census = await_end(truth, tag, within=hinted_by + BACKLOG_SECONDS)
    took = time.monotonic() - began
    lost = len(ledger.ids) - truth.applied(ledger.ids.values()).once
    verdict.check(
        census.open == 0,
        f"{census.open} of {census.jobs} jobs open after {took:.1f} s "
        f"(limit {BACKLOG_SECONDS:g} s after the last hint was due, in {hinted_by:.1f} s)",
    )
    verdict.check(lost == 0, f"lost: {lost} of {len(ledger.ids)} accepted jobs")
    verdict.check(census.twice == 0, f"effects applied twice: {census.twice}, once: {census.once}")
    verdict.check(
        census.requests == census.jobs == census.succeeded == len(ledger.ids),
        f"one finished job for each request: {census.jobs} jobs of {census.requests} requests, "
        f"{census.succeeded} succeeded",
    )
    verdict.note(
        f"       {census.executions} executions of {census.jobs} jobs: {census.extra_executions:.2%} extra; slowest "
        f"{census.slowest_seconds:.1f} s from accepted to its end"
    )
    return census
