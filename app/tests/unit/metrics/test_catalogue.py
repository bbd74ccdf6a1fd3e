"""The catalogue's own rules."""

import os
import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from metrics import catalogue, described, liveness, server

FORBIDDEN_LABELS = {"job_id", "id", "owner", "tenant", "farm_id", "request_hash", "pid", "hostname"}

#: Taken over from the system this one follows; they break the naming rules and stay as they are.
KEPT_NAMES = {"redis_stream_pending_entries", "redis_stream_pending_age_max", "ndvi_stream_consumer_heartbeat"}

DESCRIBED = sorted(described.descriptions().values(), key=lambda one: one.name)


@pytest.mark.parametrize("metric", DESCRIBED, ids=lambda one: one.name)
def test_names_say_unit_and_kind(metric: described.Description) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z]", metric.name)
    assert metric.help.endswith(".")
    assert metric.unit
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    if metric.unit == "seconds" and metric.name not in KEPT_NAMES:
        assert metric.name.endswith("_seconds")


@pytest.mark.parametrize("metric", DESCRIBED, ids=lambda one: one.name)
def test_no_label_is_an_identity(metric: described.Description) -> None:
    assert not FORBIDDEN_LABELS & set(metric.labels)


def test_every_name_of_the_followed_system_is_kept() -> None:
    kept = KEPT_NAMES | {
        "ndvi_stream_consumer_failures_total",
        "ndvi_upstream_requests_total",
        "ndvi_upstream_failures_total",
        "ndvi_upstream_duration_seconds",
    }
    assert kept <= set(described.descriptions())


def test_describing_a_metric_twice_is_refused() -> None:
    with pytest.raises(described.DescribedTwiceError, match="jobs_claims_total"):
        described.counter("jobs_claims_total", "Again.")


def test_a_gauge_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one label"):
        described.gauge("a_zero_that_nobody_set", "A gauge.", unit="things")


def test_closed_counters_start_at_zero() -> None:
    exposed = server.render()[0].decode()
    for result in ("won", "duplicate", "terminal"):
        assert f'jobs_claims_total{{result="{result}"}}' in exposed


def test_serves_a_registry_over_http() -> None:
    http, thread = server.serve(0, CollectorRegistry())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http.server_port}/metrics", timeout=60) as answer:
            assert answer.status == 200
            assert thread.daemon
    finally:
        http.shutdown()
        http.server_close()


def test_touch_makes_the_heartbeat_file_and_renews_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "heartbeat"
    monkeypatch.setenv("HEARTBEAT_FILE", str(file))
    liveness.touch()
    os.utime(file, (1, 1))
    liveness.touch()
    assert file.stat().st_mtime > 1


def test_catalogue_exports_every_truth() -> None:
    names = {one.name for one in catalogue.TRUTHS}
    assert {"jobs_open", "jobs_invariant_violations", "build_info"} <= names
