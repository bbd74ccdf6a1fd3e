"""Speaks to one Redis or Sentinel over a socket: enough of RESP2 for the tools on the host, which install nothing."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

#: What a node may answer: a line, a number, a list, or nothing.
Reply: TypeAlias = str | int | list["Reply"] | None


class RespError(Exception):
    """The node refused a command; the message is its own."""


class RespClient:
    """One authenticated connection. Raises OSError when the node is away, RespError when it refuses."""

    def __init__(self, host: str, port: int, *, user: str, password: str, timeout: float = 1.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        try:
            self.command("AUTH", user, password)
        except BaseException:
            self.close()
            raise

    def command(self, *arguments: str) -> Reply:
        """Sends one command and reads its reply."""
        parts = [argument.encode() for argument in arguments]
        head = b"*%d\r\n" % len(parts)
        self._socket.sendall(head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self._read()

    def listen(self, pattern: str) -> Iterator[tuple[str, str]]:
        """(channel, message) of all that is published from now on. Raises OSError when the connection ends."""
        self.command("PSUBSCRIBE", pattern)
        self._socket.settimeout(None)
        while True:
            published = self._read()
            if isinstance(published, list):
                yield str(published[-2]), str(published[-1])

    def interrupt(self) -> None:
        """Ends whatever waits on this connection, in any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _read(self) -> Reply:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the node closed the connection")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind not in (b"+", b"-", b":", b"*", b"$"):
            # While the network is down, its addresses lead elsewhere: a proxy may answer in another protocol.
            raise ConnectionAbortedError(f"no Redis answers here: {line!r}")
        if kind == b"-":
            raise RespError(rest)
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return None if rest == "-1" else [self._read() for _ in range(int(rest))]
        return self._read_bulk(int(rest))

    def _read_bulk(self, length: int) -> str | None:
        if length < 0:
            return None
        data = self._stream.read(length + 2)
        if len(data) != length + 2:
            raise ConnectionResetError("the node closed the connection")
        return data[:-2].decode(errors="replace")
