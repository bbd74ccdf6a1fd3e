"""A receiver of webhooks on loopback: keeps what it got, answers as told, applies an effect once per `webhook-id`."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Got:
    """One request; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def key(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`answer` is called after a request was kept; it may block, and writes the answer through the handler."""

    host: str
    port: int
    answer: Callable[[BaseHTTPRequestHandler], None]
    requests: list[Got] = field(default_factory=list)
    applied: dict[str, int] = field(default_factory=dict)  #: effects by key; what obeys the key adds 1 once
    connections: int = 0
    names: list[str | None] = field(default_factory=list)  #: server names of TLS hellos

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"

    def keep(self, got: Got) -> None:
        self.requests.append(got)
        self.applied.setdefault(got.key, 0)
        if self.applied[got.key] == 0:
            self.applied[got.key] = 1


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer without a body; underscores in header names stand for hyphens."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def receiving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A running receiver; stopped at the end, without waiting for answers that still block."""
    receiver = Receiver(host, port, answer or status(204))
    server = _Server((host, port), _handler(receiver))
    server.receiver, server.tls = receiver, tls
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
        assert not thread.is_alive(), "the receiver did not stop within 60 s"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    receiver: Receiver
    tls: ssl.SSLContext | None = None

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        self.receiver.connections += 1
        if self.tls:
            self.tls.sni_callback = lambda _, name, __: self.receiver.names.append(name)
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:  # the client did not like our certificate
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that hangs up is part of these tests."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.keep(Got(self.path, {"webhook-id": "", **headers}, body))
            receiver.answer(self)

        def log_message(self, *_: object) -> None:
            """Silent."""

    return Handler
