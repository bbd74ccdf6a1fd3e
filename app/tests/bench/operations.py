"""The operations whose cost must not follow the backlog, timed in a process that has the application's settings."""

import re
import statistics
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.db import connection, transaction

from dispatch import Priority
from jobs import claim, selectors, sql, submission

_FEED = {
    "pool": "fast",
    "priority": int(Priority.NORMAL),
    "limit": 500,
    "grace": 5,
    "epoch": "bench",
    "leases": True,
    "held": [],
    "hold": 60,
    "defer": False,
}
_LOOK = {
    "pools": ["fast", "cpu", "io"],
    "priorities": [int(priority) for priority in Priority],
    "hinted_limit": 10_001,
}
_QUEUED = """
    SELECT id FROM job WHERE pool = 'fast' AND priority = 3 AND state IN ('QUEUED', 'RUNNING')
    ORDER BY priority, next_dispatch_at DESC, id DESC LIMIT %s
"""
_INDEX = re.compile(r"(?:Index|Seq)[A-Za-z ]* Scan[A-Za-z ]*(?: using (\w+))? on (\w+)")


def measure(times: int) -> dict[str, Any]:
    """Name -> {ms, plan}. What it claims it hands back."""
    with connection.cursor() as cursor:
        cursor.execute(_QUEUED, (times,))
        waiting = iter([row[0] for row in cursor.fetchall()])
    held = []

    def claim_one() -> None:
        held.append(next(waiting))
        assert claim.claim(held[-1], leased_by="bench")

    try:
        return {
            "claim": _timed(claim_one, times - 5),
            "sweep: look": _timed(lambda: _run(sql.LOOK, _LOOK), times),
            "sweep: take 500": _timed(_take_and_roll_back, max(5, times // 6)),
            "list": _timed(lambda: selectors.list_jobs(owner="backlog", limit=50), times),
            "list by status": _timed(lambda: selectors.list_jobs(owner="backlog", status="QUEUED", limit=50), times),
            "submit": _timed(_submit, times),
        }
    finally:
        claim.hand_back(held, "bench")


def _timed(operation: Callable[[], object], times: int) -> dict[str, Any]:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        operation()
        seconds.append(time.perf_counter() - began)
    return {"ms": 1000 * statistics.median(seconds), "plan": _plan(operation)}


def _run(statement: str, values: Any) -> None:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        cursor.fetchall()


def _take_and_roll_back() -> None:
    with transaction.atomic():
        _run(sql.TAKE_DUE, _FEED)
        transaction.set_rollback(True)


def _submit() -> None:
    submission.submit("probe.fast", owner="bench", params={"tag": uuid4().hex})


def _plan(operation: Callable[[], object]) -> str:
    """What the statements of one more run read, in their order."""
    asked: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], statement: str, values: Any, *rest: Any) -> Any:  # noqa: ANN401
        asked.append((statement, values))
        return execute(statement, values, *rest)

    with connection.execute_wrapper(note):
        operation()
    found = [index for statement, values in asked for index in _indexes(statement, values)]
    return ", ".join(dict.fromkeys(found))


def _indexes(statement: str, values: Any) -> list[str]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    return [match[1] or f"all of {match[2]}" for match in _INDEX.finditer(plan)]
