"""gunicorn's threaded worker with two reserves: health checks never wait for a thread that waits for Postgres.

With every request thread blocked for the 2 s of a deadline, /livez in the common pool would be late by as much and the
container would be restarted for somebody else's fault. So the main loop looks at the first bytes of each request and
gives health paths threads of their own. A connection that has sent nothing yet takes no thread at all.
"""

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any, Final

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

#: Seconds that a client may be silent in the middle of a request or of its answer.
CLIENT_SILENCE_SECONDS: Final = 30

_LIVENESS: Final = (b"GET /livez ", b"HEAD /livez ")
#: May wait for Postgres (bounded), so they must not share a thread with liveness.
_OBSERVATION: Final = (b"GET /readyz ", b"GET /metrics ")
_LONGEST: Final = max(map(len, (*_LIVENESS, *_OBSERVATION)))


class WebWorker(ThreadWorker):  # type: ignore[misc]
    """`worker_class` of gunicorn.py; its base is gunicorn's and has no types."""

    def init_process(self) -> None:
        self.liveness = ThreadPoolExecutor(max_workers=1, thread_name_prefix="liveness")
        self.observation = ThreadPoolExecutor(max_workers=1, thread_name_prefix="observation")
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Takes a connection and watches it until its request begins."""
        try:
            client, address = listener.accept()
        except OSError:
            return  # another event was faster, or the client is gone
        _limit_silence(client)
        self.nr_conns += 1
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.set_timeout()
        self.pending_conns.append(connection)
        self.poller.register(client, EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def enqueue_req(self, conn: TConn) -> None:
        """Gives the request to the threads that are meant for it."""
        future = self._threads_for(conn).submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _threads_for(self, conn: TConn) -> Any:  # noqa: ANN401 - gunicorn is untyped
        try:
            begin = conn.sock.recv(_LONGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            begin = b""
        if begin.startswith(_LIVENESS):
            return self.liveness
        return self.observation if begin.startswith(_OBSERVATION) else self.tpool


def _limit_silence(client: socket.socket) -> None:
    # Kernel timeouts survive setblocking(True), with which gunicorn would undo a Python one.
    timeout = struct.pack("ll", CLIENT_SILENCE_SECONDS, 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
