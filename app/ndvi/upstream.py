"""Access to a scene archive: one way out, with a deadline over everything, jittered retries, limits and metrics.

An ``Upstream`` belongs to one attempt of one job. Each request takes at most ``REQUEST_SECONDS``, all of
them together what the attempt has left. The connections below are the process's, shared by its threads.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpx
import tenacity

from metrics.catalogue import UPSTREAM_FAILURES, UPSTREAM_REQUESTS, UPSTREAM_SECONDS

#: Seconds for one request from connect to the last byte.
REQUEST_SECONDS: Final = 20.0
CONNECT_SECONDS: Final = 3.0
ATTEMPTS: Final = 4
#: Seconds: the first retry waits a random part of this, each later one of twice as much, up to the cap.
BACKOFF_SECONDS: Final = 0.25
BACKOFF_CAP_SECONDS: Final = 4.0
#: Bytes of one answer: a page of items, or one range of a file.
MAX_ANSWER_BYTES: Final = 32 << 20
_RETRIED_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class UpstreamError(Exception):
    """The archive did not give what was asked; the message says what and whether repeating helps."""

    reason = "other"


class UpstreamUnavailableError(UpstreamError):
    """The archive did not answer in time or is overloaded: repeating may help."""

    reason = "unavailable"


class UpstreamTimeoutError(UpstreamUnavailableError):
    """The archive did not answer within the time that was left."""

    reason = "timeout"


class UpstreamRefusedError(UpstreamError):
    """The archive refuses the request: repeating does not help."""

    reason = "refused"


class UpstreamMalformedError(UpstreamError):
    """The archive's answer is not what the protocol promises."""

    reason = "malformed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with a status below 400."""

    status: int
    headers: httpx.Headers
    content: bytes


@cache
def shared_client() -> httpx.Client:
    """The process's connections; made on first use, after any fork."""
    limits = httpx.Limits(max_connections=40, max_keepalive_connections=20, keepalive_expiry=30)
    return httpx.Client(limits=limits, follow_redirects=True, headers={"User-Agent": "holdfast-ndvi"})


class Upstream:
    """Requests of one attempt. ``seconds_left`` says how long the attempt may still take."""

    def __init__(self, *, seconds_left: Callable[[], float], client: httpx.Client | None = None) -> None:
        self._seconds_left = seconds_left
        self._client = client or shared_client()

    def get(self, operation: str, url: str, *, headers: Mapping[str, str] | None = None, params: Any = None) -> Answer:  # noqa: ANN401
        """GET with retries. Raises UpstreamError."""
        return self._send(operation, "GET", url, headers=headers, params=params or None)

    def post(self, operation: str, url: str, *, headers: Mapping[str, str] | None = None, json: Any = None) -> Answer:  # noqa: ANN401
        """POST of a search, which changes nothing upstream and may be repeated. Raises UpstreamError."""
        return self._send(operation, "POST", url, headers=headers, json=json)

    def _send(self, operation: str, method: str, url: str, **options: Any) -> Answer:  # noqa: ANN401
        if not url.startswith(("http://", "https://")):
            raise UpstreamRefusedError(f"the archive points at {url[:80]!r}: only http and https are read")
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(UpstreamUnavailableError),
            stop=self._is_last,
            wait=tenacity.wait_random_exponential(multiplier=BACKOFF_SECONDS, max=BACKOFF_CAP_SECONDS),
            reraise=True,
        )
        answer: Answer = retrying(self._send_once, operation, method, url, **options)
        return answer

    def _is_last(self, state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= ATTEMPTS or self._seconds_left() <= state.upcoming_sleep

    def _send_once(self, operation: str, method: str, url: str, **options: Any) -> Answer:  # noqa: ANN401
        ends_at = time.monotonic() + min(REQUEST_SECONDS, self._seconds_left())
        with _counted(operation), _translated(url):
            timeout = max(0.001, ends_at - time.monotonic())
            limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
            with self._client.stream(method, url, timeout=limits, **options) as response:
                _require_success(response, url)
                return Answer(response.status_code, response.headers, _read(response, ends_at))


def _read(response: httpx.Response, ends_at: float) -> bytes:
    """The whole body. A read timeout bounds one chunk only: a server that drips is stopped here."""
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamMalformedError(f"{response.url} answers with more than {MAX_ANSWER_BYTES:,} bytes")
        if time.monotonic() > ends_at:
            raise UpstreamTimeoutError(f"{response.url} took longer than was left")
        parts.append(part)
    return b"".join(parts)


def _require_success(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in _RETRIED_STATUS:
        raise UpstreamUnavailableError(f"{url} answers {status}")
    if status >= 300:
        raise UpstreamRefusedError(f"{url} answers {status}")


@contextmanager
def _counted(operation: str) -> Iterator[None]:
    UPSTREAM_REQUESTS.labels(operation).inc()
    began = time.monotonic()
    try:
        yield
    except UpstreamError as error:
        UPSTREAM_FAILURES.labels(operation, error.reason).inc()
        raise
    finally:
        UPSTREAM_SECONDS.labels(operation).observe(time.monotonic() - began)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """httpx's errors as ours, the cause kept."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeoutError(f"{url} did not answer in time") from error
    except httpx.TransportError as error:
        raise UpstreamUnavailableError(f"{url} cannot be reached: {error}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamRefusedError(f"{url} cannot be asked: {error}") from error
