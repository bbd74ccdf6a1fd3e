"""Whether a file is the scene it claims to be: a whole GeoTIFF with bands that an index can be made of.

Every refusal says what is wrong with the file and what to do. Knows no framework and no storage.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ndvi.raster import open_geotiff
from ndvi.tiff_layout import LayoutError, require_whole

#: Pixels of one band. The index of a scene of this size takes 4 GB of scratch.
MAX_PIXELS: Final = 1_000_000_000
#: Bytes of one decoded block. A block is decoded whole, so it bounds the memory of every reader.
MAX_BLOCK_BYTES: Final = 32 << 20
MAX_BANDS: Final = 1000


class SceneInvalidError(Exception):
    """The file is not a scene; the message says why and what to send instead."""


@dataclass(frozen=True, slots=True)
class SceneHeader:
    """What the file says of itself."""

    width: int  #: pixels
    height: int  #: pixels
    bands: int
    dtype: str  #: numpy's name
    crs: str  #: EPSG code or WKT; empty when the file has none


def inspect(path: Path) -> SceneHeader:
    """Reads header, layout and sample blocks of every band. Raises SceneInvalidError."""
    try:
        with path.open("rb") as stream:
            require_whole(stream)
    except LayoutError as error:
        raise SceneInvalidError(f"This is not a whole GeoTIFF: {error}. Send a complete .tif file.") from error
    try:
        with open_geotiff(path) as dataset:
            _require_usable(dataset)
            _read_samples(dataset)
            return _header(dataset)
    except RasterioError as error:
        raise SceneInvalidError(
            f"This GeoTIFF cannot be read: {error}. Write it again and send the new file."
        ) from error


def _header(dataset: Any) -> SceneHeader:  # noqa: ANN401 - rasterio has no types
    return SceneHeader(dataset.width, dataset.height, dataset.count, dataset.dtypes[0], str(dataset.crs or ""))


def _require_usable(dataset: Any) -> None:  # noqa: ANN401
    if dataset.count < 2:
        raise SceneInvalidError(
            "The GeoTIFF has one band: an index needs red and near infrared in one file. "
            "Join the two, e.g. gdal_merge.py -separate -o scene.tif red.tif nir.tif."
        )
    if dataset.count > MAX_BANDS:
        raise SceneInvalidError(f"The GeoTIFF has {dataset.count:,} bands, over {MAX_BANDS:,}: send only those needed.")
    for dtype in set(dataset.dtypes):
        if np.dtype(dtype).kind not in "iuf":
            raise SceneInvalidError(
                f"A band holds {dtype}: convert it to integers or floats, e.g. gdal_translate -ot Float32."
            )
    _require_bounded(dataset)


def _require_bounded(dataset: Any) -> None:  # noqa: ANN401
    pixels = dataset.width * dataset.height
    if pixels > MAX_PIXELS:
        raise SceneInvalidError(
            f"The raster has {pixels:,} pixels, over {MAX_PIXELS:,}: cut it, e.g. gdal_translate -srcwin."
        )
    rows, columns = dataset.block_shapes[0]
    together = dataset.count if str(dataset.profile.get("interleave")) == "pixel" else 1
    size = rows * columns * together * max(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    if size > MAX_BLOCK_BYTES:
        raise SceneInvalidError(
            f"Its blocks of {columns} x {rows} pixels decode to {size:,} bytes, over {MAX_BLOCK_BYTES:,}: "
            "tile it, e.g. gdal_translate -co TILED=YES."
        )


def _read_samples(dataset: Any) -> None:  # noqa: ANN401
    """Decodes the first, the middle and the last block of each band: a wrong codec or damaged data shows here."""
    for band in range(1, dataset.count + 1):
        rows, columns = dataset.block_shapes[band - 1]
        for share in (0.0, 0.5, 1.0):
            top = round(share * (dataset.height - 1)) // rows * rows
            left = round(share * (dataset.width - 1)) // columns * columns
            dataset.read(
                band, window=Window(left, top, min(columns, dataset.width - left), min(rows, dataset.height - top))
            )
