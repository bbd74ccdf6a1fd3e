"""Sends the stock app's tasks as a web application does: `python stock_client.py RATE THREADS`. Ends when it is killed.

Each line of `sent`: number, time at which it was due, time of the outcome, outcome. A line with the outcome `begun`
alone is a call that never came back. `spare` holds the same of a second sender, which connects anew for each task with
time-outs of its own: it puts work before the worker whatever became of the first.
"""

import contextlib
import itertools
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO

from stock_app import RESULTS, app, note

SPARE_SECONDS = 0.25
FIRST_SPARE = 1_000_000
_SHORT = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}


class Log:
    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, number: int, due: float, outcome: str) -> None:
        with self._lock:
            self._file.write(f"{number} {due} {time.time()} {outcome}\n")


def send(waiting: "queue.SimpleQueue[tuple[int, float]]", log: Log) -> None:
    while True:
        number, due = waiting.get()
        log.write(number, due, "begun")
        try:
            note.apply_async((number,))
        except Exception as error:
            log.write(number, due, type(error).__name__)
        else:
            log.write(number, due, "ok")


def send_anew(log: Log) -> None:
    for number in itertools.count(FIRST_SPARE):
        due = time.time()
        outcome = "ok"
        try:
            with app.connection_for_write() as connection:
                access = connection.transport_options["sentinel_kwargs"]
                connection.transport_options |= {**_SHORT, "sentinel_kwargs": {**access, **_SHORT}}
                note.apply_async((number,), connection=connection, retry=False)
        except Exception as error:
            outcome = type(error).__name__
        log.write(number, due, outcome)
        time.sleep(SPARE_SECONDS)


def main(rate: float, threads: int) -> None:
    if not os.fork():
        send_anew(Log(RESULTS / "spare"))
    waiting: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()
    log = Log(RESULTS / "sent")
    for _ in range(threads):
        threading.Thread(target=send, args=(waiting, log), daemon=True).start()
    began = time.time()
    for number in itertools.count():
        due = began + number / rate
        time.sleep(max(0.0, due - time.time()))
        waiting.put((number, due))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(float(sys.argv[1]), int(sys.argv[2]))
