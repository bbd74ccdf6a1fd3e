"""The three kinds, run as a worker runs them: claim, handler, fenced finish, follow-ups."""

import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import rasterio
from django.core.files.storage import default_storage

from jobs.errors import InvalidRequest
from jobs.execution import run_job
from jobs.models import Job
from jobs.submission import submit
from ndvi import archive as archive_module
from ndvi.models import Scene
from ndvi.upstream import UpstreamUnavailableError
from postgres_deadline import read_only
from tests.integration.jobs.scenario import in_threads
from tests.integration.ndvi.conftest import Account
from tests.unit.ndvi.rasters import write_geotiff
from tests.unit.ndvi.test_raster import assert_agrees, expected_figures

FIELD = {"start": "2025-04-01", "end": "2025-07-20"}


def run(job: Job) -> Job:
    """One attempt; returns the row as it then stands."""
    run_job(job.id, gen=1, leased_by="worker-1")
    return Job.objects.get(id=job.id)


def asked(kind: str, params: dict, *, owner: str = "ada", farm_id: str = "") -> Job:
    return Job.objects.get(id=submit(kind, owner=owner, params=params, farm_id=farm_id).job.id)


def follow_up(parent: Job) -> Job:
    return Job.objects.get(parent_id=parent.id)


@pytest.fixture
def scene(ada: Account, geotiff: bytes) -> str:
    return str(ada.upload(geotiff).json()["id"])


def test_compute_agrees_with_float64(ada: Account, scene: str, geotiff: bytes) -> None:
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4}))
    assert job.state == "SUCCEEDED", job.error_message
    with rasterio.MemoryFile(geotiff) as memory, memory.open() as dataset:
        red, nir = dataset.read(1), dataset.read(4)
    assert_agrees(job.result["statistics"], expected_figures(red, nir, (red != 0) & (nir != 0)))
    assert {"count", "valid_share", "mean", "std", "min", "max", "p10", "p50", "p90"} <= set(job.result["statistics"])


def test_outputs_are_downloaded_by_their_owner_only(ada: Account, account: Callable[..., Account], scene: str) -> None:
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4}))
    links = job.result["files"]
    assert set(links) == {"ndvi.tif", "ndvi.png", "statistics.json"}
    for name, media_type in {
        "ndvi.tif": "image/tiff",
        "ndvi.png": "image/png",
        "statistics.json": "application/json",
    }.items():
        answer = ada.get(links[name].removeprefix("/api/v1"))
        content = b"".join(answer.streaming_content)
        assert (answer.status_code, answer["Content-Type"], int(answer["Content-Length"])) == (
            200,
            media_type,
            len(content),
        )
        assert account(f"bo-{name[0]}{media_type[0]}").get(links[name].removeprefix("/api/v1")).status_code == 404
    assert json.loads(content) == job.result["statistics"]
    for name in ("other.tif", "..", "ndvi.tif%2F..%2Fndvi.tif"):
        assert ada.get(f"/jobs/{job.id}/files/{name}").status_code == 404


def test_files_carry_the_token_and_are_named_by_the_finish(scene: str) -> None:
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4}))
    assert [file["key"] for file in job.files] == [
        f"jobs/{job.id}/1/{name}" for name in ("ndvi.tif", "ndvi.png", "statistics.json")
    ]
    assert all(default_storage.exists(file["key"]) for file in job.files)


def test_a_second_attempt_leaves_the_files_of_the_first_alone(scene: str) -> None:
    job = asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4})
    with mock.patch("jobs.execution.finish", side_effect=OSError("the worker dies")):
        assert run(job).state == "QUEUED"
    Job.objects.filter(id=job.id).update(not_before=None)
    again = run(job)
    assert again.state == "SUCCEEDED"
    assert all(f"/{again.attempt}" not in file["key"] or default_storage.exists(file["key"]) for file in again.files)
    assert len({file["key"] for file in again.files} & {f"jobs/{job.id}/1/ndvi.tif"}) == 0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"scene": "x", "red": 1, "nir": 2}, "params.scene"),
        ({"red": 1, "nir": 2}, "params.scene"),
        ({"scene": "0197f000-0000-7000-8000-000000000000", "red": 0, "nir": 2}, "params.red"),
        ({"scene": "0197f000-0000-7000-8000-000000000000", "red": 1, "nir": "2"}, "params.nir"),
        ({"scene": "0197f000-0000-7000-8000-000000000000", "red": 2, "nir": 2}, "params"),
        ({"scene": "0197f000-0000-7000-8000-000000000000", "red": 1, "nir": 2, "blue": 3}, "params.blue"),
    ],
)
def test_malformed_params_name_their_field(params: dict, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked("ndvi.compute", params)
    assert field in [problem.field for problem in caught.value.problems]


def test_a_band_that_is_not_there_fails_for_good_and_says_which_there_are(scene: str) -> None:
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 9}))
    assert (job.state, job.attempt) == ("FAILED", 1)
    assert "params.nir" in job.error_message
    assert "1 to 4" in job.error_message


def test_another_owners_scene_cannot_be_computed(scene: str) -> None:
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4}, owner="bo"))
    assert job.state == "FAILED"
    assert "params.scene" in job.error_message


def test_a_scene_whose_file_is_gone_says_so(scene: str) -> None:
    default_storage.delete(Scene.objects.get(id=scene).key)
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4}))
    assert job.state == "FAILED"
    assert "upload" in job.error_message


def test_a_field_runs_through_all_three_pools(archive: str, ada: Account) -> None:
    field = run(asked("ndvi.field", FIELD, farm_id="farm-7"))
    assert field.state == "SUCCEEDED", field.error_message
    assert field.result["source"]["cloud_cover"] <= 20
    assert field.result["bytes_read"] < field.result["bytes_upstream"] / 3
    compute = follow_up(field)
    assert (compute.identity, compute.pool, compute.farm_id) == (f"step:{field.id}:compute", "cpu", "farm-7")
    compute = run(compute)
    assert compute.state == "SUCCEEDED", compute.error_message
    assert compute.result["scene"] == field.result["scene"]
    summary = run(follow_up(compute))
    assert (summary.identity, summary.pool, summary.state) == (f"step:{compute.id}:summary", "fast", "SUCCEEDED")
    assert summary.result["mean"] == compute.result["statistics"]["mean"]
    assert summary.result["sentence"].startswith(f"Farm farm-7 on {field.result['source']['taken_at'][:10]}: mean NDVI")
    assert ada.get(f"/scenes/{field.result['scene']}").json()["source"] == field.result["source"]


def test_a_stale_field_leaves_no_scene(archive: str) -> None:
    job = asked("ndvi.field", FIELD, farm_id="farm-7")

    found = archive_module.newest_clear_scene

    def take_over() -> None:
        with read_only.lifted():
            Job.objects.filter(id=job.id).update(lease_token=99)

    def lose_the_lease(*arguments: object) -> object:
        in_threads(take_over)
        return found(*arguments)

    with mock.patch.object(archive_module, "newest_clear_scene", side_effect=lose_the_lease):
        assert run_job(job.id, gen=1, leased_by="worker-1") == "stale"
    assert Scene.objects.count() == 0
    assert not Job.objects.filter(parent_id=job.id).exists()


def test_no_clear_scene_fails_for_good_with_the_fix(archive: str) -> None:
    job = run(asked("ndvi.field", {**FIELD, "max_cloud": 0}, farm_id="farm-7"))
    assert (job.state, job.attempt) == ("FAILED", 1)
    assert "params.max_cloud" in job.error_message


def test_an_archive_that_is_away_is_tried_again(archive: str) -> None:
    job = asked("ndvi.field", FIELD, farm_id="farm-7")
    with mock.patch.object(archive_module, "newest_clear_scene", side_effect=UpstreamUnavailableError("away")):
        assert run(job).state == "QUEUED"


def test_a_field_needs_a_farm_or_an_outline(archive: str) -> None:
    job = run(asked("ndvi.field", FIELD))
    assert job.state == "FAILED"
    assert "params.geometry" in job.error_message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start": "2025-13-01"}, "params.start"),
        ({"start": "2025-08-01"}, "params"),
        ({"start": "2020-08-01"}, "params"),
        ({"max_cloud": 101}, "params.max_cloud"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "params.geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [500, 2], [1, 3], [1, 2]]]}}, "params.geometry"),
    ],
)
def test_malformed_field_params_name_their_field(change: dict, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked("ndvi.field", FIELD | change)
    assert field in [problem.field for problem in caught.value.problems]


def test_a_summary_of_something_else_fails(scene: str) -> None:
    job = asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 4})
    summary = run(asked("ndvi.summary", {"compute": str(job.id)}))
    assert summary.state == "FAILED"
    assert "params.compute" in summary.error_message


def test_a_masked_field_is_put_into_words(ada: Account, tmp_path: Path) -> None:
    content = write_geotiff(tmp_path / "m.tif", np.zeros((2, 9, 9), np.uint8), nodata=0).read_bytes()
    scene = ada.upload(content).json()["id"]
    job = run(asked("ndvi.compute", {"scene": scene, "red": 1, "nir": 2, "summarise": True}))
    assert run(follow_up(job)).result["sentence"] == "The scene: no pixel could be measured."
