"""One POST over real sockets: whom it reaches, and when it gives up."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
import trustme

from jobs.webhooks import sender
from jobs.webhooks.guard import AddressRefused, Network
from tests.servers.process import free_port
from tests.servers.receiver import Receiver, receiving, status

NAME = "hooks.test"
#: Stands for the public Internet: the only network that is open.
OUTSIDE = "127.0.0.2"
INSIDE = "127.0.0.1"
OPENED: tuple[Network, ...] = (ip_network(f"{OUTSIDE}/32"),)


class Resolver:
    """Answers for NAME in turn, the last answer for ever; the system answers for everything else."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked = 0
        self._system = socket.getaddrinfo

    def __call__(self, host: object, port: object, *rest: object, **named: object) -> object:
        if host in (NAME, NAME.encode()):
            host = self.answers[min(self.asked, len(self.answers) - 1)]
            self.asked += 1
        return self._system(host, port, *rest, **named)  # type: ignore[arg-type]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Resolver]:
    def install(*answers: str) -> Resolver:
        made = Resolver(*answers)
        monkeypatch.setattr(socket, "getaddrinfo", made)
        return made

    return install


@pytest.fixture
def pair() -> Iterator[tuple[Receiver, Receiver]]:
    """One outside and one inside, on the same port."""
    port = free_port()  # one that the kernel gives to nobody meanwhile
    with receiving(OUTSIDE, port) as outside, receiving(INSIDE, port) as inside:
        yield outside, inside


def post(url: str, *, seconds: float = 60.0, opened: tuple[Network, ...] = OPENED) -> sender.Answer:
    return sender.post(url, headers={"X-Test": "1"}, body=b'{"a":1}', seconds=seconds, opened=opened)


# -- rebinding --------------------------------------------------------------------------------------------------------
def test_a_name_that_changes_between_two_look_ups_reaches_only_what_was_judged(
    resolver: Callable[..., Resolver], pair: tuple[Receiver, Receiver]
) -> None:
    outside, inside = pair
    asked = resolver(OUTSIDE, INSIDE)
    assert post(f"http://{NAME}:{outside.port}/hook").status == 204
    assert asked.asked == 1
    assert (outside.connections, inside.connections) == (1, 0)
    [got] = outside.requests
    assert (got.path, got.body, got.headers["host"]) == ("/hook", '{"a":1}', f"{NAME}:{outside.port}")


def test_the_same_name_fools_who_looks_it_up_twice(
    resolver: Callable[..., Resolver], pair: tuple[Receiver, Receiver]
) -> None:
    """The control: a check before an ordinary client's own look-up lets the request in."""
    outside, inside = pair
    asked = resolver(OUTSIDE, INSIDE)
    assert sender.guard.resolve(NAME, outside.port, opened=OPENED, encrypted=False) == [OUTSIDE]
    assert httpx.post(f"http://{NAME}:{outside.port}/hook", trust_env=False).status_code == 204
    assert (asked.asked, outside.connections, inside.connections) == (2, 0, 1)


def test_a_name_that_leads_inside_is_never_connected_to(
    resolver: Callable[..., Resolver], pair: tuple[Receiver, Receiver]
) -> None:
    outside, inside = pair
    resolver(INSIDE, OUTSIDE)
    with pytest.raises(AddressRefused):
        post(f"http://{NAME}:{outside.port}/hook")
    assert (outside.connections, inside.connections) == (0, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]", "[::1]"])
def test_loopback_is_never_connected_to(host: str) -> None:
    with receiving(INSIDE) as inside:
        with pytest.raises(AddressRefused):
            post(f"http://{host}:{inside.port}/hook")
        assert inside.connections == 0


def test_a_redirect_is_an_answer_and_is_not_followed(pair: tuple[Receiver, Receiver]) -> None:
    outside, inside = pair
    outside.answer = status(307, Location=inside.url)
    assert post(outside.url).status == 307
    assert inside.connections == 0


def test_a_proxy_of_the_environment_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[Receiver, Receiver]
) -> None:
    outside, inside = pair
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{INSIDE}:{inside.port}")
    assert post(outside.url).status == 204
    assert inside.connections == 0


# -- TLS --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[trustme.CA]:
    """The only authority that the sender trusts."""
    made = trustme.CA()
    bundle = tmp_path / "ca.pem"
    made.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    sender._tls.cache_clear()
    yield made
    sender._tls.cache_clear()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_is_checked_against_the_name_and_not_the_address(
    authority: trustme.CA, resolver: Callable[..., Resolver]
) -> None:
    resolver(OUTSIDE, INSIDE)
    with receiving(OUTSIDE, tls=server_tls(authority, NAME)) as outside:
        assert post(f"https://{NAME}:{outside.port}/hook").status == 204
        assert outside.names == [NAME]
        assert outside.requests[0].headers["host"] == f"{NAME}:{outside.port}"


@pytest.mark.parametrize("wrong", ["other.test", "127.0.0.2"])
def test_a_certificate_of_another_name_gets_no_request(
    authority: trustme.CA, resolver: Callable[..., Resolver], wrong: str
) -> None:
    resolver(OUTSIDE)
    with receiving(OUTSIDE, tls=server_tls(authority, wrong)) as outside:
        with pytest.raises(sender.NoAnswer, match="certificate"):
            post(f"https://{NAME}:{outside.port}/hook")
        assert outside.requests == []


def test_an_unknown_authority_gets_no_request(authority: trustme.CA, resolver: Callable[..., Resolver]) -> None:
    resolver(OUTSIDE)
    with receiving(OUTSIDE, tls=server_tls(trustme.CA(), NAME)) as outside:
        with pytest.raises(sender.NoAnswer, match="certificate"):
            post(f"https://{NAME}:{outside.port}/hook")
        assert outside.requests == []


# -- time and size ----------------------------------------------------------------------------------------------------
def silence(_: BaseHTTPRequestHandler) -> None:
    """Nothing, for as long as somebody waits."""


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A head that never ends, a byte at a time: no single read takes long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: a")


def continues(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    ("first", "rest"), [(silence, b""), (drip, b"a"), (continues, b"HTTP/1.1 100 Continue\r\n\r\n")]
)
def test_one_deadline_over_everything(first: Callable[[BaseHTTPRequestHandler], None], rest: bytes) -> None:
    """The receiver never ends: who has no deadline over all of it waits for ever."""
    gone = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        first(handler)
        while not gone.wait(0.05):
            handler.wfile.write(rest)
            handler.wfile.flush()

    with receiving(OUTSIDE, answer=endless) as outside:
        try:
            with pytest.raises(sender.NoAnswer, match="within"):
                post(outside.url, seconds=0.5)
        finally:
            gone.set()


def test_an_endless_body_is_not_read() -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65536)

    with receiving(OUTSIDE, answer=endless) as outside:
        assert post(outside.url, seconds=60.0) == sender.Answer(200, "")


def test_says_when_nobody_listens_or_nobody_is_called_so() -> None:
    with receiving(OUTSIDE) as outside:
        url = outside.url
    with pytest.raises(sender.NoAnswer, match="cannot be called"):
        post(url)
    with pytest.raises(sender.NoAnswer, match="no address"):
        post("https://no-such-name.invalid/")
    with pytest.raises(sender.NoAnswer, match="no address"):
        post(f"https://{'a' * 64}.test/")


def test_the_next_judged_address_is_tried_when_the_first_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving("127.0.0.3") as outside:
        monkeypatch.setattr(sender.guard, "resolve", lambda *_, **__: [OUTSIDE, "127.0.0.3"])
        assert post(f"http://{NAME}:{outside.port}/").status == 204


def test_returns_what_the_receiver_asks() -> None:
    with receiving(OUTSIDE, answer=status(429, Retry_After="7")) as outside:
        assert post(outside.url) == sender.Answer(429, "7")
