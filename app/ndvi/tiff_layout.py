"""Whether a TIFF holds every byte that its directories promise, read from the file itself.

Walks the chain of directories (full resolution, overviews, masks) of a classic or Big TIFF and checks
that each strip, tile and value array ends inside the file. GDAL opens a truncated file without a
word and fails only where the missing block is read, which may be hours later in a worker.
Pure Python over a seekable stream: memory is one slice of an offset table.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

#: A GeoTIFF with a mask and overviews has about 20; more than this is a trap, not a raster.
MAX_DIRECTORIES: Final = 256
#: Tags in one directory. Bounds the work that a hostile file can ask for.
MAX_TAGS: Final = 4096
#: Entries of an offset table that are read at a time.
_SLICE: Final = 1 << 16

_ORDERS: Final[dict[bytes, Literal["<", ">"]]] = {b"II": "<", b"MM": ">"}
#: TIFF field type -> bytes of one value.
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
#: Offset tag -> its table of byte counts: strips, tiles.
_TABLES: Final = {273: 279, 324: 325}


class LayoutError(Exception):
    """The bytes are not a whole TIFF; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Widths that differ between classic TIFF and Big TIFF."""

    order: Literal["<", ">"]
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def tags(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def tag(self) -> str:
        return self.order + ("HHQ8s" if self.big else "HHI4s")


@dataclass(frozen=True, slots=True)
class _Table:
    """An array of values in the file."""

    position: int
    length: int
    kind: str  #: numpy type without byte order


class _Reader:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream.seek(0, 2)

    def read(self, position: int, length: int, what: str) -> bytes:
        self.require(position, length, what)
        self._stream.seek(position)
        return self._stream.read(length)

    def require(self, position: int, length: int, what: str) -> None:
        if position + length > self.size:
            missing = position + length - self.size
            raise LayoutError(f"it ends after {self.size:,} bytes, {missing:,} before the end of {what}")

    def unpack(self, form: str, position: int, what: str) -> tuple[int, ...]:
        return struct.unpack(form, self.read(position, struct.calcsize(form), what))


def require_whole(stream: BinaryIO) -> None:
    """Raises LayoutError when the stream is not a TIFF or lacks bytes that its directories promise."""
    reader = _Reader(stream)
    form, position = _header(reader)
    seen: set[int] = set()
    while position:
        if position in seen or len(seen) == MAX_DIRECTORIES:
            raise LayoutError(f"its directories run in a circle or exceed {MAX_DIRECTORIES}")
        seen.add(position)
        position = _directory(reader, form, position, number=len(seen))
    if not seen:
        raise LayoutError("it has no image directory")


def _header(reader: _Reader) -> tuple[_Form, int]:
    if reader.size == 0:
        raise LayoutError("it is empty")
    start = reader.read(0, min(16, reader.size), "the header")
    order = _ORDERS.get(start[:2])
    version = struct.unpack(f"{order}H", start[2:4])[0] if order and len(start) >= 8 else 0
    if order is None or version not in (42, 43):
        raise LayoutError(f"it is not a TIFF: it begins with {start[:8]!r}")
    form = _Form(order, big=version == 43)
    return form, reader.unpack(form.offset, 8 if form.big else 4, "the header")[0]


def _directory(reader: _Reader, form: _Form, position: int, *, number: int) -> int:
    """Checks one directory; returns the position of the next, 0 after the last."""
    what = f"directory {number}"
    (count,) = reader.unpack(form.tags, position, what)
    if count > MAX_TAGS:
        raise LayoutError(f"{what} claims {count:,} tags")
    position += struct.calcsize(form.tags)
    tables = {}
    for _ in range(count):
        tag, table = _tag(reader, form, position, what)
        if table is not None:
            tables[tag] = table
        position += struct.calcsize(form.tag)
    for offsets_tag, counts_tag in _TABLES.items():
        if offsets_tag in tables:
            _require_blocks(reader, form, tables[offsets_tag], tables.get(counts_tag), what)
    (following,) = reader.unpack(form.offset, position, what)
    return following


def _tag(reader: _Reader, form: _Form, position: int, what: str) -> tuple[int, _Table | None]:
    tag, type_, count, inline = struct.unpack(form.tag, reader.read(position, struct.calcsize(form.tag), what))
    length = _SIZES.get(type_, 1) * count
    start = position + struct.calcsize(form.tag) - len(inline)
    if length > len(inline):
        (start,) = struct.unpack(form.offset, inline)
        reader.require(start, length, f"the values of tag {tag} in {what}")
    kind = _UNSIGNED.get(type_)
    return tag, _Table(start, count, kind) if kind else None


def _require_blocks(reader: _Reader, form: _Form, offsets: _Table, counts: _Table | None, what: str) -> None:
    if counts is None or counts.length != offsets.length:
        raise LayoutError(f"{what} does not say how long its blocks are")
    pairs = zip(_values(reader, form, offsets, what), _values(reader, form, counts, what), strict=True)
    for starts, lengths in pairs:
        # A start above 2^62 would overflow the sum; no file is that long, so the cut changes no verdict.
        furthest = int((np.minimum(starts, 2**62) + np.minimum(lengths, 2**62)).max(initial=0))
        reader.require(0, furthest, f"the pixels of {what}")


def _values(reader: _Reader, form: _Form, table: _Table, what: str) -> Iterator[NDArray[np.uint64]]:
    dtype = np.dtype(table.kind).newbyteorder(form.order)
    for first in range(0, table.length, _SLICE):
        length = min(_SLICE, table.length - first)
        raw = reader.read(table.position + first * dtype.itemsize, length * dtype.itemsize, what)
        yield np.frombuffer(raw, dtype=dtype).astype(np.uint64)
