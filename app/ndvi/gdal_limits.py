"""What GDAL may take, set once for the process, before any raster is opened.

GDAL's options are process-wide. Setting them around each call (rasterio.Env) would race in a pool of
threads: one thread's exit would take the limits from under another. Constants cannot race.
A value that is already in the environment wins.
"""

import os
import warnings
from typing import Final

from rasterio.errors import NotGeoreferencedWarning

#: MiB of decoded blocks that GDAL keeps; its default is 5 % of the host's memory, which a container may not have.
CACHE_MIB = 64

LIMITS = {
    "GDAL_CACHEMAX": str(CACHE_MIB),
    # A raster is one file: no sidecar beside it (.aux.xml, .ovr, .msk) is looked for or believed.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # No driver of GDAL reaches the network: ndvi.upstream does, with deadlines and metrics.
    "GDAL_HTTP_TIMEOUT": "5",
    "GDAL_HTTP_CONNECTTIMEOUT": "2",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}


#: rasterio hides the first around each mask with warnings.catch_warnings. That swaps the process's filters, so
#: another thread brings it back, as an error where warnings are errors. The second is about ndvi.remote_file.
HIDDEN: Final[tuple[tuple[str, type[Warning]], ...]] = (
    ("Dataset has no geotransform", NotGeoreferencedWarning),
    ("FilePath is supplanted", Warning),
)


def apply() -> None:
    """Idempotent; call it before the first raster is opened."""
    for message, category in HIDDEN:
        warnings.filterwarnings("ignore", message, category)
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
