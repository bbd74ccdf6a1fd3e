"""API keys: scopes, revocation, rate limits, seeding."""

import time

import httpx
import pytest

from tests.integration.web.conftest import Stack, problem_of
from tests.servers.web import API_KEY


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic abc",
        "Bearer hf_x",
        "Bearer " + API_KEY[:-1] + "6",
        "Bearer hf_unknown1_" + "0" * 64,
        "Bearer \u00e9\u00e9",
        API_KEY,
    ],
)
def test_no_or_wrong_key_is_401_with_a_challenge(stack: Stack, header: str | None) -> None:
    headers = {"Authorization": header.encode("latin-1")} if header is not None else {}
    answer = httpx.get(f"{stack.web.url}/api/v1/jobs", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    problem_of(answer)


def test_a_key_without_the_scope_is_403(stack: Stack) -> None:
    with stack.client(stack.key("read")) as reader:
        assert reader.get("/api/v1/jobs").status_code == 200
        answer = reader.post("/api/v1/jobs", json={"kind": "probe.fast", "params": {}})
    assert answer.status_code == 403
    assert "submit" in problem_of(answer)["detail"]


def test_a_created_key_works_until_it_is_revoked(stack: Stack) -> None:
    key = stack.web.manage("create_api_key", "--owner=farm-a", "--scopes=read").strip()
    with stack.client(key) as client:
        assert client.get("/api/v1/jobs").status_code == 200
        stack.web.manage("revoke_api_key", key[:11])
        assert client.get("/api/v1/jobs").status_code == 401
    assert "revoked" in stack.web.manage("list_api_keys")
    with pytest.raises(RuntimeError, match="no live key"):
        stack.web.manage("revoke_api_key", key[:11])
    with pytest.raises(RuntimeError, match="choose from read, submit, operate"):
        stack.web.manage("create_api_key", "--owner=farm-a", "--scopes=all")


def test_neither_the_list_nor_the_table_holds_a_secret(stack: Stack) -> None:
    secret = API_KEY.rsplit("_", 1)[1]
    assert secret not in stack.web.manage("list_api_keys")
    with stack.postgres.connect() as connection:
        rows = connection.execute("SELECT api_key::text FROM api_key").fetchall()
    assert rows
    assert all(secret not in str(row) for row in rows)


def test_use_is_noted_but_not_per_request(stack: Stack) -> None:
    key = stack.key("read")
    with stack.client(key) as client:
        client.get("/api/v1/jobs")
        before = last_used(stack, key)
        client.get("/api/v1/jobs")
    assert before is not None
    assert last_used(stack, key) == before


def last_used(stack: Stack, key: str) -> object:
    with stack.postgres.connect() as connection:
        row = connection.execute("SELECT last_used_at FROM api_key WHERE id = %s", [key[3:11]]).fetchone()
    assert row is not None
    return row[0]


def test_the_rate_limit_holds_with_and_without_redis(stack: Stack) -> None:
    assert statuses(stack) == [200, 200, 200, 429, 429]
    stack.redis.freeze()
    assert statuses(stack) == [200, 200, 200, 429, 429]
    stack.redis.thaw()


def statuses(stack: Stack) -> list[int]:
    """Of five requests of a new key within one minute of the wall clock, which is the window."""
    codes, minute = [], 0.0
    while minute != time.time() // 60:
        codes, minute = [], time.time() // 60
        with stack.client(stack.key("read", rate_limit=3)) as client:
            for _ in range(5):
                answer = client.get("/api/v1/jobs")
                codes.append(answer.status_code)
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    problem_of(answer)
    return codes


def test_seeding_twice_changes_nothing_and_a_changed_secret_is_refused(stack: Stack) -> None:
    assert "stored already" in stack.web.manage("migrate_and_seed")
    good = stack.web.environment["HOLDFAST_API_KEY"]
    try:
        stack.web.environment["HOLDFAST_API_KEY"] = good[:-1] + "6"
        with pytest.raises(RuntimeError, match="another secret"):
            stack.web.manage("migrate_and_seed")
        stack.web.environment["HOLDFAST_API_KEY"] = "secret"
        with pytest.raises(RuntimeError, match="create_api_key"):
            stack.web.manage("migrate_and_seed")
    finally:
        stack.web.environment["HOLDFAST_API_KEY"] = good


def test_migrating_without_postgres_says_what_to_look_at(stack: Stack) -> None:
    good = stack.web.environment["DATABASE_URL"]
    try:
        stack.web.environment["DATABASE_URL"] = good.replace(":secret@", ":wrong@")
        with pytest.raises(RuntimeError, match="password authentication failed"):
            stack.web.manage("migrate_and_seed", "--wait=30")
        stack.web.environment["DATABASE_URL"] = good.replace(str(stack.postgres.port), "1")
        with pytest.raises(RuntimeError, match="docker compose logs postgres"):
            stack.web.manage("migrate_and_seed", "--wait=1")
    finally:
        stack.web.environment["DATABASE_URL"] = good
