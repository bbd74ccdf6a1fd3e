"""The vegetation index in pure numpy: arrays in, arrays out, no files, no framework.

NDVI = (nir - red) / (nir + red). The rule for every pixel, in this order:

1. masked (nodata, mask band, alpha, NaN, infinity) in either band: no index, counted in ``masked``;
2. red + nir <= 0: no index, counted in ``undefined``. At 0 there is no quotient; below 0 both
   signs of the quotient have turned round, so that water would read as canopy;
3. red + nir > 0 and the quotient outside [-1, 1]: one reflectance is negative, which atmospheric
   correction does to deep water and dense canopy. The value is clipped to the nearer bound, which
   is what the ground there is, and counted in ``clipped``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float32]
type BoolArray = NDArray[np.bool_]
type Band = NDArray[np.generic]


class IndexInputError(ValueError):
    """The two bands cannot be compared: give two arrays of one shape and a real number type."""


@dataclass(frozen=True, slots=True)
class IndexBlock:
    """The index of one block of pixels."""

    values: FloatArray  #: float32 in [-1, 1], NaN where a pixel has no index; the shape of the bands
    masked: int  #: pixels without a measurement
    undefined: int  #: measured pixels with red + nir <= 0
    clipped: int  #: pixels whose index was outside [-1, 1]; they are part of ``count``

    @property
    def count(self) -> int:
        """Pixels that have an index."""
        return self.values.size - self.masked - self.undefined


def widen(band: Band) -> NDArray[np.floating]:
    """The band as floats in which sums and differences of two pixels are exact.

    float32 holds every sum of two 16-bit integers; wider types go to float64.
    Subtracting in the band's own type would wrap round (uint8: 10 - 20 = 246).
    """
    if band.dtype.kind not in "iuf":
        raise IndexInputError(f"A band of type {band.dtype} has no index: give integers or floats.")
    exact_in_float32 = band.dtype.kind in "iu" and band.dtype.itemsize <= 2
    return band.astype(np.float32 if exact_in_float32 else np.float64)


def ndvi(red: Band, nir: Band, *, valid: BoolArray | None = None) -> IndexBlock:
    """NDVI of two bands of one shape; ``valid`` is False where a pixel is masked.

    Raises IndexInputError when shapes differ or a type is not a real number.
    """
    if red.shape != nir.shape or (valid is not None and valid.shape != red.shape):
        raise IndexInputError(f"Bands of shapes {red.shape} and {nir.shape} do not match: read one window.")
    wide_red, wide_nir = widen(red), widen(nir)
    with np.errstate(over="ignore", invalid="ignore"):
        total = wide_nir + wide_red
        difference = wide_nir - wide_red
    measured = np.isfinite(total) & np.isfinite(difference)
    if valid is not None:
        measured &= valid
    with np.errstate(invalid="ignore"):
        defined = measured & (total > 0)
    values, clipped = _quotient(difference, total, defined)
    seen = int(np.count_nonzero(measured))
    undefined = seen - int(np.count_nonzero(defined))
    return IndexBlock(values=values, masked=red.size - seen, undefined=undefined, clipped=clipped)


def _quotient(
    difference: NDArray[np.floating], total: NDArray[np.floating], defined: BoolArray
) -> tuple[FloatArray, int]:
    quotient = np.full(total.shape, np.nan, dtype=total.dtype)
    # A positive total far below the difference may overflow to infinity: it is clipped like the rest.
    with np.errstate(over="ignore"):
        np.divide(difference, total, out=quotient, where=defined)
    with np.errstate(invalid="ignore"):
        clipped = int(np.count_nonzero(np.abs(quotient) > 1))
    return np.clip(quotient, -1, 1).astype(np.float32, copy=False), clipped
