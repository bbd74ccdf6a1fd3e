"""Uploads are what they claim to be or are refused with the fix; nobody sees another owner's files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.http import HttpResponse
from django.test import Client

from ndvi import inspection
from ndvi.models import Scene
from tests.integration.ndvi.conftest import Account
from tests.unit.ndvi.rasters import random_bands, write_geotiff


def refusal(answer: HttpResponse) -> str:
    """The message about the field `file`; checks the form of the answer."""
    assert answer.status_code == 422, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"] == "file"
    return str(error["message"])


def test_an_upload_is_stored_and_described(ada: Account, geotiff: bytes) -> None:
    answer = ada.upload(geotiff, name="north field.tif")
    assert answer.status_code == 201, answer.content
    document = answer.json()
    assert {name: document[name] for name in ("name", "bytes", "width", "height", "bands", "dtype", "crs")} == {
        "name": "north field.tif",
        "bytes": len(geotiff),
        "width": 120,
        "height": 90,
        "bands": 4,
        "dtype": "uint8",
        "crs": "EPSG:32618",
    }
    scene = Scene.objects.get(id=document["id"])
    with default_storage.open(scene.key) as stored:
        assert stored.read() == geotiff
    assert ada.get(f"/scenes/{scene.id}").json() == document


def test_nothing_stays_on_scratch(ada: Account, geotiff: bytes) -> None:
    before = set(settings.HOLDFAST.scratch_dir.iterdir())
    ada.upload(geotiff)
    ada.upload(geotiff[:-100])
    assert set(settings.HOLDFAST.scratch_dir.iterdir()) == before


def test_a_text_file_named_tif_is_refused(ada: Account) -> None:
    assert "not a TIFF" in refusal(ada.upload(b"farm;ndvi\n7;0.5\n"))


def test_an_empty_file_is_refused(ada: Account) -> None:
    assert "not a whole GeoTIFF" in refusal(ada.upload(b""))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_geotiff_is_refused(ada: Account, geotiff: bytes, share: float) -> None:
    assert "it ends after" in refusal(ada.upload(geotiff[: int(len(geotiff) * share)]))


def test_a_geotiff_with_one_band_is_refused_with_the_way_to_join_two(ada: Account, tmp_path: Path) -> None:
    content = write_geotiff(tmp_path / "one.tif", random_bands(21, (1, 20, 20))).read_bytes()
    assert "gdal_merge.py -separate" in refusal(ada.upload(content))


def test_complex_bands_are_refused(ada: Account, tmp_path: Path) -> None:
    content = write_geotiff(tmp_path / "c.tif", np.ones((2, 8, 8), np.complex64)).read_bytes()
    assert "complex64" in refusal(ada.upload(content))


def test_damaged_blocks_are_refused(ada: Account, tmp_path: Path) -> None:
    content = bytearray(
        write_geotiff(tmp_path / "d.tif", random_bands(22, (2, 200, 200)), compress="deflate").read_bytes()
    )
    content[-20_000:-10] = bytes(19_990)
    assert "cannot be read" in refusal(ada.upload(bytes(content)))


def test_one_huge_block_is_refused_because_it_decodes_whole(
    ada: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_BLOCK_BYTES", 10_000)
    content = write_geotiff(
        tmp_path / "b.tif", random_bands(23, (2, 200, 200)), blockysize=200, compress="deflate"
    ).read_bytes()
    assert "TILED=YES" in refusal(ada.upload(content))


def test_too_many_pixels_are_refused(ada: Account, geotiff: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_PIXELS", 100)
    assert "over 100" in refusal(ada.upload(geotiff))


def test_another_field_name_is_refused(ada: Account, geotiff: bytes) -> None:
    assert "form field 'file'" in refusal(ada.upload(geotiff, field="scene"))


def test_a_body_that_is_no_form_is_415(ada: Account) -> None:
    assert ada.post("/scenes", {"file": "x"}).status_code == 415


def test_refused_files_leave_no_row(ada: Account, geotiff: bytes) -> None:
    ada.upload(geotiff[:500])
    assert Scene.objects.count() == 0


def test_no_key_and_the_wrong_scope_are_refused(account: Callable[..., Account], geotiff: bytes) -> None:
    assert Client().post("/api/v1/scenes").status_code == 401
    assert account("bo", "read").upload(geotiff).status_code == 403


def test_another_owners_scene_is_404_but_operators_see_it(
    ada: Account, account: Callable[..., Account], geotiff: bytes
) -> None:
    path = f"/scenes/{ada.upload(geotiff).json()['id']}"
    assert account("bo").get(path).status_code == 404
    assert account("op", "read", "operate").get(path).status_code == 200
    assert ada.get("/scenes/not-an-id").status_code == 404
