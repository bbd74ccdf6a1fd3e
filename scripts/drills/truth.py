"""What Postgres says about the jobs of a drill: done once, more than once, not yet."""

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.stack.containers import Containers
from scripts.stack.deployment import Stack

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

_TWICE = """
SELECT count(*) FROM probe_count JOIN job ON job.id = job_id WHERE n > 1 AND params->>'tag' LIKE :'tag' || '-%';
"""


@dataclass(frozen=True)
class Applied:
    """How often the effect of each job was applied."""

    once: int
    twice: int  #: or more
    never: int  #: not yet


@dataclass(frozen=True)
class Truth:
    """Reads the stack's Postgres inside its container."""

    stack: Stack

    def applied(self, job_ids: Iterable[str]) -> Applied:
        """Effects of probe jobs, by the ids that the API answered with."""
        ids = sorted(set(job_ids))
        if not ids:
            return Applied(0, 0, 0)
        counts = self._rows(_COUNT.format(ids="\n".join(ids)))[0]
        return Applied(*(int(count) for count in counts.split("|")))

    def applied_twice(self, tag: str) -> int:
        """Jobs of a run whose effect was applied more than once, those included whose id nobody was told."""
        return int(self._rows(_TWICE, tag=tag)[0])

    def _rows(self, script: str, *, tag: str = "") -> list[str]:
        user, database = self.stack.value("POSTGRES_USER"), self.stack.value("POSTGRES_DB")
        argv = ["psql", "--quiet", "--no-align", "--tuples-only", "--username", user, "--dbname", database]
        argv += ["--variable=ON_ERROR_STOP=1", f"--variable=tag={tag}"]
        return Containers(self.stack.project).run_in("postgres", *argv, stdin=script).split()
