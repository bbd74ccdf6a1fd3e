"""A file upstream that is read in byte ranges, as the file object that rasterio opens.

GDAL asks for headers and blocks in small pieces; they are fetched in aligned chunks, neighbours in one
request, and kept for the life of the object. Only what is asked for travels.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rasterio.errors import RasterioError
from rasterio.io import FilePath

from ndvi.upstream import Answer, Upstream, UpstreamMalformedError, UpstreamUnavailableError

#: Bytes. A COG's header and a block of it are mostly smaller.
CHUNK: Final = 32 << 10
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RemoteFile:
    """Byte ranges of one URL. Belongs to one thread."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self._upstream = upstream
        self._url = url
        self._chunks: dict[int, bytes] = {}
        self._etag = ""
        self.error: Exception | None = None  #: what a read inside GDAL met; GDAL itself cannot carry it
        self.bytes_read = 0
        self.size = 0
        self._fetch(0, 0)

    def read_at(self, position: int, length: int) -> bytes:
        """At most ``length`` bytes from ``position``, fewer at the end. Raises UpstreamError."""
        end = min(position + length, self.size)
        if position >= end:
            return b""
        first, last = position // CHUNK, (end - 1) // CHUNK
        missing = [number for number in range(first, last + 1) if number not in self._chunks]
        if missing:
            self._fetch(missing[0], missing[-1])
        joined = b"".join(self._chunks[number] for number in range(first, last + 1))
        return joined[position - first * CHUNK : end - first * CHUNK]

    def _fetch(self, first: int, last: int) -> None:
        """Chunks ``first`` to ``last`` in one request, also those between that are there already."""
        start, end = first * CHUNK, (last + 1) * CHUNK - 1
        answer = self._upstream.get("read", self._url, headers={"Range": f"bytes={start}-{end}"})
        self._require_same_file(answer)
        self._require_range(answer, start)
        self.bytes_read += len(answer.content)
        for number in range(first, last + 1):
            self._chunks[number] = answer.content[(number - first) * CHUNK : (number - first + 1) * CHUNK]

    def _require_same_file(self, answer: Answer) -> None:
        etag = answer.headers.get("ETag", "")
        if self.size and etag != self._etag:
            raise UpstreamUnavailableError(f"{self._url} changed while it was read")
        self._etag = etag

    def _require_range(self, answer: Answer, start: int) -> None:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or match is None or int(match[1]) != start:
            raise UpstreamMalformedError(f"{self._url} is not served in byte ranges: choose an archive of COGs")
        if len(answer.content) != int(match[2]) - start + 1:
            raise UpstreamUnavailableError(f"{self._url} sent a part of the range only")
        self.size = int(match[3])


class _Handle(io.RawIOBase):
    """One open position in a RemoteFile. GDAL calls it from C, where an exception would be lost: it is kept.

    ``fs``, ``path`` and ``mode`` are rasterio's protocol for a second, separate position in the same file.
    """

    path = ""
    mode = "rb"

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._position = 0

    @property
    def fs(self) -> "_Handle":
        return self

    def open(self, _path: str, _mode: str) -> "_Handle":
        return _Handle(self._file)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        length = self._file.size - self._position if size < 0 else size
        try:
            content = self._file.read_at(self._position, length)
        except Exception as error:
            self._file.error = error
            return b""
        self._position += len(content)
        return content


@contextmanager
def open_remote(file: RemoteFile) -> Iterator[Any]:
    """The rasterio dataset of a remote GeoTIFF. Raises UpstreamError, also for what is no GeoTIFF."""

    # Not rasterio.open(opener=...): that adds a file system to GDAL's table and takes it away again at each call.
    # The table has no lock and every open in any thread walks it. FilePath's file system is added once.
    try:
        with FilePath(_Handle(file)) as path, path.open(driver="GTiff") as dataset:
            yield dataset
    except RasterioError as error:
        raise file.error or UpstreamMalformedError(f"the asset is not a readable GeoTIFF: {error}") from error
