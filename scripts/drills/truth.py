"""What Postgres says about the jobs of a drill: done once, more than once, not yet; how often they ran."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from scripts.stack.deployment import Stack
from scripts.stack.postgres import Postgres

_COUNT = r"""
BEGIN;
CREATE TEMP TABLE wanted (job_id uuid PRIMARY KEY) ON COMMIT DROP;
COPY wanted FROM STDIN;
{ids}
\.
SELECT count(*) FILTER (WHERE n = 1), count(*) FILTER (WHERE n > 1), count(*) FILTER (WHERE n IS NULL)
FROM wanted LEFT JOIN probe_count USING (job_id);
COMMIT;
"""

#: Each claim that was won began an execution; a rescue is the claim of a lease that ran out.
_CENSUS = """
WITH mine AS (
    SELECT id, params->>'tag' AS request, state, finished_at - accepted_at AS took
    FROM job WHERE params->>'tag' LIKE :'tag' || '-%'
), ran AS (
    SELECT count(*) FILTER (WHERE event IN ('claimed', 'rescued')) AS executions,
        count(*) FILTER (WHERE event = 'rescued') AS rescues,
        count(*) FILTER (WHERE event = 'handed_back') AS hand_backs
    FROM job_event WHERE job_id IN (SELECT id FROM mine)
), counted AS (
    SELECT count(*) FILTER (WHERE n = 1) AS once, count(*) FILTER (WHERE n > 1) AS twice
    FROM probe_count WHERE job_id IN (SELECT id FROM mine)
)
SELECT coalesce(extract(epoch FROM max(took)), 0), count(DISTINCT request), count(*),
    count(*) FILTER (WHERE state IN ('QUEUED', 'RUNNING')), count(*) FILTER (WHERE state = 'SUCCEEDED'),
    (SELECT once FROM counted), (SELECT twice FROM counted),
    (SELECT executions FROM ran), (SELECT rescues FROM ran), (SELECT hand_backs FROM ran)
FROM mine;
"""

_RUNNING = """
SELECT count(*) FROM job
WHERE params->>'tag' LIKE :'tag' || '-%' AND state = 'RUNNING' AND params->>'work_ms' = :'work_ms' AND kind = :'kind';
"""

_HOLDER = "SELECT leased_by FROM job WHERE id = :'id' AND state = 'RUNNING';"

#: What a late finish would have changed and the API does not show.
_FENCE = "SELECT lease_token, md5(result::text), md5(files::text) FROM job WHERE id = :'id';"

#: Every open job is hinted again by itself: when its grace or its lease is over.
_HINTED_BY = """
SELECT coalesce(greatest(extract(epoch FROM max(next_dispatch_at) - clock_timestamp()), 0), 0)
FROM job WHERE params->>'tag' LIKE :'tag' || '-%' AND state IN ('QUEUED', 'RUNNING');
"""

#: Unix times per job: accepted, last hinted, claimed for the first time, taken over for the first time.
_TIMES = """
SELECT extract(epoch FROM accepted_at), coalesce(extract(epoch FROM hinted_at), 'Infinity'),
    coalesce(extract(epoch FROM min(at) FILTER (WHERE event IN ('claimed', 'rescued'))), 'Infinity'),
    coalesce(extract(epoch FROM min(at) FILTER (WHERE event = 'rescued')), 'Infinity')
FROM job LEFT JOIN job_event ON job_event.job_id = job.id
WHERE params->>'tag' LIKE :'tag' || '-%' GROUP BY job.id;
"""

#: Seconds of silence after which the sweeper hints a job of this pool again.
_GRACE = "SELECT grace_seconds FROM pool_state WHERE pool = :'pool';"


@dataclass(frozen=True)
class Applied:
    """How often the effect of each job was applied."""

    once: int
    twice: int  #: or more
    never: int  #: not yet


@dataclass(frozen=True)
class Census:
    """All jobs of one run, those included whose id nobody was told."""

    slowest_seconds: float  #: longest time from accepted to its end
    requests: int  #: different tags: what the client asked for
    jobs: int  #: rows
    open: int
    succeeded: int
    once: int  #: jobs whose effect was applied once
    twice: int  #: or more
    executions: int  #: claims won
    rescues: int  #: claims that had to wait for a lease to run out
    hand_backs: int

    @property
    def extra_executions(self) -> float:
        """Share of executions beyond one per job."""
        return (self.executions - self.jobs) / self.jobs if self.jobs else 0.0


class Times(NamedTuple):
    """When things happened to one job, Unix time; infinite = not yet."""

    accepted: float
    hinted: float  #: for the last time
    claimed: float
    rescued: float


@dataclass(frozen=True)
class Truth:
    """Reads the stack's Postgres inside its container. Raises StackError while it does not answer."""

    stack: Stack

    def applied(self, job_ids: Iterable[str]) -> Applied:
        """Effects of probe jobs, by the ids that the API answered with."""
        ids = sorted(set(job_ids))
        if not ids:
            return Applied(0, 0, 0)
        counts = self.rows(_COUNT.format(ids="\n".join(ids)))[0]
        return Applied(*(int(count) for count in counts.split("|")))

    def census(self, tag: str) -> Census:
        """All jobs of a run, by its tag."""
        slowest, *counts = self.rows(_CENSUS, tag=tag)[0].split("|")
        return Census(float(slowest), *(int(count) for count in counts))

    def running(self, tag: str, work_ms: int, kind: str) -> int:
        """Jobs of a run that a worker holds now, by their work."""
        return int(self.rows(_RUNNING, tag=tag, work_ms=str(work_ms), kind=kind)[0])

    def holder(self, job_id: str) -> str:
        """The worker instance that runs the job now, or ""."""
        return "".join(self.rows(_HOLDER, id=job_id))

    def fence(self, job_id: str) -> str:
        """The job's token, and digests of its result and of its files' keys."""
        return self.rows(_FENCE, id=job_id)[0]

    def hinted_by(self, tag: str) -> float:
        """Seconds until every open job of a run has been hinted again, should its hint be lost."""
        return float(self.rows(_HINTED_BY, tag=tag)[0])

    def times(self, tag: str) -> list[Times]:
        """Of each job of a run."""
        return [Times(*(float(field) for field in row.split("|"))) for row in self.rows(_TIMES, tag=tag)]

    def grace(self, pool: str) -> float:
        """Seconds after which a job of this pool is hinted again, as the sweeper counts now."""
        return float(self.rows(_GRACE, pool=pool)[0])

    def rows(self, script: str, **variables: str) -> list[str]:
        """Rows of a script, columns separated by `|`; `:'name'` in it is a variable."""
        return Postgres(self.stack).rows(script, **variables)
