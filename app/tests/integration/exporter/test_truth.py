"""What the exporter says against real Postgres and Redis, healthy and not."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.db import connection
from django.utils import timezone
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dispatch import messages
from dispatch.dispatcher import EPOCH_KEY
from dispatch.pools import POOLS
from exporter import invariants, postgres_truth, redis_truth
from exporter.management.commands.run_exporter import registry
from exporter.redis_truth import look_at_stream
from exporter.source import Source
from jobs.models import DeadLetter, Job, JobEvent, KindBreaker, ProbeCount
from metrics import catalogue
from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.waiting import wait_until

STREAM, GROUP = "holdfast:jobs", "bridge"

type Samples = dict[str, float]


def scrape() -> Samples:
    """`name{a="b"}` of every sample, as a fresh exporter process would expose it."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry()).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def job(**changes: object) -> Job:
    """A committed row; by default an open probe of pool fast that is due now."""
    now, own_id = timezone.now(), uuid.uuid4()
    values: dict[str, object] = {
        "id": own_id,
        "owner": "tests",
        "identity": f"force:{own_id}",
        "request_hash": own_id.hex * 2,
        "hash_version": 1,
        "kind": "probe.fast",
        "pool": "fast",
        "priority": 3,
        "root_id": own_id,
        "state": "QUEUED",
        "max_attempts": 5,
        "next_dispatch_at": now,
        "grace_seconds": 5,
        "accepted_at": now,
    }
    if changes.get("state") == "RUNNING":
        values |= {"attempt": 1, "leased_by": "w", "lease_until": now + timedelta(seconds=10), "started_at": now}
    if changes.get("state") in {"SUCCEEDED", "FAILED", "CANCELLED"}:
        values |= {"finished_at": now}
    return Job.objects.create(**(values | changes))


def timeline(of: Job, *states: str, tokens: Sequence[int] = ()) -> None:
    """One event per state; its token is its place unless said otherwise."""
    for place, state in enumerate(states):
        token = tokens[place] if tokens else place
        JobEvent.objects.create(job=of, event="x", actor="w", to_state=state, lease_token=token)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly Postgres and Redis answer, they do not fail."""
    monkeypatch.setattr(redis_truth, "SOCKET_SECONDS", 60.0)
    monkeypatch.setattr(postgres_truth, "DEADLINE_SECONDS", 60.0)
    monkeypatch.setitem(Source.__init__.__kwdefaults__, "deadline_seconds", 60.0)


@pytest.fixture
def primary(redis_server: RedisProcess) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient")
class TestHealthy:
    def test_exposes_every_truth_even_when_nothing_ever_happened(self) -> None:
        names = {name.partition("{")[0] for name in scrape()}
        absent_until_the_first_tick = {"sweeper_last_tick_age_seconds"}
        absent_while_no_kind_is_held = {"jobs_held"}
        absent = absent_until_the_first_tick | absent_while_no_kind_is_held
        assert {one.name for one in catalogue.TRUTHS} - names == absent

    def test_counts_held_jobs_of_kinds_whose_breaker_is_open(self) -> None:
        KindBreaker.objects.create(kind="probe.fast", is_open=True, changed_at=timezone.now())
        KindBreaker.objects.create(kind="probe.io", is_open=False, changed_at=timezone.now())
        job(held=True)
        job(held=True)
        job(held=False)
        seen = scrape()
        assert seen['jobs_held{kind="probe.fast"}'] == 2
        assert 'jobs_held{kind="probe.io"}' not in seen

    def test_counts_open_jobs_by_pool_and_state_and_their_age(self) -> None:
        old = timezone.now() - timedelta(seconds=90)
        job(accepted_at=old)
        job()
        job(pool="cpu", state="RUNNING", accepted_at=old)
        job(state="SUCCEEDED")
        seen = scrape()
        assert seen['jobs_open{pool="fast",state="QUEUED"}'] == 2
        assert seen['jobs_open{pool="cpu",state="RUNNING"}'] == 1
        assert seen['jobs_open{pool="io",state="QUEUED"}'] == 0
        assert 90 <= seen['jobs_oldest_open_age_seconds{pool="fast",state="QUEUED"}'] < 300
        assert seen['jobs_oldest_open_age_seconds{pool="cpu",state="RUNNING"}'] < 89, "a run counts from its start"

    def test_a_delayed_job_does_not_wait_yet(self) -> None:
        later = timezone.now() + timedelta(hours=1)
        job(accepted_at=timezone.now() - timedelta(hours=1), not_before=later, next_dispatch_at=later)
        seen = scrape()
        assert seen['jobs_open{pool="fast",state="QUEUED"}'] == 1
        assert seen['jobs_oldest_open_age_seconds{pool="fast",state="QUEUED"}'] == 0

    def test_counts_expired_leases_overdue_hints_and_dead_letters(self) -> None:
        past = timezone.now() - timedelta(seconds=30)
        job(state="RUNNING", lease_until=past, next_dispatch_at=past)
        job(next_dispatch_at=past)
        DeadLetter.objects.create(reason="poison", original_id="1-0")
        DeadLetter.objects.create(reason="poison", original_id="1-1", replayed_at=timezone.now())
        seen = scrape()
        assert seen['jobs_lease_expired{pool="fast"}'] == 1
        assert seen['jobs_overdue_dispatch{pool="fast"}'] == 2
        assert seen["jobs_dead_letters"] == 1

    def test_counts_hints_per_pool_and_priority(self, primary: redis.Redis) -> None:
        high, _, low = messages.ready_lists("cpu")
        primary.lpush(high, "a", "b")
        primary.lpush(low, "c")
        primary.hset("unacked", "tag", "message")
        seen = scrape()
        assert seen['jobs_queue_depth{pool="cpu",priority="high"}'] == 2
        assert seen['jobs_queue_depth{pool="cpu",priority="normal"}'] == 0
        assert seen['jobs_queue_depth{pool="cpu",priority="low"}'] == 1
        assert seen["jobs_queue_unacked"] == 1

    def test_says_whether_redis_carries_the_epoch(self, primary: redis.Redis) -> None:
        assert scrape()["broker_epoch_known"] == 0
        primary.set(EPOCH_KEY, "x")
        assert scrape()["broker_epoch_known"] == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient")
class TestStream:
    def test_pending_entries_have_the_age_of_the_oldest(self, primary: redis.Redis) -> None:
        primary.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        seconds, _ = primary.time()
        for number in range(3):
            primary.xadd(STREAM, {"v": 1}, id=f"{(seconds - 60 + number) * 1000}-0")
        primary.xreadgroup(GROUP, "bridge-1", {STREAM: ">"}, count=2)
        seen = scrape()
        labels = f'{{group="{GROUP}",stream="{STREAM}"}}'
        assert seen[f"redis_stream_pending_entries{labels}"] == 2
        assert 59 <= seen[f"redis_stream_pending_age_max{labels}"] < 300
        assert seen[f'bridge_stream_length{{stream="{STREAM}"}}'] == 3
        assert seen[f'bridge_lag{{stream="{STREAM}"}}'] == 1
        assert seen[f'bridge_lag_unknown{{stream="{STREAM}"}}'] == 0

    def test_a_null_lag_is_absent_and_never_zero(self, primary: redis.Redis) -> None:
        ids = [primary.xadd(STREAM, {"v": 1}) for _ in range(4)]
        primary.xgroup_create(STREAM, GROUP, id="0")
        primary.xreadgroup(GROUP, "bridge-1", {STREAM: ">"}, count=1)
        primary.xdel(STREAM, ids[2])  # a hole between what was delivered and what was not: Redis loses count
        assert primary.xinfo_groups(STREAM)[0]["lag"] is None, "the premise of this test"
        seen = scrape()
        assert f'bridge_lag{{stream="{STREAM}"}}' not in seen
        assert seen[f'bridge_lag_unknown{{stream="{STREAM}"}}'] == 1

    def test_without_a_group_all_entries_are_still_to_come(self, primary: redis.Redis) -> None:
        primary.xadd(STREAM, {"v": 1})
        stream = look_at_stream(primary, STREAM, GROUP)
        assert (stream.length, stream.pending, stream.lag) == (1, 0, 1)


def _success_without_effect() -> None:
    job(state="SUCCEEDED")


def _effect_without_success() -> None:
    ProbeCount.objects.create(job_id=job(state="CANCELLED").id, n=1)


def _effect_of_open_job() -> None:
    ProbeCount.objects.create(job_id=job().id, n=1)


def _effect_applied_twice() -> None:
    ProbeCount.objects.create(job_id=job(state="SUCCEEDED").id, n=2)


def _ended_twice() -> None:
    done = job(state="SUCCEEDED", kind="ndvi.compute")
    timeline(done, "SUCCEEDED", "FAILED")


def _lease_token_did_not_grow() -> None:
    running = job(state="RUNNING")
    timeline(running, "QUEUED", "RUNNING", tokens=(0, 0))


def _nobody_will_hint() -> None:
    job(next_dispatch_at=timezone.now() + timedelta(hours=1))


def _lease_too_far() -> None:
    job(state="RUNNING", lease_until=timezone.now() + timedelta(seconds=600))


def _dead_letter_without_job() -> None:
    DeadLetter.objects.create(reason="permanent", job_id=uuid.uuid4(), original_id="x")


def _failure_without_dead_letter() -> None:
    job(state="FAILED")


def _end_without_webhook() -> None:
    job(state="CANCELLED", callback_url="https://example.org/done")


#: Breaks one invariant each. Two live rows per request need the unique index to be gone first.
BREAKERS = {
    "success_without_effect": _success_without_effect,
    "effect_without_success": _effect_without_success,
    "effect_of_open_job": _effect_of_open_job,
    "effect_applied_twice": _effect_applied_twice,
    "ended_twice": _ended_twice,
    "lease_token_did_not_grow": _lease_token_did_not_grow,
    "nobody_will_hint": _nobody_will_hint,
    "lease_too_far": _lease_too_far,
    "dead_letter_without_job": _dead_letter_without_job,
    "failure_without_dead_letter": _failure_without_dead_letter,
    "end_without_webhook": _end_without_webhook,
}


@contextmanager
def _without_index(name: str) -> Iterator[None]:
    """Lets rows in that it forbids. Every job is gone when it is made again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [name])
        (definition,) = cursor.fetchone()
        cursor.execute(f"DROP INDEX {name}")
    try:
        yield
    finally:
        Job.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(definition)


_MANY = """
    INSERT INTO job (id, owner, identity, request_hash, hash_version, kind, pool, priority, root_id, state,
                     max_attempts, next_dispatch_at, grace_seconds, accepted_at, params, files)
    SELECT id, 'tests', 'force:' || id, 'x', 1, 'probe.fast', 'fast', 3, id, 'QUEUED', 5, %s, 5, now(), '{}', '[]'
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS new
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("patient")
class TestInvariants:
    @staticmethod
    def violated(seen: Mapping[str, float]) -> dict[str, float]:
        found = {
            name.split('"')[1]: value for name, value in seen.items() if name.startswith("jobs_invariant_violations")
        }
        assert set(found) == set(invariants.QUERIES)
        return {name: value for name, value in found.items() if value}

    @pytest.mark.parametrize("name", BREAKERS)
    def test_sees_one_broken_row(self, name: str) -> None:
        BREAKERS[name]()
        assert self.violated(scrape()) == {name: 1}

    def test_every_query_is_broken_on_purpose_here(self) -> None:
        assert set(invariants.QUERIES) == {*BREAKERS, "two_live_rows_per_request", "uniqueness_not_enforced"}

    def test_sees_two_live_rows_of_one_request(self) -> None:
        with _without_index("job_one_live_request"):
            for _ in range(2):
                job(identity="req:same")
            assert self.violated(scrape()) == {"two_live_rows_per_request": 1, "uniqueness_not_enforced": 1}

    def test_is_quiet_over_a_life_as_it_should_be(self) -> None:
        later = timezone.now() + timedelta(hours=5)
        done = job(state="SUCCEEDED")
        ProbeCount.objects.create(job_id=done.id, n=1)
        job(state="SUCCEEDED", kind="ndvi.compute")
        job(not_before=later, next_dispatch_at=later)
        job(state="RUNNING")
        job(state="CANCELLED")
        failed = job(state="FAILED")
        DeadLetter.objects.create(reason="permanent", job_id=failed.id, original_id=str(failed.id))
        DeadLetter.objects.create(reason="poison", original_id="1-0")
        told = job(state="CANCELLED", callback_url="https://example.org/done")
        job(kind="webhook.deliver", pool="io", identity=f"step:{told.id}:webhook")
        timeline(done, "QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED")
        job(state="FAILED", identity="req:same")
        DeadLetter.objects.create(reason="permanent", job_id=Job.objects.latest("accepted_at").id, original_id="y")
        job(identity="req:same")
        assert self.violated(scrape()) == {}

    def test_sees_a_live_row_beside_one_that_succeeded(self) -> None:
        with _without_index("job_one_live_request"):
            ProbeCount.objects.create(job_id=job(identity="req:same", state="SUCCEEDED").id, n=1)
            job(identity="req:same", state="RUNNING")
            assert self.violated(scrape()) == {"two_live_rows_per_request": 1, "uniqueness_not_enforced": 1}

    def test_counts_stop_where_more_would_say_nothing(self) -> None:
        later = timezone.now() + timedelta(hours=1)
        with connection.cursor() as cursor:
            cursor.execute(_MANY, [later, invariants.MOST + 5])
        assert self.violated(scrape()) == {"nobody_will_hint": invariants.MOST}

    def test_knows_the_pools_and_their_leases(self) -> None:
        """They stand in the file as literals, for the host reads it too."""
        text = Path(invariants.__file__).with_suffix(".sql").read_text()
        leases = ", ".join(f"('{pool.name}', {2 * pool.lease_seconds})" for pool in POOLS.values())
        assert f"(VALUES {leases})" in text
        assert f"pool IN ({', '.join(repr(name) for name in POOLS)})" in text


@pytest.mark.django_db(transaction=True)
class TestFaults:
    def test_redis_down_leaves_postgres(self, redis_server: RedisProcess) -> None:
        redis_server.kill()
        try:
            seen = scrape()
        finally:
            redis_server.start()
        assert seen['jobs_truth_scrape_success{source="redis"}'] == 0
        assert seen['jobs_truth_scrape_success{source="postgres"}'] == 1
        assert "jobs_queue_unacked" not in seen
        assert seen["jobs_dead_letters"] == 0

    def test_a_frozen_redis_does_not_hang_the_scrape(self, redis_server: RedisProcess) -> None:
        redis_server.freeze()
        try:
            seen = scrape()
        finally:
            redis_server.thaw()
        assert seen['jobs_truth_scrape_success{source="redis"}'] == 0

    def test_a_frozen_postgres_leaves_redis_and_is_read_again_after_the_thaw(self, postgres: PostgresProcess) -> None:
        postgres.freeze()
        try:
            seen = scrape()
        finally:
            postgres.thaw()
        assert seen['jobs_truth_scrape_success{source="postgres"}'] == 0
        assert seen['jobs_truth_scrape_success{source="redis"}'] == 1
        wait_until(lambda: scrape()['jobs_truth_scrape_success{source="postgres"}'] == 1, "not read after the thaw")
