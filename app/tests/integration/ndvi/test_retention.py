"""Scenes are forgotten when nobody uses them any more, with their files."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from jobs.models import Job
from jobs.retention import prune_step
from jobs.submission import submit
from ndvi import retention
from ndvi.models import Scene
from tests.integration.ndvi.conftest import Account


def uploaded(account: Account, geotiff: bytes, *, days_old: int = 31) -> Scene:
    answer = account.upload(geotiff)
    assert answer.status_code == 201, answer.content
    scene = Scene.objects.get(id=answer.json()["id"])
    Scene.objects.filter(id=scene.id).update(created_at=timezone.now() - timedelta(days=days_old))
    return scene


def compute(scene: Scene) -> Job:
    params = {"scene": str(scene.id), "red": 1, "nir": 2}
    return Job.objects.get(id=submit("ndvi.compute", owner=scene.owner, params=params).job.id)


def test_old_scenes_that_no_job_names_go_with_their_files(ada: Account, geotiff: bytes) -> None:
    old, young = uploaded(ada, geotiff), uploaded(ada, geotiff, days_old=29)
    prune_step()
    assert list(Scene.objects.values_list("id", flat=True)) == [young.id]
    assert [default_storage.exists(scene.key) for scene in (old, young)] == [False, True]


@pytest.mark.parametrize("state", ["QUEUED", "SUCCEEDED"])
def test_scene_of_a_job_that_is_open_or_kept_whole_stays(ada: Account, geotiff: bytes, state: str) -> None:
    scene = uploaded(ada, geotiff)
    job = compute(scene)
    if state == "SUCCEEDED":
        Job.objects.filter(id=job.id).update(state=state, finished_at=timezone.now())
    prune_step()
    assert default_storage.exists(Scene.objects.get().key)
    Job.objects.update(state="SUCCEEDED", finished_at=timezone.now() - timedelta(days=31))
    prune_step()
    assert not Scene.objects.exists()
    assert not default_storage.exists(scene.key)


def test_another_scenes_job_protects_nothing(account: Callable[..., Account], ada: Account, geotiff: bytes) -> None:
    scene, other = uploaded(ada, geotiff), uploaded(account("bob"), geotiff)
    compute(other)
    prune_step()
    assert list(Scene.objects.values_list("id", flat=True)) == [other.id]
    assert not default_storage.exists(scene.key)


def test_use_is_looked_up_by_its_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {retention._FORGET}", {"retention": 30, "limit": 10})
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "ndvi_job_scene" in plan, plan
