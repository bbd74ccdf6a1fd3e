"""A circuit breaker per job kind, so that an upstream that is down burns neither attempts nor the pool.

The rule: when FAILURES different jobs of a kind failed within WINDOW_SECONDS in a way that a repetition might mend, and
none succeeded, the kind's breaker opens, for all workers, in Postgres. From then on

- its waiting jobs are held back: they stay QUEUED, win no claim, take no room of the hint window and lose no attempt;
- about once per second, and not before the last one has ended, one of them is tried as a probe; a probe that fails in
  such a way gets its attempt back, and one whose hint waits in a long list stays the probe until it is claimed;
- the first attempt that succeeds closes the breaker, and what was held is let go, RELEASE_PER_TICK jobs at a time.

Other kinds flow on. What is RUNNING is left alone, and so is what fails for good: holding it back would help nobody.
Internal kinds are never held: webhooks go to many receivers, and one that is down says nothing about the others.
"""

import time
from typing import Any, Final

import structlog
from django.db import connection

from dispatch import POOLS, Hint
from jobs import sql
from jobs.admission import DEFAULT_GRACE_SECONDS
from jobs.finish import known_kind
from jobs.hinting import make_hint
from jobs.kinds import all_kinds
from metrics.catalogue import KIND_BREAKER

FAILURES: Final = 20
WINDOW_SECONDS: Final = 60
#: Seconds between two probes of a kind, over all sweepers. A little less than a tick.
PROBE_SECONDS: Final = 0.7
RELEASE_PER_TICK: Final = 2000
#: Seconds after which a held job is due all the same, should nobody let it go.
HOLD_SECONDS: Final = 3600

#: Seconds between two looks at how attempts end, and the newest events that one look reads.
_JUDGE_EVERY_SECONDS: Final = 2.0
_EVENTS: Final = 5000
#: Hinted jobs that one tick holds back.
_HOLD_PER_TICK: Final = 5000

log = structlog.get_logger()


class KindBreakers:
    """The breakers as one sweeper sees them; any number of sweepers agree through the table."""

    def __init__(self) -> None:
        self._judge_at = 0.0

    def watch(self) -> list[str]:
        """Opens, closes and lets go. Returns the kinds that are held back."""
        if time.monotonic() >= self._judge_at:
            self._judge_at = time.monotonic() + _JUDGE_EVERY_SECONDS
            self._judge()
        states = dict(_rows(sql.KIND_BREAKERS))
        held = [kind for kind, is_open in states.items() if is_open]
        if closed := [kind for kind in states if kind not in held]:
            _rows(sql.LET_GO, kinds=closed, limit=RELEASE_PER_TICK)
        if held:
            _rows(
                sql.HOLD_HINTED,
                pools=list(POOLS), grace=DEFAULT_GRACE_SECONDS, hold=HOLD_SECONDS, limit=_HOLD_PER_TICK,
            )  # fmt: skip
        return held

    def probes(self, epoch: str) -> list[Hint]:
        """Hints of the jobs whose turn it is to be tried."""
        values = {"every": PROBE_SECONDS, "repeat": DEFAULT_GRACE_SECONDS, "epoch": epoch}
        return [make_hint(*row) for row in _rows(sql.PROBE_KINDS, **values)]

    def _judge(self) -> None:
        ends = _rows(sql.KIND_ENDS, events=_EVENTS, window=WINDOW_SECONDS)
        failing = [kind for kind, failures, successes in ends if failures >= FAILURES and not successes]
        failing = [kind for kind in failing if kind not in all_kinds() or not all_kinds()[kind].internal]
        for (kind,) in _rows(sql.OPEN_KINDS, kinds=failing) if failing else []:
            KIND_BREAKER.labels(kind=known_kind(kind), to="open").inc()
            log.error("a kind fails in bulk: its jobs are held back and probed", kind=kind)
        serving = [kind for kind, _, successes in ends if successes]
        for (kind,) in _rows(sql.CLOSE_KINDS, kinds=serving) if serving else []:
            KIND_BREAKER.labels(kind=known_kind(kind), to="closed").inc()
            log.info("a kind succeeds again: its jobs are let go", kind=kind)


def _rows(statement: str, **values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - query parameters
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
