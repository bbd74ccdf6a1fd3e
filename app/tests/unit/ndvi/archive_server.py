"""The sample archive on a free port of loopback, for the length of a test module."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ndvi.scenes.server import SceneServer

NOW = datetime(2025, 7, 20, 12, tzinfo=UTC)


@contextmanager
def sample_archive() -> Iterator[str]:
    """Yields the archive's URL; its clock stands at NOW."""
    with SceneServer(("127.0.0.1", 0), clock=lambda: NOW) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(60)
        assert not thread.is_alive(), "the archive did not stop within 60 s"
