"""Counts of a prefork pool, with real forks in a process of their own: the choice is made once per interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).resolve().parents[3]

#: 60 tasks over children that each do three: twenty children come and go.
CHURN = """
import os
from pathlib import Path
from metrics import catalogue, multiprocess, server
from billiard.pool import Pool

def count(number):
    catalogue.JOBS_CLAIMS.labels(result="won").inc()
    catalogue.JOBS_FINISHED.labels(kind="probe.fast", state="SUCCEEDED").inc()
    catalogue.JOBS_STAGE_SECONDS.labels(stage="run").observe(0.2)
    return os.getpid()

def seen():
    lines = server.render()[0].decode().splitlines()
    return {line.split(" ")[0] for line in lines if not line.startswith("#")}

pool = Pool(processes=2, maxtasksperchild=3)
pids = set(pool.map(count, range(20), chunksize=1))
early = seen()
pids |= set(pool.map(count, range(40), chunksize=1))
late = seen()
pool.close(); pool.join()
print("children", len(pids))
print("files", *sorted(p.name for p in multiprocess.directory().glob("*.db")))
print("new series", *(late - early))
print(*(line for line in server.render()[0].decode().splitlines() if line.startswith((
    'jobs_claims_total{result="won"}', 'jobs_finished_total{', 'jobs_stage_duration_seconds_count'))), sep="\\n")
"""

#: A thread of the parent counts all the time; without care a fork copies a lock it holds and the child hangs.
FORK_WHILE_COUNTING = """
import os, threading
from metrics import catalogue, server

stop = threading.Event()
def hammer():
    number = 0
    while not stop.is_set():
        number += 1
        catalogue.JOBS_DISPATCH_ERRORS.labels(reason=str(number % 50)).inc()
for _ in range(3):
    threading.Thread(target=hammer, daemon=True).start()
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        catalogue.JOBS_DISPATCH_ERRORS.labels(reason="child").inc()
        os._exit(0)
    os.waitpid(pid, 0)
stop.set()
print("all children ended")
"""

SECOND_PROCESS = """
import subprocess, sys
from metrics import catalogue, multiprocess
catalogue.JOBS_CLAIMS.labels(result="won").inc()
inner = '''
from metrics import catalogue, multiprocess
catalogue.JOBS_CLAIMS.labels(result="won").inc(1000)
print("second owns", multiprocess.directory())
'''
print(subprocess.run([sys.executable, "-c", inner], capture_output=True, text=True, check=True).stdout.strip())
from metrics import server
lines = server.render()[0].decode().splitlines()
print(*(line for line in lines if line.startswith('jobs_claims_total{result="won"}')))
"""


def run(program: str, directory: Path | None) -> str:
    """Runs a program under `app/`; fails with its own words, or after 200 s (the machine may be busy)."""
    environment = {**os.environ, "PYTHONPATH": str(APP)}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if directory:
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=APP,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture(scope="module")
def churned(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What two runs of CHURN say, one after the other in the same directory."""
    directory = tmp_path_factory.mktemp("churn") / "metrics"
    return run(CHURN, directory), run(CHURN, directory)


def test_series_and_files_do_not_grow_when_children_come_and_go(churned: tuple[str, str]) -> None:
    lines = churned[0].splitlines()
    assert int(lines[0].split()[1]) >= 20, "the children were not replaced"
    places = {name.rpartition("_")[2] for name in lines[1].split()[1:]}
    assert places <= {"parent.db", "child0.db", "child1.db"}, "a place per child that ever lived, not per pool slot"
    assert lines[2].strip() == "new series"


def test_counts_of_children_that_ended_stay_in_the_sum(churned: tuple[str, str]) -> None:
    assert 'jobs_claims_total{result="won"} 60.0' in churned[0]
    assert 'jobs_finished_total{kind="probe.fast",state="SUCCEEDED"} 60.0' in churned[0]
    assert 'jobs_stage_duration_seconds_count{stage="run"} 60.0' in churned[0]


def test_wipes_the_directory_when_a_worker_starts(churned: tuple[str, str]) -> None:
    assert 'jobs_claims_total{result="won"} 60.0' in churned[1], "counts of the last run were kept"


def test_forks_while_other_threads_count(directory: Path) -> None:
    assert "all children ended" in run(FORK_WHILE_COUNTING, directory)


def test_a_second_process_in_the_container_does_not_touch_the_workers_files(directory: Path) -> None:
    second, first = run(SECOND_PROCESS, directory).splitlines()
    assert second == "second owns None"
    assert first == 'jobs_claims_total{result="won"} 1.0'


def test_keeps_plain_values_without_the_directory() -> None:
    program = "from metrics import multiprocess, server; print(multiprocess.directory(), len(server.render()[0]) > 0)"
    assert run(program, None).strip() == "None True"
