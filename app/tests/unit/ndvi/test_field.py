"""From a farm and dates to the field's pixels, over HTTP from the sample archive."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import httpx
import numpy as np
import pytest
import rasterio
import respx
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from ndvi import field_window
from ndvi.archive import ArchiveScene, Asset, NoClearSceneError, Wanted, newest_clear_scene
from ndvi.farms import field_of
from ndvi.field_window import FieldOutsideError, FieldTooLargeError, read_field
from ndvi.raster import compute
from ndvi.remote_file import CHUNK, RemoteFile, open_remote
from ndvi.scenes.imagery import reflectance
from ndvi.scenes.search import scene_named
from ndvi.upstream import Upstream, UpstreamMalformedError, UpstreamUnavailableError
from tests.unit.ndvi.archive_server import NOW, sample_archive

FIELD = field_of("farm-7")
WANTED = Wanted(
    geometry=FIELD,
    start=date(2025, 4, 1),
    end=date(2025, 7, 20),
    max_cloud=20,
    collection=None,
    red_asset="red",
    nir_asset="nir",
)


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    with sample_archive() as url:
        yield url


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with httpx.Client() as client:
        yield Upstream(seconds_left=lambda: 300.0, client=client)


@pytest.fixture
def scene(upstream: Upstream, archive: str) -> ArchiveScene:
    return newest_clear_scene(upstream, archive, WANTED)


def test_the_newest_clear_scene_is_found(scene: ArchiveScene, upstream: Upstream, archive: str) -> None:
    assert scene.cloud_cover <= 20
    tile_name, day = scene.id.split("-")[2:]
    later = [
        found
        for ordinal in range(date.fromisoformat(f"{day[:4]}-{day[4:6]}-{day[6:]}").toordinal() + 1, NOW.toordinal())
        if (found := scene_named(f"sample-fields-{tile_name}-{date.fromordinal(ordinal):%Y%m%d}", today=NOW.date()))
    ]
    assert all(found.cloud_cover > 20 for found in later)
    assert scene == newest_clear_scene(upstream, archive, replace(WANTED, collection="sample-fields"))


@pytest.mark.parametrize(
    "change",
    [
        {"start": date(2019, 1, 1), "end": date(2019, 2, 1)},
        {"max_cloud": 0.0},
        {"collection": "other"},
        {"red_asset": "B04"},
        {"geometry": {"type": "Polygon", "coordinates": [[[5, 50], [5.1, 50], [5.1, 50.1], [5, 50]]]}},
    ],
)
def test_no_clear_scene_says_what_to_change(upstream: Upstream, archive: str, change: dict) -> None:
    with pytest.raises(NoClearSceneError, match=r"params\.max_cloud"):
        newest_clear_scene(upstream, archive, replace(WANTED, **change))


def test_a_field_across_two_tiles_is_not_taken_from_one(upstream: Upstream, archive: str) -> None:
    box = [-76.5, 41.5, -76.0, 42.0]
    wide = {
        "type": "Polygon",
        "coordinates": [[[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]],
    }
    with pytest.raises(NoClearSceneError):
        newest_clear_scene(upstream, archive, replace(WANTED, geometry=wide, start=date(2025, 7, 1)))


def test_the_window_holds_the_fields_pixels_and_no_others(
    upstream: Upstream, scene: ArchiveScene, tmp_path: Path
) -> None:
    target = tmp_path / "field.tif"
    read = read_field(upstream, scene, FIELD, target)
    found = scene_named(scene.id, today=NOW.date())
    assert found is not None
    red, nir = reflectance(found.tile, found.day)
    with rasterio.open(target) as dataset:
        assert (dataset.count, dataset.dtypes, dataset.nodata, dataset.crs.to_epsg()) == (2, ("uint16",) * 2, 0, 32618)
        assert dataset.scales == (0.0001, 0.0001)
        grid = rasterio.transform.from_origin(*found.tile.upper_left, 10, 10)
        top, left = rasterio.transform.rowcol(grid, dataset.transform.c + 5, dataset.transform.f - 5)
        rows, columns = slice(top, top + dataset.height), slice(left, left + dataset.width)
        outline = transform_geom("EPSG:4326", dataset.crs, FIELD)
        inside = ~geometry_mask([outline], dataset.shape, dataset.transform)
        np.testing.assert_array_equal(dataset.read(1), np.where(inside, red[rows, columns], 0))
        np.testing.assert_array_equal(dataset.read(2), np.where(inside, nir[rows, columns], 0))
    assert inside.any()
    assert read.width * read.height < 200 * 200


def test_less_than_a_third_of_the_files_travels(upstream: Upstream, scene: ArchiveScene, tmp_path: Path) -> None:
    read = read_field(upstream, scene, FIELD, tmp_path / "field.tif")
    assert read.bytes_read < read.bytes_upstream / 3


def test_a_stored_field_has_an_index(upstream: Upstream, scene: ArchiveScene, tmp_path: Path) -> None:
    read_field(upstream, scene, FIELD, tmp_path / "field.tif")
    found = compute(tmp_path / "field.tif", red=1, nir=2, folder=tmp_path).statistics
    assert found["count"] > 100
    assert found["mean"] is not None
    assert 0.1 < found["mean"] < 0.95


def test_a_field_that_is_too_large_is_refused(
    upstream: Upstream, scene: ArchiveScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_window, "MAX_PIXELS", 10)
    with pytest.raises(FieldTooLargeError, match=r"params\.geometry.*smaller"):
        read_field(upstream, scene, FIELD, tmp_path / "field.tif")


def test_a_field_beside_the_scene_is_refused(upstream: Upstream, scene: ArchiveScene, tmp_path: Path) -> None:
    beside = {"type": "Polygon", "coordinates": [[[-70, 41], [-69.9, 41], [-69.9, 41.1], [-70, 41]]]}
    with pytest.raises(FieldOutsideError):
        read_field(upstream, scene, beside, tmp_path / "field.tif")


@pytest.mark.parametrize("count", [6, 20])
def test_threads_read_at_the_same_time(archive: str, scene: ArchiveScene, tmp_path: Path, count: int) -> None:
    started = threading.Barrier(count)

    def read(number: int) -> bytes:
        target = tmp_path / f"{number}.tif"
        with httpx.Client() as client:
            started.wait(100)
            read_field(Upstream(seconds_left=lambda: 300.0, client=client), scene, FIELD, target)
        return target.read_bytes()

    with ThreadPoolExecutor(count) as pool:
        reads = [pool.submit(read, number) for number in range(count)]
        failed = [error for one in reads if (error := one.exception(200))]
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {count} threads", failed)
    assert len({one.result() for one in reads}) == 1


def test_a_read_leaves_gdals_table_of_file_systems_alone(
    upstream: Upstream, scene: ArchiveScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rasterio._opener_registration", lambda *_: pytest.fail("an opener is registered"))
    with open_remote(RemoteFile(upstream, scene.red.href)) as dataset:
        assert dataset.name.startswith("/vsipythonfilelike/")


def test_bytes_at_any_place_equal_the_files(upstream: Upstream, scene: ArchiveScene) -> None:
    whole = upstream.get("read", scene.red.href).content
    file = RemoteFile(upstream, scene.red.href)
    assert file.size == len(whole)
    places = np.random.default_rng(5).integers(0, len(whole), 40).tolist()
    for place in [*places, 0, CHUNK - 1, CHUNK, len(whole) - 1, len(whole), len(whole) + 5]:
        assert file.read_at(place, 3 * CHUNK // 2) == whole[place : place + 3 * CHUNK // 2]


@respx.mock
def test_a_server_without_ranges_is_named(upstream: Upstream) -> None:
    respx.get("http://archive.test/red.tif").mock(return_value=httpx.Response(200, content=b"II*\0"))
    with pytest.raises(UpstreamMalformedError, match="byte ranges"):
        RemoteFile(upstream, "http://archive.test/red.tif")


@respx.mock
def test_an_archive_that_fails_while_gdal_reads_is_reported_as_such(upstream: Upstream) -> None:
    first = httpx.Response(
        206, content=b"II*\0" + bytes(CHUNK - 4), headers={"Content-Range": f"bytes 0-{CHUNK - 1}/900000"}
    )
    respx.get("http://archive.test/red.tif").mock(side_effect=[first, *[httpx.Response(500)] * 99])
    file = RemoteFile(upstream, "http://archive.test/red.tif")
    file._chunks[0] = b"II*\0" + (CHUNK * 4).to_bytes(4, "little") + bytes(CHUNK - 8)
    with pytest.raises(UpstreamUnavailableError, match="500"), open_remote(file):
        pass


@respx.mock
def test_a_file_that_changes_while_it_is_read_is_not_mixed(upstream: Upstream) -> None:
    def answer(etag: str, start: int) -> httpx.Response:
        header = {"Content-Range": f"bytes {start}-{start + CHUNK - 1}/{4 * CHUNK}", "ETag": etag}
        return httpx.Response(206, content=bytes(CHUNK), headers=header)

    respx.get("http://archive.test/red.tif").mock(side_effect=[answer('"a"', 0), answer('"b"', CHUNK)])
    file = RemoteFile(upstream, "http://archive.test/red.tif")
    with pytest.raises(UpstreamUnavailableError, match="changed"):
        file.read_at(CHUNK, 10)


@pytest.mark.parametrize("document", ["not json", "[]", '{"type": "Catalog"}', '{"stac_version": "1.0.0"}'])
@respx.mock
def test_what_is_no_stac_api_is_named(upstream: Upstream, document: str) -> None:
    respx.get("http://archive.test/").mock(return_value=httpx.Response(200, text=document))
    with pytest.raises(UpstreamMalformedError, match="STAC API"):
        newest_clear_scene(upstream, "http://archive.test/", WANTED)


@respx.mock
def test_an_archive_that_neither_sorts_nor_filters_is_served_by_us(upstream: Upstream) -> None:
    root = "http://archive.test"
    core = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    paths = {"self": "/", "root": "/", "search": "/search"}
    links = [{"rel": rel, "href": root + path, "type": "application/geo+json"} for rel, path in paths.items()]
    landing = {
        "type": "Catalog",
        "id": "a",
        "description": "a",
        "stac_version": "1.0.0",
        "conformsTo": core,
        "links": links,
    }
    items = [
        _item("old", "2025-05-01T00:00:00Z", 1),
        _item("new", "2025-06-01T00:00:00Z", 5),
        _item("cloudy", "2025-07-01T00:00:00Z", 60),
    ]
    respx.get(f"{root}/").mock(return_value=httpx.Response(200, json=landing))
    search = respx.get(f"{root}/search").mock(
        return_value=httpx.Response(200, json={"type": "FeatureCollection", "features": items, "links": []})
    )
    found = newest_clear_scene(upstream, f"{root}/", WANTED)
    assert (found.id, found.red) == ("new", Asset("http://archive.test/new/red.tif", 0.0001, -0.1))
    asked = search.calls[0].request.url.params
    assert not {"query", "sortby"} & set(asked)
    assert json.loads(asked["intersects"])["type"] == "Polygon"


def _item(name: str, taken_at: str, cloud: float) -> dict:
    ring = [[-80, 38], [-70, 38], [-70, 46], [-80, 46], [-80, 38]]
    bands = [{"scale": 0.0001, "offset": -0.1}]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "c",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [-80, 38, -70, 46],
        "properties": {"datetime": taken_at, "eo:cloud_cover": cloud},
        "assets": {
            band: {"href": f"http://archive.test/{name}/{band}.tif", "raster:bands": bands} for band in ("red", "nir")
        },
        "links": [],
    }
