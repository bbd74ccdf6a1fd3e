"""The request's body as a stream with a limit, whose reading does not count against the Postgres deadline."""

from collections.abc import Iterator
from time import monotonic
from typing import Any, Protocol

from django.core.exceptions import RequestDataTooBig

import postgres_deadline


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...
    def readline(self, size: int = ..., /) -> bytes: ...


class BoundedBody:
    """Reads at most `limit` bytes from `source`, then raises RequestDataTooBig.

    Time between the first and the last read is the client's and the disk's, not Postgres's: it is given back to the
    deadline. The reader (Django's body and multipart parser) does no database work in between.
    """

    def __init__(self, source: Readable, *, limit: int) -> None:
        self._source = source
        self._left = limit
        self._last_read_at: float | None = None

    def read(self, size: int = -1, /) -> bytes:
        return self._account(self._source.read, size)

    def readline(self, size: int = -1, /) -> bytes:
        return self._account(self._source.readline, size)

    def close(self) -> None:
        """Nothing to do: the server owns the source."""

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _account(self, read: Any, size: int) -> bytes:  # noqa: ANN401 - bound method of the source
        began = self._last_read_at or monotonic()
        # One byte more than allowed tells a body of exactly the limit from a longer one.
        data: bytes = read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._last_read_at = monotonic()
        postgres_deadline.extend(self._last_read_at - began)
        self._left -= len(data)
        if self._left < 0:
            raise RequestDataTooBig("the body is longer than this path takes")
        return data
