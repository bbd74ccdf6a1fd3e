"""Runs a hot statement prepared: Postgres parses it once per connection.

Django's own cursors put the parameters into the text, so that each claim is parsed and planned anew, which costs
Postgres more than the claim. For statements of `jobs.sql` whose plan does not depend on the parameters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.db import NotSupportedError, connection
from django.db.backends.utils import CursorWrapper

from postgres_deadline import is_stale_plan


def fetch(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows that come back. Joins the caller's transaction; raises django.db.Error as a Django cursor does."""
    with _executed(statement, values) as cursor:
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def execute(statement: str, values: Mapping[str, Any]) -> None:
    """For a statement without rows."""
    _executed(statement, values).close()


def array(values: Sequence[object]) -> str:
    """Postgres's text of an array, for a parameter that the statement casts: `%(ids)s::uuid[]`.

    psycopg would look at each item in Python, which costs more than to insert it.
    """
    first = values[0] if values else None
    if values.count(first) == len(values):
        return "{" + ",".join([_item(first)] * len(values)) + "}"
    return "{" + ",".join(map(_item, values)) + "}"


def _item(value: object) -> str:
    if value is None:
        return "NULL"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _executed(statement: str, values: Mapping[str, Any]) -> CursorWrapper:
    """A cursor that has run the statement: once more, if a migration changed what it returns since it was prepared.

    Such a statement has done nothing. Inside a transaction it has ended the transaction, whose caller sees a transient
    error; psycopg forgets what it prepared with the ROLLBACK.
    """
    cursor = _cursor()
    try:
        cursor.execute(statement, values)
    except NotSupportedError as error:
        cursor.close()
        if connection.in_atomic_block or not is_stale_plan(error):
            raise
        with connection.wrap_database_errors:
            psycopg.Cursor(connection.connection).execute("DEALLOCATE ALL", prepare=False)
        cursor = _cursor()
        cursor.execute(statement, values)
    return cursor


def _cursor() -> CursorWrapper:
    if connection.queries_logged:
        return connection.cursor()  # Django's log takes the text from its own cursors
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor: Any = psycopg.Cursor(connection.connection)
    return connection.make_cursor(cursor)
