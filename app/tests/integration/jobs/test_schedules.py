"""Schedules: one job per tick, whoever fires; missed ticks by policy; daylight saving."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from jobs import schedules
from jobs.errors import InvalidRequest, Permanent
from jobs.finish import fail
from jobs.models import Job, Schedule
from jobs.schedules import _latest_tick, fire_due, next_tick, schedule
from jobs.states import MissedTicks
from tests.integration.jobs.scenario import claimed, in_threads

#: A tick that comes while a test runs would be fired too.
SELDOM = "0 0 29 2 *"


def make(
    name: str = "nightly", *, cron: str = SELDOM, due_ago: timedelta = timedelta(seconds=1), **options: object
) -> Schedule:
    made = schedule(name, owner="ada", cron=cron, kind="test.echo", params={"number": 1}, **options)  # type: ignore[arg-type]
    made.next_tick_at = (timezone.now() - due_ago).replace(microsecond=0)
    made.save()
    return made


def test_fires_a_due_tick_once_and_moves_on() -> None:
    made = make()
    assert fire_due() == 1
    assert fire_due() == 0
    job = Job.objects.get()
    assert job.identity == f"tick:nightly:{made.next_tick_at:%Y-%m-%dT%H:%M:%SZ}"
    assert (job.owner, job.kind, job.params["number"]) == ("ada", "test.echo", 1)
    assert Schedule.objects.get().next_tick_at > timezone.now()


def test_a_schedule_that_is_stated_again_keeps_the_tick_that_is_due() -> None:
    made = make()
    stated = {"owner": "ada", "kind": "test.echo", "params": {"number": 2}}
    assert schedule("nightly", cron=SELDOM, **stated).next_tick_at == made.next_tick_at  # type: ignore[arg-type]
    assert fire_due() == 1
    assert Job.objects.get().params["number"] == 2
    assert schedule("nightly", cron="0 3 29 2 *", **stated).next_tick_at > timezone.now()  # type: ignore[arg-type]


def test_concurrent_sweepers_fire_once() -> None:
    make()
    assert sum(in_threads(*[fire_due] * 6)) == 1  # type: ignore[arg-type]
    assert Job.objects.count() == 1


def test_tick_that_was_fired_before_a_failover_is_not_fired_again() -> None:
    made = make()
    fire_due()
    fail(claimed(Job.objects.get()), Permanent("no"))
    Schedule.objects.update(next_tick_at=made.next_tick_at)
    assert fire_due() == 0
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("policy", "at", "jobs"),
    [
        (MissedTicks.SKIP, "12:30:00", 0),
        (MissedTicks.SKIP, "12:01:01", 0),
        (MissedTicks.SKIP, "12:01:00", 1),  # the last tick is late, not missed
        (MissedTicks.LATEST, "12:30:00", 1),
        (MissedTicks.ALL, "12:30:00", 3),
    ],
)
def test_missed_ticks_follow_the_policy(
    policy: MissedTicks, at: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.fromisoformat(f"2026-01-05T{at}Z")
    monkeypatch.setattr(schedules, "database_now", lambda: now)
    made = make(cron="0 * * * *", missed=policy)
    Schedule.objects.filter(id=made.id).update(next_tick_at=now.replace(hour=10, minute=0, second=0))
    assert fire_due() == jobs, "three hourly ticks have come, the last one at 12:00"
    assert Schedule.objects.get().next_tick_at == now.replace(hour=13, minute=0, second=0)


def test_a_row_that_nobody_foresaw_stops_no_other_schedule() -> None:
    bad = make("bad")
    Schedule.objects.filter(id=bad.id).update(priority=5, params=["no", "object"])
    make("good")
    assert fire_due() == 1
    assert Schedule.objects.get(name="bad").last_error
    assert Job.objects.get().identity.startswith("tick:good:")


def test_paused_schedule_does_not_fire() -> None:
    make()
    Schedule.objects.update(paused=True)
    assert fire_due() == 0


def test_schedule_that_cannot_fire_says_why_and_the_others_go_on() -> None:
    broken = make("broken")
    Schedule.objects.filter(id=broken.id).update(kind="test.gone")
    make("sound")
    assert fire_due() == 1
    broken.refresh_from_db()
    assert "test.gone" in broken.last_error


def test_daylight_saving_keeps_the_local_hour() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    first = next_tick("30 6 * * *", "Europe/Berlin", before)
    second = next_tick("30 6 * * *", "Europe/Berlin", first)
    assert (first.hour, second.hour) == (4, 4)
    assert next_tick("30 6 * * *", "Europe/Berlin", before - timedelta(days=2)).hour == 5


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


@pytest.mark.parametrize(
    ("cron", "tz", "after", "ticks"),
    [
        # 02:30 does not exist: the tick comes when the gap ends, once.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00", ["2026-03-08T07:00", "2026-03-09T06:30"]),
        # 02:30 comes twice: the first one counts.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00", ["2026-11-01T05:30", "2026-11-02T06:30"]),
        # Every half an hour stays every half an hour.
        ("*/30 * * * *", BERLIN, "2026-03-29T00:15", ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"]),
        ("*/30 * * * *", BERLIN, "2026-10-25T00:15", ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]),
    ],
)
def test_ticks_over_a_change_of_the_clocks(cron: str, tz: str, after: str, ticks: list[str]) -> None:
    expected = [datetime.fromisoformat(tick).replace(tzinfo=UTC) for tick in ticks]
    seen = [next_tick(cron, tz, datetime.fromisoformat(after).replace(tzinfo=UTC))]
    while len(seen) < len(expected):
        seen.append(next_tick(cron, tz, seen[-1]))
    assert seen == expected
    for tick in expected:
        assert _latest_tick(cron, tz, tick + timedelta(minutes=1)) == tick, "looking back finds the same ticks"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"cron": "every day"}, "cron"), ({"tz": "Mars/Olympus"}, "tz"), ({"kind": "no.kind"}, "kind")],
)
def test_bad_schedule_is_refused_by_field(change: dict[str, str], field: str) -> None:
    values = {"cron": "* * * * *", "kind": "test.echo"} | change
    with pytest.raises(InvalidRequest) as invalid:
        schedule("bad", owner="ada", params={}, **values)  # type: ignore[arg-type]
    assert invalid.value.problems[0].field == field
