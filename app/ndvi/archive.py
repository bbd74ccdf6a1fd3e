"""The newest clear scene over a field, found by STAC item search. Knows the protocol, not the archive behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

import pystac
import pystac_client
from pystac_client import ConformanceClasses
from pystac_client.stac_api_io import StacApiIO

from ndvi.shapes import GeometryError, Shape
from ndvi.upstream import Upstream, UpstreamError, UpstreamMalformedError

#: Scenes that are looked at, newest first, before the search gives up.
MAX_SCENES: Final = 200
PAGE: Final = 20


class NoClearSceneError(Exception):
    """No scene of these dates is clear enough and holds the whole field: widen the dates or raise max_cloud."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of a scene. Reflectance = pixel x scale + offset."""

    href: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class ArchiveScene:
    """What the archive says of the chosen scene."""

    id: str
    collection: str
    taken_at: datetime
    cloud_cover: float  #: percent
    red: Asset
    nir: Asset


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for. Dates are UTC and inclusive."""

    geometry: Mapping[str, Any]
    start: date
    end: date
    max_cloud: float  #: percent
    collection: str | None
    red_asset: str
    nir_asset: str


class _UpstreamIO(StacApiIO):
    """pystac-client's requests, sent through Upstream: one deadline, one retry policy, one set of metrics."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(max_retries=None)
        self._upstream = upstream

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        if (method or "GET").upper() == "POST":
            answer = self._upstream.post("search", href, headers=headers, json=parameters)
        else:
            answer = self._upstream.get("search", href, headers=headers, params=parameters)
        return answer.content.decode("utf-8", errors="replace")


def newest_clear_scene(upstream: Upstream, url: str, wanted: Wanted) -> ArchiveScene:
    """The newest scene that is clear enough and holds the whole field.

    Raises NoClearSceneError, UpstreamError.
    """
    field = Shape(wanted.geometry)
    try:
        for item in _newest_first(upstream, url, wanted):
            if _is_usable(item, field, wanted):
                return _described(item, wanted)
    except UpstreamError:
        raise
    except Exception as error:  # pystac meets a malformed document with whatever its code then runs into
        raise UpstreamMalformedError(f"{url} does not answer as a STAC API does: {error}") from error
    raise NoClearSceneError(
        f"No scene from {wanted.start} to {wanted.end} with at most {wanted.max_cloud} % cloud holds the whole field: "
        "widen params.start and params.end, or raise params.max_cloud."
    )


def _newest_first(upstream: Upstream, url: str, wanted: Wanted) -> Iterator[pystac.Item]:
    """What the archive cannot filter or sort is filtered and sorted here."""
    client = pystac_client.Client.open(url, stac_io=_UpstreamIO(upstream))
    sorts = client.conforms_to(ConformanceClasses.SORT)
    filters = client.conforms_to(ConformanceClasses.QUERY)
    # Older archives search by GET only; POST takes outlines of any length.
    methods = {link.extra_fields.get("method", "GET") for link in client.get_links("search")}
    search = client.search(
        method="POST" if "POST" in methods else "GET",
        intersects=dict(wanted.geometry),
        datetime=f"{wanted.start}T00:00:00Z/{wanted.end}T23:59:59Z",
        collections=[wanted.collection] if wanted.collection else None,
        query={"eo:cloud_cover": {"lte": wanted.max_cloud}} if filters else None,
        sortby="-properties.datetime" if sorts else None,
        limit=PAGE,
    )
    items = islice(search.items(), MAX_SCENES)
    return items if sorts else iter(sorted(items, key=_taken_at, reverse=True))


def _taken_at(item: pystac.Item) -> datetime:
    taken_at: datetime | None = item.datetime or item.common_metadata.start_datetime
    return taken_at or datetime.min.replace(tzinfo=UTC)


def _is_usable(item: pystac.Item, field: Shape, wanted: Wanted) -> bool:
    if item.properties.get("eo:cloud_cover", 100) > wanted.max_cloud:
        return False
    if wanted.red_asset not in item.assets or wanted.nir_asset not in item.assets:
        return False
    try:
        return Shape(item.geometry).covers(field)
    except GeometryError:
        return False


def _described(item: pystac.Item, wanted: Wanted) -> ArchiveScene:
    return ArchiveScene(
        id=item.id,
        collection=item.collection_id or "",
        taken_at=_taken_at(item),
        cloud_cover=float(item.properties["eo:cloud_cover"]),
        red=_asset(item, wanted.red_asset),
        nir=_asset(item, wanted.nir_asset),
    )


def _asset(item: pystac.Item, name: str) -> Asset:
    """Scale and offset stand in ``raster:bands`` (STAC 1.0) or in ``bands`` or the asset itself (1.1)."""
    asset = item.assets[name]
    fields = asset.extra_fields
    band = {**fields, **(fields.get("bands") or [{}])[0], **(fields.get("raster:bands") or [{}])[0]}
    href = asset.get_absolute_href() or asset.href
    scale = band.get("scale", band.get("raster:scale", 1))
    return Asset(href, float(scale), float(band.get("offset", band.get("raster:offset", 0))))


def source_document(scene: ArchiveScene) -> dict[str, Any]:
    """What a stored scene remembers of its origin; JSON."""
    return {
        "item": scene.id,
        "collection": scene.collection,
        "taken_at": scene.taken_at.isoformat(),
        "cloud_cover": scene.cloud_cover,
        "red": scene.red.href,
        "nir": scene.nir.href,
    }
