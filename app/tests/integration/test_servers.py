"""The fixtures themselves: what a test asks of a server really happens to it."""

import contextlib
import select

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from tests.servers.postgres import PostgresProcess
from tests.servers.redis_server import RedisProcess
from tests.servers.sentinel import SentinelTopology
from tests.servers.waiting import DidNotHappen, wait_until


def test_postgres_has_the_format_and_durability_of_the_stack(postgres: PostgresProcess) -> None:
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT datlocprovider, datlocale, current_setting('synchronous_commit') FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
    assert row == ("b", "C.UTF-8", "on")


def test_postgres_keeps_committed_rows_over_a_kill(postgres: PostgresProcess) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        postgres.connect()
    postgres.restart()
    with postgres.connect() as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
        connection.execute("DROP TABLE kept")


def test_frozen_postgres_answers_nobody_until_thawed(postgres: PostgresProcess) -> None:
    with contextlib.closing(postgres.connect()) as connection:
        postgres.freeze()
        try:
            with pytest.raises(psycopg.OperationalError):
                postgres.connect(seconds=2)
            connection.pgconn.send_query(b"SELECT 1")
            assert not select.select([connection.fileno()], [], [], 0.5)[0], "a session that was open answered"
        finally:
            postgres.thaw()
        assert select.select([connection.fileno()], [], [], 60)[0]


def test_frozen_redis_times_out_and_a_killed_one_refuses(redis_server: RedisProcess) -> None:
    with redis_server.client() as client, redis_server.client(seconds=1.0) as impatient:
        redis_server.freeze()
        with pytest.raises(redis.TimeoutError):
            impatient.ping()
        redis_server.thaw()
        assert client.ping()
        redis_server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        redis_server.restart()
        assert client.ping()


def test_redis_refuses_the_default_user_and_the_app_cannot_flush(redis_server: RedisProcess) -> None:
    nobody = redis.Redis(host=redis_server.host, port=redis_server.port, retry=Retry(NoBackoff(), 0))
    with nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()
    with redis_server.client() as app, pytest.raises(NoPermissionError):
        app.flushdb()
    assert redis_server.denied()
    redis_server.flush()
    assert redis_server.denied() == []


def test_killed_primary_is_replaced_and_heals(sentinel: SentinelTopology) -> None:
    old = sentinel.primary
    with old.client() as client:
        client.set("before", "1")
        assert client.wait(2, 60_000) == 2
    old.kill()
    new = sentinel.await_new_primary(old)
    with new.client() as client:
        assert client.get("before") == "1"
    sentinel.heal()
    assert sorted(node.role() for node in sentinel.nodes) == ["master", "slave", "slave"]
    assert sentinel.denied() == []


def test_bounded_wait_ends_with_its_sentence() -> None:
    with pytest.raises(DidNotHappen, match="the moon did not fall"):
        wait_until(lambda: False, "the moon did not fall", seconds=0.05)
