"""The hot statements: parsed once per connection, and their plans read the primary key."""

from django.db import connection

from jobs import sql
from jobs.context import Done
from jobs.finish import finish
from jobs.ids import new_id
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
    found = plan(sql.FINISH, {"id": new_id(), "token": 1, "result": "{}", "files": "[]"})
    assert "job_pkey" in found
    assert "job_lease" not in found
