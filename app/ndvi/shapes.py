"""Whether GeoJSON shapes in degrees touch or hold each other: enough geometry for item search, and no more."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

type Point = tuple[float, float]
type Bounds = tuple[float, float, float, float]
type Path = tuple[Point, ...]
type Segment = tuple[Point, Point]


class GeometryError(ValueError):
    """This is not a GeoJSON geometry in degrees: give a Point, LineString, Polygon or a Multi… of them."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


#: How deep the positions of a type lie, and whether its paths enclose an area.
_DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}


class Shape:
    """A geometry as paths; the paths of an area follow the even-odd rule, so holes need no special case."""

    def __init__(self, geometry: Any) -> None:  # noqa: ANN401 - JSON from outside
        try:
            kind = geometry["type"]
            positions = _flatten(geometry["coordinates"], _DEPTHS[kind])
            self.paths = tuple(tuple(_point(at) for at in path) for path in positions)
            self.bounds: Bounds = bounds_of(tuple(point for path in self.paths for point in path))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise GeometryError from error
        self.is_area = kind.endswith("Polygon")
        self.is_scattered = kind.endswith("Point")

    def segments(self) -> Iterator[Segment]:
        if not self.is_scattered:
            for path in self.paths:
                yield from pairwise(path)

    def contains(self, point: Point) -> bool:
        """Even-odd rule; False for shapes without an area."""
        return self.is_area and sum(_is_right_of(point, segment) for segment in self.segments()) % 2 == 1

    def covers(self, other: "Shape") -> bool:
        """True when every corner of the other lies inside: exact for a convex shape such as a scene's outline."""
        return all(self.contains(point) for path in other.paths for point in path)

    def touches(self, other: "Shape") -> bool:
        """True when the two share a point, up to rounding at their edges."""
        if any(other.contains(path[0]) for path in self.paths) or any(self.contains(path[0]) for path in other.paths):
            return True
        if self.is_scattered:
            return any(other.contains(point) for path in self.paths for point in path)
        return any(_cross(one, two) for one in self.segments() for two in other.segments())


def bounds_of(points: Path) -> Bounds:
    """West, south, east, north."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def polygon(outline: Path) -> dict[str, Any]:
    """GeoJSON of a ring without hole."""
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*outline, outline[0])]]}


def _flatten(coordinates: Any, depth: int) -> list[Any]:  # noqa: ANN401
    if depth <= 1:
        return [[coordinates]] if depth == 0 else [coordinates]
    return [path for part in coordinates for path in _flatten(part, depth - 1)]


def _point(position: Any) -> Point:  # noqa: ANN401
    x, y = float(position[0]), float(position[1])
    if not (-180 <= x <= 180 and -90 <= y <= 90):
        raise ValueError(position)
    return x, y


def _is_right_of(point: Point, segment: Segment) -> bool:
    """Whether a ray from the point to the east crosses the segment."""
    (x1, y1), (x2, y2) = segment
    if (y1 > point[1]) == (y2 > point[1]):
        return False
    return point[0] < (x2 - x1) * (point[1] - y1) / (y2 - y1) + x1


def _cross(one: Segment, two: Segment) -> bool:
    return _splits(one, two) and _splits(two, one)


def _splits(line: Segment, segment: Segment) -> bool:
    """Whether the segment's ends lie on the two sides of the line, or on it."""
    (x1, y1), (x2, y2) = line
    first, second = ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for x, y in segment)
    return first * second <= 0
