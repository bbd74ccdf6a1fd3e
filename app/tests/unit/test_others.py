"""The comparison with other systems: one script for all, and settings that the pinned packages know."""

import os
import subprocess
import sys
from pathlib import Path

from kombu.transport.redis import Channel

from tests.others import script
from tests.others.faults import FAULTS
from tests.others.systems import SYSTEMS
from tests.servers.worker import APP_ROOT


def test_a_seed_is_a_script() -> None:
    assert script.drawn(7) == script.drawn(7)
    assert script.drawn(7) != script.drawn(8)


def test_a_script_strikes_within_its_load_while_requests_wait() -> None:
    for seed in range(50):
        drawn = script.drawn(seed)
        dues = [due for due, _ in drawn.requests]
        assert dues == sorted(dues)
        assert len({key for _, key in drawn.requests}) == len(dues)
        assert script.WARM_UP not in {key for _, key in drawn.requests}
        for strike in drawn.strikes:
            assert 0 < strike < script.LOAD_SECONDS
            waiting = [due for due in dues if strike - script.BURST_SECONDS <= due <= strike]
            assert len(waiting) >= script.BURST_REQUESTS


def test_what_a_dead_worker_held_comes_back_by_options_that_kombu_has(tmp_path: Path) -> None:
    """In a process of its own: a second Celery app would be the current one of every later test."""
    names = ("STOCK_SENTINELS", "STOCK_PRIMARY_NAME", "STOCK_PASSWORD")
    environment = {**os.environ, **dict.fromkeys(names, "some:1"), "OTHERS_HISTORY": str(tmp_path)}
    asked = "from tests.others.with_celery import RETURNS; print(*RETURNS)"
    done = subprocess.run(
        (sys.executable, "-c", asked), cwd=APP_ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()
    assert set(done.stdout.split()) <= set(Channel.from_transport_options)


def test_names_are_told_apart() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    databases = [system.redis_database for system in SYSTEMS if system.on_redis]
    # Holdfast's cache has the next number.
    assert len({number // 2 for number in databases}) == len(databases)
