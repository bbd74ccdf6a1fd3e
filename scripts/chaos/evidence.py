"""What a run left behind: the client's account beside the rows, and what was seen to happen on the way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from scripts.chaos.client import Client, Request, Told
from scripts.chaos.counters import Sums
from scripts.chaos.nemesis import Deed, Nemesis
from scripts.chaos.plan import Plan
from scripts.drills.truth import Truth
from scripts.failover.figures import interruption

#: Every job that the client was told of, and every other of the run. Columns: id, told (t, f), state, effects, dead
#: letter's reason, origin, root, executions, rescues, hints, retries, most attempts. "-" = none.
_JOBS: Final = r"""
BEGIN;
CREATE TEMP TABLE told (job_id uuid PRIMARY KEY) ON COMMIT DROP;
COPY told FROM STDIN;
{ids}
\.
CREATE TEMP TABLE ran ON COMMIT DROP AS
    SELECT job_id, count(*) FILTER (WHERE event IN ('claimed', 'rescued')) AS executions,
        count(*) FILTER (WHERE event = 'rescued') AS rescues,
        count(*) FILTER (WHERE event = 'retried') AS retries
    FROM job_event GROUP BY job_id;
SELECT coalesce(told.job_id, job.id), told.job_id IS NOT NULL, coalesce(job.state, '-'), coalesce(n, 0),
    coalesce(dead_letter.reason, '-'),
    CASE WHEN job.replay_of_id IS NOT NULL THEN 'replay' WHEN job.identity LIKE 'tick:%' THEN 'tick' ELSE '-' END,
    coalesce(job.root_id::text, '-'), coalesce(executions, 0), coalesce(rescues, 0),
    coalesce(dispatch_gen, 0), coalesce(retries, 0), coalesce(job.max_attempts, 0)
FROM told FULL JOIN (SELECT * FROM job WHERE params->>'tag' LIKE :'tag' || '-%') AS job ON job.id = told.job_id
    LEFT JOIN probe_count ON probe_count.job_id = coalesce(told.job_id, job.id)
    LEFT JOIN dead_letter ON dead_letter.job_id = job.id
    LEFT JOIN ran ON ran.job_id = job.id;
COMMIT;
"""

#: Each end of a job of the run, by pool, in order.
_ENDS: Final = """
SELECT pool, extract(epoch FROM finished_at) FROM job
WHERE params->>'tag' LIKE :'tag' || '-%' AND finished_at IS NOT NULL ORDER BY finished_at;
"""
#: Flows of the load that are dense enough for a pause to mean something; beside them that of a pool that was hit.
_FLOWS: Final = ("fast", "io")
#: Seconds before the end of the load: a pause that begins later is that end.
_TAIL_SECONDS: Final = 2.0


class Row(NamedTuple):
    """One job as Postgres has it, or an id without a row (state "-")."""

    id: str
    told: bool
    state: str
    effects: int
    reason: str  #: of its dead letter, or "-"
    origin: str  #: "replay", "tick" of a schedule, or "-": the client asked for it
    root: str  #: first job of its chain of replays: itself for most
    executions: int
    rescues: int
    hints: int
    retries: int  #: attempts that failed by themselves
    most_attempts: int

    @classmethod
    def parse(cls, line: str) -> "Row":
        job, told, state, effects, reason, origin, root, *counts = line.split("|")
        return cls(job, told == "t", state, int(effects), reason, origin, root, *(int(count) for count in counts))

    @property
    def is_promised(self) -> bool:
        """Whether somebody was told of it, or it came into being by itself: either way it has to end."""
        return self.told or self.origin != "-"

    @property
    def was_lost_each_time(self) -> bool:
        """Whether every allowed attempt ran and, but for those that failed by themselves, lost its lease: all but the
        last were rescued."""
        return self.rescues + self.retries + 1 >= self.most_attempts and self.executions >= self.most_attempts > 0


@dataclass(frozen=True)
class Evidence:
    """All that judges look at."""

    plan: Plan
    requests: Sequence[Request]
    told: Mapping[int, Told]
    rows: Sequence[Row]
    deeds: Sequence[Deed]
    sums: Sums
    recovery: float | None  #: seconds; None where faults overlapped or nothing was broken
    invariants: Mapping[str, Sequence[str]]  #: those of verify-data that were broken at some time -> ids
    history: Sequence[str] = ()  #: what the checker found in what every process wrote down

    def told_of(self, request: Request) -> Told:
        return self.told.get(request.index, Told())

    def ids(self) -> set[str]:
        """Every id that an accepting answer named."""
        return {one for told in self.told.values() for ids in told.ids for one in ids}

    def ids_of(self, requests: Iterable[Request]) -> set[str]:
        return {one for request in requests for ids in self.told_of(request).ids for one in ids}

    def sometimes(self) -> dict[str, int]:
        """How often each thing happened that a campaign must have seen, without what the calm load does by itself."""
        poison = self.ids_of(one for one in self.requests if one.jobs and one.jobs[0]["params"].get("crash"))
        sums, rows = self.sums, self._not_asked_to_fail()
        # The bridge drops the hint of what was cancelled meanwhile, too.
        cancelled = sum(row.state == "CANCELLED" for row in self.rows)
        return {
            "reclaim": sum(row.rescues for row in rows),
            "suppressed duplicate": int(
                sums.of("jobs_claims_total", result="duplicate")
                + max(0.0, sums.of("bridge_entries_total", result="suppressed") - cancelled)
            ),
            "fenced stale finish": int(sums.of("jobs_stale_finish_total")),
            "re-dispatch": sum(row.hints > max(1, row.executions) for row in rows),
            "group recreation": int(sums.of("bridge_group_recreated_total")),
            "poison to dead letters": sum(row.id in poison and row.reason == "worker_lost" for row in self.rows),
        }

    def extra_executions(self) -> int:
        """Executions beyond one of each job, without those that the load asks for by failing."""
        return sum(max(0, row.executions - 1) for row in self._not_asked_to_fail())

    def executions(self) -> int:
        return sum(row.executions for row in self._not_asked_to_fail())

    def _not_asked_to_fail(self) -> list[Row]:
        asked = self._asked_to_fail()
        return [row for row in self.rows if row.id not in asked]

    def _asked_to_fail(self) -> set[str]:
        failing = ("fail_times", "crash")
        return self.ids_of(r for r in self.requests if r.jobs and any(name in r.jobs[0]["params"] for name in failing))


def collect(
    truth: Truth,
    client: Client,
    plan: Plan,
    nemesis: Nemesis,
    sums: Sums,
    invariants: Mapping[str, Sequence[str]],
    *,
    tag: str,
) -> Evidence:
    """Reads the rows. Raises StackError."""
    ids = sorted({one for told in client.told.values() for ids in told.ids for one in ids})
    rows = [Row.parse(line) for line in truth.rows(_JOBS.format(ids="\n".join(ids)), tag=tag)]
    load_ended = nemesis.origin + plan.duration
    recovery = recovery_of(nemesis.deeds, _ends(truth, tag), until=load_ended - _TAIL_SECONDS)
    return Evidence(plan, client.requests, dict(client.told), rows, nemesis.deeds, sums, recovery, invariants)


def recovery_of(deeds: Sequence[Deed], ends: Mapping[str, Sequence[float]], *, until: float) -> float | None:
    """Seconds until the slowest flow was back, for a run with one fault: since the fault where others take over, else
    since its healing. None for a fault that lasted beyond `until`, a moment at which the load still flows.
    """
    if len(deeds) != 1 or not deeds[0].applied:
        return None
    deed = deeds[0]
    began, healed = deed.began or 0.0, deed.healed or until
    if healed >= until:
        return None
    hit = deed.step.target.removeprefix("worker-")
    flows = {*_FLOWS, hit} if hit in ends else _FLOWS
    pauses = [interruption(ends.get(flow, ()), fault=began, until=until) for flow in flows]
    recovered = max(pause.recovered for pause in pauses)
    return max(0.0, recovered if deed.is_taken_over else recovered - (healed - began))


def _ends(truth: Truth, tag: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in truth.rows(_ENDS, tag=tag):
        pool, at = line.split("|")
        found.setdefault(pool, []).append(float(at))
    return found
