"""A receiver of webhooks that obeys the key; runs alone in a container, with the standard library.

It applies each `webhook-id` once, then holds its answer for a moment: a worker that is killed in this moment has called
and has not confirmed. Standard output is JSON: a line with the port, then a line per request.

python3 webhook_receiver.py PORT MILLISECONDS
"""

import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_lock = threading.Lock()
_applied: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    """Answers every POST with 204."""

    hold_seconds = 0.0

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        if len(body.encode()) < length:  # the caller died while it sent: nothing is signed, so nothing is applied
            self.close_connection = True
            return
        key, timestamp = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "")
        line = {"key": key, "timestamp": timestamp, "signature": self.headers.get("webhook-signature", "")}
        with _lock:
            applied = key not in _applied
            _applied.add(key)
            sys.stdout.write(json.dumps({**line, "path": self.path, "body": body, "applied": applied}) + "\n")
            sys.stdout.flush()
        time.sleep(random.uniform(0, self.hold_seconds))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing but the lines above."""


class Server(ThreadingHTTPServer):
    """Takes as many calls at once as a worker has threads, and forgives callers that die."""

    request_queue_size = 64
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The caller was killed."""


if __name__ == "__main__":
    port, milliseconds = (int(argument) for argument in sys.argv[1:])
    Receiver.hold_seconds = milliseconds / 1000
    server = Server(("", port), Receiver)
    sys.stdout.write(json.dumps({"port": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    server.serve_forever()
