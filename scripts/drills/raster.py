"""A GeoTIFF of two bands for drills, written with nothing but the standard library: the host has no GDAL."""

import random
import struct
from pathlib import Path
from typing import Final

BANDS: Final = 2
_ROWS_PER_STRIP: Final = 64
#: TIFF field types.
_SHORT, _LONG = 3, 4


def write(path: Path, *, edge: int, seed: int) -> None:
    """`edge` x `edge` pixels of noise as uint16, band after band; the same seed writes the same bytes."""
    chance = random.Random(seed)
    strips = [min(_ROWS_PER_STRIP, edge - top) * edge * 2 for top in range(0, edge, _ROWS_PER_STRIP)] * BANDS
    head_bytes = len(_head(edge, strips, data_at=0))
    with path.open("wb") as sink:
        sink.write(_head(edge, strips, data_at=head_bytes))
        for size in strips:
            sink.write(chance.randbytes(size))


def _head(edge: int, strips: list[int], *, data_at: int) -> bytes:
    """Everything before the pixels of a classic little-endian TIFF: the header, one directory, its longer values."""
    tags = (
        (256, _LONG, [edge]),  # width
        (257, _LONG, [edge]),  # height
        (258, _SHORT, [16] * BANDS),  # bits per sample
        (259, _SHORT, [1]),  # not compressed
        (262, _SHORT, [1]),  # black is zero
        (273, _LONG, [data_at + sum(strips[:number]) for number in range(len(strips))]),
        (277, _SHORT, [BANDS]),
        (278, _LONG, [_ROWS_PER_STRIP]),
        (279, _LONG, strips),
        (284, _SHORT, [2]),  # one plane per band
        (338, _SHORT, [0]),  # the second band is no colour
        (339, _SHORT, [1] * BANDS),  # unsigned
    )
    entries, longer, longer_at = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:  # does not fit into the entry itself
            packed, longer = struct.pack("<I", longer_at + len(longer)), longer + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + longer
