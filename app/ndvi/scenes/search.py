"""Item search over the generated archive: parse a request, walk the scenes that answer it, page by page."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any, Final

from ndvi.scenes.grid import Tile, extent, named, tiles_in
from ndvi.scenes.imagery import cloud_cover
from ndvi.shapes import Bounds, GeometryError, Shape, polygon

COLLECTION: Final = "sample-fields"
FIRST_DAY: Final = date(2020, 1, 1)
#: Days between two scenes of a tile.
REVISIT: Final = 5
DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 250
#: Scenes that a search may sort by cloud cover; by date there is no limit.
MAX_SORTED: Final = 20_000
_COMPARE: Final = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


class SearchError(ValueError):
    """A search parameter is malformed; the message names it."""


@dataclass(frozen=True, slots=True, order=True)
class Scene:
    """One item of the archive."""

    day: date
    tile: Tile

    @property
    def id(self) -> str:
        return f"{COLLECTION}-{self.tile.name}-{self.day:%Y%m%d}"

    @property
    def taken_at(self) -> datetime:
        """Late morning over the grid; two scenes of a day differ by seconds."""
        return datetime(self.day.year, self.day.month, self.day.day, 15, 50, tzinfo=UTC) + timedelta(
            seconds=self.tile.number
        )

    @property
    def cloud_cover(self) -> float:
        return cloud_cover(self.tile, self.day)


def scene_named(name: str, *, today: date) -> Scene | None:
    """The scene of that id; None when the archive has none."""
    collection, _, rest = name.rpartition(f"{COLLECTION}-")
    tile_name, _, day = rest.partition("-")
    tile = named(tile_name)
    if collection or tile is None or len(day) != 8 or not (day.isascii() and day.isdigit()):
        return None
    try:
        scene = Scene(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), tile)
    except ValueError:
        return None
    return scene if FIRST_DAY <= scene.day <= today and _is_taken(scene) else None


def _is_taken(scene: Scene) -> bool:
    return (scene.day.toordinal() + scene.tile.number) % REVISIT == 0


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed request."""

    shape: Shape | None
    ids: frozenset[str] | None
    known_collection: bool
    begin: datetime
    end: datetime
    conditions: tuple[tuple[str, str, float], ...]  #: (property, operator, value)
    sort: str  #: datetime or eo:cloud_cover
    descending: bool
    limit: int
    token: str


def parse(request: Mapping[str, Any], *, now: datetime) -> Search:
    """Reads the parameters of GET or POST /search. Raises SearchError that names the faulty one."""
    begin, end = _interval(request.get("datetime"), now)
    sort, descending = _sort(request.get("sortby"))
    collections = request.get("collections")
    ids = request.get("ids")
    return Search(
        shape=_shape(request),
        ids=frozenset(map(str, _as_list(ids))) if ids else None,
        known_collection=not collections or COLLECTION in _as_list(collections),
        begin=begin,
        end=end,
        conditions=_conditions(request.get("query")),
        sort=sort,
        descending=descending,
        limit=_limit(request.get("limit", DEFAULT_LIMIT)),
        token=str(request.get("token") or ""),
    )


def page(search: Search) -> tuple[list[Scene], str]:
    """The scenes of one page and the token of the next, "" after the last."""
    if not search.known_collection:
        return [], ""
    found = _by_cloud(search) if search.sort == "eo:cloud_cover" else _by_date(search)
    scenes = list(islice(found, search.limit + 1))
    if len(scenes) <= search.limit:
        return scenes, ""
    following = scenes[search.limit]
    if search.sort == "eo:cloud_cover":
        return scenes[:-1], str(_offset(search.token) + search.limit)
    return scenes[:-1], f"{following.day:%Y%m%d}-{following.tile.number}"


def _by_date(search: Search) -> Iterator[Scene]:
    start = _after(search.token)
    for scene in _matching(search, start[0] if start else None):
        key = (scene.day, scene.tile.number)
        if start is None or (key <= start if search.descending else key >= start):
            yield scene


def _by_cloud(search: Search) -> Iterator[Scene]:
    scenes = list(islice(_matching(search, None), MAX_SORTED + 1))
    if len(scenes) > MAX_SORTED:
        raise SearchError(f"sortby: over {MAX_SORTED:,} scenes match: narrow datetime or bbox, or sort by datetime")
    scenes.sort(key=lambda scene: (scene.cloud_cover, scene.id), reverse=search.descending)
    yield from scenes[_offset(search.token) :]


def _matching(search: Search, start: date | None) -> Iterator[Scene]:
    tiles = _tiles(search)
    ordered = tiles[::-1] if search.descending else tiles
    for day in _days(search, start):
        for tile in ordered:
            scene = Scene(day, tile)
            if _is_taken(scene) and _answers(scene, search):
                yield scene


def _tiles(search: Search) -> list[Tile]:
    if search.shape is None:
        return tiles_in(extent())
    shape = search.shape
    return [tile for tile in tiles_in(shape.bounds) if shape.touches(Shape(polygon(tile.outline())))]


def _days(search: Search, start: date | None) -> Iterator[date]:
    first, last = max(search.begin.date(), FIRST_DAY), search.end.date()
    if start is not None:
        first, last = (first, min(last, start)) if search.descending else (max(first, start), last)
    count = (last - first).days + 1
    for at in range(count):
        yield last - timedelta(days=at) if search.descending else first + timedelta(days=at)


def _answers(scene: Scene, search: Search) -> bool:
    if not search.begin <= scene.taken_at <= search.end or (search.ids is not None and scene.id not in search.ids):
        return False
    return all(_COMPARE[operator](scene.cloud_cover, value) for _, operator, value in search.conditions)


# -- parameters -----------------------------------------------------------------------------------------------------
def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - JSON from outside
    return value.split(",") if isinstance(value, str) else list(value)


def _shape(request: Mapping[str, Any]) -> Shape | None:
    bbox, intersects = request.get("bbox"), request.get("intersects")
    if bbox and intersects:
        raise SearchError("bbox, intersects: give one of the two, not both")
    if bbox:
        return Shape(_box(bbox))
    try:
        return Shape(json.loads(intersects) if isinstance(intersects, str) else intersects) if intersects else None
    except (GeometryError, json.JSONDecodeError) as error:
        raise SearchError(f"intersects: {GeometryError.__doc__}") from error


def _box(value: Any) -> dict[str, Any]:  # noqa: ANN401
    try:
        numbers = [float(number) for number in _as_list(value)]
        west, south, east, north = numbers if len(numbers) == 4 else (*numbers[:2], *numbers[3:5])
        if len(numbers) not in (4, 6) or south > north or west > east:
            raise ValueError(numbers)
        box: Bounds = (west, south, east, north)
        Shape({"type": "MultiPoint", "coordinates": [box[:2], box[2:]]})
    except (TypeError, ValueError) as error:
        raise SearchError("bbox: give west,south,east,north in degrees") from error
    return polygon(((west, south), (east, south), (east, north), (west, north)))


def _interval(value: Any, now: datetime) -> tuple[datetime, datetime]:  # noqa: ANN401
    earliest = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    if not value:
        return earliest, now
    try:
        first, _, second = str(value).partition("/")
        begin = earliest if first in ("", "..") else _instant(first)
        end = _instant(first) if "/" not in str(value) else now if second in ("", "..") else _instant(second)
    except ValueError as error:
        raise SearchError("datetime: give an RFC 3339 instant or begin/end, with .. for an open end") from error
    return begin, min(end, now)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _conditions(value: Any) -> tuple[tuple[str, str, float], ...]:  # noqa: ANN401
    try:
        query = json.loads(value) if isinstance(value, str) else value or {}
        found = [(name, operator, float(limit)) for name, ask in query.items() for operator, limit in ask.items()]
    except (AttributeError, TypeError, ValueError) as error:
        raise SearchError('query: give {"eo:cloud_cover": {"lt": 20}}') from error
    for name, operator, _ in found:
        if name != "eo:cloud_cover" or operator not in _COMPARE:
            known = ", ".join(_COMPARE)
            raise SearchError(f"query: {name} {operator} is not searchable: use eo:cloud_cover with {known}")
    return tuple(found)


def _sort(value: Any) -> tuple[str, bool]:  # noqa: ANN401
    """GET says ``-properties.datetime``, POST ``[{"field": …, "direction": …}]``; only the first key counts."""
    if not value:
        return "datetime", True
    try:
        first = _as_list(value)[0]
        if isinstance(first, str):
            field, descending = first.lstrip("+-"), first.startswith("-")
        else:
            field, descending = str(first["field"]), first.get("direction", "asc") == "desc"
    except (IndexError, KeyError, TypeError) as error:
        raise SearchError('sortby: give [{"field": "properties.datetime", "direction": "desc"}]') from error
    name = field.removeprefix("properties.")
    if name not in ("datetime", "eo:cloud_cover"):
        raise SearchError(f"sortby: {field} is not sortable: use properties.datetime or properties.eo:cloud_cover")
    return name, descending


def _limit(value: Any) -> int:  # noqa: ANN401
    try:
        limit = int(value)
    except (TypeError, ValueError) as error:
        raise SearchError(f"limit: give a number from 1 to {MAX_LIMIT}") from error
    if limit < 1:
        raise SearchError(f"limit: give a number from 1 to {MAX_LIMIT}")
    return min(limit, MAX_LIMIT)


def _after(token: str) -> tuple[date, int] | None:
    if not token:
        return None
    day, _, number = token.partition("-")
    try:
        return datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), int(number)
    except ValueError as error:
        raise SearchError("token: use the link of the page before") from error


def _offset(token: str) -> int:
    if token and not token.isdigit():
        raise SearchError("token: use the link of the page before")
    return int(token or 0)
