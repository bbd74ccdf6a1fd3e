"""The STAC documents of the archive as plain dictionaries. ``root`` is the URL the client used, without slash."""

from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import urlencode

from ndvi.scenes.grid import CRS, PIXEL_METRES, TILE_PIXELS, extent
from ndvi.scenes.imagery import BANDS
from ndvi.scenes.search import COLLECTION, FIRST_DAY, Scene
from ndvi.shapes import bounds_of, polygon

STAC_VERSION: Final = "1.0.0"
GEOJSON: Final = "application/geo+json"
JSON: Final = "application/json"
COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"

CONFORMANCE: Final = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]

type Document = dict[str, Any]


def _link(rel: str, href: str, media_type: str = JSON, **more: Any) -> Document:  # noqa: ANN401
    return {"rel": rel, "href": href, "type": media_type, **more}


def landing(root: str) -> Document:
    """GET /"""
    return {
        "type": "Catalog",
        "id": "holdfast-scenes",
        "title": "Sample field scenes",
        "description": "Generated scenes over a grid of fields; deterministic, for trying things out.",
        "stac_version": STAC_VERSION,
        "conformsTo": CONFORMANCE,
        "links": [
            _link("self", f"{root}/"),
            _link("root", f"{root}/"),
            _link("conformance", f"{root}/conformance"),
            _link("data", f"{root}/collections"),
            _link("child", f"{root}/collections/{COLLECTION}", title="Sample field scenes"),
            _link("search", f"{root}/search", GEOJSON, method="GET"),
            _link("search", f"{root}/search", GEOJSON, method="POST"),
            _link("service-desc", f"{root}/api"),
        ],
    }


def conformance(_root: str) -> Document:
    """GET /conformance"""
    return {"conformsTo": CONFORMANCE}


def openapi(_root: str) -> Document:
    """GET /api: the operations, in outline."""
    paths = {
        "/": "Landing page",
        "/conformance": "Conformance classes",
        "/collections": "Collections",
        "/collections/{collection}": "One collection",
        "/collections/{collection}/items": "Its items",
        "/collections/{collection}/items/{item}": "One item",
        "/search": "Item search",
    }
    answer = {"responses": {"200": {"description": "The document"}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Sample field scenes", "version": STAC_VERSION},
        "paths": {path: {"get": {"summary": summary, **answer}} for path, summary in paths.items()},
    }


def collections(root: str) -> Document:
    """GET /collections"""
    links = [_link("self", f"{root}/collections"), _link("root", f"{root}/")]
    return {"collections": [collection(root)], "links": links}


def collection(root: str) -> Document:
    """GET /collections/{id}"""
    here = f"{root}/collections/{COLLECTION}"
    return {
        "type": "Collection",
        "id": COLLECTION,
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "title": "Sample field scenes",
        "description": "Red and near infrared every five days, 10 m a pixel; clouds are nodata.",
        "license": "proprietary",
        "keywords": ["sample", "generated"],
        "extent": {
            "spatial": {"bbox": [list(extent())]},
            "temporal": {"interval": [[_time(datetime(FIRST_DAY.year, 1, 1, tzinfo=UTC)), None]]},
        },
        "links": [
            _link("self", here),
            _link("root", f"{root}/"),
            _link("parent", f"{root}/"),
            _link("items", f"{here}/items", GEOJSON),
        ],
    }


def item(scene: Scene, root: str) -> Document:
    """One scene as STAC item."""
    outline = scene.tile.outline()
    home = f"{root}/collections/{COLLECTION}"
    west, north = scene.tile.upper_left
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": scene.id,
        "collection": COLLECTION,
        "geometry": polygon(outline),
        "bbox": list(bounds_of(outline)),
        "properties": {
            "datetime": _time(scene.taken_at),
            "platform": "generated",
            "gsd": PIXEL_METRES,
            "eo:cloud_cover": scene.cloud_cover,
            "proj:code": CRS,
            "proj:shape": [TILE_PIXELS, TILE_PIXELS],
            "proj:transform": [PIXEL_METRES, 0, west, 0, -PIXEL_METRES, north],
        },
        "assets": {band: _asset(scene, band, root) for band in BANDS},
        "links": [
            _link("self", f"{home}/items/{scene.id}", GEOJSON),
            _link("root", f"{root}/"),
            _link("parent", home),
            _link("collection", home),
        ],
    }


def _asset(scene: Scene, band: str, root: str) -> Document:
    return {
        "href": f"{root}/assets/{scene.id}/{band}.tif",
        "type": COG,
        "roles": ["data", "reflectance"],
        "eo:bands": [{"name": band, "common_name": "nir" if band == "nir" else "red"}],
        "raster:bands": [{"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0, "spatial_resolution": 10}],
    }


def feature_collection(scenes: list[Scene], root: str, links: list[Document]) -> Document:
    """One page of a search."""
    return {
        "type": "FeatureCollection",
        "features": [item(scene, root) for scene in scenes],
        "numberReturned": len(scenes),
        "links": [_link("root", f"{root}/"), *links],
    }


def next_by_get(here: str, asked: dict[str, Any], token: str) -> Document:
    """The link of the following page for a GET request."""
    return _link("next", f"{here}?{urlencode({**asked, 'token': token})}", GEOJSON, method="GET")


def next_by_post(here: str, asked: dict[str, Any], token: str) -> Document:
    """The link of the following page for a POST request, with the whole body to send."""
    return _link("next", here, GEOJSON, method="POST", merge=False, body={**asked, "token": token})


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def today(now: datetime) -> date:
    """The archive's calendar is UTC."""
    return now.astimezone(UTC).date()
