"""The bytes of a scene's bands: generated once, kept while there is room, served in ranges."""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Bytes of generated files that stay in memory, about twenty bands.
CACHE_BYTES: Final = 32 << 20
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class RangeError(ValueError):
    """The range lies outside the file: answer 416."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    etag: str  #: strong, with its quotes

    @classmethod
    def of(cls, content: bytes) -> "Asset":
        return cls(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte (inclusive) of a Range header; None means the whole file.

    A header that asks for several ranges, or in another unit, may be ignored (RFC 9110) and is.
    Raises RangeError when the one range holds no byte of the file.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if first and last and int(last) < int(first):
        return None
    if start >= size or start > end:
        raise RangeError
    return start, end


class AssetCache:
    """Least recently used out first. One lock: two requests for one file generate it once."""

    def __init__(self, generate: Callable[[str], bytes], *, room: int = CACHE_BYTES) -> None:
        self._generate = generate
        self._room = room
        self._kept: OrderedDict[str, Asset] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Asset:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = Asset.of(self._generate(name))
                self._make_room()
            self._kept.move_to_end(name)
            return self._kept[name]

    def _make_room(self) -> None:
        while len(self._kept) > 1 and sum(len(asset.content) for asset in self._kept.values()) > self._room:
            self._kept.popitem(last=False)
