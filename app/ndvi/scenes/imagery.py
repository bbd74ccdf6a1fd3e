"""The pixels of a generated scene: fields that grow and are harvested, a lake, clouds.

Deterministic from tile and date. Reflectance times 10,000 as uint16; 0 = no measurement (cloud).
"""

import hashlib
from datetime import date
from typing import Final

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.transform import from_origin

from ndvi.scenes.grid import CRS, PIXEL_METRES, TILE_PIXELS, Tile

BANDS: Final = ("red", "nir")
#: Edge of one field of the patchwork, in pixels.
_FIELD: Final = 32
_BLOCK: Final = 256

type Pixels = NDArray[np.uint16]


def cloud_cover(tile: Tile, day: date) -> float:
    """Percent of the scene under cloud: under 15 on about half of all dates."""
    share = int.from_bytes(_digest(tile, f"cloud {day.isoformat()}")[:4]) / 2**32
    percent = share * 30 if share < 0.5 else 15 + (share - 0.5) * 170
    return round(percent, 2)


def reflectance(tile: Tile, day: date) -> tuple[Pixels, Pixels]:
    """Red and near infrared of one scene, each of shape (TILE_PIXELS, TILE_PIXELS)."""
    index, brightness = _ground(tile, day)
    noise = _generator(tile, f"noise {day.isoformat()}")
    index = np.clip(index + noise.normal(0, 0.02, index.shape), -0.9, 0.95)
    clear = ~_clouds(tile, day)
    red = _as_pixels(brightness * (1 - index) / 2, clear)
    return red, _as_pixels(brightness * (1 + index) / 2, clear)


def cog(tile: Tile, day: date, band: str) -> bytes:
    """One band of one scene as Cloud Optimized GeoTIFF."""
    pixels = reflectance(tile, day)[BANDS.index(band)]
    profile = {
        "driver": "GTiff",
        "width": TILE_PIXELS,
        "height": TILE_PIXELS,
        "count": 1,
        "dtype": "uint16",
        "nodata": 0,
        "crs": CRS,
        "transform": from_origin(*tile.upper_left, PIXEL_METRES, PIXEL_METRES),
    }
    with rasterio.MemoryFile() as plain, rasterio.MemoryFile() as optimized:
        with plain.open(**profile) as sink:
            sink.write(pixels, 1)
        options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": _BLOCK, "OVERVIEW_RESAMPLING": "NEAREST"}
        rasterio.shutil.copy(plain.name, optimized.name, driver="COG", **options)
        return bytes(optimized.read())


def _digest(tile: Tile, what: str) -> bytes:
    return hashlib.sha256(f"holdfast {tile.name} {what}".encode()).digest()


def _generator(tile: Tile, what: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(_digest(tile, what)[:8]))


def _as_pixels(reflected: NDArray[np.float64], clear: NDArray[np.bool_]) -> Pixels:
    # 1 is the darkest measurement: 0 says that there is none.
    scaled = np.clip(np.rint(reflected * 10_000), 1, 65_535)
    return np.where(clear, scaled, 0).astype(np.uint16)


def _ground(tile: Tile, day: date) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Index and brightness (red + nir) of the ground without noise and cloud."""
    fields = _generator(tile, "fields")
    side = TILE_PIXELS // _FIELD
    sown = fields.uniform(110, 210, (side, side))
    vigour = fields.uniform(0.25, 0.75, (side, side))
    season = fields.uniform(35, 60, (side, side))
    day_of_year = day.timetuple().tm_yday
    index = 0.14 + vigour * np.exp(-(((day_of_year - sown) / season) ** 2))
    brightness = fields.uniform(0.32, 0.46, (side, side))
    patchwork = np.ones((_FIELD, _FIELD))
    whole = np.kron(index, patchwork) + 0.05 * _smooth(fields, 24)
    lit = np.kron(brightness, patchwork)
    lake = _lake(fields)
    return np.where(lake, -0.35, whole), np.where(lake, 0.06, lit)


def _lake(fields: np.random.Generator) -> NDArray[np.bool_]:
    """A lake at an edge of the tile, where no sample field lies."""
    rows, columns = np.ogrid[:TILE_PIXELS, :TILE_PIXELS]
    across, along = fields.uniform(0.2, 0.8) * TILE_PIXELS, fields.uniform(20, 60)
    return np.asarray(((columns - across) / (3 * along)) ** 2 + (rows / along) ** 2 < 1)


def _clouds(tile: Tile, day: date) -> NDArray[np.bool_]:
    cover = cloud_cover(tile, day) / 100
    height = _smooth(_generator(tile, f"clouds {day.isoformat()}"), 12)
    return np.asarray(height > np.quantile(height, 1 - cover)) if cover < 1 else np.ones(height.shape, np.bool_)


def _smooth(generator: np.random.Generator, knots: int) -> NDArray[np.float64]:
    """Noise of [-1, 1], linear between knots x knots random heights."""
    heights = generator.uniform(-1, 1, (knots, knots))
    at = np.linspace(0, knots - 1, TILE_PIXELS)
    weights = np.stack([np.interp(at, np.arange(knots), row) for row in np.eye(knots)])
    return np.asarray(weights.T @ heights @ weights)
