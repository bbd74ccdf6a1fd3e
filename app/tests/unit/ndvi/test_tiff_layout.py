"""A TIFF that lacks a byte is told from a whole one, wherever the cut is."""

import contextlib
import io
import itertools
from pathlib import Path

import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling

from ndvi.tiff_layout import LayoutError, require_whole
from tests.unit.ndvi.rasters import random_bands, write_geotiff

LAYOUTS = {
    "strips": {},
    "one strip": {"blockysize": 600},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64},
    "lzw": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzw"},
    "bands apart": {"interleave": "band", "compress": "deflate"},
    "big tiff": {"BIGTIFF": "YES", "tiled": True},
    "big endian": {"ENDIANNESS": "BIG"},
    "cog": {"driver": "COG"},
    "sparse": {"tiled": True, "SPARSE_OK": True},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("layouts")
    bands = random_bands(1, (2, 600, 400))
    return {
        name: write_geotiff(folder / f"{at}.tif", bands, **profile).read_bytes()
        for at, (name, profile) in enumerate(LAYOUTS.items())
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_accepts_a_whole_file(whole: dict[str, bytes], name: str) -> None:
    require_whole(io.BytesIO(whole[name]))


@pytest.mark.parametrize(("name", "share"), list(itertools.product(LAYOUTS, [0.05, 0.5, 0.9, 0.999])))
def test_refuses_a_truncated_file(whole: dict[str, bytes], name: str, share: float) -> None:
    cut = whole[name][: int(len(whole[name]) * share)]
    with pytest.raises(LayoutError, match="ends after"):
        require_whole(io.BytesIO(cut))


def test_refuses_a_file_that_lost_only_its_overviews(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", random_bands(2, (2, 600, 400)), tiled=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.nearest)
    with pytest.raises(LayoutError, match="ends after"):
        require_whole(io.BytesIO(path.read_bytes()[:-64]))


@pytest.mark.parametrize(
    "content", [b"", b"II", b"this is a text file named .tif", b"II*\0\0\0\0\0", b"\x89PNG\r\n\x1a\n"]
)
def test_refuses_what_is_no_tiff(content: bytes) -> None:
    with pytest.raises(LayoutError):
        require_whole(io.BytesIO(content))


def test_says_that_an_empty_file_is_empty() -> None:
    with pytest.raises(LayoutError, match="it is empty"):
        require_whole(io.BytesIO(b""))


def test_refuses_directories_that_run_in_a_circle() -> None:
    directory_at_8_whose_next_is_8 = b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    with pytest.raises(LayoutError, match="circle"):
        require_whole(io.BytesIO(directory_at_8_whose_next_is_8))


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_noise_behind_a_tiff_header_is_refused_or_accepted_but_never_crashes(noise: bytes, start: bytes) -> None:
    with contextlib.suppress(LayoutError):
        require_whole(io.BytesIO(start + noise))


def test_a_changed_byte_in_the_directories_never_crashes_the_check(whole: dict[str, bytes]) -> None:
    @given(st.integers(0, 600), st.integers(0, 255))
    def survives(position: int, value: int) -> None:
        content = bytearray(whole["strips"])
        content[position] = value
        with contextlib.suppress(LayoutError):
            require_whole(io.BytesIO(bytes(content)))

    survives()
