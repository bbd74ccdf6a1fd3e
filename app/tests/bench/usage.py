"""What a measured stretch used: CPU of every process, statements, commits and WAL of Postgres, memory."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from tests.servers.process import ServerProcess

_STATEMENTS = """
    SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
    WHERE userid = 'holdfast'::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
"""
_WRITES = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True)
class Usage:
    """Sums since the start. A commit is a transaction that wrote, and so waited for its fsync."""

    cpu_seconds: dict[str, float]  #: by process
    statements: int
    commits: int
    wal_bytes: int

    def per_job(self, before: "Usage", jobs: int) -> dict[str, Any]:
        """The difference, divided."""
        cpu_ms = {name: 1000 * (used - before.cpu_seconds[name]) / jobs for name, used in self.cpu_seconds.items()}
        return {
            "jobs_per_cpu_second": 1000 / sum(cpu_ms.values()),
            "cpu_ms_per_job": cpu_ms,
            "statements_per_job": (self.statements - before.statements) / jobs,
            "commits_per_job": (self.commits - before.commits) / jobs,
            "wal_bytes_per_job": (self.wal_bytes - before.wal_bytes) / jobs,
        }


def read(processes: Iterable[ServerProcess], observer: psycopg.Connection[Any], database: str) -> Usage:
    """`observer` is connected to the database that holds pg_stat_statements."""
    statements = observer.execute(_STATEMENTS, (database,)).fetchone()
    writes = observer.execute(_WRITES).fetchone()
    assert statements
    assert writes
    cpu = {process.name: cpu_seconds(process.pid) for process in processes}
    return Usage(cpu, int(statements[0]), int(writes[0]), int(writes[1]))


def cpu_seconds(pid: int) -> float:
    """CPU of a process and all of its children, those that ended too."""
    total = 0.0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_bytes(processes: Iterable[ServerProcess]) -> int:
    """Resident memory, pages that a fork shares counted once (PSS)."""
    total = 0
    for process in processes:
        for member in _family(process.pid):
            with suppress(psutil.NoSuchProcess):
                total += member.memory_full_info().pss
    return total


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]
