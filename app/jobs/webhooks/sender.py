"""One POST to a stranger: one look-up, a judged address, one deadline over everything, no redirect, no proxy.

httpcore and not httpx: it follows nothing, reads no environment, and lets us connect. Host header, SNI and the check of
the certificate keep the name of the URL.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore
import httpx

from jobs.webhooks import guard

#: Seconds to connect to one address: the next one gets its turn.
CONNECT_SECONDS: Final = 5.0


class NoAnswer(Exception):
    """The receiver cannot be reached, or did not answer in time; repeating may help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What counts of an answer. Its body is never read: it is not ours to keep, and it may have no end."""

    status: int
    retry_after: str  #: the header, "" when absent


def post(
    url: str, *, headers: Mapping[str, str], body: bytes, seconds: float, opened: Sequence[guard.Network]
) -> Answer:
    """Sends the body within `seconds`, from look-up to the answer's head. Raises NoAnswer and guard.AddressRefused."""
    parts = httpx.URL(url)
    target = httpcore.URL(scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=parts.raw_path)
    encrypted = parts.scheme == "https"
    network = _Network(opened=opened, encrypted=encrypted, ends_at=time.monotonic() + seconds)
    context = _tls() if encrypted else None
    all_headers = [("Host", parts.netloc.decode("ascii")), ("Connection", "close"), *headers.items()]
    try:
        with (
            httpcore.HTTPConnection(target.origin, ssl_context=context, network_backend=network) as connection,
            connection.stream("POST", target, headers=all_headers, content=body) as response,
        ):
            found = httpx.Headers(response.headers)
            return Answer(response.status, found.get("Retry-After", ""))
    except httpcore.TimeoutException as error:
        raise NoAnswer(f"{parts.host} did not answer within {seconds:.0f} s") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise NoAnswer(f"{parts.host} cannot be called: {error}") from error


@cache
def _tls() -> ssl.SSLContext:
    """Of the process: loading the authorities takes 20 ms. SSL_CERT_FILE names others than certifi's."""
    return httpx.create_ssl_context()


class _Network(httpcore.NetworkBackend):
    """Connects to judged addresses only; every wait, of the stream too, ends at `ends_at` (monotonic seconds)."""

    def __init__(self, *, opened: Sequence[guard.Network], encrypted: bool, ends_at: float) -> None:
        self._opened, self._encrypted, self._ends_at = opened, encrypted, ends_at
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        del timeout, local_address, socket_options
        try:
            addresses = guard.resolve(host, port, opened=self._opened, encrypted=self._encrypted)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"its name has no address ({error})") from error
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = self._tcp.connect_tcp(address, port, timeout=min(CONNECT_SECONDS, self._left()))
                return _Stream(stream, self._left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("its name has no address")

    def _left(self) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time is over")
        return left


class _Stream(httpcore.NetworkStream):
    """Whatever timeout httpcore passes bounds one read: a receiver that drips is stopped here."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream, self._left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        del timeout
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._stream.get_extra_info(info)
