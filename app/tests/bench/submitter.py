"""The side that submits, one process per contender: `python -m tests.bench.submitter bare|holdfast`.

Reads one JSON object per line, `{"do": …, …}`, and answers each with one line.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

#: Jobs of one bulk.
_BULK = 1000


class Side(Protocol):
    """How one contender is given jobs. A name tells a job from all others."""

    def submit(self, name: str) -> str:
        """Accepts one job; its id."""

    def submit_bulk(self, names: list[str]) -> None:
        """Accepts many in the fastest way there is."""

    def dispatcher(self) -> Callable[[int], None]:
        """Hands so many messages to Redis and does nothing else."""


class Bare:
    """Bare Celery."""

    def __init__(self) -> None:
        from tests.bench import bare_celery

        self._task = bare_celery.effect
        self._nothing = bare_celery.nothing

    def submit(self, name: str) -> str:
        key = str(uuid4())
        self._task.delay(key)
        return key

    def submit_bulk(self, names: list[str]) -> None:
        for name in names:
            self.submit(name)

    def submit_nothing(self, count: int) -> None:
        """Jobs without effect; the last two write a row, one for each worker process."""
        for _ in range(count - 2):
            self._nothing.delay("")
        for _ in range(2):
            self._nothing.delay(str(uuid4()))

    def dispatcher(self) -> Callable[[int], None]:
        def send(count: int) -> None:
            for _ in range(count):
                self._task.delay("")

        return send


class Holdfast:
    """`jobs.submit` and what stands behind it, in the mode that the environment names."""

    def __init__(self) -> None:
        import django

        django.setup()
        from jobs import submission

        self._submission = submission

    def submit(self, name: str) -> str:
        return str(self._submission.submit("probe.fast", owner="bench", params={"tag": name}).job.id)

    def submit_bulk(self, names: list[str]) -> None:
        requests = [self._submission.JobRequest("probe.fast", {"tag": name}) for name in names]
        self._submission.submit_bulk(requests, owner="bench")

    def dispatcher(self) -> Callable[[int], None]:
        from dispatch import Hint, Priority, get_dispatcher
        from jobs.ids import new_id

        def send(count: int) -> None:
            now = time.time_ns() // 1_000_000
            hints = [Hint(new_id(), 1, "probe.fast", "fast", Priority.NORMAL, "5" * 64, "", now) for _ in range(count)]
            get_dispatcher().dispatch(hints, budget_seconds=5.0)

        return send


def one_by_one(side: Side, *, count: int, tag: str) -> dict[str, Any]:
    """Seconds that `count` single submits took, one after the other."""
    began = time.perf_counter()
    for index in range(count):
        side.submit(f"{tag}-{index}")
    return {"seconds": time.perf_counter() - began}


def bulk(side: Side, *, count: int, tag: str) -> dict[str, Any]:
    """Seconds that `count` jobs took, in bulks of 1,000."""
    began = time.perf_counter()
    for first in range(0, count, _BULK):
        side.submit_bulk([f"{tag}-{index}" for index in range(first, min(first + _BULK, count))])
    return {"seconds": time.perf_counter() - began}


def bare_rows(_side: Side, *, count: int, tag: str) -> dict[str, Any]:
    """Seconds that `count` rows took by COPY, in transactions of 1,000."""
    from tests.bench import bare_rows

    names = [f"{tag}-{index}" for index in range(count)]
    return {"seconds": sum(bare_rows.write(names[first : first + _BULK]) for first in range(0, count, _BULK))}


def nothing(side: Bare, *, count: int) -> dict[str, Any]:
    side.submit_nothing(count)
    return {}


def dispatch(side: Side, *, count: int, batch: int) -> dict[str, Any]:
    """Seconds that `count` messages took in calls of `batch`."""
    send = side.dispatcher()
    send(batch)
    began = time.perf_counter()
    for _ in range(count // batch):
        send(batch)
    return {"seconds": time.perf_counter() - began}


def paced(side: Side, *, rate: float, count: int, tag: str) -> dict[str, Any]:
    """Submits by the clock; for each job its id and when it was due (Unix seconds), however late it was sent."""
    began = time.time() + 0.01
    sent = []
    for index in range(count):
        due = began + index / rate
        time.sleep(max(0.0, due - time.time()))
        sent.append((side.submit(f"{tag}-{index}"), due))
    return {"sent": sent}


def timings(_side: Holdfast, *, times: int) -> dict[str, Any]:
    """Median milliseconds of each operation, and its plan."""
    from tests.bench import operations

    return operations.measure(times)


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    command.__name__: command for command in (one_by_one, bulk, bare_rows, nothing, dispatch, paced, timings)
}


def main() -> None:
    side = {"bare": Bare, "holdfast": Holdfast}[sys.argv[1]]()
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        request = json.loads(line)
        answer = _COMMANDS[request.pop("do")](side, **request)
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
