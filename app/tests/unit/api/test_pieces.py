"""The small pieces of the API that need no server."""

import io
import time

import pytest
import redis
from django.core.exceptions import RequestDataTooBig
from hypothesis import given
from hypothesis import strategies as st

import postgres_deadline
from jobs.api.application import field_path
from jobs.api.problems import Problem
from jobs.api.rate_limit import Limiter, RedisCounter
from jobs.api.text import MAX_DEPTH, parse_json
from project.request_body import BoundedBody


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("body", "payload", "jobs", 3, "params", "work_ms"), "jobs[3].params.work_ms"),
        (("body", "payload"), "body"),
        (("query", "limit"), "limit"),
        (("header", "Idempotency-Key"), "Idempotency-Key"),
    ],
)
def test_names_a_field_as_the_client_wrote_it(location: tuple[str | int, ...], path: str) -> None:
    assert field_path(location) == path


def problem_with(body: bytes) -> Problem | None:
    try:
        parse_json(body)
    except Problem as problem:
        return problem
    return None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_422(body: bytes) -> None:
    problem = problem_with(body)
    assert problem is None or (problem.status, problem.errors[0]["field"]) == (422, "body")


def test_depth_is_limited_and_the_limit_itself_is_allowed() -> None:
    def nested(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    assert parse_json(nested(MAX_DEPTH))
    with pytest.raises(Problem) as caught:
        parse_json(nested(MAX_DEPTH + 1))
    assert "nested" in caught.value.errors[0]["message"]


class FlakyCounter(RedisCounter):
    """Redis that can be switched off."""

    def __init__(self) -> None:
        self.away = False
        self.counts: dict[tuple[str, int], int] = {}
        self.asked = 0

    def add(self, key_id: str, window: int) -> int:
        self.asked += 1
        self.probe()
        self.counts[key_id, window] = self.counts.get((key_id, window), 0) + 1
        return self.counts[key_id, window]

    def probe(self) -> None:
        if self.away:
            raise redis.ConnectionError("away")


def test_limits_per_key_and_window_and_says_how_long_to_wait() -> None:
    now = [120.0]
    limiter = Limiter(FlakyCounter(), clock=lambda: now[0])
    assert [limiter.take("a", limit=2) for _ in range(3)] == [0, 0, 60]
    assert limiter.take("b", limit=2) == 0
    now[0] = 179.5
    assert limiter.take("a", limit=2) == 1
    now[0] = 180.0
    assert limiter.take("a", limit=2) == 0


def test_keeps_limiting_while_redis_is_away_and_asks_it_once() -> None:
    shared = FlakyCounter()
    limiter = Limiter(shared, clock=lambda: 120.0)
    assert limiter.take("a", limit=2) == 0
    shared.away = True
    asked = shared.asked
    assert [limiter.take("a", limit=2) for _ in range(3)] == [0, 60, 60]
    assert shared.asked == asked + 1


def test_another_replica_s_requests_count() -> None:
    shared = FlakyCounter()
    first, second = (Limiter(shared, clock=lambda: 120.0) for _ in range(2))
    assert [first.take("a", limit=2), second.take("a", limit=2)] == [0, 0]
    assert second.take("a", limit=2) == 60


def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert BoundedBody(io.BytesIO(b"12345"), limit=5).read() == b"12345"
    with pytest.raises(RequestDataTooBig):
        BoundedBody(io.BytesIO(b"123456"), limit=5).read()
    pieces = BoundedBody(io.BytesIO(b"123456"), limit=5)
    assert pieces.read(3) == b"123"
    with pytest.raises(RequestDataTooBig):
        pieces.read(3)


class SlowSource(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.3)
        return super().read(size)


def test_time_that_the_client_takes_does_not_count_against_postgres() -> None:
    with postgres_deadline.deadline(1000.0):
        began, before = time.monotonic(), postgres_deadline.remaining()
        body = BoundedBody(SlowSource(b"x" * 6), limit=10)
        while body.read(1):
            pass
        after, took = postgres_deadline.remaining(), time.monotonic() - began
    assert before is not None
    assert after is not None
    assert before - after <= took - 7 * 0.3 + 0.001, "six bytes and the end, 0.3 s each, are given back"
