"""The sample archive: a client of the protocol walks it, and its bytes follow from tile and date."""

from collections.abc import Iterator
from datetime import date

import httpx
import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from ndvi.farms import field_of
from ndvi.scenes.assets import AssetCache, RangeError, requested_range
from ndvi.scenes.grid import SIDE, Tile, named, tiles_in
from ndvi.scenes.imagery import cloud_cover, cog, reflectance
from ndvi.scenes.search import scene_named
from ndvi.shapes import GeometryError, Shape, bounds_of, polygon
from tests.unit.ndvi.archive_server import NOW, sample_archive

FARM = field_of("farm-7")


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    with sample_archive() as url:
        yield url


@pytest.fixture(scope="module")
def client(archive: str) -> pystac_client.Client:
    return pystac_client.Client.open(archive)


@pytest.fixture
def http(archive: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=archive) as opened:
        yield opened


# -- the protocol ---------------------------------------------------------------------------------------------------
def test_a_stac_client_walks_from_the_root_to_an_item(client: pystac_client.Client) -> None:
    collections = list(client.get_collections())
    assert [found.id for found in collections] == ["sample-fields"]
    item = next(collections[0].get_items())
    assert set(item.assets) == {"red", "nir"}
    assert client.get_collection("sample-fields").get_item(item.id).to_dict()["bbox"] == item.bbox


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_by_geometry_date_and_cloud_pages_through_every_match(client: pystac_client.Client, method: str) -> None:
    search = client.search(
        method=method,
        collections=["sample-fields"],
        intersects=FARM,
        datetime="2025-01-01/2025-07-20",
        query={"eo:cloud_cover": {"lt": 30}},
        limit=3,
    )
    items = list(search.items())
    assert len(items) > 9
    assert len({item.id for item in items}) == len(items)
    assert all(item.properties["eo:cloud_cover"] < 30 for item in items)
    times = [item.datetime for item in items]
    assert times == sorted(times, reverse=True)
    assert all(Shape(FARM).touches(Shape(item.geometry)) for item in items)


@pytest.mark.parametrize(("sign", "descending"), [("+", False), ("-", True)])
@pytest.mark.parametrize("field", ["datetime", "eo:cloud_cover"])
def test_search_sorts_both_ways_across_pages(
    client: pystac_client.Client, field: str, sign: str, descending: bool
) -> None:
    search = client.search(
        intersects=FARM, datetime="2025-03-01/2025-07-20", sortby=f"{sign}properties.{field}", limit=4
    )
    found = [item.properties[field] for item in search.items()]
    assert len(found) > 20
    assert found == sorted(found, reverse=descending)


def test_search_by_bbox_finds_the_tile_and_its_neighbours_only(client: pystac_client.Client) -> None:
    box = bounds_of(Tile(5, 5).outline())
    inner = [box[0] + 0.02, box[1] + 0.02, box[2] - 0.02, box[3] - 0.02]
    found = client.search(bbox=inner, datetime="2025-07-01/2025-07-20").item_collection()
    assert len(found) == 4
    assert {item.id.split("-")[2] for item in found} == {"0505"}


def test_search_by_id_and_foreign_collection(client: pystac_client.Client) -> None:
    item = next(client.search(intersects=FARM, max_items=1).items())
    assert [found.id for found in client.search(ids=[item.id], intersects=FARM).items()] == [item.id]
    assert list(client.search(collections=["sentinel-2-l2a"], intersects=FARM).items()) == []


def test_nothing_is_taken_after_now(client: pystac_client.Client) -> None:
    items = list(client.search(intersects=FARM, datetime="2025-07-01/..").items())
    assert items
    assert all(item.datetime is not None and item.datetime <= NOW for item in items)


def test_items_are_valid_stac(client: pystac_client.Client) -> None:
    item = next(client.search(intersects=FARM, max_items=1).items())
    assert pystac.Item.from_dict(item.to_dict()).properties["proj:code"] == "EPSG:32618"
    assert item.assets["red"].to_dict()["eo:bands"][0]["common_name"] == "red"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"bbox": "1,2,3"}, "bbox"),
        ({"bbox": "1,2,3,400"}, "bbox"),
        ({"intersects": "{"}, "intersects"),
        ({"intersects": '{"type":"Circle","coordinates":[1,2]}'}, "intersects"),
        ({"bbox": "1,2,3,4", "intersects": '{"type":"Point","coordinates":[1,2]}'}, "bbox, intersects"),
        ({"datetime": "yesterday"}, "datetime"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"sortby": "+colour"}, "sortby"),
        ({"sortby": "-eo:cloud_cover"}, "sortby"),
        ({"query": '{"eo:cloud_cover":{"like":1}}'}, "query"),
        ({"query": "[1]"}, "query"),
        ({"token": "next"}, "token"),
    ],
)
def test_a_malformed_search_names_its_parameter(http: httpx.Client, parameters: dict[str, str], field: str) -> None:
    answer = http.get("/search", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["description"].startswith(f"{field}:")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"'])
def test_a_malformed_body_is_a_400_and_the_connection_lives(http: httpx.Client, body: bytes) -> None:
    assert http.post("/search", content=body).status_code == 400
    assert http.get("/conformance").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nowhere", "/collections/other", "/collections/sample-fields/items/x", "/assets/x/red.tif", "/assets/a"]
)
def test_an_unknown_path_is_404(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


# -- files ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def red(client: pystac_client.Client) -> str:
    return next(client.search(intersects=FARM, max_items=1).items()).assets["red"].href


def test_a_range_is_answered_with_206_and_its_bytes(http: httpx.Client, red: str) -> None:
    whole = http.get(red)
    assert (whole.status_code, whole.headers["accept-ranges"]) == (200, "bytes")
    for header, expected in {
        "bytes=0-9": whole.content[:10],
        "bytes=100-": whole.content[100:],
        "bytes=-7": whole.content[-7:],
        "bytes=5-999999999": whole.content[5:],
    }.items():
        part = http.get(red, headers={"Range": header})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(whole.content)}")


def test_a_range_outside_is_416_with_the_size(http: httpx.Client, red: str) -> None:
    size = int(http.head(red).headers["content-length"])
    answer = http.get(red, headers={"Range": f"bytes={size}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")


def test_head_has_the_headers_and_no_body(http: httpx.Client, red: str) -> None:
    head, whole = http.head(red), http.get(red)
    assert head.content == b""
    assert head.headers["etag"] == whole.headers["etag"]
    assert int(head.headers["content-length"]) == len(whole.content)


def test_etag_answers_conditional_requests(http: httpx.Client, red: str) -> None:
    etag = http.head(red).headers["etag"]
    assert http.get(red, headers={"If-None-Match": etag}).status_code == 304
    assert http.get(red, headers={"Range": "bytes=0-3", "If-Range": etag}).status_code == 206
    assert http.get(red, headers={"Range": "bytes=0-3", "If-Range": '"old"'}).status_code == 200


@given(st.text("bytes=-0123456789,", max_size=20), st.integers(1, 1000))
def test_any_range_header_is_inside_the_file_or_refused(header: str, size: int) -> None:
    try:
        wanted = requested_range(header, size)
    except RangeError:
        return
    assert wanted is None or 0 <= wanted[0] <= wanted[1] < size


def test_the_cache_keeps_to_its_room_and_generates_once() -> None:
    made: list[str] = []

    def generate(name: str) -> bytes:
        made.append(name)
        return bytes(40)

    cache = AssetCache(generate, room=100)
    for name in ["a", "b", "a", "c", "a", "b"]:
        cache.get(name)
    assert made == ["a", "b", "c", "b"]


# -- pixels ---------------------------------------------------------------------------------------------------------
def test_pixels_follow_from_tile_and_date() -> None:
    assert cog(Tile(3, 4), date(2025, 6, 1), "red") == cog(Tile(3, 4), date(2025, 6, 1), "red")
    assert cog(Tile(3, 4), date(2025, 6, 1), "red") != cog(Tile(3, 4), date(2025, 6, 6), "red")


def test_cloud_cover_is_the_share_of_pixels_without_measurement() -> None:
    tile, day = Tile(1, 2), date(2025, 6, 1)
    red, _ = reflectance(tile, day)
    assert np.count_nonzero(red == 0) / red.size * 100 == pytest.approx(cloud_cover(tile, day), abs=0.1)


def test_fields_are_greener_in_summer_than_in_winter() -> None:
    def mean_index(day: date) -> float:
        red, nir = (band.astype(float) for band in reflectance(Tile(8, 8), day))
        seen = red > 0
        return float(((nir - red)[seen] / (nir + red)[seen]).mean())

    assert mean_index(date(2025, 6, 15)) > mean_index(date(2025, 1, 15)) + 0.2


def test_an_asset_is_a_cog() -> None:
    with rasterio.MemoryFile(cog(Tile(0, 0), date(2025, 6, 1), "nir")) as memory, memory.open() as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (dataset.nodata, dataset.crs.to_epsg(), dataset.overviews(1)) == (0, 32618, [2, 4])


# -- places ---------------------------------------------------------------------------------------------------------
@given(st.text(max_size=40))
def test_a_farm_has_one_field_on_one_tile_for_ever(farm: str) -> None:
    field = field_of(farm)
    assert field == field_of(farm)
    touched = [t for t in tiles_in(Shape(field).bounds) if Shape(field).touches(Shape(polygon(t.outline())))]
    assert len(touched) == 1


@given(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
def test_tile_names_lead_back(column: int, row: int) -> None:
    assert named(Tile(column, row).name) == Tile(column, row)


@pytest.mark.parametrize("name", ["", "x", "sample-fields-0101-2025", "sample-fields-9999-20250601", "a-0101-20250601"])
def test_a_name_that_is_no_scene_finds_none(name: str) -> None:
    assert scene_named(name, today=date(2025, 7, 1)) is None


SQUARE = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))


@pytest.mark.parametrize(
    ("geometry", "touches"),
    [
        ({"type": "Point", "coordinates": [1, 1]}, True),
        ({"type": "Point", "coordinates": [5, 1]}, False),
        ({"type": "MultiPoint", "coordinates": [[9, 9], [1, 1]]}, True),
        ({"type": "LineString", "coordinates": [[-1, 2], [9, 2]]}, True),
        ({"type": "LineString", "coordinates": [[-1, 9], [9, 9]]}, False),
        ({"type": "Polygon", "coordinates": [[[-9, -9], [9, -9], [9, 9], [-9, 9], [-9, -9]]]}, True),
        ({"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}, True),
        ({"type": "Polygon", "coordinates": [[[5, 5], [6, 5], [6, 6], [5, 5]]]}, False),
        (
            {
                "type": "Polygon",
                "coordinates": [
                    [[-9, -9], [9, -9], [9, 9], [-9, 9], [-9, -9]],
                    [[-5, -5], [5, -5], [5, 5], [-5, 5], [-5, -5]],
                ],
            },
            False,
        ),
        (
            {
                "type": "MultiPolygon",
                "coordinates": [[[[8, 8], [9, 8], [9, 9], [8, 8]]], [[[1, 1], [2, 1], [2, 2], [1, 1]]]],
            },
            True,
        ),
    ],
)
def test_shapes_touch_or_do_not(geometry: dict, touches: bool) -> None:
    assert Shape(geometry).touches(Shape(polygon(SQUARE))) is touches


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        3,
        {},
        {"type": "Point"},
        {"type": "Point", "coordinates": ["a", 1]},
        {"type": "Point", "coordinates": [999, 1]},
        {"type": "Polygon", "coordinates": []},
    ],
)
def test_what_is_no_geometry_is_refused(geometry: object) -> None:
    with pytest.raises(GeometryError):
        Shape(geometry)
