"""Runs a hot statement prepared: Postgres parses it once per connection.

Django's own cursors put the parameters into the text, so that each claim is parsed and planned anew, which costs
Postgres more than the claim. For statements of `jobs.sql` whose plan does not depend on the parameters.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper


def fetch(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows that come back. Joins the caller's transaction; raises django.db.Error as a Django cursor does."""
    with _cursor() as cursor:
        cursor.execute(statement, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def execute(statement: str, values: Mapping[str, Any]) -> None:
    """For a statement without rows."""
    with _cursor() as cursor:
        cursor.execute(statement, values)


def _cursor() -> CursorWrapper:
    if connection.queries_logged:
        return connection.cursor()  # Django's log takes the text from its own cursors
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor: Any = psycopg.Cursor(connection.connection)
    return connection.make_cursor(cursor)
