"""Serves `/metrics` from a thread of the process that owns the numbers."""

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from metrics import catalogue as catalogue  # every metric exists before the first fork and the first scrape
from metrics.multiprocess import scrape_registry


def serve(port: int, registry: CollectorRegistry | None = None) -> tuple[WSGIServer, Thread]:
    """Listens on all addresses of the container. Call it in a pool's parent, never in a child.

    Raises OSError when the port is taken. `server.shutdown()` ends it; the thread never keeps a process alive.
    """
    return start_http_server(port, registry=registry or scrape_registry())


def render(registry: CollectorRegistry | None = None) -> tuple[bytes, str]:
    """The exposition and its content type, for a process that has an HTTP server already."""
    return generate_latest(registry or scrape_registry()), CONTENT_TYPE_LATEST
