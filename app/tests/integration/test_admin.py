"""The admin lists schedules, pauses them, and changes nothing else about them."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs.models import Job, Schedule
from jobs.schedules import fire_due, schedule

LIST = "/admin/jobs/schedule/"


@pytest.fixture
def nightly(db: None, settings: Settings) -> Schedule:
    """Due since a second. Static files are not collected in this test image: plain names will do."""
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    made = schedule("nightly", owner="ada", cron="30 2 * * *", tz="Europe/Berlin", kind="probe.fast", params={})
    made.next_tick_at = timezone.now() - timedelta(seconds=1)
    made.save()
    return made


def test_lists_schedules_with_their_next_tick(nightly: Schedule, admin_client: Client) -> None:
    page = admin_client.get(LIST)
    assert page.status_code == 200
    text = page.content.decode()
    for shown in ("nightly", "30 2 * * *", "Europe/Berlin", "probe.fast"):
        assert shown in text


def test_pauses_and_resumes_a_schedule(nightly: Schedule, admin_client: Client) -> None:
    path = f"{LIST}{nightly.id}/change/"
    assert admin_client.post(path, {"paused": "on"}).status_code == 302
    nightly.refresh_from_db()
    assert nightly.paused
    assert fire_due() == 0
    assert admin_client.post(path, {}).status_code == 302
    assert fire_due() == 1
    assert Job.objects.get().identity.startswith("tick:nightly:")


def test_changes_nothing_but_the_pause(nightly: Schedule, admin_client: Client) -> None:
    path = f"{LIST}{nightly.id}/change/"
    before = Schedule.objects.values().get()
    asked = {"paused": "on", "cron": "* * * * *", "kind": "probe.cpu", "owner": "eve", "next_tick_at_0": "2020-01-01"}
    assert admin_client.post(path, asked).status_code == 302
    assert Schedule.objects.values().get() == before | {"paused": True}
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}{nightly.id}/delete/", {"post": "yes"}).status_code == 403
    assert Schedule.objects.exists()


def test_strangers_see_nothing(nightly: Schedule, client: Client) -> None:
    answer = client.get(LIST)
    assert answer.status_code == 302
    assert "/admin/login/" in answer.headers["Location"]
