"""The hot statements: parsed once per connection, again after a migration, and their plans read the primary key."""

from collections.abc import Iterator

import pytest
from django.db import NotSupportedError, connection, transaction

from jobs import prepared, sql
from jobs.context import Done
from jobs.finish import finish
from jobs.ids import new_id
from postgres_deadline import is_stale_plan, is_transient
from tests.integration.jobs.scenario import claimed, submit_echo


def known_to_postgres() -> str:
    """Text of this connection's prepared statements."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(statement, ' ') FROM pg_prepared_statements")
        return str(cursor.fetchone()[0])


def plan(statement: str, values: dict[str, object]) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


def test_submit_claim_and_finish_are_prepared() -> None:
    finish(claimed(submit_echo()), Done())
    statements = known_to_postgres()
    for part in ("WITH asked AS", "SET state = 'RUNNING'", "SET state = 'SUCCEEDED'"):
        assert part in statements


def test_the_fence_reads_the_primary_key_however_few_jobs_run() -> None:
    """The partial index of running rows looks cheaper, and is full of dead entries behind a long transaction."""
    jobs = [submit_echo(number) for number in range(50)]
    claimed(jobs[0])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE job")
    found = plan(sql.FINISH, {"ids": [new_id()], "tokens": [1], "results": ["{}"], "files": ["[]"]})
    assert "job_pkey" in found
    assert "job_lease" not in found


def test_the_claim_of_a_batch_reads_the_primary_key_however_few_jobs_are_open() -> None:
    """The plan outlives the quiet hour in which it is made: a backlog that comes then would be read whole each time."""
    jobs = [submit_echo(number) for number in range(300)]
    for job in jobs[20:]:
        finish(claimed(job), Done())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE job")
    ids = [job.id for job in jobs[:16]]
    found = plan(sql.CLAIM, {"ids": ids, "leased_by": "w", "first_key": 1, "key": 2, "alone": False, "grace": 5})
    assert "job_pkey" in found
    assert "job_due" not in found
    assert "job_lease" not in found


@pytest.fixture
def ledger() -> Iterator[str]:
    """A statement, prepared, whose result changes with its table."""
    run("CREATE TABLE ledger (n integer); INSERT INTO ledger VALUES (7)")
    statement = "SELECT * FROM ledger WHERE n = %(n)s"
    assert prepared.fetch(statement, {"n": 7}) == [(7,)]
    yield statement
    run("DROP TABLE ledger")


def run(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text)


def migrate_elsewhere(text: str) -> None:
    """As another process does: this connection learns nothing of it."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(text)
    finally:
        other.close()


def test_a_statement_outlives_a_migration_of_its_table(ledger: str) -> None:
    migrate_elsewhere("ALTER TABLE ledger ADD COLUMN note text DEFAULT 'new'")
    assert prepared.fetch(ledger, {"n": 7}) == [(7, "new")]


def test_a_transaction_over_a_migration_fails_once_and_asks_for_a_repetition(ledger: str) -> None:
    migrate_elsewhere("ALTER TABLE ledger ADD COLUMN note text DEFAULT 'new'")
    with pytest.raises(NotSupportedError) as caught, transaction.atomic():
        prepared.fetch(ledger, {"n": 7})
    assert is_stale_plan(caught.value)
    assert is_transient(caught.value)
    with transaction.atomic():
        assert prepared.fetch(ledger, {"n": 7}) == [(7, "new")]


@pytest.mark.parametrize(
    "items", [[], ["same"] * 3, ["a,b", '"', "\\", "{}", "NULL", "null", "", " x ", None, "\n\t", "ü€𝄞"], [None] * 2]
)
def test_an_array_arrives_as_it_was_given(items: list[str | None]) -> None:
    assert prepared.fetch("SELECT %(items)s::text[]", {"items": prepared.array(items)}) == [(items,)]
