"""The colour picture of an index: what a person looks at before trusting the figures."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from ndvi.index import FloatArray

#: Longest edge in pixels. A larger index is read from its overviews, so memory stays bounded.
EDGE = 1024

#: Index -> red, green, blue. Water, bare soil, sparse, closed canopy; linear in between.
RAMP = (
    (-1.0, (38, 68, 120)),
    (-0.1, (120, 150, 190)),
    (0.0, (196, 164, 120)),
    (0.2, (240, 226, 170)),
    (0.4, (176, 206, 108)),
    (0.6, (88, 160, 62)),
    (0.8, (24, 108, 40)),
    (1.0, (0, 60, 24)),
)


def colours(values: FloatArray) -> NDArray[np.uint8]:
    """RGBA of shape (rows, columns, 4); a pixel without index is transparent."""
    stops = [stop for stop, _ in RAMP]
    known = ~np.isnan(values)
    filled = np.where(known, values, 0)
    picture = np.empty((*values.shape, 4), dtype=np.uint8)
    for channel in range(3):
        picture[..., channel] = np.rint(np.interp(filled, stops, [colour[channel] for _, colour in RAMP]))
    picture[..., 3] = np.where(known, 255, 0)
    return picture


def write_quicklook(index: Path, target: Path) -> None:
    """Writes the picture of an index raster as PNG, at most EDGE pixels wide and high."""
    with rasterio.open(index) as dataset:
        shrink = max(1.0, max(dataset.shape) / EDGE)
        shape = tuple(max(1, round(length / shrink)) for length in dataset.shape)
        values = dataset.read(1, out_shape=shape)
    Image.fromarray(colours(values)).save(target, format="PNG", optimize=False)
