"""Peak memory of a computation does not follow the size of its raster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: A quarter of production's, so that rasters which are quick to make fill it.
CACHE_MIB = 16

APP = Path(__file__).resolve().parents[3]


def peak_mib(edge: int, folder: Path) -> float:
    command = [sys.executable, "-m", "tests.integration.ndvi.peak_memory", str(edge), str(folder)]
    environment = {**os.environ, "GDAL_CACHEMAX": str(CACHE_MIB)}
    done = subprocess.run(command, cwd=APP, env=environment, capture_output=True, text=True, timeout=450, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{edge} x {edge}: {found}")  # noqa: T201 - the measurement, for people
    return float(found["peak_mib"])


@pytest.mark.no_servers
@pytest.mark.timeout(1000)
def test_four_times_the_pixels_take_no_more_memory(tmp_path: Path) -> None:
    """Both rasters exceed GDAL's cache, so that it is full in both."""
    small, large = peak_mib(2000, tmp_path), peak_mib(4000, tmp_path)
    assert large < 1.15 * small, f"{small:.0f} MiB for 4 megapixels, {large:.0f} MiB for 16"
