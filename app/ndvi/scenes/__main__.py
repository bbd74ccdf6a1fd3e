"""``python -m ndvi.scenes [port]``: serves the sample archive until SIGTERM.

The accept loop touches the heartbeat file, whose age the health check reads.
"""

import signal
import sys
import threading
from types import FrameType

import structlog

from metrics import liveness
from ndvi import gdal_limits
from ndvi.scenes.server import SceneServer

log = structlog.get_logger("ndvi.scenes")

DEFAULT_PORT = 8080


def main(arguments: list[str]) -> int:
    gdal_limits.apply()
    port = int(arguments[0]) if arguments else DEFAULT_PORT
    server = SceneServer(("0.0.0.0", port), beat=liveness.touch)  # noqa: S104 - reached by container name only

    def stop(number: int, _frame: FrameType | None) -> None:
        # shutdown() waits for the accept loop, which this handler interrupts: it has to run elsewhere.
        log.info("the sample archive stops", signal=number)
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log.info("the sample archive serves", port=port)
    server.serve_forever()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
