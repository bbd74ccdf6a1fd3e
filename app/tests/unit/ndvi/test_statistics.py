"""Two bounded passes against numpy in memory with every value at once."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ndvi.statistics import (
    QUANTILES,
    PassesDiffer,
    Refinement,
    Statistics,
    Survey,
    ordered_keys,
    summarise,
    value_of_key,
)

INDEX = st.floats(-1, 1, width=32)


def two_passes(blocks: list[np.ndarray]) -> Statistics:
    survey = Survey()
    for block in blocks:
        survey.add(block)
    refinement = Refinement(survey)
    for block in blocks:
        refinement.add(block)
    return summarise(survey, refinement)


def assert_equals_numpy(found: Statistics, values: np.ndarray) -> None:
    seen = values[~np.isnan(values)].astype(np.float64)
    assert found["count"] == seen.size
    expected = {"mean": seen.mean(), "std": seen.std(), "min": seen.min(), "max": seen.max()}
    expected |= {name: np.quantile(seen, share) for name, share in QUANTILES.items()}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name  # type: ignore[literal-required]
    counts, _ = np.histogram(values[~np.isnan(values)], bins=40, range=(-1.0, 1.0))
    assert found["histogram"]["counts"] == counts.tolist()


@given(hnp.arrays(np.float32, st.integers(1, 400), elements=INDEX), st.integers(1, 50))
def test_any_values_in_any_blocks_equal_numpy(values: np.ndarray, size: int) -> None:
    blocks = [values[start : start + size] for start in range(0, values.size, size)]
    assert_equals_numpy(two_passes(blocks), values)


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.sampled_from([-1, -0.0, 0.0, 0.25, 1])))
def test_ties_equal_numpy(values: np.ndarray) -> None:
    assert_equals_numpy(two_passes([values]), values)


@given(hnp.arrays(np.float32, st.integers(2, 200), elements=st.floats(0.5, 0.5 + 2**-17, width=32)))
def test_values_that_share_one_coarse_bin_equal_numpy(values: np.ndarray) -> None:
    assert_equals_numpy(two_passes([values]), values)


@given(st.lists(INDEX, min_size=1, max_size=50))
def test_nan_is_passed_over(values: list[float]) -> None:
    with_holes = np.array([item for value in values for item in (value, np.nan)], np.float32)
    assert_equals_numpy(two_passes([with_holes]), with_holes)


def test_one_pixel_is_every_quantile() -> None:
    found = two_passes([np.array([[np.nan, 0.25]], np.float32)])
    assert (found["count"], found["std"]) == (1, 0.0)
    assert {found["min"], found["p10"], found["p50"], found["p90"], found["max"]} == {0.25}


def test_no_pixel_leaves_the_figures_empty() -> None:
    found = two_passes([np.full((3, 3), np.nan, np.float32)])
    assert found["count"] == 0
    assert (found["mean"], found["std"], found["min"], found["p50"]) == (None, None, None, None)
    assert sum(found["histogram"]["counts"]) == 0


def test_a_million_values_equal_numpy() -> None:
    values = np.random.default_rng(7).normal(0.4, 0.2, 1_000_000).clip(-1, 1).astype(np.float32)
    assert_equals_numpy(two_passes(np.array_split(values, 13)), values)


@given(st.lists(INDEX, min_size=2, max_size=50))
def test_keys_sort_as_the_floats_do(values: list[float]) -> None:
    floats = np.array(values, np.float32)
    keys = ordered_keys(floats)
    np.testing.assert_array_equal(floats[np.argsort(keys, kind="stable")], np.sort(floats))
    assert [value_of_key(int(key)) for key in keys] == floats.tolist()


def test_a_second_pass_over_other_values_is_refused() -> None:
    survey = Survey()
    survey.add(np.array([0.1, 0.2], np.float32))
    with pytest.raises(PassesDiffer):
        summarise(survey, Refinement(survey))


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    block = np.random.default_rng(7).uniform(-1, 1, 50_000).astype(np.float32)

    def peak(blocks: int) -> int:
        tracemalloc.start()
        two_passes_of_one_block_at_a_time(block, blocks)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40) < 1.1 * peak(4)


def two_passes_of_one_block_at_a_time(block: np.ndarray, blocks: int) -> Statistics:
    survey = Survey()
    for _ in range(blocks):
        survey.add(block)
    refinement = Refinement(survey)
    for _ in range(blocks):
        refinement.add(block)
    return summarise(survey, refinement)
