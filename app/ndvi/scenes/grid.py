"""The tiles of the sample archive: a square grid of UTM zone 18N, and their outlines in degrees."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform

from ndvi.shapes import Bounds, Point, bounds_of

CRS: Final = "EPSG:32618"
LONLAT: Final = "EPSG:4326"
#: Metres, the lower left corner of the grid (40.6° N, 77.4° W).
ORIGIN: Final = (300_000, 4_500_000)
PIXEL_METRES: Final = 10
TILE_PIXELS: Final = 1024
TILE_METRES: Final = PIXEL_METRES * TILE_PIXELS
#: Tiles along each side: 328 km square.
SIDE: Final = 32


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One square of the grid, counted from the lower left."""

    column: int
    row: int

    @property
    def name(self) -> str:
        return f"{self.column:02d}{self.row:02d}"

    @property
    def number(self) -> int:
        return self.row * SIDE + self.column

    @property
    def upper_left(self) -> Point:
        """Easting and northing in metres."""
        return ORIGIN[0] + self.column * TILE_METRES, ORIGIN[1] + (self.row + 1) * TILE_METRES

    def outline(self) -> tuple[Point, ...]:
        """The four corners in longitude and latitude, counterclockwise from the lower left."""
        west, north = self.upper_left
        south, east = north - TILE_METRES, west + TILE_METRES
        return to_lonlat(((west, south), (east, south), (east, north), (west, north)))


def named(name: str) -> Tile | None:
    """The tile of that name; None when the grid has none."""
    if len(name) != 4 or not (name.isascii() and name.isdigit()):
        return None
    tile = Tile(int(name[:2]), int(name[2:]))
    return tile if max(tile.column, tile.row) < SIDE else None


def to_lonlat(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Easting, northing in metres -> longitude, latitude in degrees to the centimetre."""
    longitudes, latitudes = transform(CRS, LONLAT, *zip(*points, strict=True))
    return tuple((round(x, 7), round(y, 7)) for x, y in zip(longitudes, latitudes, strict=True))


def tiles_in(bounds: Bounds) -> list[Tile]:
    """The tiles whose bounding box touches these bounds, in order of their number."""
    west, south, east, north = bounds
    boxes = _boxes()
    hit = (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
    return [Tile(number % SIDE, number // SIDE) for number in np.flatnonzero(hit).tolist()]


def extent() -> Bounds:
    """West, south, east, north of the whole grid."""
    boxes = _boxes()
    low, high = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    return low[0], low[1], high[0], high[1]


@cache
def _boxes() -> NDArray[np.float64]:
    """Bounds of every tile, shape (SIDE², 4), by number."""
    tiles = (Tile(number % SIDE, number // SIDE) for number in range(SIDE * SIDE))
    return np.array([bounds_of(tile.outline()) for tile in tiles])
