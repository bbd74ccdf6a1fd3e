"""Real scenes, where NDVI_SAMPLE_DIR names a folder of GeoTIFFs with red as band 1 and near infrared as band 4."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ndvi.inspection import inspect
from ndvi.raster import compute
from tests.unit.ndvi.test_raster import assert_agrees

SAMPLES = sorted(Path(os.environ.get("NDVI_SAMPLE_DIR", "/nowhere")).glob("*.tif"))


@pytest.mark.no_servers
@pytest.mark.skipif(not SAMPLES, reason="NDVI_SAMPLE_DIR names no folder with GeoTIFFs")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_real_scene_agrees_with_float64(sample: Path, tmp_path: Path) -> None:
    assert inspect(sample).bands >= 4
    with rasterio.open(sample) as dataset:
        red, nir = (dataset.read(band).astype(np.float64) for band in (1, 4))
        valid = (dataset.read_masks(1) != 0) & (dataset.read_masks(4) != 0) & (red + nir > 0)
    values = ((nir - red)[valid] / (nir + red)[valid]).clip(-1, 1)
    expected = {
        "count": values.size,
        "valid_share": values.size / valid.size,
        "mean": values.mean(),
        "std": values.std(),
    }
    expected |= {f"p{share}": np.quantile(values, share / 100) for share in (10, 25, 50, 75, 90)}
    expected |= {"min": values.min(), "max": values.max()}
    assert_agrees(compute(sample, red=1, nir=4, folder=tmp_path).statistics, expected)
