"""Where a farm's field lies when a request does not say: a fixed place in the sample archive's grid.

A real deployment gives the field's outline as ``params.geometry`` or puts its own register here.
"""

import hashlib
import math
from typing import Any, Final

from ndvi.scenes.grid import PIXEL_METRES, SIDE, TILE_PIXELS, Tile, to_lonlat
from ndvi.shapes import Point

#: Pixels between a field's centre and the edge of its tile: a field never lies on two tiles.
_MARGIN: Final = 128


def field_of(farm_id: str) -> dict[str, Any]:
    """The outline of a farm's field as GeoJSON polygon in degrees; the same for ever for one id."""
    digest = hashlib.sha256(f"holdfast farm {farm_id}".encode()).digest()
    draws = [int.from_bytes(digest[at : at + 4]) / 2**32 for at in range(0, 28, 4)]
    tile = Tile(int(draws[0] * SIDE), int(draws[1] * SIDE))
    ring = to_lonlat(_corners(_centre(tile, draws[2], draws[3]), *draws[4:7]))
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*ring, ring[0])]]}


def _centre(tile: Tile, across: float, down: float) -> Point:
    west, north = tile.upper_left
    room = TILE_PIXELS - 2 * _MARGIN
    return west + (_MARGIN + across * room) * PIXEL_METRES, north - (_MARGIN + down * room) * PIXEL_METRES


def _corners(centre: Point, length: float, width: float, turn: float) -> tuple[Point, ...]:
    """A rectangle of 300 to 900 m by 200 to 600 m, turned."""
    half_length, half_width = 150 + 300 * length, 100 + 200 * width
    cosine, sine = math.cos(turn * math.pi), math.sin(turn * math.pi)
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return tuple(
        (
            centre[0] + x * half_length * cosine - y * half_width * sine,
            centre[1] + x * half_length * sine + y * half_width * cosine,
        )
        for x, y in corners
    )
