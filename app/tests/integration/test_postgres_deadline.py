"""The deadline and the breaker against a Postgres of our own that is frozen, stopped and restarted."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from django.db.utils import InternalError, OperationalError
from pytest_django import DjangoDbBlocker

import postgres_deadline
from postgres_deadline import read_only
from postgres_deadline.backend.base import DatabaseWrapper
from postgres_deadline.breaker import Breaker
from tests.servers.postgres import PostgresProcess
from tests.servers.process import free_port
from tests.servers.waiting import wait_until

#: Seconds; only what waits for nobody's deadline takes longer.
LONG = 30.0

pytestmark = pytest.mark.no_servers  # the session's servers: this module freezes one of its own


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresProcess]:
    with tempfile.TemporaryDirectory(prefix="holdfast-pg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        server = PostgresProcess(parent=Path(name), port=free_port(), password="secret")
        server.start()
        yield server
        server.stop()


@pytest.fixture
def database(own_postgres: PostgresProcess, django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseWrapper]:
    """A Django connection of its own alias over the pool that production uses; the server is whole again afterwards."""
    alias = "frozen"
    options = postgres_deadline.options(pool_size=4)
    options["pool"]["timeout"] = 60.0  # on a busy machine another connection takes its time
    connections.settings[alias] = {
        **connections.settings["default"],
        "HOST": own_postgres.host,
        "PORT": own_postgres.port,
        "USER": own_postgres.user,
        "PASSWORD": own_postgres.password,
        "NAME": own_postgres.database,
        "OPTIONS": options,
    }
    wrapper = DatabaseWrapper(connections.settings[alias], alias)
    if not own_postgres.running:
        own_postgres.start()
    with django_db_blocker.unblock():
        yield wrapper
    own_postgres.thaw()
    if not own_postgres.running:
        own_postgres.start()
    wrapper.close()
    wrapper.close_pool()
    wait_until(lambda: not postgres_deadline.breaker.is_open(), "the breaker did not close")
    del connections.settings[alias]


def scalar(wrapper: DatabaseWrapper, sql: str) -> object:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_ends_a_statement_at_the_deadline(database: DatabaseWrapper) -> None:
    scalar(database, "SELECT 1")
    began = time.monotonic()
    with postgres_deadline.deadline(0.3), pytest.raises(OperationalError) as caught:
        scalar(database, "SELECT pg_sleep(600)")
    assert 0.28 <= time.monotonic() - began < LONG
    assert isinstance(caught.value.__cause__, postgres_deadline.DeadlineExpired)
    assert postgres_deadline.is_outage(caught.value)
    assert database.connection.closed


def test_spends_one_budget_over_several_statements(database: DatabaseWrapper) -> None:
    scalar(database, "SELECT 1")
    began = time.monotonic()
    with postgres_deadline.deadline(4.0):
        for _ in range(3):
            scalar(database, "SELECT pg_sleep(0.1)")
        with pytest.raises(OperationalError):
            scalar(database, "SELECT pg_sleep(3.9)")
    assert time.monotonic() - began >= 3.98


def test_an_inner_deadline_cannot_extend_the_outer_one() -> None:
    with postgres_deadline.deadline(0.2), postgres_deadline.deadline(60):
        assert postgres_deadline.remaining() <= 0.2
    with postgres_deadline.unbounded():
        assert postgres_deadline.remaining() is None
    assert postgres_deadline.remaining() == postgres_deadline.DEFAULT_WAIT_SECONDS


def test_time_that_is_not_postgres_s_can_be_given_back() -> None:
    with postgres_deadline.deadline(600.0):
        began, before = time.monotonic(), postgres_deadline.remaining()
        with postgres_deadline.paused():
            time.sleep(0.5)
        after, took = postgres_deadline.remaining(), time.monotonic() - began
    assert before is not None
    assert after is not None
    assert before - after <= took - 0.5 + 0.001


def test_a_frozen_server_holds_a_commit_no_longer_than_the_deadline(
    database: DatabaseWrapper, own_postgres: PostgresProcess
) -> None:
    scalar(database, "SELECT 1")
    with postgres_deadline.deadline(4.0):
        database.set_autocommit(False)
        with database.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS committed (n int)")
            cursor.execute("INSERT INTO committed VALUES (1)")
        own_postgres.freeze()
        began = time.monotonic()
        with pytest.raises(OperationalError, match="unknown"):
            database.commit()
    assert time.monotonic() - began < LONG
    assert postgres_deadline.breaker.is_open()
    own_postgres.thaw()
    wait_until(lambda: not postgres_deadline.breaker.is_open(), "the breaker did not close after the thaw")


def test_a_frozen_server_holds_nobody_who_has_no_connection_yet(
    database: DatabaseWrapper, own_postgres: PostgresProcess
) -> None:
    own_postgres.freeze()
    began = time.monotonic()
    with postgres_deadline.deadline(2.0), pytest.raises(OperationalError):
        scalar(database, "SELECT 1")
    assert time.monotonic() - began < LONG


def test_serves_at_once_after_a_restart(database: DatabaseWrapper, own_postgres: PostgresProcess) -> None:
    scalar(database, "SELECT 1")
    database.close()
    own_postgres.kill()
    with postgres_deadline.deadline(2.0), pytest.raises(OperationalError):
        scalar(database, "SELECT 1")
    assert postgres_deadline.breaker.is_open()
    database.close()
    own_postgres.start()
    wait_until(lambda: not postgres_deadline.breaker.is_open(), "the breaker did not close after the restart")
    with postgres_deadline.deadline(60.0):
        assert scalar(database, "SELECT 1") == 1


def test_only_one_thread_probes_while_many_trip(database: DatabaseWrapper, own_postgres: PostgresProcess) -> None:
    scalar(database, "SELECT 1")
    own_postgres.freeze()
    trippers = [threading.Thread(target=postgres_deadline.breaker.trip, args=("test",)) for _ in range(20)]
    for thread in trippers:
        thread.start()
    for thread in trippers:
        thread.join()
    probers = [thread for thread in threading.enumerate() if thread.name == "postgres-breaker"]
    assert len(probers) == 1


def test_a_false_alarm_ends_with_the_first_probe(database: DatabaseWrapper) -> None:
    scalar(database, "SELECT 1")
    postgres_deadline.breaker.trip("a slow statement")
    wait_until(lambda: not postgres_deadline.breaker.is_open(), "the breaker did not close")


def test_closes_in_a_child_forked_while_it_was_open() -> None:
    serves = threading.Event()

    def probe() -> None:
        if not serves.is_set():
            raise psycopg.OperationalError("still away")

    breaker = Breaker(pause_seconds=0.01)
    breaker.probe_with(probe)
    breaker.trip("test")
    child = os.fork()
    if child == 0:
        was_open = breaker.is_open()
        serves.set()
        ends_at = time.monotonic() + 60
        while breaker.is_open() and time.monotonic() < ends_at:
            time.sleep(0.01)
        os._exit(0 if was_open and not breaker.is_open() else 1)
    _, status = os.waitpid(child, 0)
    serves.set()
    assert os.waitstatus_to_exitcode(status) == 0
    wait_until(lambda: not breaker.is_open(), "the parent's breaker did not close")


def test_a_child_opens_a_pool_of_its_own(database: DatabaseWrapper) -> None:
    scalar(database, "SELECT 1")
    parent_backend = scalar(database, "SELECT pg_backend_pid()")
    child = os.fork()
    if child == 0:
        try:
            wrapper = DatabaseWrapper(connections.settings["frozen"], "frozen")
            with postgres_deadline.deadline(60.0):
                own = scalar(wrapper, "SELECT pg_backend_pid()")
            os._exit(0 if own != parent_backend else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert scalar(database, "SELECT pg_backend_pid()") == parent_backend


# -- the pool ---------------------------------------------------------------------------------------------------------
def test_a_busy_pool_is_no_outage_and_waits_no_longer_than_the_deadline(
    database: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [DatabaseWrapper(connections.settings["frozen"], "frozen") for _ in range(4)]
    for other in others:
        scalar(other, "SELECT 1")
    began = time.monotonic()
    monkeypatch.setattr(database.pool, "timeout", 600.0)  # a pool alone would wait so long
    with postgres_deadline.deadline(0.3), pytest.raises(OperationalError) as busy:
        scalar(database, "SELECT 1")
    assert 0.28 <= time.monotonic() - began < LONG
    assert postgres_deadline.is_busy(busy.value)
    assert postgres_deadline.is_transient(busy.value)
    assert not postgres_deadline.is_outage(busy.value)
    assert not postgres_deadline.breaker.is_open()
    for other in others:
        other.close()
    assert scalar(database, "SELECT 1") == 1


def test_a_pool_that_cannot_connect_opens_the_breaker_by_itself(
    database: DatabaseWrapper, own_postgres: PostgresProcess
) -> None:
    own_postgres.kill()
    with postgres_deadline.deadline(0.2), pytest.raises(OperationalError):
        scalar(database, "SELECT 1")
    wait_until(postgres_deadline.breaker.is_open, "nobody noticed that Postgres refuses connections")


# -- sessions that refuse writes --------------------------------------------------------------------------------------
def test_sessions_refuse_writes_in_every_thread_and_write_again_afterwards(database: DatabaseWrapper) -> None:
    def write(wrapper: DatabaseWrapper = database) -> None:
        try:
            with wrapper.cursor() as cursor:
                cursor.execute("CREATE TABLE IF NOT EXISTS written (n int)")
                cursor.execute("INSERT INTO written VALUES (1)")
        finally:
            wrapper.close()

    write()
    with read_only.sessions():
        with pytest.raises(InternalError, match="read-only"):
            write()
        refused: list[Exception] = []

        def elsewhere() -> None:
            try:
                write(DatabaseWrapper(connections.settings["frozen"], "frozen"))
            except Exception as error:
                refused.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert [type(error) for error in refused] == [InternalError]
        with read_only.lifted():
            write()
        assert scalar(database, "SELECT count(*) FROM written") == 2, "reads go on"
        database.close()
    others = [DatabaseWrapper(connections.settings["frozen"], "frozen") for _ in range(4)]
    for other in others:
        with other.cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES (1)")  # every session of the pool writes again
    for other in others:
        other.close()
    assert scalar(database, "SELECT count(*) FROM written") == 6
    scalar(database, "WITH d AS (DELETE FROM written RETURNING 1) SELECT count(*) FROM d")


def test_a_session_that_its_user_made_writable_refuses_the_next_one(database: DatabaseWrapper) -> None:
    with read_only.sessions():
        scalar(database, "SELECT set_config('default_transaction_read_only', 'off', false)")
        database.close()
        with pytest.raises(InternalError, match="read-only"), database.cursor() as cursor:
            cursor.execute("CREATE TABLE never (n int)")
    database.close()


def test_tells_an_outage_from_a_conflict_and_from_a_mistake(database: DatabaseWrapper) -> None:
    with pytest.raises(Exception, match="does not exist") as mistake:
        scalar(database, "SELECT * FROM no_such_table")
    assert not postgres_deadline.is_outage(mistake.value)
    assert not postgres_deadline.is_transient(mistake.value)
    with database.cursor() as cursor:
        cursor.execute("SET statement_timeout = 50")
        with pytest.raises(OperationalError) as slow:
            cursor.execute("SELECT pg_sleep(60)")
    assert postgres_deadline.is_transient(slow.value)
    assert not postgres_deadline.is_outage(slow.value)
