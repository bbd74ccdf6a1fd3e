"""One code path from file to index: every size, type and layout against numpy float64 in memory."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from ndvi.raster import NoSuchBand, RasterStatistics, UnreadableRaster, compute, windows
from tests.unit.ndvi.rasters import random_bands, write_geotiff
from tests.unit.ndvi.test_index import plain_float64


def expected_figures(red: np.ndarray, nir: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    values = plain_float64(red, nir, valid)
    seen = values[~np.isnan(values)]
    shares = {"p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9}
    figures = {"count": seen.size, "valid_share": seen.size / values.size, "mean": seen.mean(), "std": seen.std()}
    figures |= {"min": seen.min(), "max": seen.max()}
    return figures | {name: float(np.quantile(seen, share)) for name, share in shares.items()}


def assert_agrees(found: RasterStatistics, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name  # type: ignore[literal-required]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_every_integer_type_agrees_with_float64(tmp_path: Path, dtype: type[np.generic]) -> None:
    bands = random_bands(3, (4, 120, 90), dtype)
    source = write_geotiff(tmp_path / "scene.tif", bands)
    found = compute(source, red=1, nir=4, folder=tmp_path).statistics
    assert_agrees(found, expected_figures(bands[0], bands[3], np.ones(bands.shape[1:], np.bool_)))
    assert found["count"] + found["masked"] + found["undefined"] == found["pixels"] == 120 * 90


def test_nodata_in_either_band_has_no_index(tmp_path: Path) -> None:
    bands = random_bands(4, (2, 60, 70)) // 64
    source = write_geotiff(tmp_path / "scene.tif", bands, nodata=0)
    found = compute(source, red=1, nir=2, folder=tmp_path).statistics
    assert_agrees(found, expected_figures(bands[0], bands[1], (bands[0] != 0) & (bands[1] != 0)))
    assert found["masked"] == np.count_nonzero((bands[0] == 0) | (bands[1] == 0))


def test_a_mask_inside_the_file_is_believed(tmp_path: Path) -> None:
    bands = random_bands(5, (2, 40, 40)) | 1
    mask = np.zeros((40, 40), np.bool_)
    mask[:10] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        source = write_geotiff(tmp_path / "scene.tif", bands)
        with rasterio.open(source, "r+") as dataset:
            dataset.write_mask(mask)
    found = compute(source, red=1, nir=2, folder=tmp_path).statistics
    assert_agrees(found, expected_figures(bands[0], bands[1], mask))


def test_one_valid_pixel_is_enough(tmp_path: Path) -> None:
    bands = np.zeros((2, 30, 30), np.uint16)
    bands[:, 7, 9] = (1000, 3000)
    found = compute(write_geotiff(tmp_path / "s.tif", bands, nodata=0), red=1, nir=2, folder=tmp_path).statistics
    assert (found["count"], found["masked"], found["std"]) == (1, 899, 0.0)
    assert {found["mean"], found["min"], found["p10"], found["p90"], found["max"]} == {0.5}


def test_an_all_masked_raster_has_no_figures(tmp_path: Path) -> None:
    source = write_geotiff(tmp_path / "s.tif", np.zeros((2, 30, 30), np.uint8), nodata=0)
    outputs = compute(source, red=1, nir=2, folder=tmp_path)
    found = outputs.statistics
    assert (found["count"], found["valid_share"], found["masked"]) == (0, 0.0, 900)
    assert (found["mean"], found["min"], found["p50"]) == (None, None, None)
    with Image.open(outputs.quicklook) as picture:
        assert np.asarray(picture)[..., 3].max() == 0


@pytest.mark.parametrize(
    ("shape", "profile"),
    [
        ((1500, 1300), {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"}),
        ((1500, 1300), {"blockysize": 7}),
        ((1, 70_000), {}),
        ((70_000, 1), {}),
    ],
)
def test_more_than_one_window_agrees_with_float64(tmp_path: Path, shape: tuple[int, int], profile: dict) -> None:
    bands = random_bands(6, (2, *shape), np.uint16) // 8
    source = write_geotiff(tmp_path / "s.tif", bands, **profile)
    with rasterio.open(source) as dataset:
        blocks = dataset.block_shapes[0]
    assert len(list(windows(shape[1], shape[0], blocks))) >= 1
    found = compute(source, red=1, nir=2, folder=tmp_path).statistics
    wide = bands.astype(np.float64)
    total = wide[0] + wide[1]
    values = (wide[1] - wide[0])[total > 0] / total[total > 0]
    assert found["count"] == values.size
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert found["p90"] == pytest.approx(np.quantile(values, 0.9), abs=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "block"),
    list(itertools.product([1, 513, 4000], [1, 700, 5000], [(1, 4000), (512, 512), (37, 91)])),
)
def test_windows_cover_every_pixel_once(width: int, height: int, block: tuple[int, int]) -> None:
    covered = np.zeros((height, width), np.uint8)
    for window in windows(width, height, block):
        assert window.width * window.height <= 1 << 20
        covered[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width] += 1
    assert (covered == 1).all()


def test_outputs_are_a_cog_a_picture_and_the_figures(tmp_path: Path) -> None:
    bands = random_bands(8, (2, 1200, 1100))
    outputs = compute(write_geotiff(tmp_path / "s.tif", bands, nodata=0), red=1, nir=2, folder=tmp_path)
    with rasterio.open(outputs.index) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (cog.dtypes, cog.crs.to_epsg(), cog.overviews(1)) == (("float32",), 32618, [2, 4])
        written = cog.read(1)
    valid = (bands[0] != 0) & (bands[1] != 0)
    assert np.count_nonzero(~np.isnan(written)) == outputs.statistics["count"] == np.count_nonzero(valid)
    with Image.open(outputs.quicklook) as picture:
        assert (picture.mode, max(picture.size)) == ("RGBA", 1024)
    assert json.loads(outputs.document.read_text()) == outputs.statistics
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ndvi.png", "ndvi.tif", "s.tif", "statistics.json"]


def test_an_offset_of_the_bands_is_applied_because_it_changes_the_index(tmp_path: Path) -> None:
    source = write_geotiff(tmp_path / "s.tif", np.array([[[2000]], [[4000]]], np.uint16))
    with rasterio.open(source, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 0.0001), (-0.1, -0.1)
    found = compute(source, red=1, nir=2, folder=tmp_path).statistics
    assert found["mean"] == pytest.approx((0.3 - 0.1) / (0.3 + 0.1), abs=1e-6)


@pytest.mark.parametrize(("red", "nir", "field"), [(0, 1, "red"), (1, 3, "nir"), (-1, 1, "red")])
def test_a_band_that_is_not_there_is_named(tmp_path: Path, red: int, nir: int, field: str) -> None:
    source = write_geotiff(tmp_path / "s.tif", random_bands(9, (2, 4, 4)))
    with pytest.raises(NoSuchBand, match=rf"params\.{field}.*1 to 2"):
        compute(source, red=red, nir=nir, folder=tmp_path)


def test_a_damaged_block_is_an_error_not_a_figure(tmp_path: Path) -> None:
    source = write_geotiff(tmp_path / "s.tif", random_bands(10, (2, 300, 300)), compress="deflate")
    content = bytearray(source.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\0" * 2000
    source.write_bytes(content)
    with pytest.raises(UnreadableRaster, match="upload"):
        compute(source, red=1, nir=2, folder=tmp_path)


def test_what_a_window_raises_ends_the_computation(tmp_path: Path) -> None:
    def stop() -> None:
        raise TimeoutError("lease lost")

    source = write_geotiff(tmp_path / "s.tif", random_bands(11, (2, 4, 4)))
    with pytest.raises(TimeoutError, match="lease lost"):
        compute(source, red=1, nir=2, folder=tmp_path, on_window=stop)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_without_a_place_on_earth_has_an_index_too(tmp_path: Path) -> None:
    source = write_geotiff(tmp_path / "s.tif", random_bands(12, (2, 9, 9)), crs=None, transform=None)
    assert compute(source, red=1, nir=2, folder=tmp_path).statistics["pixels"] == 81


def test_a_vrt_in_disguise_is_not_opened(tmp_path: Path) -> None:
    source = tmp_path / "scene.tif"
    source.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises(UnreadableRaster):
        compute(source, red=1, nir=2, folder=tmp_path)
