"""The side that submits, as a web application with four threads does: `python -m tests.others.client MODULE FUNCTION
SEED`.

Says `ready` once the warm-up request is submitted, and begins the script of the seed at the Unix time that it then
reads from standard input. Ends with the script; a call that never comes back keeps it until it is killed.
"""

import importlib
import itertools
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import django
import psycopg
from django.db import Error, close_old_connections

from history.recorder import Recorder
from tests.others import script

THREADS: Final = 4

_CALLS: Final = itertools.count(1)

type Submit = Callable[[UUID], None]
type Waiting = queue.SimpleQueue[UUID | None]


def main(module: str, function: str, seed: int) -> None:
    django.setup()
    from tests.others import work

    submit: Submit = getattr(importlib.import_module(module), function)
    submit(script.WARM_UP)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began = float(sys.stdin.readline())
    waiting: Waiting = queue.SimpleQueue()
    threads = [threading.Thread(target=_send, args=(submit, work.recorder, waiting)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for due, key in script.drawn(seed).requests:
        time.sleep(max(0.0, began + due - time.time()))
        waiting.put(key)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()


def _send(submit: Submit, recorder: Recorder, waiting: Waiting) -> None:
    while (key := waiting.get()) is not None:
        close_old_connections()
        # Its job is nobody's promise yet: a refusal that left a row is told by the request.
        call, request = next(_CALLS), {"request": str(key)}
        recorder.note("invoke", "accept", [request], call=call)
        try:
            submit(key)
        except (Error, psycopg.Error) as error:
            # It says nothing of the commit that it may have interrupted.
            recorder.note("info", "accept", [{**request, "reason": type(error).__name__}], call=call)
        except Exception as error:
            recorder.note("fail", "accept", [{**request, "reason": type(error).__name__}], call=call)
        else:
            recorder.note("ok", "accept", [{**request, "job": str(key)}], call=call)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
