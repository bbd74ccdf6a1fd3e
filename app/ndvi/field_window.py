"""Only the window of a field out of an archive's scene: two bands, pixels outside the outline masked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom
from rasterio.windows import Window, from_bounds

from ndvi.archive import ArchiveScene
from ndvi.raster import windows
from ndvi.remote_file import RemoteFile, open_remote
from ndvi.upstream import Upstream, UpstreamMalformedError

#: Pixels of a field's window: 40 km square at 10 m. Larger areas are a scene, to be uploaded.
MAX_PIXELS: Final = 16_000_000
_TILE: Final = 256


class FieldTooLargeError(Exception):
    """The field's window has too many pixels: give a smaller params.geometry, or upload the scene."""


class FieldOutsideError(Exception):
    """The field does not lie on the scene's pixels."""


@dataclass(frozen=True, slots=True)
class FieldRead:
    """How much of the archive's files travelled."""

    width: int
    height: int
    bytes_read: int
    bytes_upstream: int  #: size of the two files


def read_field(
    upstream: Upstream,
    scene: ArchiveScene,
    geometry: Mapping[str, Any],
    target: Path,
    on_window: Callable[[], None] = lambda: None,
) -> FieldRead:
    """Writes the field's window as GeoTIFF: band 1 red, band 2 near infrared.

    Raises UpstreamError, FieldTooLargeError, FieldOutsideError.
    """
    red_file, nir_file = RemoteFile(upstream, scene.red.href), RemoteFile(upstream, scene.nir.href)
    with open_remote(red_file) as red, open_remote(nir_file) as nir:
        _require_one_grid(red, nir)
        outline = transform_geom("EPSG:4326", red.crs, dict(geometry))
        window = _window_of(red, outline)
        with rasterio.open(target, "w", **_profile(red, window)) as sink:
            sink.scales, sink.offsets = (scene.red.scale, scene.nir.scale), (scene.red.offset, scene.nir.offset)
            sink.descriptions = ("red", "nir")
            _copy((red, nir), sink, outline, window, on_window)
    read = red_file.bytes_read + nir_file.bytes_read
    return FieldRead(int(window.width), int(window.height), read, red_file.size + nir_file.size)


def _require_one_grid(red: Any, nir: Any) -> None:  # noqa: ANN401 - rasterio has no types
    if (red.shape, red.transform, red.crs) != (nir.shape, nir.transform, nir.crs) or red.crs is None:
        raise UpstreamMalformedError("the scene's red and near infrared do not share a grid: choose other assets")


def _window_of(dataset: Any, outline: dict[str, Any]) -> Window:  # noqa: ANN401
    """The whole pixels that the outline touches."""
    west, south, east, north = rasterio.features.bounds(outline)
    exact = from_bounds(west, south, east, north, transform=dataset.transform)
    left, top = int(np.floor(exact.col_off)), int(np.floor(exact.row_off))
    right, bottom = int(np.ceil(exact.col_off + exact.width)), int(np.ceil(exact.row_off + exact.height))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, dataset.width), min(bottom, dataset.height)
    if left >= right or top >= bottom:
        raise FieldOutsideError("The field does not lie on the scene's pixels: give another params.geometry.")
    if (right - left) * (bottom - top) > MAX_PIXELS:
        pixels = (right - left) * (bottom - top)
        raise FieldTooLargeError(
            f"params.geometry: the field's window has {pixels:,} pixels, over {MAX_PIXELS:,}: give a smaller one."
        )
    return Window(left, top, right - left, bottom - top)


def _profile(dataset: Any, window: Window) -> dict[str, Any]:  # noqa: ANN401
    return {
        "driver": "GTiff",
        "count": 2,
        "width": int(window.width),
        "height": int(window.height),
        "dtype": dataset.dtypes[0],
        "nodata": 0 if dataset.nodata is None else dataset.nodata,
        "crs": dataset.crs,
        "transform": dataset.window_transform(window),
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
    }


def _copy(
    bands: tuple[Any, Any],
    sink: Any,  # noqa: ANN401
    outline: dict[str, Any],
    whole: Window,
    on_window: Callable[[], None],
) -> None:
    for part in windows(sink.width, sink.height, (_TILE, _TILE)):
        on_window()
        source = Window(whole.col_off + part.col_off, whole.row_off + part.row_off, part.width, part.height)
        outside = geometry_mask(
            [outline], (int(part.height), int(part.width)), sink.window_transform(part), all_touched=False
        )
        for number, band in enumerate(bands, start=1):
            missing = outside | (band.read_masks(1, window=source) == 0)
            pixels = np.where(missing, np.asarray(sink.nodata, sink.dtypes[0]), band.read(1, window=source))
            sink.write(pixels, number, window=part)
