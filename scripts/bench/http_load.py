"""Load over kept-alive connections, from a process of its own: `python3 -m scripts.bench.http_load < plan.json`.

The plan and the outcome are JSON objects, see `Plan` and `Outcome`. Without a rate each connection sends as soon as it
was answered (closed loop); with one, requests are sent by the clock and timed from when they were due.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Final

from scripts.drills.load import percentile

#: Seconds that one request may take.
_ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Plan:
    """What to send. Each job is a different probe.fast; its tag begins with `tag`."""

    port: int
    path: str
    tag: str
    headers: dict[str, str]
    host: str = "127.0.0.1"
    connections: int = 8
    warmup_seconds: float = 1.0
    seconds: float = 4.0
    jobs_per_request: int = 0  #: 0 = the body is one job, else a bulk of so many
    rate: float = 0.0  #: requests a second; 0 = closed loop


@dataclass
class Outcome:
    """What came back within the measured time, warm-up excluded."""

    seconds: float = 0.0
    answers: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    began: float = 0.0  #: Unix seconds at the end of the warm-up


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next = count()
        self._began = time.monotonic()
        self._measure_from = self._began + plan.warmup_seconds
        self._end = self._measure_from + plan.seconds
        self._lock = threading.Lock()
        self._seconds: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._last = self._measure_from

    def run(self) -> Outcome:
        began = time.time() + self._plan.warmup_seconds
        threads = [threading.Thread(target=self._connection) for _ in range(self._plan.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ordered = sorted(self._seconds)
        return Outcome(
            seconds=self._last - self._measure_from,
            answers=len(ordered),
            statuses=dict(self._statuses),
            p50_ms=1000 * percentile(ordered, 0.5),
            p99_ms=1000 * percentile(ordered, 0.99),
            began=began,
        )

    def _connection(self) -> None:
        connection = http.client.HTTPConnection(self._plan.host, self._plan.port, timeout=_ANSWER_SECONDS)
        headers = {**self._plan.headers, "Content-Type": "application/json"}
        while True:
            index = next(self._next)
            body = self._body(index)
            due = self._due(index)
            if due >= self._end:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                connection.request("POST", self._plan.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status = type(error).__name__
            self._note(due, time.monotonic(), status)
        connection.close()

    def _due(self, index: int) -> float:
        return self._began + index / self._plan.rate if self._plan.rate else time.monotonic()

    def _note(self, due: float, ended: float, status: str) -> None:
        # Closed loop: what ends inside the window. By the clock: what was due inside it, however late.
        inside = due >= self._measure_from if self._plan.rate else self._measure_from <= ended <= self._end
        if inside:
            with self._lock:
                self._seconds.append(ended - due)
                self._statuses[status] += 1
                self._last = max(self._last, ended)

    def _body(self, index: int) -> bytes:
        size = self._plan.jobs_per_request
        if not size:
            return json.dumps(self._job(str(index))).encode()
        return json.dumps({"jobs": [self._job(f"{index}-{item}") for item in range(size)]}).encode()

    def _job(self, name: str) -> dict[str, Any]:
        return {"kind": "probe.fast", "farm_id": "bench", "params": {"tag": f"{self._plan.tag}-{name}"}}


def main() -> None:
    json.dump(asdict(Run(Plan(**json.load(sys.stdin))).run()), sys.stdout)


if __name__ == "__main__":
    main()
