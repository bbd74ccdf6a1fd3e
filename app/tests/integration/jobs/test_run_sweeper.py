"""`manage.py run_sweeper` as a process: it sweeps, says that it lives, and stops on SIGTERM."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from jobs.models import Job, PoolState
from tests.integration.jobs.scenario import submit_echo
from tests.servers.process import free_ports
from tests.servers.waiting import wait_until

APP = Path(__file__).resolve().parents[3]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    name = connection.settings_dict["NAME"]
    environment = os.environ | {
        "DATABASE_URL": os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{name}",
        "METRICS_PORT": str(free_ports(1)[0]),
        "HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "SWEEPER_TICK_SECONDS": "0.2",
    }
    command = [sys.executable, "manage.py", "run_sweeper"]
    with subprocess.Popen(command, cwd=APP, env=environment) as running:
        yield running
        running.kill()


def test_sweeps_and_stops_on_sigterm(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    job = submit_echo()
    wait_until(lambda: Job.objects.get(id=job.id).dispatch_gen > 0, "the job was never hinted", seconds=180)
    wait_until((tmp_path / "heartbeat").exists, "the heartbeat file was never touched")
    wait_until(lambda: PoolState.objects.count() == 3, "the pools were never written")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
