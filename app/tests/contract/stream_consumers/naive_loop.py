"""The consumer that tutorials end with. A sample of what goes wrong, not a recommendation.

Each choice below is a common one; `recorded` says what it costs. To its credit it acknowledges after the work and is
started again when it dies.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import redis

from tests.contract.stream_consumers import work

STREAM, GROUP = "orders", "workers"


def send(client: redis.Redis, item: str, due: datetime | None = None) -> None:
    """MAXLEN, so that the stream stays small."""
    task = work.task(item, due=due.timestamp() if due else 0.0)
    client.xadd(STREAM, {"task": task}, maxlen=100, approximate=True)


def consume(client: Any, folder: Path) -> None:  # noqa: ANN401 - redis-py's replies are untyped
    """One life: a group from now on, a name of its own, new entries one by one, and nothing left behind on exit."""
    with suppress(redis.ResponseError):  # the group is there already
        client.xgroup_create(STREAM, GROUP, id="$", mkstream=True)
    consumer = f"worker-{os.getpid()}"
    (folder / "ready").touch()
    try:
        while True:
            for _, entries in client.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=10, block=200) or []:
                for entry_id, fields in entries:
                    work.do(folder, fields["task"])
                    client.xack(STREAM, GROUP, entry_id)
    except SystemExit:
        client.xgroup_delconsumer(STREAM, GROUP, consumer)
        raise


def main(url: str, folder: Path) -> None:
    """For ever, as a supervisor would: whatever ended it, it starts again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        try:
            consume(redis.Redis.from_url(url, decode_responses=True), folder)
        except redis.RedisError as error:
            sys.stdout.write(f"{error!r}\n")
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
