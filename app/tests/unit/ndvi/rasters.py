"""GeoTIFFs for tests, made on the spot."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin


def write_geotiff(path: Path, bands: np.ndarray, **profile: object) -> Path:
    """Writes bands of shape (bands, rows, columns) as GeoTIFF in UTM 18N, 10 m a pixel."""
    count, height, width = bands.shape
    options = {
        "driver": "GTiff",
        "crs": "EPSG:32618",
        "transform": from_origin(500_000, 4_600_000, 10, 10),
        "dtype": bands.dtype,
        "count": count,
        "height": height,
        "width": width,
    }
    with rasterio.open(path, "w", **(options | profile)) as sink:
        sink.write(bands)
    return path


def random_bands(seed: int, shape: tuple[int, int, int], dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """Deterministic noise over the whole range of an integer type."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
