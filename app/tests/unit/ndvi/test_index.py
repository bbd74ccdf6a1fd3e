"""The index rule, pixel by pixel, against float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ndvi.index import IndexInputError, ndvi


def plain_float64(red: np.ndarray, nir: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The rule of ndvi.index written the slow and obvious way."""
    wide_red, wide_nir = red.astype(np.float64), nir.astype(np.float64)
    out = np.full(red.shape, np.nan)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        totals = wide_nir + wide_red
    for at in np.ndindex(red.shape):
        total = totals[at]
        if valid[at] and np.isfinite(total) and total > 0:
            out[at] = min(1.0, max(-1.0, (wide_nir[at] - wide_red[at]) / total))
    return out


def bands(dtype: type[np.generic]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    return shapes.flatmap(
        lambda shape: st.tuples(hnp.arrays(dtype, shape), hnp.arrays(dtype, shape), hnp.arrays(np.bool_, shape))
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_integer_bands_agree_with_float64(dtype: type[np.generic]) -> None:
    @given(bands(dtype))
    def agrees(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        red, nir, valid = case
        block = ndvi(red, nir, valid=valid)
        expected = plain_float64(red, nir, valid)
        np.testing.assert_allclose(block.values, expected, rtol=0, atol=1e-6, equal_nan=True)
        assert block.values.dtype == np.float32
        assert block.count == np.count_nonzero(~np.isnan(expected))

    agrees()


@given(bands(np.float32))
def test_float_bands_with_nan_and_infinity_agree_with_float64(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    red, nir, valid = case
    block = ndvi(red, nir, valid=valid)
    expected = plain_float64(red, nir, valid)
    np.testing.assert_allclose(block.values, expected, rtol=0, atol=1e-6, equal_nan=True)
    assert block.count + block.masked + block.undefined == red.size


def test_uint8_does_not_wrap_round() -> None:
    block = ndvi(np.array([[20]], np.uint8), np.array([[10]], np.uint8))
    assert block.values[0, 0] == np.float32(-10 / 30)


def test_uint16_extremes_do_not_overflow() -> None:
    block = ndvi(np.array([[0, 65535]], np.uint16), np.array([[65535, 65535]], np.uint16))
    assert block.values.tolist() == [[1.0, 0.0]]


def test_zero_sum_has_no_index() -> None:
    block = ndvi(np.array([[0, -5]], np.int16), np.array([[0, 5]], np.int16))
    assert np.isnan(block.values).all()
    assert (block.count, block.undefined, block.masked) == (0, 2, 0)


def test_one_negative_reflectance_is_clipped_and_counted() -> None:
    red, nir = np.array([[-10, 100, 10]], np.int16), np.array([[3000, -10, 30]], np.int16)
    block = ndvi(red, nir)
    assert block.values.tolist() == [[1.0, -1.0, 0.5]]
    assert (block.clipped, block.count, block.undefined) == (2, 3, 0)


def test_negative_sum_has_no_index_because_its_sign_has_turned() -> None:
    block = ndvi(np.array([[-60, -5]], np.int16), np.array([[50, -10]], np.int16))
    assert np.isnan(block.values).all()
    assert (block.undefined, block.clipped) == (2, 0)


def test_masked_pixels_are_counted_as_masked_only() -> None:
    block = ndvi(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), valid=np.zeros((2, 2), np.bool_))
    assert (block.masked, block.undefined, block.count) == (4, 0, 0)


def test_bands_of_two_shapes_are_refused() -> None:
    with pytest.raises(IndexInputError, match="do not match"):
        ndvi(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_complex_bands_are_refused() -> None:
    with pytest.raises(IndexInputError, match="complex64"):
        ndvi(np.zeros((2, 2), np.complex64), np.zeros((2, 2), np.complex64))
