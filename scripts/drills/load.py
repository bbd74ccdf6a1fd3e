"""Requests at a fixed rate, whatever the answers do: a slow server must not slow down who measures it."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from scripts.stack import host_history

#: Seconds after which a request without an answer counts as failed; above every limit that the drills check.
ANSWER_SECONDS: Final = 15.0

#: Requests that may wait at once, as seconds of load.
_OVERLAP_SECONDS: Final = 4


@dataclass(frozen=True)
class Answer:
    """One request's fate."""

    index: int
    sent: float  #: seconds on the clock of time.monotonic
    seconds: float  #: from sending to the last byte
    late: float  #: seconds behind schedule when it was sent: the load generator was busy, or all its requests waited
    status: int  #: 0 = no answer
    retry_after: str = ""
    body: bytes = b""

    @property
    def since_due(self) -> float:
        """Seconds from when it was due to its last byte: a server that is slow enough delays the sending, too."""
        return self.late + self.seconds

    @property
    def is_clear_no(self) -> bool:
        """Whether the server said that nothing was accepted: a 4xx, or a 503 in so many words."""
        return 400 <= self.status < 500 or (self.status == 503 and b"accepted is unknown" not in self.body)

    @property
    def fate(self) -> str:
        """For the history: ok, fail, or info when nobody knows."""
        return "ok" if self.job_id else "fail" if self.is_clear_no else "info"

    @property
    def job_id(self) -> str:
        """The id in an accepting answer, else ""."""
        return str(json.loads(self.body).get("id", "")) if self.status in (200, 202) else ""


@dataclass(frozen=True)
class Target:
    """Where requests go: host, port, and the headers each carries."""

    host: str
    port: int
    headers: Mapping[str, str]

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = ""
    ) -> tuple[int, str, bytes]:
        """One request on its own connection: status (0 = none), Retry-After, body. `key`: the Idempotency-Key."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_SECONDS)
        try:
            payload = json.dumps(body).encode() if body is not None else None
            headers = {**self.headers, "Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Retry-After", ""), answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, "", str(error).encode()
        finally:
            connection.close()


class Load:
    """`count` posts of `make_body(index)` at `rate` a second. Start it, do something to the stack, join it.

    With `key` each carries the Idempotency-Key `<key>-<index>`.
    """

    def __init__(
        self,
        target: Target,
        path: str,
        *,
        make_body: Callable[[int], Mapping[str, Any]],
        count: int,
        rate: float,
        key: str = "",
    ) -> None:
        self.count = count
        self.answers: list[Answer] = []
        self._target, self._path, self._make_body, self._rate = target, path, make_body, rate
        self._key = key
        self._next = 0
        self._lock = threading.Lock()
        self._started = 0.0
        workers = min(count, ceil(rate * _OVERLAP_SECONDS))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Sends no more; `count` is then what was sent."""
        with self._lock:
            self.count = min(self.count, self._next)

    def join(self) -> list[Answer]:
        """Wait for the last answer; all of them, in the order of sending."""
        for thread in self._threads:
            thread.join(timeout=self.count / self._rate + 4 * ANSWER_SECONDS)
        return sorted(self.answers, key=lambda answer: answer.index)

    def wait_for(self, index: int) -> None:
        """Return when request `index` is due."""
        time.sleep(max(0.0, self._started + index / self._rate - time.monotonic()))

    def send(self, index: int) -> Answer:
        """Posts request `index` now, under its key: also how a client repeats it."""
        sent = time.monotonic()
        key = f"{self._key}-{index}" if self._key else ""
        call = host_history.begins("accept", request=key)
        status, retry_after, body = self._target.send("POST", self._path, self._make_body(index), key=key)
        late = sent - self._started - index / self._rate
        answer = Answer(index, sent, time.monotonic() - sent, late, status, retry_after, body)
        host_history.ended(answer.fate, "accept", call, request=key, job=answer.job_id, status=status)
        return answer

    def _work(self) -> None:
        while (index := self._take()) is not None:
            self.wait_for(index)
            answer = self.send(index)
            with self._lock:
                self.answers.append(answer)

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self.count:
                return None
            self._next += 1
            return self._next - 1


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


def spread(answers: Sequence[Answer]) -> str:
    """Latencies since they were due in one phrase."""
    seconds = [answer.since_due for answer in answers]
    p50, p99 = percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000
    late = percentile([answer.late for answer in answers], 0.99) * 1000
    longest = max(seconds, default=0) * 1000
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {longest:.0f} ms (p99 of the sending: {late:.0f} ms late)"
