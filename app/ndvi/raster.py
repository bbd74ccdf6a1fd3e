"""One windowed code path from a GeoTIFF of any size to its index: COG, quicklook, statistics.

Two passes in windows of at most a million pixels. The first reads the two bands, writes the index to
a scratch raster beside the outputs and surveys it; the second reads the scratch raster back and
refines the quantiles. Memory is one window, GDAL's block cache and fixed counters, whatever the size.
Knows rasterio and numpy; no Django, no job, no storage.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from ndvi import gdal_limits
from ndvi.index import Band, BoolArray, IndexBlock, ndvi
from ndvi.quicklook import write_quicklook
from ndvi.statistics import Refinement, Statistics, Survey, summarise

gdal_limits.apply()
# A raster without a place on earth has an index all the same; its outputs have no place either.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

#: Pixels of one window. A window costs about 40 bytes a pixel at its peak.
WINDOW_PIXELS = 1 << 20
#: Edge of a window over a tiled raster, in pixels, before rounding to whole blocks.
WINDOW_EDGE = 1024
#: Edge of the tiles of what we write, in pixels.
TILE = 512

type OnWindow = Callable[[], None]


class RasterError(Exception):
    """A raster cannot be processed; the message names the cause and the fix."""


class NoSuchBand(RasterError):
    """A parameter names a band that the raster does not have."""


class UnreadableRaster(RasterError):
    """The raster's bytes are not what its header promises."""


class RasterStatistics(Statistics):
    """The statistics of the index and of the pixels that have none."""

    pixels: int  #: width x height
    valid_share: float  #: count / pixels
    masked: int  #: pixels without a measurement
    undefined: int  #: pixels with red + nir <= 0
    clipped: int  #: counted pixels whose index was outside [-1, 1]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one computation, all inside the folder that was given."""

    index: Path  #: COG, one float32 band, NaN = no index
    quicklook: Path  #: PNG, at most 1024 pixels wide and high
    document: Path  #: JSON: the statistics
    statistics: RasterStatistics


@dataclass(slots=True)
class _Tally:
    masked: int = 0
    undefined: int = 0
    clipped: int = 0

    def add(self, block: IndexBlock) -> None:
        self.masked += block.masked
        self.undefined += block.undefined
        self.clipped += block.clipped


def compute(source: Path, *, red: int, nir: int, folder: Path, on_window: OnWindow = lambda: None) -> Outputs:
    """The index of ``source`` from bands ``red`` and ``nir`` (counted from 1), written into ``folder``.

    ``folder`` must exist, on a disk with room for 8 bytes a pixel. ``on_window`` is called before each
    window; what it raises ends the computation. Raises NoSuchBand, UnreadableRaster.
    """
    scratch = folder / "index.scratch.tif"
    with _opened(source) as dataset:
        _require_bands(dataset, red=red, nir=nir)
        survey, tally = _survey(dataset, scratch, red=red, nir=nir, on_window=on_window)
        pixels = dataset.width * dataset.height
    statistics = _describe(_refine(scratch, survey, on_window=on_window), tally, pixels)
    outputs = Outputs(folder / "ndvi.tif", folder / "ndvi.png", folder / "statistics.json", statistics)
    write_cog(scratch, outputs.index)
    scratch.unlink()
    write_quicklook(outputs.index, outputs.quicklook)
    outputs.document.write_text(json.dumps(statistics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return outputs


def open_geotiff(path: Path) -> AbstractContextManager[Any]:
    """Opens a file as GeoTIFF and as nothing else: a VRT in disguise could read other files."""
    opened: AbstractContextManager[Any] = rasterio.open(path, driver="GTiff")
    return opened


def windows(width: int, height: int, block: tuple[int, int]) -> Iterator[Window]:
    """Windows that tile a raster in whole blocks, none above WINDOW_PIXELS.

    ``block`` is (rows, columns). A raster in strips (blocks as wide as itself) is cut into bands of
    rows, so that no strip is decoded twice; one in tiles is cut into squares.
    """
    block_rows, block_columns = block
    columns = width if block_columns >= width else _whole_blocks(WINDOW_EDGE, block_columns)
    columns = min(columns, width, WINDOW_PIXELS)
    rows = _whole_blocks(WINDOW_PIXELS // columns, block_rows)
    for row in range(0, height, rows):
        for column in range(0, width, columns):
            yield Window(column, row, min(columns, width - column), min(rows, height - row))


def _whole_blocks(length: int, block: int) -> int:
    return length // block * block or length


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    with _readable():
        dataset = open_geotiff(source)
    with dataset as opened:
        yield opened


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise UnreadableRaster(
            f"The raster cannot be read ({error}): write it again and upload the new file."
        ) from error


def _require_bands(dataset: Any, *, red: int, nir: int) -> None:  # noqa: ANN401 - rasterio has no types
    for name, band in (("red", red), ("nir", nir)):
        if not 1 <= band <= dataset.count:
            raise NoSuchBand(f"params.{name}: the scene has no band {band}: give one of 1 to {dataset.count}.")


def _survey(dataset: Any, scratch: Path, *, red: int, nir: int, on_window: OnWindow) -> tuple[Survey, _Tally]:  # noqa: ANN401
    survey, tally = Survey(), _Tally()
    with rasterio.open(scratch, "w", **_scratch_profile(dataset)) as sink:
        for window in windows(dataset.width, dataset.height, dataset.block_shapes[red - 1]):
            on_window()
            # What fails while writing is this machine's fault (a full disk), not the raster's: it is not wrapped.
            with _readable():
                block = _index_of_window(dataset, window, red=red, nir=nir)
            tally.add(block)
            survey.add(block.values)
            sink.write(block.values, 1, window=window)
    return survey, tally


def _index_of_window(dataset: Any, window: Window, *, red: int, nir: int) -> IndexBlock:  # noqa: ANN401
    valid = None if _alpha_is_a_measurement(dataset, red, nir) else _measured(dataset, window, red=red, nir=nir)
    return ndvi(_reflectance(dataset, red, window), _reflectance(dataset, nir, window), valid=valid)


def _measured(dataset: Any, window: Window, *, red: int, nir: int) -> BoolArray:  # noqa: ANN401
    masks: BoolArray = (dataset.read_masks(red, window=window) != 0) & (dataset.read_masks(nir, window=window) != 0)
    return masks


def _alpha_is_a_measurement(dataset: Any, red: int, nir: int) -> bool:  # noqa: ANN401
    """True when the band marked as transparency is one we are to read as reflectance.

    GDAL marks the fourth of four 8-bit bands so by default; believing it would mask each pixel whose
    near infrared is 0.
    """
    marked = {at for at, meaning in enumerate(dataset.colorinterp, start=1) if meaning is ColorInterp.alpha}
    return bool(marked & {red, nir}) and MaskFlags.alpha in dataset.mask_flag_enums[0]


def _reflectance(dataset: Any, band: int, window: Window) -> Band:  # noqa: ANN401
    """Pixels with the band's own scale and offset applied: unlike a scale, an offset changes the index."""
    pixels: NDArray[np.generic] = dataset.read(band, window=window)
    scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
    if (scale, offset) == (1.0, 0.0):
        return pixels
    reflectance: Band = pixels.astype(np.float64) * scale + offset
    return reflectance


def _refine(scratch: Path, survey: Survey, *, on_window: OnWindow) -> Statistics:
    refinement = Refinement(survey)
    with rasterio.open(scratch) as dataset:
        for window in windows(dataset.width, dataset.height, (TILE, TILE)):
            on_window()
            refinement.add(dataset.read(1, window=window))
    return summarise(survey, refinement)


def _describe(statistics: Statistics, tally: _Tally, pixels: int) -> RasterStatistics:
    return RasterStatistics(
        **statistics,
        pixels=pixels,
        valid_share=statistics["count"] / pixels,
        masked=tally.masked,
        undefined=tally.undefined,
        clipped=tally.clipped,
    )


def _scratch_profile(dataset: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "driver": "GTiff",
        "width": dataset.width,
        "height": dataset.height,
        "count": 1,
        "dtype": "float32",
        "nodata": np.nan,
        "crs": dataset.crs,
        "transform": dataset.transform,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "BIGTIFF": "IF_SAFER",
    }


def write_cog(source: Path, target: Path) -> None:
    """Copies a raster as Cloud Optimized GeoTIFF: tiled, deflated, with averaged overviews."""
    rasterio.shutil.copy(
        source,
        target,
        driver="COG",
        COMPRESS="DEFLATE",
        LEVEL=6,
        PREDICTOR="YES",
        BLOCKSIZE=TILE,
        OVERVIEW_RESAMPLING="AVERAGE",
        BIGTIFF="IF_SAFER",
        NUM_THREADS=1,
    )
