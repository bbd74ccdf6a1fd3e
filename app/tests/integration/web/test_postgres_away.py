"""Postgres frozen or stopped under load: every answer in 2.5 s, /livez never waits, all is well afterwards."""

import http.client
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.integration.web.conftest import Stack, problem_of
from tests.servers.waiting import wait_until
from tests.servers.web import API_KEY

log = logging.getLogger(__name__)

#: Seconds. Only what waits for nobody's deadline takes longer; the drills judge the promised 2.5 s on a quiet machine.
HUNG = 60.0

#: Seconds of a COMMIT; a request has six here.
LATE = 9.0


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float
    retry_after: str | None


def ask(stack: Stack, method: str = "POST", path: str = "/api/v1/jobs") -> Answer:
    """One request on a connection of its own. Not with httpx: making its client costs more CPU than the answer."""
    body = json.dumps({"kind": "probe.fast", "params": {"tag": uuid.uuid4().hex}}) if method == "POST" else None
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(stack.web.host, stack.web.port, timeout=2 * HUNG)
    began = time.monotonic()
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return Answer(answer.status, time.monotonic() - began, answer.getheader("Retry-After"))
    finally:
        connection.close()


def slowest(answers: list[Answer]) -> float:
    return max(answer.seconds for answer in answers)


def ask_at_rate(stack: Stack, *, per_second: int, seconds: float, path: str | None = None) -> list[Answer]:
    """Open loop: a slow answer does not slow the asking."""
    method = "GET" if path else "POST"
    with ThreadPoolExecutor(max_workers=per_second * 3) as pool:
        began = time.monotonic()
        futures = []
        for number in range(int(per_second * seconds)):
            time.sleep(max(0.0, began + number / per_second - time.monotonic()))
            futures.append(pool.submit(ask, stack, method, path or "/api/v1/jobs"))
        return [future.result() for future in futures]


def test_every_answer_comes_in_time_while_postgres_is_frozen(stack: Stack) -> None:
    assert ask(stack).status == 202
    stack.postgres.freeze()
    with ThreadPoolExecutor(max_workers=2) as pool:
        submits = pool.submit(ask_at_rate, stack, per_second=60, seconds=6)
        alive = pool.submit(ask_at_rate, stack, per_second=5, seconds=6, path="/livez")
        answers, health = submits.result(), alive.result()
    stack.postgres.thaw()
    statuses = Counter(answer.status for answer in answers)
    log.info("submits %s, slowest %.3f s; livez slowest %.3f s", statuses, slowest(answers), slowest(health))
    assert {answer.status for answer in answers} == {503}
    assert all(answer.retry_after for answer in answers)
    assert slowest(answers) < HUNG
    assert {answer.status for answer in health} == {200}
    wait_until(lambda: ask(stack).status == 202, "no job was accepted after the thaw")


def test_liveness_waits_for_no_thread_that_waits_for_postgres(stack: Stack) -> None:
    threads = int(stack.web.environment.get("WEB_THREADS", "16"))
    assert ask(stack).status == 202
    stack.postgres.freeze()
    with ThreadPoolExecutor(max_workers=2 * threads) as pool:
        waiting = [pool.submit(ask, stack) for _ in range(2 * threads)]
        time.sleep(0.3)  # every request thread is now inside a wait of 6 s
        health = [ask(stack, "GET", "/livez") for _ in range(5)]
        assert not any(future.done() for future in waiting)
        assert {future.result().status for future in waiting} == {503}
    log.info("livez with every request thread blocked: slowest %.3f s", slowest(health))
    assert {answer.status for answer in health} == {200}


def test_every_answer_comes_in_time_while_postgres_is_stopped(stack: Stack) -> None:
    stack.postgres.kill()
    answers = ask_at_rate(stack, per_second=40, seconds=3)
    assert {answer.status for answer in answers} == {503}
    assert slowest(answers) < HUNG
    assert ask(stack, "GET", "/livez").status == 200
    assert ask(stack, "GET", "/readyz").status == 503
    stack.postgres.start()
    wait_until(lambda: ask(stack, "GET", "/readyz").status == 200, "not ready after Postgres came back")
    recovered = ask_at_rate(stack, per_second=20, seconds=1)
    assert {answer.status for answer in recovered} == {202}


def test_no_connection_of_before_a_restart_fails_a_request(stack: Stack) -> None:
    assert {answer.status for answer in ask_at_rate(stack, per_second=20, seconds=1)} == {202}
    stack.postgres.restart()
    wait_until(lambda: ask(stack).status == 202, "no job was accepted after the restart")
    assert {answer.status for answer in ask_at_rate(stack, per_second=20, seconds=1)} == {202}


def test_a_submit_cut_off_by_the_freeze_may_be_repeated_with_its_key(stack: Stack) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"kind": "probe.fast", "params": {"tag": uuid.uuid4().hex}}
    stack.postgres.freeze()
    with stack.client() as client:
        cut_off = client.post("/api/v1/jobs", json=body, headers=headers)
        assert cut_off.status_code == 503
        assert "again" in problem_of(cut_off)["detail"]
        stack.postgres.thaw()
        wait_until(lambda: client.get("/readyz").status_code == 200, "not ready after the thaw")
        first = client.post("/api/v1/jobs", json=body, headers=headers)
        again = client.post("/api/v1/jobs", json=body, headers=headers)
    assert first.status_code in (200, 202)
    assert again.json()["id"] == first.json()["id"]


@contextmanager
def commits_take(stack: Stack, seconds: float, *, then: str) -> Iterator[None]:
    """Each COMMIT of a new job takes `seconds` on the server, whether or not the client waits, and `then` ends so."""
    with stack.postgres.connect() as connection:
        connection.execute(
            f"""CREATE FUNCTION hold_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM set_config('client_connection_check_interval', '0', true);
                PERFORM pg_sleep({seconds});
                {then}
            END $$"""
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION hold_commit()"
        )
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION hold_commit CASCADE")  # waits for a COMMIT under way


@pytest.mark.parametrize(
    ("seconds", "then", "is_kept"),
    [
        (LATE, "RETURN NULL;", True),
        (LATE, "RAISE EXCEPTION 'refused at the commit';", False),
        (0.0, "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL;", False),
    ],
    ids=["commits-too-late", "fails-too-late", "dies"],
)
def test_a_submit_whose_commit_got_no_answer_is_told_to_repeat_with_its_key(
    stack: Stack, seconds: float, then: str, is_kept: bool
) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    tag = uuid.uuid4().hex
    body = {"kind": "probe.fast", "params": {"tag": tag}}
    with stack.client() as client:
        with commits_take(stack, seconds, then=then):
            cut_off = client.post("/api/v1/jobs", json=body, headers=headers)
        assert cut_off.status_code == 503
        assert cut_off.headers["Retry-After"]
        detail = problem_of(cut_off)["detail"]
        assert "with the same Idempotency-Key" in detail
        assert "unknown" in detail
        accepted = jobs_tagged(stack, tag)
        assert len(accepted) == int(is_kept)
        wait_until(lambda: client.get("/readyz").status_code == 200, "not ready after the slow commit")

        def repeated() -> httpx.Response | None:
            answer = client.post("/api/v1/jobs", json=body, headers=headers)
            return None if answer.status_code == 503 else answer

        again = wait_until(repeated, "the repetition was not accepted")
        assert again is not None
        assert again.status_code in (200, 202)
        assert jobs_tagged(stack, tag) == [again.json()["id"]]
        assert not is_kept or accepted == [again.json()["id"]]


def jobs_tagged(stack: Stack, tag: str) -> list[str]:
    with stack.postgres.connect() as connection:
        rows = connection.execute("SELECT id FROM job WHERE params ->> 'tag' = %s", [tag])
        return [str(job_id) for (job_id,) in rows]


def test_the_admin_answers_503_too(stack: Stack) -> None:
    stack.postgres.freeze()
    began = time.monotonic()
    answer = httpx.get(f"{stack.web.url}/admin/login/", cookies={"sessionid": "x" * 32}, timeout=2 * HUNG)
    assert answer.status_code in (200, 503)
    assert time.monotonic() - began < HUNG


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_accepts_while_redis_is_away(stack: Stack, fault: str) -> None:
    let_web_hint(stack)
    assert ask(stack).status == 202
    break_redis: Callable[[], None] = getattr(stack.redis, fault)
    break_redis()
    answers = ask_at_rate(stack, per_second=40, seconds=3)
    assert {answer.status for answer in answers} == {202}
    log.info("redis %s: slowest accept %.3f s", fault, slowest(answers))
    assert slowest(answers) < HUNG
    with stack.client() as client:
        expected = {"status": "ready", "postgres": "up", "redis": "down"}
        wait_until(lambda: client.get("/readyz").json() == expected, "not ready without Redis")


def let_web_hint(stack: Stack) -> None:
    """What a sweeper says at each tick; without it web accepts and leaves hinting to the sweeper."""
    with stack.postgres.connect() as connection:
        connection.execute(
            "INSERT INTO pool_state (pool, open, hinted, ready, behind, grace_seconds, at)"
            " SELECT name, 0, 0, 0, false, 5, now() + interval '1 hour' FROM unnest(%s::text[]) AS name"
            " ON CONFLICT (pool) DO UPDATE SET at = excluded.at",
            [["fast", "cpu", "io"]],
        )
    time.sleep(1.1)  # web reads these rows once a second
