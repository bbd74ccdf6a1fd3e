"""`python peak_memory.py EDGE FOLDER`: peak memory of the index of a raster of EDGE x EDGE pixels, as JSON.

A process of its own, because a peak cannot be taken back. The raster is written in rows, so that making it
costs less than measuring it.
"""

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from ndvi.raster import compute

ROWS = 256


def write_scene(path: Path, edge: int) -> None:
    """Two bands of uint16 noise, tiled, compressed."""
    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 2, "dtype": "uint16", "crs": "EPSG:32618"}
    profile |= {"tiled": True, "compress": "lzw", "nodata": 0, "transform": from_origin(500_000, 4_600_000, 10, 10)}
    generator = np.random.default_rng(edge)
    with rasterio.open(path, "w", **profile) as sink:
        for row in range(0, edge, ROWS):
            rows = min(ROWS, edge - row)
            bands = generator.integers(0, 4000, (2, rows, edge), dtype=np.uint16)
            sink.write(bands, window=Window(0, row, edge, rows))


def peak_mib() -> float:
    """Of this program alone: getrusage's figure starts with that of the process that forked it."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match, "the kernel reports no peak"
    return int(match[1]) / 1024


def main(edge: int, parent: Path) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as name:
        source = Path(name) / "scene.tif"
        write_scene(source, edge)
        began = time.monotonic()
        statistics = compute(source, red=1, nir=2, folder=Path(name)).statistics
        seconds = time.monotonic() - began
    json.dump({"peak_mib": peak_mib(), "seconds": seconds, "count": statistics["count"]}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
