"""Requests upstream end in time, are repeated where that helps, and are counted."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest
import respx

from metrics.catalogue import UPSTREAM_FAILURES, UPSTREAM_REQUESTS
from ndvi import upstream
from ndvi.upstream import (
    Upstream,
    UpstreamMalformedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

URL = "http://archive.test/items"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "BACKOFF_SECONDS", 0.001)


@pytest.fixture
def asked() -> Iterator[Upstream]:
    with httpx.Client() as client:
        yield Upstream(seconds_left=lambda: 300.0, client=client)


def count(metric: object, *labels: str) -> float:
    value: float = metric.labels(*labels)._value.get()  # type: ignore[attr-defined]
    return value


@respx.mock
def test_an_overloaded_archive_is_asked_again(asked: Upstream) -> None:
    route = respx.get(URL).mock(side_effect=[httpx.Response(503), httpx.Response(429), httpx.Response(200, text="ok")])
    requests, failures = count(UPSTREAM_REQUESTS, "search"), count(UPSTREAM_FAILURES, "search", "unavailable")
    assert asked.get("search", URL).content == b"ok"
    assert route.call_count == 3
    assert count(UPSTREAM_REQUESTS, "search") - requests == 3
    assert count(UPSTREAM_FAILURES, "search", "unavailable") - failures == 2


@respx.mock
def test_an_archive_that_stays_down_is_given_up_after_four_requests(asked: Upstream) -> None:
    route = respx.get(URL).mock(side_effect=httpx.ConnectError("refused"))
    with pytest.raises(UpstreamUnavailableError, match="cannot be reached"):
        asked.get("search", URL)
    assert route.call_count == upstream.ATTEMPTS


@respx.mock
def test_a_refusal_is_not_repeated(asked: Upstream) -> None:
    route = respx.get(URL).mock(return_value=httpx.Response(403))
    with pytest.raises(UpstreamRefusedError, match="403"):
        asked.get("search", URL)
    assert route.call_count == 1


@respx.mock
def test_no_retry_begins_after_the_attempts_time_is_up() -> None:
    route = respx.get(URL).mock(return_value=httpx.Response(503))
    left = itertools.chain([5.0], itertools.repeat(0.0))
    with httpx.Client() as client, pytest.raises(UpstreamUnavailableError):
        Upstream(seconds_left=lambda: next(left), client=client).get("search", URL)
    assert route.call_count == 1


@respx.mock
def test_an_endless_answer_is_cut(asked: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_ANSWER_BYTES", 1000)
    respx.get(URL).mock(return_value=httpx.Response(200, content=bytes(1001)))
    with pytest.raises(UpstreamMalformedError, match="more than"):
        asked.get("read", URL)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "s3://bucket/key", "/vsicurl/http://x", ""])
def test_only_http_is_read(asked: Upstream, url: str) -> None:
    with pytest.raises(UpstreamRefusedError, match="only http"):
        asked.get("read", url)


def serve(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that treats every connection in its own way, for as long as the client stays."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, behave), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def _accept(server: socket.socket, behave: Callable[[socket.socket], None]) -> None:
    try:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=behave, args=(connection,), daemon=True).start()
    except OSError:
        return


def _say_nothing(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while connection.recv(1000):
            pass


def _drip(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("behave", [_say_nothing, _drip])
def test_a_silent_or_dripping_archive_costs_no_more_than_the_time_left(behave: Callable[[socket.socket], None]) -> None:
    """The archive itself never ends."""
    ends_at = time.monotonic() + 2.0
    for url in serve(behave):
        with httpx.Client() as client, pytest.raises(UpstreamTimeoutError):
            Upstream(seconds_left=lambda: max(0.0, ends_at - time.monotonic()), client=client).get("read", url)
