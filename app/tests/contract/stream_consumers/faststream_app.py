"""A FastStream application as its documentation has it, with the settings that lose least.

Acknowledged after the work (the default is at most once), a stable consumer name, and beside the subscriber that reads
new entries a second one that claims what stayed pending. A supervisor starts it again when it gives up.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path
from threading import Event

from faststream import AckPolicy, FastStream
from faststream.redis import RedisBroker, StreamSub

from tests.contract.stream_consumers import work

STREAM, GROUP = "orders", "workers"


async def send(url: str, items: list[str]) -> None:
    """Publishes as a producer does."""
    async with RedisBroker(url) as broker:
        for item in items:
            await broker.publish(work.task(item), stream=STREAM)


def application(url: str, folder: Path, consumer: str, claim_idle_ms: int, told_to_stop: Event) -> FastStream:
    broker = RedisBroker(url)
    app = FastStream(broker)

    @broker.subscriber(
        stream=StreamSub(STREAM, group=GROUP, consumer=consumer, polling_interval=200),
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    @broker.subscriber(
        stream=StreamSub(STREAM, group=GROUP, consumer=consumer, polling_interval=200, min_idle_time=claim_idle_ms),
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def handle(task: str) -> None:
        await asyncio.to_thread(work.do, folder, task)

    def stop() -> None:
        told_to_stop.set()
        app.exit()

    @app.after_startup
    async def ready() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        (folder / "ready").touch()

    return app


def main(url: str, folder: Path, consumer: str, claim_idle_ms: int) -> None:
    """Until SIGTERM, as under a supervisor."""
    told_to_stop = Event()
    while not told_to_stop.is_set():
        try:
            asyncio.run(application(url, folder, consumer, claim_idle_ms, told_to_stop).run())
        except Exception as error:
            sys.stdout.write(f"{error!r}\n")
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
